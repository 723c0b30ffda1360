"""Several processes, and signals, as a cluster sends them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sepgan import checkpoint
from sepgan.training import state
from tests import synth
from tests.training.points import make_task, open_loop
from tests.training.test_loop import gradients, log_of

ROOT = Path(__file__).parents[2]
EQUAL = 1e-6
RECIPE = """
name: tiny
frontend: {sample_rate: 16000, n_fft: 512, hop_length: 128, bins: 64}
generator: {widths: [8, 12], head_width: 8, dropout: 0.2}
adversary: {weight: 0.1, widths: [8]}
data:
  excerpt_s: 0.3
  train: [{kind: folder, root: music}]
  validation: [{kind: folder, root: music, split: valid}]
train: {steps: 6, batch_size: 2, warmup_steps: 2, validate_every: 6, validation_s: 1, log_every: 1, save_every: 3,
        report: false}
"""
SIGNALLED = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *map(str, arguments),
    ]
    return subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth.folder_tree(tmp_path_factory.mktemp("music"), duration_s=1.0, sample_rate=16000)


@pytest.fixture
def command(tmp_path: Path, music: Path) -> list[str]:
    """`train` with a recipe whose steps take milliseconds."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return ["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--data", f"music={music}"]


def test_two_processes_are_one_of_twice_the_batch(tmp_path: Path) -> None:
    """Gradients of both networks, though each process shows the discriminator another number of examples."""
    done = torchrun(ROOT / "tests" / "training" / "two_processes.py", tmp_path)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    expected = gradients(open_loop(tmp_path / "one", make_task(), batch_size=12))
    assert found["gradients"].keys() == expected.keys()
    for name, value in expected.items():
        assert float(value.abs().max()) > 100 * EQUAL
        torch.testing.assert_close(found["gradients"][name], value, rtol=0, atol=EQUAL)
    assert found["seen"][:8] == [0, 1, 4, 5, 8, 9, 12, 13], "each process takes every other batch"
    task = make_task()
    open_loop(tmp_path / "alone", task, batch_size=8, steps=10).fit()
    for name, value in task.average.state_dict().items():
        torch.testing.assert_close(found["weights"][name], value, rtol=0, atol=1e-5)
    alone, together = (log_of(tmp_path / run, "reconstruction") for run in ("alone", "run"))
    assert together == pytest.approx(alone, abs=1e-5), "what is logged is the mean over processes"


def test_torchrun_trains_and_says_what_differs(tmp_path: Path, command: list[str]) -> None:
    done = torchrun("-m", "sepgan", *command, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert checkpoint.read_header(tmp_path / "run" / "best.safetensors").step == 6
    assert list(log_of(tmp_path / "run", "reconstruction")) == [1, 2, 3, 4, 5, 6]
    assert done.stderr.count("split into 2 batches, and batch normalisation sees one of them at a time") == 1
    names = state.read_progress(state.found(tmp_path / "run")[0])[1].keys()
    assert {name for name in names if name.startswith("random/")} >= {"random/0/cpu", "random/1/cpu"}


def wait_for(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.is_file() or (lines and len(path.read_text().splitlines()) < lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@SIGNALLED
def test_signals_save_and_end(tmp_path: Path, command: list[str], request: pytest.FixtureRequest) -> None:
    """SIGUSR1: save and go on. SIGTERM: save and end with 130."""
    long = [*command, "train.steps=100000", "train.save_every=100000", "train.validate_every=100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sepgan", *long], env=environment(), stderr=subprocess.PIPE, text=True
    )
    request.addfinalizer(process.kill)
    run = tmp_path / "run"
    wait_for(run / "train.jsonl", 3, process)
    process.send_signal(signal.SIGUSR1)
    wait_for(run / "last.safetensors", 0, process)
    saved = checkpoint.read_header(run / "last.safetensors").step
    wait_for(run / "train.jsonl", saved + 3, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: the same command goes on from the last saved state" in said
    assert "Traceback" not in said
    assert checkpoint.read_header(run / "last.safetensors").step >= saved + 3
    assert state.read_progress(state.found(run)[0])[0]["step"] == checkpoint.read_header(run / "last.safetensors").step


@SIGNALLED
def test_a_job_puts_itself_back_into_the_queue(tmp_path: Path, command: list[str]) -> None:
    """The script for SLURM, with a `scontrol` that only notes that it was called: first to requeue, then to go on."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    settings = environment(PATH=path, SLURM_JOB_ID="42", SEPGAN=f"{sys.executable} -m sepgan")
    recipe, out, *more = command[1], command[3], *command[4:]

    def job(*changes: str) -> subprocess.Popen[str]:
        script = str(ROOT / "examples" / "train.sbatch")
        return subprocess.Popen(["bash", script, recipe, out, *more, *changes], env=settings, text=True)

    first = job("train.steps=100000")
    wait_for(tmp_path / "run" / "train.jsonl", 5, first)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(60) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 42\n"
    stopped = state.read_progress(state.found(tmp_path / "run")[0])[0]["step"]
    assert stopped >= 4
    second = job(f"train.steps={stopped + 2}")
    assert second.wait(120) == 0
    assert checkpoint.read_header(tmp_path / "run" / "last.safetensors").step == stopped + 2
    assert (tmp_path / "requeued").read_text() == "requeue 42\n", "a run that has ended is not put back"
    lines = [json.loads(line)["step"] for line in (tmp_path / "run" / "train.jsonl").read_text().splitlines()]
    assert sorted(set(lines)) == list(range(1, stopped + 3)), "no step is missing from the log"
