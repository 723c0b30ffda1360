"""The audio of one track to evaluate, read from files or made by a model, loaded only when its turn comes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sepgan import audio, data, streaming
from sepgan.data.track import ACCOMPANIMENT
from sepgan.engine import Engine
from sepgan.ensemble import Ensemble
from sepgan.errors import EvaluationError
from sepgan.evaluation.pairing import VOCALS, Pair, match_stems
from sepgan.separator import Separator
from sepgan.streaming import Cut

SUM_NOTED_DB = -60.0  # references that miss the mixture by more than this, relative to it, are noted in the report
# ... and refused beyond this. The mixtures of MUSDB18 are coded apart from their stems, and miss them by up to -15 dB.
MIXTURE_TOLERANCE_DB = -10.0


@dataclass(frozen=True)
class Material:
    """One track, decoded: what there is to score, and against what."""

    sample_rate: int
    references: Mapping[str, Tensor]  # every stem there is, [C, T]
    mixture: Tensor  # [C, T]
    estimates: Mapping[str, Mapping[str, Tensor]]  # system -> scored stem -> [C, T]
    notes: tuple[str, ...] = ()


Load = Callable[[], Material]
Model = Separator | Engine | Ensemble


def file_loader(by_system: Mapping[str, Pair], tolerance_db: float = MIXTURE_TOLERANCE_DB) -> Load:
    """What reads one track's references, and its estimates by system.

    The returned function raises EvaluationError where files differ in rate, channels or length, or references miss the
    mixture; AudioError where unreadable.

    Args:
        by_system: The files of each system; the references are the same.
        tolerance_db: By how much references may miss a mixture that has a file of its own, relative to it.
    """
    first = next(iter(by_system.values()))

    def load() -> Material:
        sizes: dict[tuple[int, ...], Path] = {}

        def read(path: Path) -> Tensor:
            waveform, sample_rate = audio.read(path)
            other = sizes.setdefault((sample_rate, *waveform.shape), path)
            if len(sizes) > 1:  # a compressed file may only now tell its true length
                (expected, found) = ({size: None for size in sizes}).keys()
                raise EvaluationError(f"'{other}' has {_size(found)} where '{sizes[expected]}' has {_size(expected)}")
            return torch.from_numpy(waveform)

        references = {stem: read(path) for stem, path in first.references.items()}
        mixture = read(first.mixture) if first.mixture else None
        estimates = {
            system: {stem: sum_of([read(path) for path in paths]) for stem, paths in pair.estimates.items()}
            for system, pair in by_system.items()
        }
        sample_rate = next(iter(sizes))[0]
        notes = () if mixture is None else _sum_note(references, mixture, first.track, tolerance_db)
        return Material(
            sample_rate, references, _sum_parts(references) if mixture is None else mixture, estimates, notes
        )

    return load


def track_loader(
    track: data.Track,
    separators: Mapping[str, Model],
    stems: Sequence[str] | None,
    segment: int | None,
    overlap: int | None,
    tolerance_db: float = MIXTURE_TOLERANCE_DB,
) -> Load:
    """What decodes one track of a dataset and separates it with every model.

    The returned function raises EvaluationError where no model estimates a stem that is asked for and that the track
    has, or where references miss the mixture.

    Args:
        track: The track; it needs references.
        separators: Models by name.
        stems: Score only these.
        segment: Samples separated at once; the model's default when None.
        overlap: Samples that segments share; the model's default when None.
        tolerance_db: By how much references may miss a mixture that has a file of its own, relative to it.
    """

    def load() -> Material:
        waveforms, sample_rate = data.load_stems(track)
        references = {stem: torch.from_numpy(waveform) for stem, waveform in waveforms.items()}
        wanted = [stem for stem in references if stems is None or stem in stems]
        matched = {name: match_stems(wanted, model.stems) for name, model in separators.items()}
        if not any(matched.values()):
            known = ", ".join(dict.fromkeys(stem for model in separators.values() for stem in model.stems))
            raise EvaluationError(
                f"track '{track.name}' has the stems {', '.join(references)}; expected one asked for among {known}"
            )
        mixture, notes = _mixture_of(track, references, sample_rate, tolerance_db)
        estimates: dict[str, dict[str, Tensor]] = {}
        for name, model in separators.items():
            if matched[name]:
                separated = separate(model, mixture, sample_rate, segment=segment, overlap=overlap)
                estimates[name] = {
                    stem: sum_of([separated[part] for part in parts]) for stem, parts in matched[name].items()
                }
        return Material(sample_rate, references, mixture, estimates, notes)

    return load


def sum_of(waveforms: Sequence[Tensor]) -> Tensor:
    """The sum of waveforms of equal shape; one alone is not copied."""
    return waveforms[0] if len(waveforms) == 1 else torch.stack(list(waveforms)).sum(0)


def separate(
    separator: Model,
    mixture: Tensor,
    sample_rate: int,
    *,
    segment: int | None = None,
    overlap: int | None = None,
) -> dict[str, Tensor]:
    """Stems of a mixture [C, T] at its own sample rate, each [C, T]; they sum to the mixture.

    Args:
        separator: The model, or an ensemble.
        mixture: [C, T].
        sample_rate: Of the mixture, in Hz.
        segment: Samples separated at once, at the model's rate; its default when None.
        overlap: Samples that segments share, at the model's rate; its default when None.
    """
    resampled = sample_rate != separator.sample_rate
    heard = mixture
    if resampled:
        heard = torch.from_numpy(audio.resample(mixture.numpy(), sample_rate, separator.sample_rate))
    engine = Engine(separator) if isinstance(separator, Separator) else separator
    segment = engine.segment if segment is None else segment
    cut = Cut(segment, engine.overlap_for(segment) if overlap is None else overlap)
    window = engine.window(cut, len(heard))
    stems = streaming.separate_array(
        lambda mixtures, kept: engine.separate(mixtures, kept=kept, cut=cut),
        heard,
        segment=window.segment,
        overlap=window.overlap,
        context=engine.context,
    ).clone()
    separated = dict(zip(separator.stems, stems, strict=True))
    if resampled:
        length = mixture.shape[-1]
        separated = {
            stem: _fit(torch.from_numpy(audio.resample(wave.numpy(), separator.sample_rate, sample_rate)), length)
            for stem, wave in separated.items()
        }
        residual = mixture - sum_of(list(separated.values()))
        separated[separator.residual_stem] = separated[separator.residual_stem] + residual
    return separated


def _fit(waveform: Tensor, length: int) -> Tensor:
    """Cut or zero-pad to a length: resampling there and back may end some samples off."""
    return torch.nn.functional.pad(waveform, (0, length - waveform.shape[-1]))


def _size(size: tuple[int, ...]) -> str:
    sample_rate, channels, samples = size
    return f"{samples} samples in {channels} channels at {sample_rate} Hz"


def _mixture_of(
    track: data.Track, references: Mapping[str, Tensor], sample_rate: int, tolerance_db: float
) -> tuple[Tensor, tuple[str, ...]]:
    if track.mixture is None:
        return _sum_parts(references), ()
    waveform, found = data.load_mixture(track)
    expected = tuple(next(iter(references.values())).shape)
    if (found, *waveform.shape) != (sample_rate, *expected):
        raise EvaluationError(
            f"the mixture of track '{track.name}' has {_size((found, *waveform.shape))} where its stems have "
            f"{_size((sample_rate, *expected))}"
        )
    mixture = torch.from_numpy(waveform)
    return mixture, _sum_note(references, mixture, track.name, tolerance_db)


def _sum_parts(references: Mapping[str, Tensor]) -> Tensor:
    """The sum of the references, where `accompaniment` beside its own parts is not counted twice."""
    parts = {stem: waveform for stem, waveform in references.items() if stem != ACCOMPANIMENT}
    return sum_of(list((references if set(parts) <= {VOCALS} else parts).values()))


def _sum_note(references: Mapping[str, Tensor], mixture: Tensor, track: str, tolerance_db: float) -> tuple[str, ...]:
    """A remark where references miss the mixture by much; refused where by more than the tolerance."""
    rest = (mixture - _sum_parts(references)).double().square().sum()
    ratio_db = float(10 * torch.log10(rest / mixture.double().square().sum()))
    if ratio_db > tolerance_db:
        raise EvaluationError(
            f"the references of track '{track}' miss its mixture by {ratio_db:.1f} dB (relative to it) where "
            f"{tolerance_db:g} dB is allowed; look for a missing, extra or shifted stem, or allow more (inf: any) with "
            "--mixture-tolerance, which counts the rest as one more source"
        )
    if ratio_db > SUM_NOTED_DB:
        return (f"the references miss the mixture by {ratio_db:.1f} dB (relative to it)",)
    return ()
