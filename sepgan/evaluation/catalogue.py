"""What every metric is: its name, unit, definition and source, and how it is averaged."""

import math
from dataclasses import dataclass
from typing import Literal

from sepgan.evaluation.bleed import MEL_BANDS, N_FFT, RANGE_DB
from sepgan.evaluation.metrics import MAXIMUM_DB
from sepgan.evaluation.spectral import LSD_RANGE_DB, SILENCE_DBFS, SILENCE_S


@dataclass(frozen=True)
class Metric:
    """How a metric is named, read and averaged."""

    name: str  # in scores.csv and scores.json
    title: str  # in tables for people
    unit: str
    framewise: bool  # a value per frame of a track; the track's score is their median
    over_tracks: Literal["median", "mean"]  # how published tables sum up a set of tracks
    definition: str
    source: str
    higher_is_better: bool = True
    digits: int = 2  # behind the point, in tables for people

    def gap_closed(self, score: float, floor: float, oracle: float) -> float:
        """Share of the way from the floor to the oracle, 1 at the oracle.

        NaN where the oracle is not better than the floor, as with the SAR, which doing nothing wins.
        """
        gap = oracle - floor if self.higher_is_better else floor - oracle
        if not gap > 0:
            return math.nan
        return (score - floor) / (oracle - floor)


CSDR = Metric(
    "csdr",
    "cSDR",
    "dB",
    framewise=True,
    over_tracks="median",
    definition="Framewise SDR: 10 log10(|s|^2 / |s - e|^2) in windows of 1 s, hop 1 s, over all channels; median over "
    f"frames, then over tracks; capped at {MAXIMUM_DB:g} dB.",
    source="the SDR of BSSEval v4: Stöter, Liutkus, Ito, LVA/ICA 2018",
)
USDR = Metric(
    "usdr",
    "uSDR",
    "dB",
    framewise=False,
    over_tracks="mean",
    definition="Global SDR: 10 log10((|s|^2 + 1e-7) / (|s - e|^2 + 1e-7)) over the whole track and all channels; mean "
    "over tracks; silence scores 0 dB.",
    source="Mitsufuji et al., Music Demixing Challenge 2021, equation 1",
)
SI_SDR = Metric(
    "si_sdr",
    "SI-SDR",
    "dB",
    framewise=False,
    over_tracks="mean",
    definition="Scale-invariant SDR: 10 log10(|a s|^2 / |a s - e|^2) with a = <e, s> / |s|^2, over the whole track "
    "less its mean, one a for all channels; mean over tracks.",
    source="Le Roux et al., ICASSP 2019, equation 3",
)

_FILTERS = "512-tap filters fitted on the whole track, windows of 1 s, hop 1 s; median over frames, then over tracks"
_BSS_SOURCE = "BSSEval v4: Vincent, Gribonval, Févotte, IEEE TASLP 2006; Stöter, Liutkus, Ito, LVA/ICA 2018"
BSS_V4 = tuple(
    Metric(
        f"bss_v4.{name}",
        f"BSS {name.upper()}",
        "dB",
        framewise=True,
        over_tracks="median",
        definition=f"{definition}; {_FILTERS}.",
        source=_BSS_SOURCE,
    )
    for name, definition in {
        "sdr": "Signal to distortion: 10 log10(|s|^2 / |e - s|^2), the same as cSDR",
        "isr": "Signal to spatial distortion: 10 log10(|s|^2 / |P_j e - s|^2), P_j e made of the source's own channels",
        "sir": "Signal to interference: 10 log10(|P_j e|^2 / |P e - P_j e|^2), P e made of all sources",
        "sar": "Signal to artifacts: 10 log10(|P e|^2 / |e - P e|^2)",
    }.items()
)
MR_STFT = Metric(
    "mr_stft",
    "MR-STFT",
    "",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition="Multi-resolution STFT distance: spectral convergence plus L1 of log magnitudes, mean over three STFTs "
    "and over tracks; lower is better.",
    source="Yamamoto, Song, Kim, ICASSP 2020",
)
LSD = Metric(
    "lsd",
    "LSD",
    "dB",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition=f"Log-spectral distance: RMS over bins of the difference of levels, down to {LSD_RANGE_DB:g} dB below "
    "the loudest, mean over frames and tracks; lower is better.",
    source="Gray, Markel, IEEE TASSP 1976",
)
LEAKAGE = Metric(
    "leakage",
    "leakage",
    "dB",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition=f"Energy of the estimate where the reference stays below {SILENCE_DBFS:g} dBFS for {SILENCE_S:g} s or "
    "more, against the mixture's there; undefined without such a pause; mean over tracks; lower is better.",
    source="own definition",
)

