"""`sepgan eval` with several systems, published scores and a gate, as a user calls it."""

import csv
import json
from pathlib import Path

import pytest
import torch

from sepgan import audio, cli
from sepgan.engine import Engine
from sepgan.errors import UsageError
from sepgan.separator import Separator
from tests import synth

RATE = 8000
TRACKS = ("A - One", "B - Two")
FEW = ("--progress", "none", "--device", "cpu", "--no-html", "--no-oracle", "--metrics", "csdr,usdr")


def run(*arguments: str | Path) -> int:
    return cli.run(["eval", *map(str, arguments)])


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References of two tracks; beside them the estimates of two systems, with errors of 20 dB (a) and 6 dB (b)."""
    root = tmp_path_factory.mktemp("eval")
    for seed, track in enumerate(TRACKS):
        for stem, wave in synth.song(1.2, seed=seed, sample_rate=RATE).items():
            for folder, gain in (("true", 1.0), ("a", 0.9), ("b", 0.5)):
                synth.write(root / folder / track / f"{stem}.wav", gain * wave, sample_rate=RATE, subtype="FLOAT")
    return root / "true"


def usdr(report: Path, system: str, stem: str = "vocals") -> float:
    rows = csv.DictReader((report / "scores.csv").read_text().splitlines())
    wanted = {"system": system, "track": "*", "stem": stem, "metric": "usdr", "statistic": "mean"}
    (found,) = [row for row in rows if wanted.items() <= row.items()]
    return float(found["value"])


def test_two_folders_are_compared_under_their_names(
    true: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--references", true, "--estimates", true.parent / "a", "--estimates", f"half={true.parent / 'b'}")
    assert run(*both, "--out", tmp_path, *FEW) == 0
    assert usdr(tmp_path, "a") == pytest.approx(20, abs=0.01)
    assert usdr(tmp_path, "half") == pytest.approx(6.02, abs=0.01)
    document = json.loads((tmp_path / "scores.json").read_text())
    assert {one["verdict"] for one in document["comparisons"]} == {"too few tracks"}
    assert "## Comparisons" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "report.html").exists()
    assert "half" in capsys.readouterr().out
    swapped = ("--estimates", f"a={true.parent / 'b'}", "--estimates", f"half={true.parent / 'a'}")
    assert run("--references", true, *swapped, "--out", tmp_path / "swapped", "--stems", "vocals", *FEW) == 0
    assert usdr(tmp_path / "swapped", "half") == usdr(tmp_path, "a")
    assert usdr(tmp_path / "swapped", "a") == usdr(tmp_path, "half")


def test_two_models_are_compared(tmp_path: Path) -> None:
    tree = synth.folder_tree(tmp_path / "data", {"valid": {"song": synth.STEMS}}, duration_s=1.0)
    models = ("--model", "default", "--model", "again=default")
    source = ("--dataset", "folder", "--root", tree, "--split", "valid")
    assert run(*models, *source, "--out", tmp_path / "out", "--compare", "default", *FEW) == 0
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [one["name"] for one in document["systems"]][:2] == ["default", "again"]
    assert {(one["first"], one["second"], one["difference"]) for one in document["comparisons"]} == {
        ("again", "default", 0.0)
    }


def test_an_ensemble_is_scored_as_one_system(tmp_path: Path) -> None:
    tree = synth.folder_tree(tmp_path / "data", {"valid": {"song": synth.STEMS}}, duration_s=1.0)
    models = ("--model", "default", "--model", "clean", "--model", "default,clean:0.5")
    source = ("--dataset", "folder", "--root", tree, "--split", "valid", "--stems", "vocals")
    assert run(*models, *source, "--out", tmp_path / "out", *FEW) == 0
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    system = {one["name"]: one for one in document["systems"]}["default+clean"]
    assert system["details"]["weights"] == "1, 0.5"
    assert len(set(system["details"]["sha256"].split(", "))) == 2
    assert system["details"]["licence"].split("; ")[-1] == "MIT"
    song = tree / "valid" / "song"
    stems = {stem: torch.from_numpy(audio.read(next(song.glob(f"{stem}.*")))[0]) for stem in synth.STEMS}
    mixture = torch.stack(list(stems.values())).sum(0)
    alone = {}
    for name in ("default", "clean"):
        model = Engine(Separator.load(name))  # with the averages that its recipe asks for
        alone[name] = dict(zip(model.stems, model(mixture[None])[0], strict=True))["vocals"]
    expected = (alone["default"] + 0.5 * alone["clean"]) / 1.5
    error = (stems["vocals"] - expected).square().sum()
    score_db = float(10 * torch.log10(stems["vocals"].square().sum() / error))
    tolerance_db = 0.01  # the evaluator keeps silence from ruling
    assert usdr(tmp_path / "out", "default+clean") == pytest.approx(score_db, abs=tolerance_db)
    assert usdr(tmp_path / "out", "default") != pytest.approx(score_db, abs=tolerance_db)
    assert run("--model", "default,clean:0", *source, "--out", tmp_path / "none", *FEW) == UsageError.exit_code
    assert not (tmp_path / "none" / "scores.json").exists()


def test_a_model_is_scored_as_it_is_run(tmp_path: Path) -> None:
    tree = synth.folder_tree(tmp_path / "data", {"valid": {"song": synth.STEMS}}, duration_s=1.0)
    source = ("--model", "default", "--dataset", "folder", "--root", tree, "--split", "valid", "--stems", "drums")
    details, scores = {}, {}
    for name, more in {"plain": (), "run": ("--repetition", "2", "--shifts", "1")}.items():
        assert run(*source, "--out", tmp_path / name, *more, *FEW) == 0
        system = json.loads((tmp_path / name / "scores.json").read_text())["systems"][0]
        details[name], scores[name] = system["details"], usdr(tmp_path / name, "default", "drums")
    assert details["run"] == {**details["plain"], "repetition": "2", "shifts": "1"}
    assert scores["run"] != pytest.approx(scores["plain"], abs=1e-3)
    assert run(*source, "--out", tmp_path / "none", "--repetition", "-1", *FEW) == UsageError.exit_code


def test_the_gate_ends_with_its_own_code(true: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = ("--references", true, "--estimates", f"ours={true.parent / 'a'}")
    worse = ("--references", true, "--estimates", f"ours={true.parent / 'b'}")
    assert run(*ours, "--out", tmp_path / "then", *FEW) == 0
    gate = ("--baseline", tmp_path / "then" / "scores.json", "--fail-if", "usdr.vocals < -0.1")
    assert run(*ours, "--out", tmp_path / "same", *gate, *FEW) == 0
    assert "passed: usdr.vocals < -0.1 (ours, vocals): +0.00 dB on 2 tracks" in capsys.readouterr().out
    assert run(*worse, "--out", tmp_path / "worse", *gate, "--fail-if", "csdr.bass > 5", *FEW) == 1
    printed = capsys.readouterr()
    assert "FAILED: usdr.vocals < -0.1 (ours, vocals): -13.98 dB" in printed.out
    assert "passed: csdr.bass > 5" in printed.out
    assert "error" not in printed.err
    assert (tmp_path / "worse" / "scores.json").is_file()
    two = (*ours, "--estimates", f"half={true.parent / 'b'}", "--system", "half")
    assert run(*two, "--out", tmp_path / "two", *gate, *FEW) == 1


def test_musevals_files_go_out_and_come_in_as_a_system(true: Path, tmp_path: Path) -> None:
    assert run("--references", true, "--estimates", true.parent / "b", "--out", tmp_path, "--write-museval", *FEW) == 0
    files = tmp_path / "museval" / "b"
    assert sorted(path.stem for path in files.iterdir()) == sorted(TRACKS)
    again = ("--references", true, "--estimates", true.parent / "a", "--museval-json", f"published={files}")
    assert run(*again, "--out", tmp_path / "again", *FEW) == 0
    summary = json.loads((tmp_path / "again" / "scores.json").read_text())["summary"]
    assert summary["published"]["drums"]["csdr"]["median"] == pytest.approx(6.0206, abs=1e-3)
    assert summary["a"]["drums"]["csdr"]["median"] == pytest.approx(20, abs=1e-3)
    assert run("--museval-json", files, "--museval-json", f"x={files}", "--out", tmp_path / "alone", *FEW) == 0
    assert (tmp_path / "alone" / "report.md").is_file()


def test_places_among_published_systems(true: Path, tmp_path: Path) -> None:
    rows = [f"{name},vocals,{track},SDR,{score}" for name, score in (("X", 3), ("Y", 10)) for track in TRACKS]
    table = tmp_path / "sisec.csv"
    table.write_text("\n".join(["method,target,track,metric,median", *rows]))
    ours = ("--references", true, "--estimates", true.parent / "b", "--sisec", table)
    assert run(*ours, "--out", tmp_path / "out", *FEW) == 0
    (place,) = json.loads((tmp_path / "out" / "scores.json").read_text())["sisec18"]
    assert (place["rank"], place["above"], place["below"]) == (2, "Y", "X")
    assert "2 of 3" in (tmp_path / "out" / "report.md").read_text()


def test_new_metrics_and_options_arrive(true: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that a track or the set can be scored by, in one report; a wrong mixture ends with its own code."""
    ours = ("--references", true, "--estimates", true.parent / "a", "--stems", "bass", "--ignore-extra", *FEW[:-1])
    every = "usdr,si_bss,mse,bleed,frechet"
    assert run(*ours, every, "--interval", "bca", "--out", tmp_path / "out") == 0
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    scores = document["summary"]["a"]["bass"]
    assert scores["si_sir"]["mean"] > 60
    assert scores["fullness"]["mean"] < scores["bleedless"]["mean"] == 100
    assert scores["frechet"] == {"value": None, "windows": 2}
    assert document["settings"]["interval"] == "bca"
    report = (tmp_path / "out" / "report.md").read_text()
    for title in ("SI-SAR, dB", "MSE", "bleedless", "FD log-mel, dB^2"):
        assert f"| bass | {title} |" in report
    other = tmp_path / "true"
    for stem, wave in synth.song(1.2, seed=7, sample_rate=RATE).items():
        synth.write(other / "song" / f"{stem}.wav", wave, sample_rate=RATE, subtype="FLOAT")
    synth.write(other / "song" / "mixture.wav", synth.noise(1.2, sample_rate=RATE), sample_rate=RATE, subtype="FLOAT")
    wrong = ("--references", other, "--estimates", f"x={other}", "--stems", "bass", "--ignore-extra", *FEW)
    capsys.readouterr()
    assert run(*wrong, "--out", tmp_path / "wrong") == 3
    assert "miss its mixture by" in capsys.readouterr().err
    assert run(*wrong, "--mixture-tolerance", "inf", "--out", tmp_path / "wrong") == 0


