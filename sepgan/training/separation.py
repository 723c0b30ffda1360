"""Separation as a task: excerpts of songs in, stems out, an adversary that knows what real stems look like."""

from __future__ import annotations

import copy
import json
import logging
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sepgan import checkpoint
from sepgan.atomic import replacing
from sepgan.checkpoint import CheckpointHeader
from sepgan.data.augment import Augmenter
from sepgan.data.credits import for_header, objections, outside
from sepgan.data.excerpts import Batch, Excerpts, open_songs
from sepgan.data.loading import batches
from sepgan.data.store import SampleStore
from sepgan.errors import CheckpointError, OutputError, RecipeError
from sepgan.models.judgement import Surroundings
from sepgan.recipe import Recipe, from_dict, to_dict
from sepgan.recipe.adversary import GAN_LOSSES
from sepgan.separator import Separator
from sepgan.training.adversary import Adversary, Evidence, Material, collect
from sepgan.training.health import page
from sepgan.training.health.held_out import batches as held_out_batches
from sepgan.training.health.held_out import keep_excerpt
from sepgan.training.health.page import SAMPLES, SCORES
from sepgan.training.health.probe import Probe, as_plain
from sepgan.training.losses import grouped_error
from sepgan.training.spectra import analyse, resynthesise
from sepgan.training.task import Made, Part, Sizes, Validation
from sepgan.training.teacher import Teacher
from sepgan.training.validation import open_validation, validate

logger = logging.getLogger(__name__)

MOVABLE = {"workers", "cache", "decode", "resident", "unreadable"}  # keys of `data` that change no example
SOFTMAX = {"bandsplit", "branched", "classic"}  # generators whose masks sum to one over stems
ENDLESS = 2**62  # excerpts; the loop takes as many as it needs