SI_BSS = tuple(
    Metric(
        name,
        title,
        "dB",
        framewise=False,
        over_tracks="mean",
        definition=f"{definition}; over the whole track less its mean, one scale for all channels, no filters; mean "
        "over tracks.",
        source="Le Roux et al., ICASSP 2019, equations 5 to 7",
    )
    for name, title, definition in (
        (
            "si_sir",
            "SI-SIR",
            "Scale-invariant ratio of a s to interference: 10 log10(|a s|^2 / |P e - a s|^2), P e the projection on "
            "the span of all sources",
        ),
        ("si_sar", "SI-SAR", "Scale-invariant ratio of a s to artifacts: 10 log10(|a s|^2 / |e - P e|^2)"),
    )
)
BSS_V3 = tuple(
    Metric(
        f"bss_v3.{name}",
        f"BSS v3 {name.upper()}",
        "dB",
        framewise=False,
        over_tracks="mean",
        definition=f"{definition}; the channels' mean as one mono signal, 512-tap filters, one frame as long as the "
        "track; mean over tracks. Not comparable with version 4.",
        source="bss_eval_sources of BSS Eval 3.0: Vincent, Gribonval, Févotte, IEEE TASLP 2006",
    )
    for name, definition in {
        "sdr": "Filtered source to everything else: 10 log10(|P_j e|^2 / |e - P_j e|^2)",
        "sir": "Signal to interference: 10 log10(|P_j e|^2 / |P e - P_j e|^2)",
        "sar": "Signal to artifacts: 10 log10(|P e|^2 / |e - P e|^2)",
    }.items()
)
MSE = Metric(
    "mse",
    "MSE",
    "",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    digits=6,
    definition="Mean squared error over all samples and channels, where full scale is 1; mean over tracks; defined for "
    "silent references too; lower is better.",
    source="the square of the L2 distance, divided by the number of samples",
)
_LEVELS = (
    f"{N_FFT}-point Hann STFT, {MEL_BANDS} mel bands, levels down to {RANGE_DB:g} dB below the loudest of each signal"
)
BLEED = tuple(
    Metric(
        name,
        name,
        "",
        framewise=False,
        over_tracks="mean",
        definition=f"{definition}; {_LEVELS}; from 0 to 100; mean over tracks.",
        source="bleedless and fullness of Music-Source-Separation-Training (R. Solovyev et al.)",
    )
    for name, definition in {
        "bleedless": "100 / (1 + mean of the level differences in dB where the estimate is louder than the reference)",
        "fullness": "100 / (1 + mean of the level differences in dB where the estimate is softer than the reference)",
    }.items()
)
FRECHET = Metric(
    "frechet",
    "FD log-mel",
    "dB^2",
    framewise=False,
    over_tracks="mean",
    higher_is_better=False,
    definition="Fréchet distance between estimates and references of a stem over the whole set: windows of 1 s (hop "
    "0.5 s) as points, their mean and standard deviation over time of the level in 32 mel bands; no value of a single "
    "track; needs 128 windows; biased upward where they are few; lower is better.",
    source="Kilgour et al., Interspeech 2019, on an embedding of our own",
)
