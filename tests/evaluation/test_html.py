"""The page of an evaluation says what was measured, and lets one hear it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from sepgan.evaluation import comparison, html
from sepgan.evaluation.evaluate import evaluate_folders
from sepgan.evaluation.excerpts import Excerpt
from sepgan.evaluation.measures import find_measures
from sepgan.evaluation.scores import Scores, System, TrackScores
from sepgan.report.blocks import Section, Text
from tests import synth

RATE = 44100  # Hz
(USDR,) = find_measures(["usdr"])[0].metrics


def scores(
    *, ours: tuple[float, ...] = (5.0, 7.0), theirs: tuple[float, ...] = (4.0, math.nan), failure: str = ""
) -> Scores:
    systems = (
        System("ours", "model"),
        System("theirs", "estimates", {"folder": "x"}),
        System("silence", "floor"),
        System("irm", "oracle"),
    )
    tracks = []
    for index, values in enumerate(zip(ours, theirs, strict=True)):
        of = {"ours": values[0], "theirs": values[1], "silence": 0.0, "irm": 12.0}
        cells = {(system, "vocals", "usdr"): np.array([value]) for system, value in of.items()}
        tracks.append(TrackScores(f"song {index}", RATE, 2, RATE, ("vocals",), cells, ("odd",) if index else ()))
    return Scores(systems, (USDR,), tuple(tracks), {"window_s": 1.0}, failure)


def excerpt(
    *, seconds: float = 0.5, seed: int = 0, stem: str = "vocals", systems: tuple[str, ...] = ("ours", "theirs")
) -> Excerpt:
    song = synth.song(seconds, seed=seed)
    estimates = {system: song["vocals"] + 0.1 * (index + 1) * song["bass"] for index, system in enumerate(systems)}
    decibels = dict.fromkeys(systems, 3.0)
    return Excerpt(
        "A - <Song>", stem, 71.0, RATE, synth.mixture(song), song["vocals"], estimates, decibels, (("worst", "ours"),)
    )


def cells(text: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh][ >].*?</t[dh]>", text)]


def test_the_page_shows_scores_with_their_scale() -> None:
    text = html.render(scores())
    summary = cells(text[: text.index("Distributions</h2>")])
    assert summary[-9:] == ["uSDR, dB", "6.00", "4.00", "0.00", "silence", "50", "33", "0.00", "12.00"]
    assert "song 1" in text
    assert USDR.definition.split(":")[0] in text
    assert "http://" not in text
    assert "https://" not in text


def test_swapped_systems_swap_in_the_page() -> None:
    text = html.render(scores(ours=(4.0, 1.0), theirs=(5.0, 7.0)))
    assert cells(text[: text.index("Distributions</h2>")])[-8:-6] == ["2.50", "6.00"]


def test_intervals_and_comparisons_stand_where_there_are_tracks_enough() -> None:
    ours = (5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
    of = scores(ours=ours, theirs=tuple(value - 1 - index / 10 for index, value in enumerate(ours)))
    text = html.render(of)
    low, high = comparison.intervals(of)["ours", "vocals", "usdr"]
    assert f"7.50 [{low:.2f}, {high:.2f}]" in cells(text)
    compared = cells(text[text.index("Comparison</h2>") : text.index("Tracks</h2>")])
    row = compared[-8:]
    assert row[:3] == ["vocals", "uSDR, dB", "ours less theirs"]
    assert row[3].startswith("1.25 [")
    assert row[4:] == ["1.00", "0.031", "6", "ours is better"]
    alone = Scores((of.systems[0], *of.systems[2:]), of.metrics, of.tracks, {})
    assert "Comparison</h2>" not in html.render(alone)


def test_undefined_values_and_remarks_are_told() -> None:
    notes = html.render(scores())
    notes = notes[notes.index("Notes</h2>") :]
    assert "odd" in notes
    assert cells(notes)[5:10] == ["song 1", "theirs", "vocals", "uSDR", "1"]
    complete = html.render(Scores(scores().systems, (USDR,), scores().tracks[:1], {}))
    assert "Notes</h2>" not in complete


def test_an_incomplete_evaluation_says_so_first() -> None:
    text = html.render(scores(failure="stopped at track 'x'"))
    assert text.index("stopped at track") < text.index("<h2")


def test_excerpts_come_as_locked_players_with_pictures() -> None:
    text = html.render(scores(), [excerpt()])
    assert text.count('class="audio"') == 4
    assert "vocals: worst of ours" in text
    assert "A - &lt;Song&gt;, 1:11 to 1:12" in text
    assert text.count("data:image/png") == 6
    assert "Blind A/B/X" in text
    alone = html.render(scores(), [excerpt(systems=("ours",))])
    assert "Blind A/B/X comparison" not in alone


def test_a_system_may_be_named_like_a_signal() -> None:
    of = scores()
    renamed = Scores((System("reference", "estimates"), *of.systems[1:]), of.metrics, of.tracks, {})
    text = html.render(renamed, [excerpt(systems=("reference", "theirs"))])
    assert "reference (estimate)" in text


def test_the_file_keeps_to_its_size() -> None:
    many = [excerpt(seed=seed, seconds=1.0) for seed in range(4)]
    whole = len(html.render(scores(), many).encode())
    least = len(html.render(scores()).encode())
    limit = least + (whole - least) * 2 // 3
    text = html.render(scores(), many, maximum_bytes=limit)
    assert len(text.encode()) <= limit
    assert "excerpts are left out" in text
    assert 'class="audio"' in text


def test_further_sections_stand_in_the_page() -> None:
    text = html.render(scores(), sections=[Section("Remarks", [Text("by hand")])])
    assert "Remarks</h2>" in text
    assert "by hand" in text


@pytest.mark.parametrize("count", [0, 1])
def test_one_track_or_none_still_make_a_page(count: int) -> None:
    of = scores()
    assert "<h1>" in html.render(Scores(of.systems, of.metrics, of.tracks[:count], {}))


def test_an_evaluation_writes_the_page_with_what_it_heard(tmp_path: Path) -> None:
    for seed, track in enumerate(("A - One", "B - Two")):
        for stem, wave in synth.song(1.0, seed=seed, sample_rate=8000).items():
            for folder, gain in (("true", 1.0), ("ours", 0.9 - 0.2 * seed)):
                synth.write(tmp_path / folder / track / f"{stem}.wav", gain * wave, sample_rate=8000, subtype="FLOAT")
    evaluate_folders(tmp_path / "true", tmp_path / "ours", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.count('<article class="players"') == 8
    assert text.index("drums: worst of ours") < text.index("drums: best of ours") < text.index("vocals: worst of ours")
    assert "A - One, 0:00 to 0:01. uSDR here: ours 20.00 dB." in text
