"""The report of a run, from a run: what is in it, that it stands alone, and that a look changes nothing."""

import json
import re
from pathlib import Path

import pytest
import torch

from sepgan.training.health.alarms import Alarm
from sepgan.training.health.held_out import KEPT, batches, keep_excerpt
from sepgan.training.health.page import PAGE, SAMPLES, SCORES, alarms_of, read_log, write
from sepgan.training.loop import Loop
from sepgan.training.trainer import open_run
from tests import synth
from tests.training.runs import equal, task_of, tiny


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """A run of six steps with two validations."""
    root = tmp_path_factory.mktemp("health")
    trees = {"music": synth.folder_tree(root / "music", duration_s=1.0, sample_rate=16000), "cache": root / "cache"}
    loop = open_run(tiny(trees, "train.report=true"), root / "run", trees, device="cpu")
    loop.fit()
    return loop


def test_a_run_writes_its_report(ended: Loop) -> None:
    text = (ended.out / PAGE).read_text(encoding="utf-8")
    for heading in ("Alarms", "Curves", "Discriminator", "Listen"):
        assert f">{heading}</h2>" in text, heading
    for words in ("Precision over recall", "Calibration", "low bands", "vocals", "step 3", "step 6", "reference"):
        assert words in text, words
    assert text.count('class="audio">') == 4 * 4, "mixture, reference and two steps of four stems"
    assert text.count("data:image/png;base64,") == 4 * 3
    assert not re.search(r"""(src|href)=["']https?:""", text)


def test_health_is_logged_by_stem_and_band(ended: Loop) -> None:
    log = dict(read_log(ended.out))
    seen = {key for key in log[6] if key.startswith("health/")}
    wanted = {"auc", "f1", "false_positive_rate", "calibration", "high_db", "movement", "auc/vocals", "auc/low bands"}
    assert {f"health/{key}" for key in wanted} <= seen
    assert "gradient_ratio" in log[6]
    stored = json.loads((ended.out / SCORES).read_text())
    assert stored["step"] == 6
    real, fake = stored["scores"]["discriminator"]
    assert len(real) == len(fake) > 0


def test_held_out_batches_sum_to_their_mixture(ended: Loop) -> None:
    task = task_of(ended)
    found = list(batches(task.separator, task.validation, 2000))
    assert sum(len(batch.mixture) for batch in found) > 1
    for batch in found:
        torch.testing.assert_close(batch.targets.sum(1), batch.mixture, rtol=0, atol=1e-6)
        assert batch.groups.sum(1).eq(1).all(), "each stem lies in one group"


def test_a_look_changes_nothing(ended: Loop) -> None:
    task = task_of(ended)
    before = {name: value.clone() for name, value in task.generator.state_dict().items()}
    random = torch.get_rng_state()
    task.validate(7)
    assert equal(before, task.generator.state_dict())
    assert torch.equal(random, torch.get_rng_state())
    assert task.generator.training


def test_excerpts_are_thinned_out(ended: Loop, tmp_path: Path) -> None:
    task = task_of(ended)
    for step in range(1, 21):
        keep_excerpt(task.averaged, task.validation[0], step, tmp_path / SAMPLES)
    kept = [int(path.stem) for path in sorted((tmp_path / SAMPLES).glob("*.npz"))]
    assert len(kept) == KEPT
    assert kept[0] == 1
    assert kept[-1] == 20


def test_alarms_stand_on_top(tmp_path: Path) -> None:
    lines = [{"step": step, "health/auc": 1.0, "health/false_positive_rate": 0.0} for step in (10, 20, 30, 40)]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    alarms = write(tmp_path, "x", 0.5, 16000)
    assert [alarm[:2] for alarm in alarms] == [("discriminator ahead", 30)]
    assert alarms == alarms_of(read_log(tmp_path))
    assert isinstance(alarms[0], Alarm)
    text = (tmp_path / PAGE).read_text()
    assert "Alarms: discriminator ahead." in text
    assert "lower adversary.learning_rate" in text
