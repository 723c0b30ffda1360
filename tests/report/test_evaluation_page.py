"""The page of a real evaluation in a headless Chromium: it plays, switches, and asks no network."""

from pathlib import Path

import numpy as np
import pytest

from sepgan.evaluation import html
from sepgan.evaluation.evaluate import Options, evaluate_folders
from sepgan.evaluation.excerpts import SECONDS, Excerpt
from sepgan.evaluation.html import MAXIMUM_BYTES
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.scores import Scores, System, TrackScores
from tests import synth
from tests.report.chromium import Tab

RATE = 8000
SYSTEMS = {"ours": 0.9, "theirs": 0.5}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    for stem, wave in synth.song(1.0, sample_rate=RATE).items():
        for folder, gain in {"true": 1.0, **SYSTEMS}.items():
            synth.write(root / folder / "song" / f"{stem}.wav", gain * wave, sample_rate=RATE, subtype="FLOAT")
    options = Options(metrics=["usdr"], oracle=False)
    evaluate_folders(root / "true", {name: root / name for name in SYSTEMS}, root / "out", options=options)
    return root / "out" / "report.html"


def test_players_load_switch_and_stay_on_the_page(tab: Tab, page: Path) -> None:
    tab.open(page)
    lengths = tab.evaluate(
        "Promise.all(sepgan.players.map((group) => group.load()))"
        ".then(() => sepgan.players.map((group) => group.tracks.map((track) => track.buffer.duration)))"
    )
    assert len(lengths) >= len(synth.STEMS)
    for group in lengths:
        assert group == pytest.approx([1.0] * (2 + len(SYSTEMS)), abs=0.01)  # mixture, reference, systems
    audible = "sepgan.players[0].tracks.map((_, index) => sepgan.players[0].audible(index))"
    for index in (2, 3, 1):
        tab.evaluate(f"sepgan.players[0].root.querySelectorAll('.listen')[{index}].click()")
        assert tab.evaluate(audible) == [one == index for one in range(4)]
    assert [url for url in tab.requests() if not url.startswith(("file:", "data:"))] == []
    assert tab.complaints() == []


def test_four_stems_and_two_systems_fit_without_leaving_anything_out() -> None:
    """The worst and the best of every system and stem, each of another place: 16 excerpts, of stereo noise."""
    stems, metrics = synth.STEMS, find_measures(["usdr"])[0].metrics
    values = {(system, stem, "usdr"): np.array([1.0]) for system in SYSTEMS for stem in stems}
    track = TrackScores("song", 44100, 2, 44100, stems, values)
    scores = Scores(tuple(System(name, "estimates") for name in SYSTEMS), metrics, (track,) * 50, {})

    def noise(seed: int) -> synth.Audio:
        return synth.noise(SECONDS, seed=seed)

    excerpt = Excerpt(
        "song",
        "bass",
        0.0,
        44100,
        noise(0),
        noise(1),
        {name: noise(2 + index) for index, name in enumerate(SYSTEMS)},
        dict.fromkeys(SYSTEMS, 1.0),
        (("worst", "ours"),),
    )
    without = len(html.render(scores).encode())
    each = len(html.render(scores, [excerpt]).encode()) - without
    assert without + 2 * len(SYSTEMS) * len(stems) * each < MAXIMUM_BYTES == 25_000_000
