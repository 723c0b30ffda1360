"""The one training loop: batches, steps, log, validation, checkpoints. It trains whatever a `Task` says.

A run is a pure function of its recipe and its position: stopped anywhere and started again, it does what it would have
done. So all of it is saved: networks, optimisers, averages, random numbers, and the position in the data.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from sepgan.checkpoint import read_tensors
from sepgan.errors import CheckpointError, OutputError, SepganError
from sepgan.recipe import TrainRecipe
from sepgan.training import state
from sepgan.training.devices import gather, sum_by_name, sum_over_processes
from sepgan.training.requests import Requests
from sepgan.training.runlog import RunLog
from sepgan.training.schedule import Schedule
from sepgan.training.step import Stepper
from sepgan.training.task import Measured, Part, Task

logger = logging.getLogger(__name__)

BACK_OFF = 0.5  # on the learning rate after a run diverged and went back

Progress = Callable[[int, int, Mapping[str, float]], None]


class DivergedError(SepganError):
    """Losses or gradients are no numbers any more."""


class Loop:
    """A run of a task.

    Args:
        task: What is trained.
        fabric: Devices and processes, launched.
        config: How long and how.
        seed: Of dropout and the like; examples have their own in the task.
        out: Folder of the run.
        progress: Called on the first process after each logged step with step, steps and measurements.
        requests: Who else may ask the run to stop or save.

    Raises:
        OutputError: The folder cannot be made.
    """

    def __init__(
        self,
        task: Task,
        fabric: Fabric,
        config: TrainRecipe,
        *,
        seed: int,
        out: Path,
        progress: Progress | None = None,
        requests: Requests | None = None,
    ) -> None:
        self.task = task
        self.fabric = fabric
        self.config = config
        self.out = out
        self.progress = progress
        self.requests = requests or Requests()
        make_folder(out)
        # Kernels only: shrinking normalisation and biases towards zero helps nothing.
        decayed = [weight for weight in task.generator.parameters() if weight.ndim > 1]
        plain = [weight for weight in task.generator.parameters() if weight.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=config.betas,
        )
        self.optimiser = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimiser))
        self.stepper = Stepper(task, fabric, self.optimiser, config.accumulate, config.clip_norm)
        self.schedule = Schedule(config)
        self.step = 0
        self.position = 0  # examples of the stream that have been used
        self.validated = 0  # step of the last validation
        self.rollbacks = 0
        self.ended = False  # before its last step, as its patience ran out
        self.seconds = 0.0
        self.scores: dict[str, float] = {}
        self._whole = True  # not in the middle of a step
        self._waited_s = 0.0
        # Dropout must not depend on how many random numbers the first weights of the networks took.
        torch.manual_seed(seed + fabric.global_rank)
        self._explain_couplings()

    def _explain_couplings(self) -> None:
        parts = self.config.accumulate * self.fabric.world_size
        box = self.task.adversary
        couplings = [*self.task.couplings, *(box.couplings() if box is not None and box.modules else ())]
        if parts > 1 and couplings and self.fabric.is_global_zero:
            logger.warning(
                "each step is split into %d batches, and %s sees one of them at a time: "
                "the result differs from that of one batch of %d",
                parts,
                " and ".join(couplings),
                parts * self.config.batch_size,
            )

    @property
    def _modules(self) -> dict[str, nn.Module]:
        box = self.task.adversary
        return {"generator": self.task.generator, "average": self.task.average, **(box.modules if box else {})}

    @property
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        box = self.task.adversary
        return {"generator": self.optimiser, **(box.optimisers if box else {})}

    def resume(self) -> bool:
        """Go on from the newest sound state in the run's folder; False when there is none.

        Raises:
            CheckpointError: No state is sound, or it is of another version or of a recipe that differs in more than its
                length.
        """
        paths = state.found(self.out)
        for path in paths:
            try:
                read_tensors(path)
            except CheckpointError as error:
                if path == paths[-1]:
                    raise
                logger.warning("%s; trying the state before it", error)
                continue
            stored, _ = state.read_progress(path)
            if self.task.comparable(stored["recipe"]) != self.task.comparable(self.task.recipe):
                raise CheckpointError(
                    f"'{path}' was made by another recipe: use another --out, or --no-resume to start again"
                )
            self._restore(path)
            return True
        return False

    def _restore(self, path: Path) -> None:
        stored = state.load(path, self._modules, self._optimisers, self.fabric.global_rank)
        self.step, self.position, self.validated = stored["step"], stored["position"], stored["validated"]
        self.rollbacks, self.ended = stored["rollbacks"], stored["ended"]
        self.seconds, self.scores = stored["seconds"], stored["scores"]
        self.schedule.restore(stored["schedule"])
        self.fabric.strategy.precision.load_state_dict(stored["precision"])
        if self.task.adversary is not None:
            self.task.adversary.load_state_dict(stored["adversary"])

    def fit(self) -> Path:
        """Train to the last step and return the best model.

        Raises:
            KeyboardInterrupt: The run was asked to stop; it has been saved, unless that was in the middle of a step.
            OutputError: A file cannot be written; the states that were saved before are sound.
            SepganError: The run diverges however often it goes back; the last sound state is in its folder.
        """
        if self._done:
            return self._finish()
        if not state.found(self.out):
            self._save_state()  # what a run that diverges at once goes back to
        ended = False
        while not ended:
            try:
                self._run()
                ended = True
            except DivergedError as error:
                self._roll_back(error)
        return self._finish()

    @property
    def _done(self) -> bool:
        last = self.step >= self.config.steps
        return (last or self.ended) and self.validated == self.step

    def _run(self) -> None:
        started = time.monotonic() - self.seconds
        with RunLog(self.out, self.step, enabled=self.fabric.is_global_zero) as log, closing(self._stream()) as stream:
            try:
                while True:
                    self._look_after(log)
                    if self._done:
                        return
                    with self.requests.held():
                        self._take_step(stream, log, started)
            except KeyboardInterrupt:
                if self._whole:
                    self.save()
                raise

    def _take_step(self, stream: Iterator[Any], log: RunLog, started: float) -> None:
        asked_s = time.monotonic()
        batches = [next(stream) for _ in range(self.stepper.batches_at(self.step))]
        self._waited_s += time.monotonic() - asked_s
        measured = self.train_step(batches)
        self.seconds = time.monotonic() - started
        if self.step % self.config.log_every == 0 or self.step == self.config.steps:
            measured |= {"seconds": self.seconds, "data_wait_s": self._waited_s}
            log.write(self.step, measured)
            self._waited_s = 0.0
            self._tell(measured)

    def _tell(self, measured: Mapping[str, float]) -> None:
        if self.progress and self.fabric.is_global_zero:
            self.progress(self.step, self.config.steps, measured)

    def train_step(self, batches: list[Any]) -> dict[str, float]:
        """Take one step of both networks; returns what was measured where a step is logged.

        Raises:
            DivergedError: Something is no number; the generator's weights are as before.
        """
        self._whole = False
        box = self.task.adversary
        rate = self.schedule.rate(self.step) * (box.generator_rate_scale if box else 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        parts, common = self.stepper.gradients(batches, self.step)
        self._refuse_divergence(parts, common)
        self.optimiser.step()
        self._average_weights()
        if box is not None:
            box.after_step(self.step, self.task.generator)
        self.step += 1
        self.position += len(batches) * self.config.batch_size * self.fabric.world_size
        self._whole = True
        if self.step % self.config.log_every and self.step != self.config.steps:
            return {}
        summed = sum_by_name(self.fabric, {name: float(value) for name, value in parts.items()})
        shared = {name: float(value) for name, value in common.items()}
        if shared.get("discriminator_gradient_norm", 0.0) > 0:
            shared["gradient_ratio"] = shared["gradient_norm"] / shared["discriminator_gradient_norm"]
        weight = box.weight_at(self.step - 1) if box is not None and "adversarial" in summed else 0.0
        return {"learning_rate": rate, **summed, **shared, **({"adversarial_weight": weight} if weight else {})}

    def _refuse_divergence(self, parts: Measured, common: Measured) -> None:
        """Stop before numbers that are none reach the weights."""
        losses = ("reconstruction", "teacher", "adversarial")
        watched: Measured = {name: value for name, value in parts.items() if name in losses}
        if self.config.precision != "16-mixed":  # there gradients overflow now and then; their steps are skipped
            watched |= common
        values = torch.stack([value.detach().float() for value in watched.values()])
        if self.fabric.world_size > 1:  # all must agree: the norms are equal, the losses of others may be bad
            values = sum_over_processes(self.fabric, values.sum()[None])
        if not bool(values.isfinite().all()):
            numbers = {name: float(value) for name, value in watched.items()}
            name = next((name for name, value in numbers.items() if not math.isfinite(value)), "another process's loss")
            raise DivergedError(
                f"training diverged at step {self.step}: {name} is {numbers.get(name, math.nan)}; "
                "lower train.learning_rate and start again, or fine-tune from the last checkpoint"
            )

    def _roll_back(self, error: DivergedError) -> None:
        """Go back to the last saved state, and on with other examples at a lower rate."""
        if self.rollbacks >= self.config.rollbacks:
            raise error
        past = self.position + self.stepper.batches_at(self.step) * self.config.batch_size * self.fabric.world_size
        rollbacks = self.rollbacks
        where = self.step
        self._restore(state.found(self.out)[0])
        self.rollbacks, self.position = rollbacks + 1, past
        # The state may be older than an earlier fall of the rate.
        self.schedule.backed_off = BACK_OFF**self.rollbacks
        self._whole = True
        logger.warning(
            "training diverged at step %d; going back to step %d, past the examples that led there, at %g of the rate",
            where,
            self.step,
            self.schedule.backed_off,
        )

    def _average_weights(self) -> None:
        """Exponential moving average of the generator, with a short memory at first so that the start is forgotten."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            current = self.task.generator.state_dict()
            for name, mean in self.task.average.state_dict().items():
                if mean.is_floating_point():
                    mean.lerp_(current[name], 1 - decay)
                else:
                    mean.copy_(current[name])

    def _stream(self) -> Generator[Any, None, None]:
        part = Part(
            self.position,
            self.config.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
            self.config.overfit,
        )
        yield from self.task.batches(part)

    def _look_after(self, log: RunLog) -> None:
        """Whatever is due between two steps. A state is saved after validation, so that it knows of its scores."""
        last = self.step >= self.config.steps
        stop, save = (any(flags) for flags in zip(*gather(self.fabric, self._asked()), strict=True))
        if stop:
            raise KeyboardInterrupt
        if self.step and self.validated < self.step and (last or self.step % self.config.validate_every == 0):
            self._validate(log)
        if save or (self.step and (last or self.ended or self.step % self.config.save_every == 0)):
            self.requests.to_save = False
            self.save()

    def _asked(self) -> tuple[bool, bool]:
        return self.requests.to_stop, self.requests.to_save

    def _validate(self, log: RunLog) -> None:
        found = self.task.validate(self.step) if self.fabric.is_global_zero else None
        found = self.fabric.broadcast(found)
        self.validated = self.step
        if found is None:
            if self.fabric.is_global_zero and self.step >= self.config.steps:
                self.task.finish(self.out)
            return
        self.scores = dict(found.values)
        log.write(self.step, self.scores)
        self._tell(self.scores)
        if self.fabric.is_global_zero:
            self.task.finish(self.out)
        best = self.schedule.observe(found.score)
        self.ended = self.schedule.exhausted
        if best:
            self._write_model("best")

    def save(self) -> None:
        """Write the state of the run and the newest model."""
        self._save_state()
        self._write_model("last")

    def _save_state(self) -> None:
        random = gather(self.fabric, state.random_state())
        if not self.fabric.is_global_zero:
            return
        box = self.task.adversary
        progress = {
            "step": self.step,
            "position": self.position,
            "validated": self.validated,
            "rollbacks": self.rollbacks,
            "ended": self.ended,
            "seconds": self.seconds,
            "scores": self.scores,
            "schedule": self.schedule.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "adversary": box.state_dict() if box else {},
            "recipe": self.task.recipe,
        }
        state.save(state.path_of(self.out, self.step), self._modules, self._optimisers, random, progress)
        state.rotate(self.out, self.config.keep_states)

    def _write_model(self, name: str) -> None:
        if self.fabric.is_global_zero:
            self.task.write(self.out / name, self.step, self.seconds, self.scores)

    def _finish(self) -> Path:
        # Without a score of this run, a best model in its folder is one of an earlier run.
        return self.task.model_path(self.out / ("best" if math.isfinite(self.schedule.best) else "last"))


def make_folder(out: Path) -> None:
    """Make the folder of a run.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"run folder '{out}' cannot be made: {error}; choose another --out") from error