class SeparationTask:
    """Everything about a run that has to do with music.

    Args:
        recipe: What to train.
        fabric: Devices and precision.
        out: Folder of the run; decoded songs go there unless the recipe names a cache.
        roots: Dataset folders by the names that `--data NAME=PATH` gave them. None: no data is opened, and there are no
            batches.

    Raises:
        CheckpointError: The model to start from does not fit, or the teacher cannot be read.
        DatasetError: A dataset is absent or empty.
        RecipeError: The recipe names no training data, one stem, excerpts too short for the adversary, or a teacher of
            other stems or another sample rate.
    """

    def __init__(self, recipe: Recipe, fabric: Fabric, out: Path, roots: Mapping[str, Path] | None) -> None:
        if not recipe.data.train:
            raise RecipeError(f"recipe '{recipe.name}' names no training data: add data.train")
        if len(recipe.stems) == 1 and recipe.generator.kind in SOFTMAX:
            raise RecipeError(
                f"recipe '{recipe.name}' has one stem, '{recipe.stems[0]}', whose mask would be 1 everywhere: masks of "
                "all stems sum to one; add what else there is, such as 'other', to stems"
            )
        self.config = recipe
        self.name = recipe.name
        self.recipe = to_dict(recipe)
        self.fabric = fabric
        self.separator = Separator(recipe)
        _check_reconstruction(self.separator)
        _check_excerpts(self.separator)
        fabric.to_device(self.separator)
        self.inherited: list[dict[str, Any]] = []  # what the model that it begins as was trained on
        if recipe.train.fine_tune:
            self._take_weights(*checkpoint.read(checkpoint.find(recipe.train.fine_tune)))
        _freeze(self.separator.generator, recipe.train.frozen)
        self.averaged = copy.deepcopy(self.separator).eval()
        self.average = self.averaged.generator
        self.generator: nn.Module = fabric.setup_module(self.separator.generator)
        self.couplings = [
            "batch normalisation"
            for module in self.separator.generator.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ][:1]
        around = Surroundings(
            len(recipe.stems), recipe.generator.channels, self.separator.bands.bands, recipe.generator
        )
        self.adversary = Adversary(recipe.adversary, around, fabric)
        self.adversary.bind(self.separator.generator)
        self.teacher: Teacher | None = None
        if recipe.teacher is not None and recipe.teacher.active:
            self.teacher = Teacher(recipe.teacher, self.separator, fabric)
            self.recipe["teacher"]["sha256"] = self.teacher.header.sha256  # states and models name the very file
        store = SampleStore(Path(recipe.data.cache) if recipe.data.cache else out / "cache", self.separator.sample_rate)
        self.songs = [] if roots is None else open_songs(recipe, roots, store, logger.info)
        self.validation = [] if roots is None else open_validation(recipe, roots, store)
        self.out = out
        self.told: set[str] = set()  # alarms that have been spoken of
        self.boundary = GAN_LOSSES[recipe.adversary.loss].boundary
        self.probe = Probe(self.adversary, recipe.stems, self.boundary)

    def _take_weights(self, header: CheckpointHeader, weights: Mapping[str, Tensor]) -> None:
        begins = {"begins_as": header.name, "weights": header.licence}
        self.inherited = [begins | entry for entry in header.training_data]
        allowed = self.config.data.licences
        wrong = [*outside(header.licence, allowed), *objections(self.inherited, allowed)] if allowed else []
        if wrong:
            raise CheckpointError(
                f"model '{self.config.train.fine_tune}' was made with what the recipe does not allow ({wrong[0]}): "
                f"start from one with {'; '.join(allowed)} only, or change data.licences"
            )
        if header.stems != self.config.stems:
            raise CheckpointError(
                f"model '{self.config.train.fine_tune}' has the stems {', '.join(header.stems)}, the recipe "
                f"{', '.join(self.config.stems)}: give both the same stems in the same order"
            )
        try:
            self.separator.load_weights(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"model '{self.config.train.fine_tune}' does not fit the generator of this recipe: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def batches(self, part: Part) -> Iterator[Batch]:
        """Batches of excerpts on the device."""
        augmentation = self.config.data.augmentation
        excerpts = Excerpts(
            self.songs,
            [source.weight for source in self.config.data.train],
            self.config.data,
            stems=len(self.config.stems),
            channels=self.config.generator.channels,
            samples=self.separator.excerpt_samples(self.config.data.excerpt_s),
            seed=self.config.seed,
            first=0,
            count=ENDLESS,
            augment=Augmenter(augmentation, self.separator.sample_rate) if augmentation.active else None,
        )
        yield from batches(excerpts, part.indices(), device=self.fabric.device, workers=self.config.data.workers)

    def sizes(self, batch: Batch) -> Sizes:
        """Items of which stems are known are reconstructed; groups of one stem are judged."""
        taught = 0 if self.teacher is None else int(self.teacher.taught(batch).sum())
        return Sizes(int(batch.supervised.sum()), int((batch.groups.sum(2) == 1).sum()), taught)

    def make(self, batch: Batch, *, judged: bool) -> Made:
        """Mask the mixture and compare with the known groups of stems, and with the teacher's where nobody knows."""
        # Where nothing but the discriminator learns, a teacher is not asked.
        return self._make(batch, judged, self.teacher if torch.is_grad_enabled() else None)

    def _make(self, batch: Batch, judged: bool, teacher: Teacher | None) -> Made:
        spectra = analyse(self.separator, batch, self.config.train.reconstruction, judged)
        masks = self.generator(spectra.seen)
        masks = masks if masks.is_complex() else masks.float()
        estimates = masks * spectra.masked.unsqueeze(1)
        output, waveforms = estimates, None
        if judged and self.adversary.needs_waveforms:
            output = resynthesise(self.separator, masks, spectra.spectrum, batch.mixture.shape[-1])
            waveforms = Material(batch.mixture, batch.targets, output)
            if self.config.adversary.balance:  # all losses must then come from the waveform
                estimates = self.separator.bands(_as(estimates, self.separator.stft(output)))
        evidence = None
        if judged:
            assert spectra.magnitudes is not None
            bands = Material(spectra.mixture, spectra.magnitudes, _as(spectra.mixture, estimates))
            evidence = collect(self.adversary.views, bands, spectra.groups, spectra.band_mask, waveforms)
        error = grouped_error(self.config.train.distance)
        loss = error(estimates, spectra.targets, spectra.groups, spectra.mixture, spectra.band_mask)
        known = batch.supervised.to(loss.dtype)
        if not bool(batch.supervised.all()):  # the others add nothing, and must not count in the mean either
            loss = loss * (len(known) / known.sum().clamp_min(1.0))
        taught = None
        if teacher is not None and bool(teacher.taught(batch).any()):
            taught = teacher.loss(estimates, batch, spectra, self.config.train.reconstruction, error)
        return Made(output, loss, evidence, taught)

    def validate(self, step: int) -> Validation | None:
        """Global SDR of the averaged model on held-out songs, and the health of its adversary on excerpts of them."""
        if not self.validation:
            return None
        scores = validate(self.averaged, self.validation)
        if self.config.train.report:
            keep_excerpt(self.averaged, self.validation[0], step, self.out / SAMPLES)
        values = {f"usdr/{key}": value for key, value in scores.items()}
        if self.adversary.trains_at(step - 1):
            random = torch.get_rng_state()  # views may be drawn by chance, which must not change the run
            snapshot = self.probe.look(step, self.generator, self._held_out, self.config.train.learning_rate)
            torch.set_rng_state(random)
            text = json.dumps({"step": step, "scores": as_plain(snapshot.scores)})
            write_text(self.out / SCORES, text)
            values |= snapshot.values
        return Validation(scores["mean"], values)

    def _held_out(self) -> Iterator[Evidence | None]:
        samples = self.separator.excerpt_samples(self.config.data.excerpt_s)
        for batch in held_out_batches(self.separator, self.validation, samples):
            # Of validation songs no teacher is asked.
            yield self._make(Batch(*self.fabric.to_device(tuple(batch))), True, None).evidence

    def model_path(self, path: Path) -> Path:
        """The checkpoint for separation."""
        return path.with_name(path.name + checkpoint.SUFFIX)

    def write(self, path: Path, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        """Write the averaged model for separation."""
        # Only kernels are halved: they are nearly all of the size, and a running variance may exceed what 16 bits hold.
        halved = self.config.train.weights_dtype == "float16"
        weights = {
            key: value.half() if halved and value.ndim > 1 else value
            for key, value in self.average.state_dict().items()
        }
        header = CheckpointHeader(
            name=self.config.name,
            stems=self.config.stems,
            sample_rate=self.separator.sample_rate,
            recipe=_without_folders(self.recipe),
            licence=self.config.licence,
            training_data=tuple(self._provenance()),
            step=step,
            seconds_trained=round(seconds, 1),
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads, {self.fabric.device}",
            versions={"sepgan": version("sepgan"), "torch": torch.__version__, "numpy": np.__version__},
            scores={
                key.removeprefix("usdr/"): round(value, 3)
                for key, value in scores.items()
                if key.startswith("usdr/") and math.isfinite(value)
            },
        )
        checkpoint.write(self.model_path(path), header, weights)

    def _provenance(self) -> Iterator[dict[str, Any]]:
        yield from self.inherited
        for source, songs in zip(self.config.data.train, self.songs, strict=True):
            samples = sum(len(song.sounds[0].samples) for song in songs)
            licences = dict.fromkeys(song.credit.licence for song in songs if song.credit)
            yield {
                "title": source.title or f"{source.root}/{source.split} {source.include}",
                "licence": "; ".join(licences) or source.licence,
                "tracks": len(songs),
                "minutes": round(samples / self.separator.sample_rate / 60, 1),
                "songs": for_header(song.credit for song in songs if song.credit),
            }
        if self.teacher is not None:
            yield from self.teacher.provenance

    def finish(self, folder: Path) -> None:
        """Write the report of the run."""
        if not self.config.train.report:
            return
        for alarm in page.write(folder, self.name, self.boundary, self.separator.sample_rate):
            if alarm.name not in self.told:
                logger.warning("%s at step %d: %s", alarm.name, alarm.step, alarm.text)
                self.told.add(alarm.name)

    def comparable(self, recipe: Mapping[str, Any]) -> Any:
        """All but the length of a run, how often it reports, and where its data and its teacher lie.

        Raises:
            CheckpointError: The run had another teacher.
        """
        try:
            known = to_dict(from_dict(recipe))  # keys that are new since then take their defaults
        except RecipeError:
            return recipe
        if self.teacher is not None:
            self.teacher.require_same(known["teacher"])
        free = {"steps", "log_every", "save_every", "validate_every", "keep_states", "patience", "rollbacks", "report"}
        training = {key: value for key, value in known["train"].items() if key not in free}
        data = {key: value for key, value in known["data"].items() if key not in MOVABLE}
        teacher = {key: value for key, value in (known["teacher"] or {}).items() if key != "model"}
        return known | {"train": training, "data": data, "teacher": teacher}


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error}; free some space") from error


def _as(like: Tensor, spectra: Tensor) -> Tensor:
    """Complex spectra or their magnitudes, whichever the other tensor holds."""
    return spectra.abs() if spectra.is_complex() and not like.is_complex() else spectra


def _without_folders(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as it stands in a model, which others read: files by their names, no folders of this machine."""
    train, data, teacher = recipe["train"], recipe["data"], recipe.get("teacher")
    begun = train["fine_tune"] and Path(train["fine_tune"]).name
    named = {**recipe, "train": {**train, "fine_tune": begun}, "data": {**data, "cache": None}}
    return {**named, "teacher": {**teacher, "model": Path(teacher["model"]).name}} if teacher else named


def _freeze(generator: nn.Module, parts: Sequence[str]) -> None:
    """Take parts of a generator, by the names of its modules such as `encoder` or `branches.1`, out of the training."""
    modules = dict(generator.named_modules())
    for part in parts:
        if not part or part not in modules or not any(True for _ in modules[part].parameters()):
            known = ", ".join(name for name, _ in generator.named_children())
            raise RecipeError(f"train.frozen: the generator has no part '{part}' with weights; it has {known}")
        modules[part].requires_grad_(False)
    if not any(weight.requires_grad for weight in generator.parameters()):
        raise RecipeError(f"train.frozen {list(parts)} leaves nothing to train: name fewer parts")


def _check_reconstruction(separator: Separator) -> None:
    """Refuse losses under which a complex mask's phase would be left to chance, or which the bands cannot carry."""
    recipe = separator.recipe
    loss = recipe.train.reconstruction
    if separator.complex_masks and loss != "complex":
        raise RecipeError(
            f"train.reconstruction '{loss}' says nothing of phase, which generator.kind '{recipe.generator.kind}' "
            "masks: set it to complex"
        )
    if loss == "complex" and recipe.frontend.mel_bands:
        raise RecipeError("train.reconstruction 'complex' needs bins, and mel bands have no phase: set frontend.bins")


def _check_excerpts(separator: Separator) -> None:
    """Refuse excerpts that the discriminator halves away."""
    recipe = separator.recipe
    frames = 1 + separator.excerpt_samples(recipe.data.excerpt_s) // recipe.frontend.hop_length
    for network in recipe.adversary.discriminators if recipe.adversary.weight > 0 else ():
        levels = len(network.widths) - network.flat_levels
        if network.kind in ("patch", "context") and min(frames, separator.bands.bands) < 2**levels:
            raise RecipeError(
                f"adversary.widths has {levels} levels, which need {2**levels} frames and bands; data.excerpt_s gives "
                f"{frames} frames, the front-end {separator.bands.bands} bands"
            )
