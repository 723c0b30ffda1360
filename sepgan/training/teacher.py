"""A finished model that says what stems sound like where nobody has them.

Distillation (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015) on music without stems:
the student's estimate should be the teacher's, in the measure of the reconstruction. The teacher never learns, is never
asked about validation songs, and is no part of the model that comes out, whose header names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.data.credits import objections
from sepgan.data.excerpts import Batch
from sepgan.errors import CheckpointError, RecipeError
from sepgan.frontend import LinearBands
from sepgan.model_library import ADAPTERS
from sepgan.recipe import Recipe, TeacherRecipe
from sepgan.separator import Separator
from sepgan.training.losses import GroupedError
from sepgan.training.spectra import Spectra, target_in_bands


class Teacher:
    """A frozen separator beside the one that learns.

    Args:
        config: Which model, and how much it counts.
        student: The separator that learns, on its device.
        fabric: Devices.

    Attributes:
        header: What the teacher's file says of it.
        separator: The teacher.

    Raises:
        CheckpointError: The model is missing, damaged, another than the recipe's sha256 says, or under a licence that
            the recipe does not allow.
        RecipeError: The model has other stems than the recipe says, or another sample rate.
    """

    def __init__(self, config: TeacherRecipe, student: Separator, fabric: Fabric) -> None:
        self.config = config
        self.student = student
        if config.model in ADAPTERS and config.model not in checkpoint.known():
            raise CheckpointError(f"teacher '{config.model}' is not here yet: run `sepgan models add {config.model}`")
        with torch.random.fork_rng(devices=[]):  # a teacher must not change with which weights its student begins
            self.separator = Separator.load(config.model).requires_grad_(False)
        assert self.separator.header is not None
        self.header: CheckpointHeader = self.separator.header
        fabric.to_device(self.separator)
        self._check()
        pairs = _pairs(config, student.recipe, self.separator)
        self._asked = [self.separator.stems.index(stem) for stem in pairs]
        device = student.stft.window.device
        self._sums = torch.zeros(len(pairs), len(student.stems), device=device)  # [K, S]: what each estimate stands for
        for row, parts in enumerate(pairs.values()):
            self._sums[row, [student.stems.index(stem) for stem in parts]] = 1.0
        self._same_frames = (self.separator.stft.n_fft, self.separator.stft.hop_length) == (
            student.stft.n_fft,
            student.stft.hop_length,
        )

    def _check(self) -> None:
        rate = self.separator.sample_rate
        if rate != self.student.sample_rate:
            raise RecipeError(
                f"teacher.model '{self.config.model}' works at {rate} Hz, the recipe at {self.student.sample_rate} Hz: "
                f"set frontend.sample_rate to {rate}, or choose another teacher"
            )
        if self.config.sha256 not in (None, self.header.sha256):
            raise CheckpointError(
                f"teacher.model '{self.config.model}' has sha256 {self.header.sha256}, and teacher.sha256 is "
                f"{self.config.sha256}: get the model that is meant, or leave out teacher.sha256"
            )
        allowed = self.student.recipe.data.licences
        wrong = objections(self.provenance, allowed) if allowed else []
        if wrong:
            raise CheckpointError(
                f"teacher '{self.config.model}' was made with what the recipe does not allow ({wrong[0]}): "
                f"choose one with {'; '.join(allowed)} only, or change data.licences"
            )

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """Entries for the header of the model that learnt from it: the teacher, and what that was trained on."""
        marks = {"taught_by": self.header.name, "weights": self.header.licence}
        own = {"title": "the teacher itself", "licence": self.header.licence, "sha256": self.header.sha256}
        return [marks | entry for entry in (own, *self.header.training_data)]

    def require_same(self, earlier: Mapping[str, Any] | None) -> None:
        """Refuse to go on with a run that learnt from another model.

        Args:
            earlier: The section of the recipe that is stored with that run; None: it had no teacher.

        Raises:
            CheckpointError: Its teacher was another.
        """
        sha256 = (earlier or {}).get("sha256")
        if sha256 not in (None, self.header.sha256):
            raise CheckpointError(
                f"this run learnt from a teacher with sha256 {sha256}, and '{self.config.model}' has "
                f"{self.header.sha256}: give it the same teacher, use another --out, or --no-resume to start again"
            )

    def weights(self, batch: Batch) -> Tensor:
        """How much each estimate counts for each item, `[B, K]`.

        A stem is known where it is a sum of groups whose truth is known; inside a larger group, such as a bass line
        that nobody took out of `other`, it is not.
        """
        members = batch.groups.unsqueeze(1) * self._sums[:, None]  # [B, K, G, S]
        inside = members.sum(-1)
        whole = (inside == 0) | (inside == batch.groups.sum(-1).unsqueeze(1))
        known = whole.all(-1) & batch.supervised[:, None]
        return torch.where(known, self.config.weight_with_stems, self.config.weight)

    def taught(self, batch: Batch) -> Tensor:
        """Which items of a batch it has a say in, `[B]`, bool."""
        return self.weights(batch).sum(1) > 0

    def loss(
        self, estimates: Tensor, batch: Batch, spectra: Spectra, reconstruction: str, error: GroupedError
    ) -> Tensor:
        """Weighted distance between the student's estimates and the teacher's, a mean over the items it has a say in.

        Args:
            estimates: Of the student, in bands, `[B, S, C, F, N]`; complex where the reconstruction is.
            batch: Of which at least one item is taught.
            spectra: The batch in bands.
            reconstruction: `magnitude`, `phase_sensitive` or `complex`, as of the true stems.
            error: The distance, as of the true stems.
        """
        weights = self.weights(batch)
        rows = (weights.sum(1) > 0).nonzero().squeeze(1)
        with torch.no_grad():
            mixture = spectra.spectrum[rows]
            targets = target_in_bands(
                self.student, self._estimate(mixture, batch.mixture[rows]), mixture, reconstruction
            )
            band_mask = spectra.band_mask[rows] * self._heard()
        sums = self._sums.expand(len(rows), -1, -1)
        return error(estimates[rows], targets, sums, spectra.mixture[rows], band_mask, weights[rows])

    def _estimate(self, spectrum: Tensor, waveform: Tensor) -> Tensor:
        """The teacher's stems `[B, K, C, F, N]` in the student's transform, complex."""
        with torch.inference_mode():
            if self._same_frames:
                masks = self.separator.masks(spectrum)[:, self._asked]
            else:
                stems = self.separator(waveform)[:, self._asked]
        # Outside, so that autograd may keep what comes out.
        return masks * spectrum.unsqueeze(1) if self._same_frames else self.student.stft(stems)

    def _heard(self) -> Tensor:
        """1 for bands of the student that lie within those of the teacher, `[F]`; masks above them are a guess."""
        bands = self.separator.bands
        rate = self.separator.sample_rate
        top_hz = float(bands.centres_hz(rate)[-1]) if isinstance(bands, LinearBands) else rate / 2
        centres_hz = self.student.bands.centres_hz(rate)
        return (centres_hz <= top_hz).to(self._sums.device, self._sums.dtype)


def _pairs(config: TeacherRecipe, recipe: Recipe, teacher: Separator) -> dict[str, tuple[str, ...]]:
    """Stems of the teacher and the recipe's stems that add up to each.

    Raises:
        RecipeError: The teacher lacks a stem, or has none that the recipe has.
    """
    pairs = config.stems or {stem: (stem,) for stem in teacher.stems if stem in recipe.stems}
    unknown = next((stem for stem in pairs if stem not in teacher.stems), None)
    if unknown is not None:
        raise RecipeError(
            f"teacher.stems names '{unknown}', which '{config.model}' does not separate: "
            f"its stems are {', '.join(teacher.stems)}"
        )
    if not pairs:
        raise RecipeError(
            f"teacher.model '{config.model}' has none of the recipe's stems {', '.join(recipe.stems)}: say in "
            f"teacher.stems which of them add up to its {', '.join(teacher.stems)}"
        )
    return pairs
