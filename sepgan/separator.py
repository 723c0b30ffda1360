"""The one object the product is: mixture in, stems out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from sepgan import checkpoint
from sepgan.checkpoint import CheckpointHeader
from sepgan.errors import CheckpointError, RecipeError
from sepgan.frontend import LinearBands, Stft, build_bands
from sepgan.masks import BLOCK
from sepgan.models import build_generator, graph
from sepgan.models.reach import edges
from sepgan.recipe import Recipe, from_dict
from sepgan.streaming import NO_CONTEXT, Context, Segmenting


class Separator(nn.Module):
    """Front-end, generator, masks and the exact inverse in one module.

    The masks of all stems sum to one at every bin and the inverse is linear and exact, so the stems sum to the
    mixture up to float32 rounding. A stereo network sees two channels together; any other number of channels is
    separated channel by channel, so permuting channels permutes the outputs.

    Args:
        recipe: Names stems, front-end and generator.
        header: What the checkpoint said of the weights, if they come from one.

    Shape:
        `[B, C, T] -> [B, S, C, T]`, any C and any T from 1 on.
    """

    def __init__(self, recipe: Recipe, header: CheckpointHeader | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self.header = header
        self.stems = recipe.stems
        self.sample_rate = recipe.frontend.sample_rate
        self.stft = Stft(recipe.frontend.n_fft, recipe.frontend.hop_length)
        self.bands = build_bands(recipe.frontend)
        generator = build_generator(recipe.generator, len(recipe.stems), self.bands.bands)
        self.complex_masks = bool(getattr(generator, "complex_masks", False))
        if self.complex_masks and recipe.frontend.mel_bands:
            raise RecipeError(
                f"frontend.mel_bands is {recipe.frontend.mel_bands}, and mel bands have no phase, which generator.kind "
                f"'{recipe.generator.kind}' masks: set frontend.mel_bands to null, and frontend.bins if you like"
            )
        # Convolutions are up to 1.5 times as fast on a CPU when channels lie innermost.
        self.generator: nn.Module = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, model: str | Path, device: str | torch.device = "cpu") -> Separator:
        """Return a separator ready to use, from a bundled model's name or a checkpoint file.

        Raises:
            CheckpointError: The model is missing, damaged, altered, or of another version.
        """
        path = checkpoint.find(model)
        if path.suffix in graph.SUFFIXES:
            return cls._from_graph(path).to(device)
        return cls.build(*checkpoint.read(path), f"model file '{path}'").to(device)

    @classmethod
    def _from_graph(cls, path: Path) -> Separator:
        """A separator whose generator is an exported graph."""
        found = graph.read_header(path)
        try:
            separator = cls(from_dict(found.header.recipe, f"recipe beside '{path}'"), found.header)
        except RecipeError as error:
            raise CheckpointError(f"graph '{path}' does not fit this version of sepgan: {error}") from error
        separator.generator = graph.Graph(path, found.grid)
        return separator.eval()

    @classmethod
    def build(cls, header: CheckpointHeader, tensors: Mapping[str, Tensor], origin: str) -> Separator:
        """Return a separator ready to use from the parts of a checkpoint.

        Args:
            header: With the recipe.
            tensors: The generator's weights.
            origin: What the parts come from, for messages.

        Raises:
            CheckpointError: They do not fit this version.
        """
        try:
            separator = cls(from_dict(header.recipe, f"recipe inside {origin}"), header)
            separator.load_weights(tensors)
        except (RecipeError, RuntimeError) as error:
            summary = str(error).splitlines()[0]
            raise CheckpointError(f"{origin} does not fit this version of sepgan: {summary}") from error
        return separator.eval()

    def load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the generator's weights, in float32 whatever they were stored as."""
        self.generator.load_state_dict({name: _widen(tensor) for name, tensor in tensors.items()})

    @property
    def residual_stem(self) -> str:
        """The stem that takes what lies outside the model's band: `other` where there is one, else the last."""
        return "other" if "other" in self.stems else self.stems[-1]

    @cached_property
    def segmenting(self) -> Segmenting:
        """How long songs are cut so that the stems are those of the whole song, up to rounding."""
        return self.segmenting_after(0)

    @cached_property
    def frames_of_context(self) -> Context:
        """Frames at the ends of a piece whose masks are not those of the whole spectrum; none where all are not."""
        return self._edges(begin=0, end=0) or NO_CONTEXT

    def segmenting_after(self, shift: int) -> Segmenting:
        """The same where what is separated begins up to `shift` samples before the segment, with silence."""
        stft = self.stft
        hop, half = stft.hop_length, stft.n_fft // 2
        # Frames that reach beyond the segment hold silence where the song goes on.
        found = self._edges(begin=-(-(half + shift) // hop), end=-(-half // hop))
        context = None if found is None else ((found[0] - 1) * hop + half, (found[1] - 1) * hop + half + shift)
        return Segmenting(self.sample_rate, hop, int(getattr(self.generator, "grid", 1)), context)

    def _edges(self, begin: int, end: int) -> Context | None:
        """Masks at the ends of an excerpt that are not those of the whole song; see `edges`."""
        found = edges(self.generator, self.recipe.generator, begin, end)
        if found is None or self.recipe.separation.fine_bands is None:
            return found
        return found[0], found[1] + found[1] % BLOCK  # the last frame of a block speaks for all of it

    @property
    def segment(self) -> int:
        """Samples separated at once by default."""
        return self.segmenting.segment

    @property
    def overlap(self) -> int:
        """Samples shared by neighbouring segments by default."""
        return self.segmenting.overlap_for(self.segment)

    @property
    def context(self) -> Context:
        """Samples at the ends of a segment that are not those of the whole song; none where all of them are not."""
        return self.segmenting.context or NO_CONTEXT

    def excerpt_samples(self, seconds: float) -> int:
        """Return a length near `seconds` whose frames fill the network's grid exactly."""
        return self.segmenting.excerpt_samples(seconds)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate `[B, C, T]` into `[B, S, C, T]`, on the device of the model wherever the mixture lies."""
        spectrum = self.stft(mixture.to(self.stft.window.device))
        return self.stft.inverse(self.masks(spectrum) * spectrum.unsqueeze(1), mixture.shape[-1])

    def seen(self, spectrum: Tensor) -> Tensor:
        """What the network is shown of a complex spectrum `[B, C, F, N]`: its bands, with phase if masks have one."""
        if self.complex_masks:
            bands: Tensor = self.bands(spectrum)
        elif isinstance(self.bands, LinearBands):  # nothing is summed up, so magnitudes of the bands will do
            bands = self.bands(spectrum).abs()
        else:
            bands = self.bands(spectrum.abs())
        return bands

    def masks(self, spectrum: Tensor) -> Tensor:
        """Return masks `[B, S, C, F, N]` over linear bins for a complex spectrum `[B, C, F, N]`; perhaps complex."""
        batch, channels = spectrum.shape[:2]
        seen = self.seen(spectrum)
        width = self.recipe.generator.channels
        if channels == width:
            return self.bands.to_bins(self.generator(seen))
        # Each channel alone, repeated to the width of the network: [B, C, F, N] -> [B * C, width, F, N]
        alone = seen.reshape(batch * channels, 1, *seen.shape[2:]).expand(-1, width, -1, -1)
        masks = self.generator(alone).mean(2)
        masks = masks.reshape(batch, channels, *masks.shape[1:]).transpose(1, 2)
        return self.bands.to_bins(masks)


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
