"""The evaluation as a page to read and listen to: one HTML file that opens without a network."""

import math
from collections.abc import Sequence

from sepgan import __version__
from sepgan.evaluation import comparison
from sepgan.evaluation.catalogue import Metric
from sepgan.evaluation.comparison import Comparison, Intervals
from sepgan.evaluation.excerpts import Excerpt
from sepgan.evaluation.scores import Scores, System, TrackScores
from sepgan.evaluation.statistics import MINIMUM_TRACKS
from sepgan.report import page, plots, sound, spectrograms
from sepgan.report.blocks import (
    Block,
    Cell,
    Column,
    Definitions,
    Figure,
    Figures,
    Fold,
    Interval,
    Page,
    PlayerGroup,
    Section,
    Table,
    Text,
)

MAXIMUM_BYTES = 25_000_000  # of the file; excerpts that would exceed it are left out
OPENED = ("usdr", "csdr", "bss_v4.sdr")  # metrics whose tables are unfolded at first


def render(
    scores: Scores,
    excerpts: Sequence[Excerpt] = (),
    *,
    intervals: Intervals | None = None,
    comparisons: Sequence[Comparison] | None = None,
    sections: Sequence[Section] = (),
    maximum_bytes: int = MAXIMUM_BYTES,
) -> str:
    """The text of `report.html`.

    Args:
        scores: What was measured.
        excerpts: What can be listened to, the most telling first where there are too many.
        intervals: Of the scores over the set; computed when None.
        comparisons: Of the systems; of all pairs when None.
        sections: More to show, before the excerpts.
        maximum_bytes: How long the file may be; excerpts are left out to keep to it, and counted.
    """
    judged = [system for system in scores.systems if system.kind in ("model", "estimates")]
    intervals = comparison.intervals(scores) if intervals is None else intervals
    comparisons = comparison.compare(scores) if comparisons is None else comparisons
    metrics = [_metric_fold(scores, judged, metric) for metric in scores.metrics]
    before = [
        Section("Summary", [Text(_SCALE), _summary(scores, judged, intervals)]),
        Section(
            "Distributions", [Text(_DOTS), Figures([_distribution(scores, judged, one) for one in scores.metrics])]
        ),
        *_comparison(comparisons, scores),
        *sections,
    ]
    after = [Section("Tracks", metrics), *_notes(scores), Section("Definitions", [_definitions(scores)])]

    def whole(listen: Sequence[Section]) -> str:
        return page.render(
            Page(
                title=f"Evaluation of {_enumerate([system.name for system in judged])}",
                sections=[*before, *listen, *after],
                subtitle=f"{_count(len(scores.tracks), 'track')}; sepgan {__version__}",
                warning=f"Incomplete: {scores.failure}." if scores.failure else "",
                footer="Everything on this page is inside this file; it loads nothing from a network.",
            )
        )

    budget = maximum_bytes - len(whole([]).encode())
    return whole(_listen(scores, judged, excerpts, budget))


_SCALE = (
    "The floor is the best score that doing nothing gets: the mixture, an equal share of it, or silence as every "
    "estimate. Oracles know the true stems: the ideal ratio mask (irm), the ideal binary mask (ibm), the multichannel "
    "Wiener filter (mwf). Gap closed is (score - floor) / (irm - floor). In brackets: 95 % bootstrap intervals over "
    f"tracks, where there are {MINIMUM_TRACKS} or more."
)
_DOTS = (
    "A dot for every track, boxes from the lower to the upper quartile with the median as a line. Floor and oracle are "
    "scores of the set."
)
_LISTEN = (
    "The seconds where a system did worst and best, by uSDR, among those where the stem is well audible. Tracks of a "
    "group play on one clock, so that switching keeps the place. With the focus in a group, the keys 1 to 9 switch, "
    "and K plays and pauses. Excerpts are compressed (Ogg Vorbis); where one would clip, its group is turned down."
)


