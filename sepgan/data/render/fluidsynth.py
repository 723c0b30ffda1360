"""The synthesiser: the program `fluidsynth`, called once for each stem."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soundfile
from numpy.typing import NDArray

from sepgan.data.render.performance import Performance
from sepgan.errors import DatasetError, UsageError

PROGRAM = "fluidsynth"
DRUM_BANK = 128  # where SoundFonts keep what channel 10 plays
HOW_TO_GET_IT = (
    "install it with `apt install fluidsynth` or `brew install fluid-synth`, and with it SoundFonts such as the "
    "packages fluid-soundfont-gm, musescore-general-soundfont-small, timgm6mb-soundfont or opl3-soundfont"
)
_GAIN = 0.5  # of all voices; the output is in floating point and cannot clip
_LONGEST_S = 3600.0  # a call that takes longer hangs


@dataclass(frozen=True)
class Synthesiser:
    """A program and what it says about itself.

    Attributes:
        program: Path of the program.
        version: As it names it.
    """

    program: str
    version: str


def find_synthesiser(program: str = PROGRAM) -> Synthesiser:
    """Find fluidsynth.

    Raises:
        UsageError: It is not installed, or is no fluidsynth.
    """
    path = shutil.which(program)
    if path is None:
        raise UsageError(f"rendering needs the program {program}: {HOW_TO_GET_IT}")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(?i)fluidsynth.* version\s+(\S+)", said.stdout)
    if found is None:
        raise UsageError(f"'{path} --version' names no version: {HOW_TO_GET_IT}")
    return Synthesiser(path, found.group(1))


def check_soundfont(path: Path) -> None:
    """Refuse what is no SoundFont before a long rendering begins.

    Raises:
        DatasetError: The file is absent or has not the form of one.
    """
    if not path.is_file():
        raise DatasetError(f"SoundFont '{path}' does not exist: give a .sf2 or .sf3 file")
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise DatasetError(f"'{path}' is no SoundFont: expected a .sf2 or .sf3 file")


def drum_preset(path: Path) -> tuple[int, int, str]:
    """Return bank, program and name of a SoundFont's drums: of the first in bank 128, or else of its first program.

    Raises:
        DatasetError: The file cannot be read or lists no program.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"SoundFont '{path}' cannot be read: {error.strerror}") from error
    at = content.rfind(b"phdr")  # the list of presets, 38 bytes each; the last only ends it
    size = int.from_bytes(content[at + 4 : at + 8], "little")
    heads = [content[at + 8 + k : at + 46 + k] for k in range(0, size - 38, 38)] if at >= 0 else []
    presets = sorted(
        (int.from_bytes(one[22:24], "little"), int.from_bytes(one[20:22], "little"), _text(one[:20])) for one in heads
    )
    if not presets:
        raise DatasetError(f"SoundFont '{path}' has no programs: give another")
    return next((preset for preset in presets if preset[0] == DRUM_BANK), presets[0])


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin-1")


def play(
    synthesiser: Synthesiser, notes: mido.MidiFile, soundfont: Path, performance: Performance, sample_rate: int
) -> NDArray[np.float32]:
    """Play one stem.

    Args:
        synthesiser: The program.
        notes: What to play.
        soundfont: What to play it on.
        performance: Its room is used.
        sample_rate: In Hz.

    Returns:
        The waveform `[2, T]`, as loud as it comes.

    Raises:
        DatasetError: The program failed or gave no sound file.
    """
    reverb, chorus = performance.reverb, performance.chorus
    settings = {
        "synth.cpu-cores": 1,
        "synth.dynamic-sample-loading": 1,  # only the instruments that are played
        "synth.reverb.active": 1,
        "synth.reverb.room-size": reverb.room_size,
        "synth.reverb.damp": reverb.damp,
        "synth.reverb.width": reverb.width,
        "synth.reverb.level": reverb.level,
        "synth.chorus.active": 1,
        "synth.chorus.nr": chorus.voices,
        "synth.chorus.level": chorus.level,
        "synth.chorus.speed": chorus.speed_hz,
        "synth.chorus.depth": chorus.depth_ms,
    }
    with tempfile.TemporaryDirectory(prefix="sepgan-render-") as folder:
        score, sound = Path(folder, "score.mid"), Path(folder, "sound.wav")
        notes.save(score)
        command = [synthesiser.program, "-n", "-i", "-q", "-F", str(sound), "-T", "wav", "-O", "float"]
        command += ["-r", str(sample_rate), "-g", str(_GAIN)]
        command += [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        # Absolute paths cannot be taken for options.
        command += [str(soundfont.resolve()), str(score)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LONGEST_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DatasetError(f"{synthesiser.program} took more than {_LONGEST_S:.0f} s with '{soundfont}'") from error
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        if done.returncode or not sound.is_file():
            raise DatasetError(f"{synthesiser.program} failed with '{soundfont}' (exit {done.returncode}): {said}")
        try:
            waveform, rate = soundfile.read(sound, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DatasetError(f"{synthesiser.program} left no readable sound: {error} {said}") from error
    if rate != sample_rate or waveform.shape[1] != 2 or not np.isfinite(waveform).all():
        raise DatasetError(
            f"{synthesiser.program} gave {waveform.shape[1]} channels at {rate} Hz: expected stereo at {sample_rate} Hz"
        )
    return np.ascontiguousarray(waveform.T)
