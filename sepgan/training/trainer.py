"""The one training loop: batch, discriminator step, generator step, log, validate, save.

The adversary is a box with two verbs; with weight 0 it is never touched and the same loop is plain L1 training.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.data.excerpts import Batch, Excerpts, open_songs
from sepgan.data.store import SampleStore
from sepgan.errors import CheckpointError, OutputError, RecipeError, SepganError
from sepgan.recipe import Recipe, to_dict
from sepgan.separator import Separator
from sepgan.training import state
from sepgan.training.adversary import Adversary, Judged, select_single_stems
from sepgan.training.losses import grouped_l1
from sepgan.training.runlog import RunLog
from sepgan.training.spectra import analyse
from sepgan.training.validation import open_validation, validate

logger = logging.getLogger(__name__)

NO_SCORE_DB = -1e9  # stands for minus infinity, which JSON does not have

Progress = Callable[[int, int, Mapping[str, float]], None]


class Trainer:
    """Everything a run consists of.

    Args:
        recipe: What to train.
        out: Folder of the run.
        roots: Dataset folders by the names that `--data NAME=PATH` gave them.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: Called after each logged step with step, steps and measurements.

    Raises:
        DatasetError: A dataset is absent or empty.
        OutputError: The folder cannot be written.
        RecipeError: The recipe names no training data, or excerpts too short for the adversary.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        roots: Mapping[str, Path],
        *,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> None:
        if not recipe.data.train:
            raise RecipeError(f"recipe '{recipe.name}' names no training data: add data.train")
        self.recipe = recipe
        self.out = out
        self.progress = progress
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"run folder '{out}' cannot be made: {error}; choose another --out") from error
        self.fabric = Fabric(accelerator=device, devices=1, precision=recipe.train.precision)
        torch.manual_seed(recipe.seed)
        self.separator = Separator(recipe)
        _check_excerpts(self.separator)
        self.fabric.to_device(self.separator)
        if recipe.train.fine_tune:
            self._take_weights(*checkpoint.read(checkpoint.find(recipe.train.fine_tune)))
        self.average = copy.deepcopy(self.separator).eval()
        # The convolution weights only: shrinking normalisation and biases towards zero helps nothing.
        decayed = [weight for weight in self.separator.generator.parameters() if weight.ndim > 1]
        plain = [weight for weight in self.separator.generator.parameters() if weight.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.train.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=recipe.train.learning_rate,
            betas=recipe.train.betas,
        )
        self.generator: nn.Module
        self.optimiser: torch.optim.Optimizer
        self.generator, self.optimiser = self.fabric.setup(self.separator.generator, optimiser)
        self.adversary = Adversary(recipe.adversary, len(recipe.stems), recipe.generator.channels, self.fabric)
        # Dropout must not depend on how many random numbers the discriminator's first weights took.
        torch.manual_seed(recipe.seed)
        store = SampleStore(Path(recipe.data.cache) if recipe.data.cache else out / "cache", self.separator.sample_rate)
        self.songs = open_songs(recipe, roots, store, logger.info)
        self.validation = open_validation(recipe, roots, store)
        self.step = 0
        self.best = -math.inf
        self.seconds = 0.0
        self.scores: dict[str, float] = {}

    def _take_weights(self, header: CheckpointHeader, weights: Mapping[str, Tensor]) -> None:
        if header.stems != self.recipe.stems:
            raise CheckpointError(
                f"model '{self.recipe.train.fine_tune}' has the stems {', '.join(header.stems)}, the recipe "
                f"{', '.join(self.recipe.stems)}: give both the same stems in the same order"
            )
        try:
            self.separator.load_weights(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"model '{self.recipe.train.fine_tune}' does not fit the generator of this recipe: "
                f"{str(error).splitlines()[0]}"
            ) from error

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "average": self.average.generator,
            "discriminator": self.adversary.discriminator,
        }

    @property
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"generator": self.optimiser, "discriminator": self.adversary.optimiser}

    def resume(self) -> bool:
        """Go on from the state in the run's folder; False when there is none.

        Raises:
            CheckpointError: The state is damaged or was made by a recipe that differs in more than its length.
        """
        path = self.out / state.STATE_FILE
        if not path.is_file():
            return False
        metadata, _ = checkpoint.read_tensors(path)
        before = json.loads(metadata.get("state", "{}")).get("recipe")
        if before is not None and _comparable(before) != _comparable(to_dict(self.recipe)):
            raise CheckpointError(
                f"'{path}' was made by another recipe: use another --out, or --no-resume to start again"
            )
        stored = state.load(path, self._modules, self._optimisers)
        self.step, self.seconds = stored["step"], stored["seconds"]
        self.best = stored["best"] if stored["best"] > NO_SCORE_DB else -math.inf
        self.scores = stored["scores"]
        return True

    def fit(self) -> Path:
        """Train to the last step and return the best checkpoint. Ctrl-C saves before it propagates."""
        config = self.recipe.train
        if self.step >= config.steps:
            return self._finish()
        started = time.monotonic() - self.seconds
        with RunLog(self.out, self.step) as log:
            try:
                for batch in self._batches():
                    measured = self.train_step(batch)
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    if self.step % config.log_every == 0 or self.step == config.steps:
                        log.write(self.step, measured | {"seconds": self.seconds})
                        if self.progress:
                            self.progress(self.step, config.steps, measured)
                    if self.validation and (self.step % config.validate_every == 0 or self.step == config.steps):
                        self._validate(log)
                    if self.step % config.save_every == 0 or self.step == config.steps:
                        self.save()
            except KeyboardInterrupt:
                self.save()
                raise
        return self._finish()

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of both networks; returns what was measured, as plain numbers."""
        config = self.recipe.train
        self.generator.train()
        learning_rate = learning_rate_at(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        spectra = analyse(self.separator, batch, config.reconstruction, self.adversary.trains_at(self.step))
        estimates = self.generator(spectra.mixture).float() * spectra.mixture.unsqueeze(1)
        measured = {"learning_rate": learning_rate}
        judged: Judged | None = None
        if spectra.magnitudes is not None and self.adversary.trains_at(self.step):
            judged = select_single_stems(
                spectra.mixture, spectra.magnitudes, estimates, spectra.groups, spectra.band_mask
            )
            if judged is not None:
                measured |= self.adversary.update(judged)
        loss = grouped_l1(estimates, spectra.targets, spectra.groups, spectra.mixture, spectra.band_mask)
        measured["reconstruction"] = float(loss.detach())
        weight = self.adversary.weight_at(self.step)
        if judged is not None and weight > 0:
            adversarial = self.adversary.score(judged)
            measured |= {"adversarial": float(adversarial.detach()), "adversarial_weight": weight}
            loss = loss + weight * adversarial
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.generator, self.optimiser, max_norm=config.clip_norm, error_if_nonfinite=False
        )
        measured["gradient_norm"] = float(norm) if norm is not None else math.nan
        self._refuse_divergence(measured)
        self.optimiser.step()
        self._average_weights()
        return measured

    def _refuse_divergence(self, measured: Mapping[str, float]) -> None:
        """Stop before numbers that are none reach the weights, so that what is saved stays usable."""
        watched = ["reconstruction", "adversarial"]
        if self.recipe.train.precision != "16-mixed":  # there gradients overflow now and then; their steps are skipped
            watched.append("gradient_norm")
        bad = [key for key in watched if not math.isfinite(measured.get(key, 0.0))]
        if bad:
            raise SepganError(
                f"training diverged at step {self.step}: {bad[0]} is {measured[bad[0]]}; "
                "lower train.learning_rate and start again, or fine-tune from the last checkpoint"
            )

    def _average_weights(self) -> None:
        """Exponential moving average of the generator, with a short memory at first so that the start is forgotten."""
        decay = min(self.recipe.train.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            current = self.separator.generator.state_dict()
            for name, mean in self.average.generator.state_dict().items():
                if mean.is_floating_point():
                    mean.lerp_(current[name], 1 - decay)
                else:
                    mean.copy_(current[name])

    def _batches(self) -> Iterator[Batch]:
        config = self.recipe.train
        excerpts = Excerpts(
            self.songs,
            [source.weight for source in self.recipe.data.train],
            self.recipe.data,
            stems=len(self.recipe.stems),
            channels=self.recipe.generator.channels,
            samples=self.separator.excerpt_samples(self.recipe.data.excerpt_s),
            seed=self.recipe.seed,
            first=self.step * config.batch_size,
            count=(config.steps - self.step) * config.batch_size,
        )
        loader: DataLoader[Batch] = DataLoader(
            excerpts,
            batch_size=config.batch_size,
            num_workers=self.recipe.data.workers,
            drop_last=True,
            # A loader draws a number when it starts; from the global generator that would shift the dropout of a run
            # that goes on.
            generator=torch.Generator(),
        )
        for batch in self.fabric.setup_dataloaders(loader, use_distributed_sampler=False):
            yield Batch(*batch)

    def _validate(self, log: RunLog) -> None:
        self.scores = validate(self.average, self.validation)
        log.write(self.step, {f"usdr/{key}": value for key, value in self.scores.items()})
        if self.progress:
            self.progress(self.step, self.recipe.train.steps, {"usdr_mean": self.scores["mean"]})
        if self.scores["mean"] > self.best:
            self.best = self.scores["mean"]
            self._write_model("best")

    def save(self) -> None:
        """Write the state of the run and the newest model."""
        progress = {
            "step": self.step,
            "best": max(self.best, NO_SCORE_DB),
            "seconds": self.seconds,
            "scores": self.scores,
            "recipe": to_dict(self.recipe),
        }
        state.save(self.out / state.STATE_FILE, self._modules, self._optimisers, progress)
        self._write_model("last")

    def _write_model(self, name: str) -> None:
        # Only kernels are halved: they are nearly all of the size, and a running variance may exceed what 16 bits hold.
        halved = self.recipe.train.weights_dtype == "float16"
        weights = {
            key: value.half() if halved and value.ndim > 1 else value
            for key, value in self.average.generator.state_dict().items()
        }
        header = CheckpointHeader(
            name=self.recipe.name,
            stems=self.recipe.stems,
            sample_rate=self.separator.sample_rate,
            recipe=to_dict(self.recipe),
            licence=self.recipe.licence,
            training_data=tuple(self._provenance()),
            step=self.step,
            seconds_trained=round(self.seconds, 1),
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads, {self.fabric.device}",
            versions={"sepgan": version("sepgan"), "torch": torch.__version__, "numpy": np.__version__},
            scores={key: round(value, 3) for key, value in self.scores.items() if math.isfinite(value)},
        )
        checkpoint.write(self.out / f"{name}{checkpoint.SUFFIX}", header, weights)

    def _provenance(self) -> Iterator[dict[str, Any]]:
        for source, songs in zip(self.recipe.data.train, self.songs, strict=True):
            samples = sum(len(song.sounds[0].samples) for song in songs)
            yield {
                "title": source.title or f"{source.root}/{source.split} {source.include}",
                "licence": source.licence,
                "tracks": len(songs),
                "minutes": round(samples / self.separator.sample_rate / 60, 1),
            }

    def _finish(self) -> Path:
        # Without a score of this run, a best model in its folder is one of an earlier run.
        return self.out / f"{'best' if math.isfinite(self.best) else 'last'}{checkpoint.SUFFIX}"


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to `final_learning_rate`."""
    config = recipe.train
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def train(
    recipe: Recipe,
    out: Path,
    roots: Mapping[str, Path],
    *,
    resume: bool = True,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train a recipe and return the path of the best checkpoint.

    Args:
        recipe: What to train.
        out: Folder of the run: `best.safetensors`, `last.safetensors`, `state.safetensors`, `train.jsonl`, TensorBoard.
        roots: Dataset folders by the names that `--data NAME=PATH` gave them.
        resume: Go on from the state in `out` where there is one.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: Called after each logged step with step, steps and measurements.
    """
    trainer = Trainer(recipe, out, roots, device=device, progress=progress)
    if resume and trainer.resume():
        logger.info("resumed at step %d of %d", trainer.step, recipe.train.steps)
    return trainer.fit()


def _check_excerpts(separator: Separator) -> None:
    """Refuse excerpts that the discriminator halves away."""
    recipe = separator.recipe
    levels = len(recipe.adversary.widths)
    frames = 1 + separator.excerpt_samples(recipe.data.excerpt_s) // recipe.frontend.hop_length
    if recipe.adversary.weight > 0 and min(frames, separator.bands.bands) < 2**levels:
        raise RecipeError(
            f"adversary.widths has {levels} levels, which need {2**levels} frames and bands; data.excerpt_s gives "
            f"{frames} frames, the front-end {separator.bands.bands} bands"
        )


def _comparable(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the keys that a resumed run may change: its length and how often it reports."""
    free = {"steps", "log_every", "save_every", "validate_every"}
    training = {key: value for key, value in recipe["train"].items() if key not in free}
    data = {key: value for key, value in recipe["data"].items() if key not in {"workers", "cache"}}
    return recipe | {"train": training, "data": data}