def _summary(scores: Scores, judged: Sequence[System], intervals: Intervals) -> Table:
    others = [system for system in scores.systems if system not in judged]
    oracle = next((system for system in others if system.kind == "oracle"), None)
    columns = [Column("stem"), Column("metric")]
    columns += [Column(system.name) for system in judged]
    columns += [Column("floor"), Column("by")]
    if oracle:
        hint = "How much of the way from the floor to the oracle is gone"
        titles = [f"% of gap closed by {system.name}" if len(judged) > 1 else "% of gap closed" for system in judged]
        columns += [Column(title, hint, digits=0) for title in titles]
    columns += [Column(system.name, _describe(system)) for system in others]
    rows: list[list[Cell]] = []
    for stem in scores.stems:
        for metric in scores.all_metrics:
            values = {system.name: scores.of_set(system.name, stem, metric) for system in scores.systems}
            floor, by = scores.floor(stem, metric)
            row: list[Cell] = [stem, _heading(metric)]
            for system in judged:
                ends = intervals.get((system.name, stem, metric.name))
                value = values[system.name]
                row.append(_cell(Interval(value, *ends) if ends and not math.isnan(value) else value, metric))
            row += [_cell(floor, metric), by or page.DASH]
            if oracle:
                end = values[oracle.name]
                row += [100 * metric.gap_closed(values[system.name], floor, end) for system in judged]
            row += [_cell(values[system.name], metric) for system in others]
            rows.append(row)
    return Table("Scores over all tracks", columns, rows)


def _distribution(scores: Scores, judged: Sequence[System], metric: Metric) -> Figure:
    values = {
        system.name: {
            stem: [scores.of_track(track, system.name, stem, metric) for track in scores.tracks]
            for stem in scores.stems
        }
        for system in judged
    }
    marks = {"floor": {stem: scores.floor(stem, metric)[0] for stem in scores.stems}}
    for system in scores.systems:
        if system.kind == "oracle":
            marks[system.name] = {stem: scores.of_set(system.name, stem, metric) for stem in scores.stems}
    return plots.distributions(metric.title, values, ylabel=_heading(metric), marks=marks)


def _comparison(found: Sequence[Comparison], scores: Scores) -> list[Section]:
    """Every pair of systems, with what chance allows to say; nothing for a single system."""
    if not found:
        return []
    metrics = {metric.name: metric for metric in scores.metrics}
    columns = [Column("stem"), Column("metric"), Column("systems"), Column("difference"), Column("effect")]
    columns += [
        Column("p", "Adjusted over all tests", digits=3, least=0.001),
        Column("tracks", digits=0),
        Column("verdict"),
    ]
    rows: list[list[Cell]] = []
    for one in found:
        difference = one.difference if math.isnan(one.low) else Interval(one.difference, one.low, one.high)
        pair = f"{one.first} less {one.second}"
        metric = metrics[one.metric]
        numbers: list[Cell] = [_cell(difference, metric), one.effect, one.p_adjusted, float(one.tracks)]
        rows.append([one.stem, _heading(metric), pair, *numbers, one.verdict])
    return [
        Section("Comparison", [Text(comparison.note(tuple(found))), Table("Systems compared", columns, rows, True)])
    ]


def _metric_fold(scores: Scores, judged: Sequence[System], metric: Metric) -> Fold:
    oracles = [system for system in scores.systems if system.kind == "oracle"]
    digits = metric.digits
    columns = [Column("track"), Column("stem"), *(Column(system.name, digits=digits) for system in judged)]
    if len(judged) == 2:
        columns.append(Column("difference", f"{judged[0].name} less {judged[1].name}", digits))
    columns += [Column("floor", digits=digits), *(Column(system.name, digits=digits) for system in oracles)]
    rows: list[list[Cell]] = []
    for track in scores.tracks:
        for stem in track.stems:
            values = [scores.of_track(track, system.name, stem, metric) for system in judged]
            row: list[Cell] = [track.name, stem, *values]
            if len(judged) == 2:
                row.append(values[0] - values[1])
            row.append(scores.floor(stem, metric, track)[0])
            row += [scores.of_track(track, system.name, stem, metric) for system in oracles]
            rows.append(row)
    statistic = ", median over frames" if metric.framewise else ""
    table = Table(f"{_heading(metric)}{statistic}, of every track and stem", columns, rows, filtered=True)
    return Fold(metric.title, [table], opened=metric.name in OPENED)


