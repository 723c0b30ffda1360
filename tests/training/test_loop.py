"""The loop itself, on points: accumulation, schedules, stopping, going on, and what it does when things go wrong."""

import json
import logging
import math
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sepgan import checkpoint
from sepgan.errors import OutputError, SepganError
from sepgan.recipe import TrainRecipe
from sepgan.training import state
from sepgan.training.loop import Loop
from sepgan.training.requests import Requests
from sepgan.training.schedule import Schedule
from tests.training.points import PointTask, make_task, open_loop

EQUAL = 1e-6  # largest difference of gradients that are the same but for the order of sums


def task_of(loop: Loop) -> PointTask:
    assert isinstance(loop.task, PointTask)
    return loop.task


def gradients(loop: Loop) -> dict[str, Tensor]:
    """Those of both networks in the first step."""
    stream = loop._stream()
    loop.stepper.gradients([next(stream) for _ in range(loop.stepper.batches_at(0))], 0)
    return {
        f"{network}/{name}": weight.grad.clone()
        for network, module in loop._modules.items()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


def log_of(out: Path, key: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return {line["step"]: line[key] for line in lines if key in line}


def weights(path: Path) -> dict[str, Tensor]:
    return checkpoint.read_tensors(path)[1]


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("updates", [1, 2])
def test_four_small_batches_have_the_gradients_of_one_large_one(
    tmp_path: Path, weight: float | None, updates: int
) -> None:
    """Also where the discriminator sees more of one batch than of another, and where it takes two steps."""
    small = open_loop(tmp_path, make_task(weight=weight, updates=updates), batch_size=3, accumulate=4)
    large = open_loop(tmp_path, make_task(weight=weight, updates=updates), batch_size=12)
    first, second = gradients(small), gradients(large)
    networks = {name.split("/")[0] for name in first}
    assert networks == ({"generator"} if weight is None else {"generator", "discriminator"})
    for name, value in first.items():
        assert float(value.abs().max()) > 100 * EQUAL, "a gradient of zero would prove nothing"
        torch.testing.assert_close(value, second[name], rtol=0, atol=EQUAL)


def test_accumulation_is_not_the_mean_of_means(tmp_path: Path) -> None:
    """Batches of 2 and 3 judged examples, averaged each for itself, give another gradient."""
    loop = open_loop(tmp_path, make_task(), batch_size=3, accumulate=4)
    right = gradients(loop)
    other = open_loop(tmp_path, make_task(), batch_size=3, accumulate=4)
    task = task_of(other)
    sizes = task.sizes
    numbers = [sizes(batch).judged for batch, _ in zip(other._stream(), range(4), strict=False)]
    assert numbers == [2, 2, 2, 3]
    task.sizes = lambda batch: sizes(batch)._replace(judged=1)  # type: ignore[method-assign]
    wrong = gradients(other)
    assert any(float((wrong[name] - right[name]).abs().max()) > 100 * EQUAL for name in right)


def test_what_ties_examples_together_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_loop(tmp_path, make_task(coupled=["relativistic average"]), accumulate=1)
        open_loop(tmp_path, make_task(), accumulate=4)
        assert not caplog.messages
        open_loop(tmp_path, make_task(coupled=["relativistic average"]), accumulate=4)
    assert "split into 4 batches, and relativistic average sees one of them at a time" in caplog.text
    assert "differs from that of one batch of 16" in caplog.text


def test_200_steps_are_100_and_a_kill_and_100(tmp_path: Path) -> None:
    """Bit for bit: networks, average, both optimisers, random numbers, position, schedule and what the box keeps."""
    keys: dict[str, Any] = {"steps": 200, "save_every": 50, "validate_every": 40, "batch_size": 2}
    keys |= {"schedule": "plateau", "plateau_patience": 1, "warmup_steps": 10, "log_every": 10}
    open_loop(tmp_path / "whole", make_task(dropout=0.2), **keys).fit()

    def kill(step: int, steps: int, measured: Mapping[str, float]) -> None:
        if step == 130:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        open_loop(tmp_path / "killed", make_task(dropout=0.2), progress=kill, **keys).fit()
    again = open_loop(tmp_path / "killed", make_task(dropout=0.2), **keys)
    assert again.resume()
    assert again.step == 100
    again.fit()
    for name in ("state-00000200", "last", "best"):
        whole, killed = (tmp_path / run / f"{name}.safetensors" for run in ("whole", "killed"))
        assert same(weights(whole), weights(killed)), name
    stored = [state.read_progress(state.found(tmp_path / run)[0])[0] for run in ("whole", "killed")]
    for key in ("position", "schedule", "scores", "adversary", "validated"):
        assert stored[0][key] == stored[1][key], key
    assert stored[0]["position"] == 200 * 2
    assert stored[0]["adversary"] == {"applied": 200}
    for key in ("reconstruction", "learning_rate", "error"):
        assert log_of(tmp_path / "whole", key) == log_of(tmp_path / "killed", key)


def test_a_stop_inside_a_step_waits_for_its_end(tmp_path: Path) -> None:
    requests = Requests()
    task = make_task()
    loop = open_loop(tmp_path, task, requests=requests)
    make, calls = task.make, []

    def ask(*arguments: Any, **keys: Any) -> Any:
        calls.append(loop.step)
        if len(calls) == 7:
            requests.stop()
        return make(*arguments, **keys)

    task.make = ask  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loop.fit()
    stored, _ = state.read_progress(state.found(tmp_path)[0])
    assert stored["step"] == calls[-1] + 1
    assert stored["adversary"]["applied"] == stored["step"], "both networks have taken the steps that are counted"


def test_a_step_cut_short_is_not_saved(tmp_path: Path) -> None:
    """A Ctrl-C between the steps of the two networks used to save a state in which only one of them had stepped."""
    task = make_task()
    loop = open_loop(tmp_path, task, save_every=100)
    box = task.adversary
    assert box is not None
    apply = box.apply

    def cut() -> Any:
        measured = apply()
        if box.applied == 8:
            raise KeyboardInterrupt
        return measured

    box.apply = cut  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loop.fit()
    stored, _ = state.read_progress(state.found(tmp_path)[0])
    assert stored["step"] == stored["adversary"]["applied"] == 0


def test_a_second_request_to_stop_waits_no_longer() -> None:
    requests = Requests()
    with requests.held():
        requests.stop()
        with pytest.raises(KeyboardInterrupt):
            requests.stop()
    with pytest.raises(KeyboardInterrupt):
        Requests().stop()


def test_a_request_to_save_saves_and_goes_on(tmp_path: Path) -> None:
    requests = Requests()
    saved: list[list[str]] = []

    def ask(step: int, steps: int, measured: Mapping[str, float]) -> None:
        if step == 3:
            requests.save()
        saved.append([path.name for path in state.found(tmp_path)])

    open_loop(tmp_path, make_task(), requests=requests, progress=ask, steps=6, save_every=100).fit()
    assert saved[2] == ["state-00000000.safetensors"]
    assert saved[3] == ["state-00000003.safetensors", "state-00000000.safetensors"]


def test_states_rotate(tmp_path: Path) -> None:
    open_loop(tmp_path, make_task(), steps=20, save_every=4, keep_states=3).fit()
    assert [path.name for path in state.found(tmp_path)] == [f"state-{step:08d}.safetensors" for step in (20, 16, 12)]
    assert not list(tmp_path.glob("*.tmp"))
    assert (tmp_path / "finished").is_file()


def test_examples_that_are_no_numbers_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes back to its last state, leaves out what led there, halves its rate, and ends well."""
    task = make_task(spoil=[30])
    with caplog.at_level(logging.WARNING):
        loop = open_loop(tmp_path, task, steps=20, save_every=5, batch_size=4)
        loop.fit()
    assert "training diverged at step 7; going back to step 5" in caplog.text
    assert loop.step == 20
    assert task.seen.count(30) == 1
    assert all(bool(torch.isfinite(value).all()) for value in task.generator.state_dict().values())
    assert log_of(tmp_path, "learning_rate")[20] == pytest.approx(0.5e-2)
    errors = log_of(tmp_path, "reconstruction")
    assert list(errors) == list(range(1, 21)), "steps that were taken again stand once in the log"
    assert all(value is not None and math.isfinite(value) for value in errors.values())


def test_a_rate_that_explodes_is_lowered_until_it_does_not(tmp_path: Path) -> None:
    """Sums of weights of 2e18 have squares beyond float32; those of an eighth have not."""
    loop = open_loop(tmp_path, make_task(weight=None), steps=3, learning_rate=2e18, weight_decay=0)
    loop.fit()
    assert loop.rollbacks >= 1
    assert loop.step == 3
    assert loop.schedule.backed_off == 0.5**loop.rollbacks


def test_a_run_that_always_diverges_ends_with_its_last_sound_state(tmp_path: Path) -> None:
    task = make_task(spoil=range(24, 1000))
    with pytest.raises(SepganError, match=r"training diverged at step 5: .*lower train.learning_rate") as caught:
        open_loop(tmp_path, task, steps=20, save_every=5, rollbacks=2).fit()
    assert "\n" not in str(caught.value)
    stored, tensors = state.read_progress(state.found(tmp_path)[0])
    assert stored["step"] == 5
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path / "last.safetensors").values())


def test_a_full_disk_ends_the_run_and_leaves_sound_files(tmp_path: Path) -> None:
    """With the error of a disk that takes no more: here, of a limit on the size of files."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int, steps: int, measured: Mapping[str, float]) -> None:
        if step == 13:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    try:
        with pytest.raises(OutputError, match=r"cannot be written: .*free some space"):
            open_loop(tmp_path, make_task(), progress=fill, log_every=13).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state.found(tmp_path)[0].name == "state-00000010.safetensors"
    assert weights(tmp_path / "last.safetensors")
    loop = open_loop(tmp_path, make_task(), log_every=13)
    assert loop.resume()
    assert loop.step == 10
    loop.fit()
    open_loop(tmp_path / "whole", make_task(), log_every=13).fit()
    assert same(weights(state.found(tmp_path)[0]), weights(state.found(tmp_path / "whole")[0]))


def test_patience_ends_a_run_early_and_for_good(tmp_path: Path) -> None:
    scores = [1.0, 3.0, 2.0, 2.5, 9.0]
    task = make_task(scores=scores)
    best = open_loop(tmp_path, task, steps=100, validate_every=10, patience=2).fit()
    assert task.written[-1] == ("last", 40)
    assert json.loads(checkpoint.read_tensors(best)[0]["step"]) == 20
    again = open_loop(tmp_path, make_task(scores=scores), steps=100, validate_every=10, patience=2)
    assert again.resume()
    assert again.fit() == best
    assert again.step == 40


def test_overfitting_sees_the_same_examples_over_and_over(tmp_path: Path) -> None:
    task = make_task()
    open_loop(tmp_path, task, steps=6, batch_size=2, overfit=3).fit()
    assert task.seen[:6] == [0, 1, 2, 0, 1, 2]
    assert set(task.seen) == {0, 1, 2}


def test_several_updates_take_fresh_examples(tmp_path: Path) -> None:
    task = make_task(updates=3)
    loop = open_loop(tmp_path, task, steps=2)
    loop.fit()
    assert task.seen[: 2 * 3 * 4] == list(range(24))
    assert task.adversary is not None
    assert task.adversary.applied == 6


@pytest.mark.parametrize(
    ("keys", "rates"),
    [
        ({"schedule": "constant", "warmup_steps": 2}, [0.5, 1.0, 1.0, 1.0]),
        ({"schedule": "cosine", "warmup_steps": 2, "steps": 4, "final_learning_rate": 0.0}, [0.5, 1.0, 1.0, 0.5]),
        ({"schedule": "plateau", "warmup_steps": 0}, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_rates(keys: dict[str, Any], rates: list[float]) -> None:
    schedule = Schedule(TrainRecipe.model_validate({"learning_rate": 1.0} | keys))
    assert [schedule.rate(step) for step in range(4)] == pytest.approx(rates)


def test_the_rate_falls_on_a_plateau_and_stops_at_the_lowest() -> None:
    keys = {"learning_rate": 1.0, "schedule": "plateau", "warmup_steps": 0, "plateau_patience": 2}
    schedule = Schedule(TrainRecipe.model_validate(keys | {"final_learning_rate": 0.2}))
    rates = []
    for score in (1.0, 0.5, 2.0, 1.0, 1.0, math.nan, 1.0, 1.0, 1.0):
        schedule.observe(score)
        rates.append(schedule.rate(9))
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2])
    copy = Schedule(schedule.config)
    copy.restore(json.loads(json.dumps(schedule.state())))
    assert copy.rate(9) == schedule.rate(9)
    assert copy.best == 2.0
