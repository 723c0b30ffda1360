"""The page of results: numbers are the evaluator's, computed once a model, and prose stays."""

import re
from pathlib import Path

import pytest

from benchmarks import results
from tests import synth

PAGE = "# Results\n\nProse.\n" + "".join(
    f"<!-- {name} -->\nold\n<!-- /{name} -->\nAfter {name}.\n" for name in ("usdr", "csdr", "models", "leakage")
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out sets in small: two songs of one set, one of the next, one pair."""
    root = tmp_path_factory.mktemp("data")
    songs: dict[str, dict[str, tuple[str, ...]]] = {"valid": {f"MDBDrums - {name}": synth.STEMS for name in ("a", "b")}}
    songs["valid"]["Everything Is Free - c"] = ("drums", "other", "vocals")
    synth.folder_tree(root / "stems", songs, duration_s=1.0)
    synth.pairs_tree(root / "pairs", duration_s=1.0)
    return root


def test_the_page_holds_the_evaluators_numbers_and_a_second_run_computes_nothing(
    data: Path, even: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "results.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(results, "TIMED_S", 0.5)
    given = ["--data", str(data), "--model", f"even={even}", "--cache", str(tmp_path / "cache"), "--page", str(page)]
    results.main(given)
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.startswith("# Results\n\nProse.\n")
    assert "After leakage." in text
    table = re.search(r"\*\*MDB Drums.*?(\| `even`[^\n]*)\n(\| doing[^\n]*)\n(\| oracle[^\n]*)", text, re.DOTALL)
    assert table is not None
    cells = [cell.strip() for cell in table[1].split("|")[2:-1]]
    assert all(re.fullmatch(r"-?\d+\.\d \[-?\d+\.\d, -?\d+\.\d\]", cell) for cell in cells)
    floors = [float(cell) for cell in table[2].split("|")[2:-1]]
    assert all(float(cell.split()[0]) <= floor + 0.05 for cell, floor in zip(cells, floors, strict=True))
    assert max(float(cell.split()[0]) for cell in cells) > 1.0, "a quarter of the mixture; silence would have 0"
    assert any(abs(float(cell.split()[0]) - floor) <= 0.05 for cell, floor in zip(cells, floors, strict=True))
    assert all(float(cell) > 3 for cell in table[3].split("|")[2:-1])
    assert "| `even` | classic |" in text
    assert "| 7 steps, 0 min | CC0 1.0 |" in text
    assert "| drums | vocals | -12 (-12) |" in text, "a quarter of the amplitude leaks"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    for name in ("scored", "seconds_per_minute", "leakage"):
        monkeypatch.setattr(results, name, refuse)
    results.main(given)
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("score", "cell"),
    [
        (results.Score(1.26, 0.5, 2.0, 3), "1.3 [0.5, 2.0]"),
        (results.Score(1.26, 1.26, 1.26, 1), "1.3"),
        (results.Score(float("nan"), 0, 0, 3), "-"),
    ],
)
def test_a_score_says_how_sure_it_is(score: results.Score, cell: str) -> None:
    assert str(score) == cell


def test_the_shipped_page_has_a_place_for_every_table() -> None:
    text = results.PAGE.read_text(encoding="utf-8")
    for name in ("usdr", "csdr", "models", "leakage"):
        assert text.index(f"<!-- {name} -->") < text.index(f"<!-- /{name} -->")


def test_leakage_is_told_of_models_with_other_stems() -> None:
    four = {
        "vocals": {"drums": [-30.0, -20.0, -40.0], "vocals": [0.0]},
        "drums": {"drums": [0.0], "vocals": [-31.0]},
    }
    two = {"vocals": {"accompaniment": [-25.0], "vocals": [0.0]}, "drums": {"accompaniment": [0.0], "vocals": [-50.0]}}
    assert results.of_leakage(["a", "b"], {"a": {"leakage": four}, "b": {"leakage": two}})[2:] == [
        "| vocals | drums | -30 (-20) | - |",
        "| vocals | accompaniment | - | -25 (-25) |",
        "| drums | vocals | -31 (-31) | -50 (-50) |",
    ]
