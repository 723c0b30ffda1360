"""`sepgan data render`: parse, render, print."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgan.cli_options import ProgressStyle
from sepgan.console import Reporter, Style
from sepgan.errors import AudioError, DatasetError, UsageError

if TYPE_CHECKING:
    from sepgan.data.render.singing import Recording


def render(
    midi: Annotated[Path, typer.Argument(metavar="MIDI", help="A folder of MIDI files, or one file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to fill with one folder for each song.")],
    soundfont: Annotated[list[Path], typer.Option("--soundfont", "-s", help="A .sf2 or .sf3; several are mixed.")],
    kit: Annotated[
        list[Path] | None,
        typer.Option(help="Drum kit: Hydrogen's, a folder of one-shots, or a .sf2; several are mixed."),
    ] = None,
    vocals: Annotated[Path | None, typer.Option(help="Folder of solo singing to lay over the songs, in key.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of what comes out, kept beside each song.")] = "not stated",
    takes: Annotated[int, typer.Option(min=1, help="Performances of each song; each is different.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all choices.")] = 0,
    file_format: Annotated[str, typer.Option("--format", help="flac, wav (16 bit both) or ogg.")] = "flac",
    sample_rate: Annotated[int, typer.Option(min=8000, max=96000, help="In Hz.")] = 44100,
    transpose: Annotated[int, typer.Option(min=0, max=12, help="Most semitones up or down.")] = 3,
    tempo: Annotated[float, typer.Option(min=0, max=0.5, help="Most relative change of tempo.")] = 0.1,
    gain_db: Annotated[float, typer.Option(min=0, max=24, help="Most change of a stem's level.")] = 4.0,
    plain: Annotated[bool, typer.Option("--plain", help="Play the files as they are, with no random choices.")] = False,
    shortest_s: Annotated[float, typer.Option("--shortest", min=0, help="Leave out shorter songs, seconds.")] = 10.0,
    pictures: Annotated[bool, typer.Option("--pictures", help="Add piano rolls and spectrograms.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Songs at a time.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace songs made with other settings.")] = False,
    progress: ProgressStyle = Style.AUTO,
) -> None:
    """Turn MIDI files and SoundFonts into songs with drums, bass and other; stop with Ctrl-C and repeat to go on."""
    _need_extra(pictures, vocals is not None, bool(kit))
    from sepgan.data.render.batch import choose, render_all
    from sepgan.data.render.fluidsynth import check_soundfont, find_synthesiser
    from sepgan.data.render.kits import read_kit
    from sepgan.data.render.performance import PLAIN, Ranges
    from sepgan.data.render.song import FORMATS, RenderSettings, SoundFont, plan_jobs, sha256_of

    if file_format not in FORMATS:
        raise UsageError(f"--format {file_format} is unknown: choose one of {', '.join(FORMATS)}")
    synthesiser = find_synthesiser()
    for path in soundfont:
        check_soundfont(path)
    kits = tuple(read_kit(path) for path in kit or ())
    settings = RenderSettings(
        soundfonts=tuple(SoundFont(path, sha256_of(path)) for path in soundfont),
        seed=seed,
        ranges=PLAIN if plain else Ranges(transpose=transpose, tempo=tempo, gain_db=gain_db),
        sample_rate=sample_rate,
        file_format=file_format,
        licence=licence,
        recordings=_listen(vocals, progress) if vocals else (),
        kits=kits,
    )
    choice = choose(plan_jobs(midi, takes), out, settings, shortest_s, overwrite)
    with Reporter(progress) as reporter:
        for line in choice.left_out:
            reporter.say(f"left out: {line}")

        def report(done: int, total: int, seconds: float) -> None:
            reporter.advance("render", done, total, {"minutes": seconds / 60})

        pool = ThreadPoolExecutor(jobs)
        outcome = render_all(choice.todo, out, settings, synthesiser, pool, report, pictures=pictures)
        failures = choice.unreadable + outcome.failures
        for line in failures:
            reporter.say(f"failed: {line}")
        reporter.say(
            f"{outcome.rendered} rendered, {choice.kept} there already, {len(choice.left_out)} left out, "
            f"{len(failures)} failed; {outcome.seconds / 60:.1f} minutes of new music in {out}"
        )
    if failures:
        raise typer.Exit(1 if outcome.rendered + choice.kept else DatasetError.exit_code)


def _listen(folder: Path, progress: Style) -> tuple[Recording, ...]:
    """Find out keys and phrases of recordings; one that cannot be read or has no phrase is left out."""
    from sepgan.data.render import singing
    from sepgan.data.render.song import sha256_of

    files, heard = singing.find(folder), []
    with Reporter(progress) as reporter:
        for number, path in enumerate(files, 1):
            try:
                recording = singing.listen(path, sha256_of(path))
            except AudioError as error:
                reporter.say(f"left out: {error}")
                continue
            if recording:
                heard.append(recording)
            reporter.advance("listen", number, len(files))
    if not heard:
        raise DatasetError(f"'{folder}' holds no singing: expected phrases of a second or more, alone")
    return tuple(heard)


def _need_extra(pictures: bool, vocals: bool, kits: bool) -> None:
    from importlib.util import find_spec

    wanted = ["mido", *["matplotlib"] * pictures, *["librosa", "torchaudio"] * vocals, *["scipy"] * kits]
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise UsageError(f"rendering needs {', '.join(missing)}: install them with `pip install 'sepgan[data,train]'`")