def test_mistakes_are_told_before_the_work(true: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = ("--references", true, "--estimates", true.parent / "a")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    mistakes: dict[str, tuple[tuple[str | Path, ...], int, str]] = {
        "gate without baseline": ((*ours, "--fail-if", "usdr.vocals < 0"), 2, "--baseline"),
        "baseline without gate": ((*ours, "--baseline", broken), 2, "--fail-if"),
        "malformed condition": ((*ours, "--baseline", broken, "--fail-if", "vocals"), 2, "'vocals'"),
        "malformed baseline": ((*ours, "--baseline", broken, "--fail-if", "usdr.vocals < 0"), 3, "broken.json"),
        "one name twice": ((*ours, "--estimates", true.parent / "a"), 2, "two systems are named 'a'"),
        "no name": ((*ours, "--estimates", "=x"), 2, "NAME=PATH"),
        "unknown anchor": ((*ours, "--compare", "zz"), 2, "'zz'"),
        "no table": ((*ours, "--sisec", tmp_path / "none.csv"), 3, "none.csv"),
        "not a table": ((*ours, "--sisec", broken), 3, "expected method"),
        "no files of museval": ((*ours, "--museval-json", tmp_path / "none"), 3, "is no folder"),
        "silence": ((*ours, "--silence", "never"), 2, "reference or museval"),
        "metric": ((*ours, "--metrics", "sdr"), 2, "'sdr' is unknown"),
        "interval": ((*ours, "--interval", "exact"), 2, "percentile or bca"),
        "tolerance": ((*ours, "--mixture-tolerance", "nan"), 2, "--mixture-tolerance"),
        "no embedding": ((*ours, "--embedding", tmp_path / "none.onnx"), 3, "none.onnx"),
        "not an embedding": ((*ours, "--embedding", broken), 3, "no ONNX model"),
        "no model to run": ((*ours, "--repetition", "2"), 2, "say how models are run"),
        "folders and models": ((*ours, "--model", "default"), 2, "give either"),
        "nothing": ((), 2, "--museval-json"),
    }
    few = tuple(one for one in FEW if one not in ("--metrics", "csdr,usdr"))
    for name, (arguments, code, words) in mistakes.items():
        capsys.readouterr()
        assert run(*arguments, "--out", tmp_path / "out", *few) == code, name
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, name
        assert words in lines[0], name
    assert not (tmp_path / "out" / "scores.json").exists()