def _listen(scores: Scores, judged: Sequence[System], excerpts: Sequence[Excerpt], budget: int) -> list[Section]:
    """Players of the excerpts that the budget of bytes holds, stem by stem and the worst first."""
    names = [system.name for system in judged]
    groups: list[tuple[Excerpt, PlayerGroup]] = []
    left_out = 0
    # The worst first, because they are what a reader must hear; then in the order of stems.
    for excerpt in sorted(excerpts, key=lambda one: all(end == "best" for end, _ in one.picks)):
        group = _players(excerpt, [name for name in names if name in excerpt.estimates])
        budget -= group.size_bytes + _MARKUP_BYTES
        if budget < 0:
            left_out += 1
        else:
            groups.append((excerpt, group))
    if not groups and not left_out:
        return []
    blocks: list[Block] = [Text(_LISTEN)]
    if left_out:
        blocks[0] = Text(f"{_LISTEN} {left_out} of {len(excerpts)} excerpts are left out to keep this file small.")
    for stem in scores.stems:
        found = [group for excerpt, group in groups if excerpt.stem == stem]
        if found:
            blocks.append(Fold(f"{stem}, {_count(len(found), 'excerpt')}", found, opened=len(blocks) == 1))
    return [Section("Listen", blocks)]


_MARKUP_BYTES = 20_000  # of one group of players, at most


def _players(excerpt: Excerpt, systems: Sequence[str]) -> PlayerGroup:
    labels = {system: f"{system} (estimate)" if system in ("mixture", "reference") else system for system in systems}
    waveforms = {"mixture": excerpt.mixture, "reference": excerpt.reference}
    waveforms |= {labels[system]: excerpt.estimates[system] for system in systems}
    differences = [(f"{label} {page.MINUS} reference", label, "reference") for label in labels.values()]
    scores = ", ".join(f"{system} {page.number(excerpt.usdr_db[system], 2)} dB" for system in systems)
    end_s = excerpt.start_s + excerpt.duration_s
    return sound.player_group(
        f"{excerpt.stem}: {_enumerate([f'{end} of {system}' for end, system in excerpt.picks]) or 'excerpt'}",
        [(label, waveform, excerpt.sample_rate) for label, waveform in waveforms.items()],
        note=f"{excerpt.track}, {_clock(excerpt.start_s)} to {_clock(end_s)}. uSDR here: {scores}.",
        compare=list(labels.values()) if len(labels) > 1 else (),
        spectrograms=spectrograms.strip(waveforms, excerpt.sample_rate, differences),
    )


def _notes(scores: Scores) -> list[Section]:
    """What a reader must know about the numbers: remarks on tracks, and what is undefined."""
    blocks: list[Block] = []
    remarks = [(track.name, "; ".join(track.notes)) for track in scores.tracks if track.notes]
    blocks += [Text(f"{remark}.") for remark in scores.remarks]
    if remarks:
        blocks.append(Definitions(remarks))
    rows = [row for track in scores.tracks for row in _undefined(scores, track)]
    if rows:
        columns = [Column("track"), Column("system"), Column("stem"), Column("metric"), Column("undefined", digits=0)]
        blocks.append(Table("Undefined values: frames of framewise metrics, else 1", columns, rows, filtered=True))
    return [Section("Notes", blocks)] if blocks else []


def _undefined(scores: Scores, track: TrackScores) -> list[list[Cell]]:
    judged = {system.name for system in scores.systems if system.kind in ("model", "estimates")}
    titles = {metric.name: metric.title for metric in scores.metrics}
    rows: list[list[Cell]] = []
    for (system, stem, metric), values in track.values.items():
        count = sum(map(math.isnan, values.tolist()))
        if count and system in judged:
            rows.append([track.name, system, stem, titles[metric], float(count)])
    return rows


def _definitions(scores: Scores) -> Definitions:
    items = [
        (f"{metric.title} ({metric.name})", f"{metric.definition} Source: {metric.source}.")
        for metric in scores.all_metrics
    ]
    items += [(system.name, _describe(system)) for system in scores.systems]
    items.append(("Settings", "; ".join(f"{name} {value}" for name, value in scores.settings.items())))
    return Definitions([("s, e", "The reference and the estimate."), *items])


def _describe(system: System) -> str:
    return "; ".join([system.kind, *(f"{key} {value}" for key, value in system.details.items())])


def _cell(value: float | Interval, metric: Metric) -> Cell:
    """A number for a column whose other metrics may have fewer digits."""
    if metric.digits == Column("").digits:
        return value
    if isinstance(value, float):
        return page.number(value, metric.digits)
    found, low, high = (page.number(one, metric.digits) for one in (value.value, value.low, value.high))
    return f"{found} [{low}, {high}]"


def _heading(metric: Metric) -> str:
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _enumerate(parts: Sequence[str]) -> str:
    """The parts as people list them.

    >>> _enumerate(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), *parts[-1:]])
