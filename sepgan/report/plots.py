"""Figures as SVG text that takes its colours and fonts from the page it stands in, so that it follows a dark theme.

Series are told apart by marker as well as by colour, from a palette that is safe for colour-blind readers.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from sepgan.report.blocks import Figure

Values = npt.NDArray[np.float64]

SERIES = 6  # colours that the page defines as --series-0 ... ; further series repeat them with other markers
NARROWEST = 0.78  # of its own width, on a telephone; narrower, its words could not be read, and it is scrolled
_MARKERS = "os^Dv*XP"
# Stand-ins that matplotlib writes into the SVG and the page's own colours replace.
_INK, _MUTED, _GRID = "#010203", "#040506", "#070809"
_SERIES = tuple(f"#0a0b{index:02x}" for index in range(SERIES))
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and uses the page's font
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
}


def distributions(
    title: str,
    values: Mapping[str, Mapping[str, Sequence[float] | Values]],
    *,
    ylabel: str,
    marks: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Every value as a dot beside a box from the lower to the upper quartile, for each group and series.

    Args:
        title: Of the figure.
        values: Series -> group -> its values; undefined ones are left out.
        ylabel: Quantity and unit.
        marks: Name of a level -> group -> where it lies, drawn as a line across the group.
    """
    groups = list(dict.fromkeys(group for series in values.values() for group in series))
    wide = max(1, len(values))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        canvas = Canvas(figsize=(max(4.6, 0.9 + len(groups) * max(0.9, 0.42 * wide)), 3.1), layout="constrained")
        axes = canvas.subplots()
        for index, (name, series) in enumerate(values.items()):
            offset = (index - (wide - 1) / 2) * 0.8 / wide
            for place, group in enumerate(groups):
                finite = _finite(series.get(group, ()))
                if len(finite):
                    _distribution(axes, place + offset, 0.8 / wide, finite, index)
            axes.plot([], [], _MARKERS[index % len(_MARKERS)], color=_SERIES[index % SERIES], label=name)
        for style, (name, levels) in zip(("-", "--", ":", "-."), (marks or {}).items(), strict=False):
            found = [(place, levels.get(group, np.nan)) for place, group in enumerate(groups)]
            drawn = [(place, level) for place, level in found if np.isfinite(level)]
            for place, level in drawn:
                axes.plot([place - 0.46, place + 0.46], [level, level], style, color=_MUTED, linewidth=1.2)
            if drawn:
                axes.plot([], [], style, color=_MUTED, linewidth=1.2, label=name)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel(ylabel)
        _legend(canvas, axes)
        svg = _svg(canvas)
    description = f"{ylabel} of {', '.join(values)} for {', '.join(groups)}: a dot for each value, boxes of quartiles."
    return Figure(title, svg, description)


def curves(
    title: str, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str
) -> Figure:
    """Lines over a common axis, such as losses over steps.

    Args:
        title: Of the figure.
        lines: Series -> positions and values; undefined values are gaps.
        xlabel: Quantity and unit of positions.
        ylabel: Quantity and unit of values.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        canvas = Canvas(figsize=(5.6, 3.1), layout="constrained")
        axes = canvas.subplots()
        for index, (name, (positions, values)) in enumerate(lines.items()):
            axes.plot(
                positions,
                values,
                color=_SERIES[index % SERIES],
                marker=_MARKERS[index % len(_MARKERS)],
                markevery=max(1, len(positions) // 8),
                markersize=4,
                linewidth=1.4,
                label=name,
            )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _legend(canvas, axes)
        svg = _svg(canvas)
    return Figure(title, svg, f"{ylabel} over {xlabel} of {', '.join(lines)}.")


def _distribution(axes: Axes, centre: float, width: float, values: Values, index: int) -> None:
    colour, marker = _SERIES[index % SERIES], _MARKERS[index % len(_MARKERS)]
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    if len(values) > 2:
        half = 0.32 * width
        left, right = centre - half, centre + half
        outline = ([left, right, right, left, left], [low, low, high, high, low])
        axes.fill(*outline, color=colour, alpha=0.16, linewidth=0)
        axes.plot(*outline, color=colour, linewidth=0.9)
        axes.plot([left, right], [middle, middle], color=colour, linewidth=2.2, solid_capstyle="butt")
    # Spread sideways by rank, which is the same in every run, rather than by chance.
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    sideways = ((order * 0.618034) % 1 - 0.5) * 0.44 * width if len(values) > 1 else np.zeros(1)
    axes.plot(centre + sideways, values, marker, color=colour, markersize=3.6, alpha=0.75, markeredgewidth=0)


def _legend(canvas: Canvas, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        canvas.legend(
            handles, labels, loc="outside upper left", ncols=4, fontsize=9, handletextpad=0.4, columnspacing=1.2
        )


def _finite(values: Sequence[float] | Values) -> Values:
    array: Values = np.asarray(values, dtype=np.float64)
    finite: Values = array[np.isfinite(array)]
    return finite


def _svg(canvas: Canvas) -> str:
    """The figure as an `<svg>` element without what only a file needs, in the colours of the page."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # names of parts, which repeat in every figure of a page
    width = canvas.get_figwidth() * 72
    head = r'<svg viewBox="\1" style="min-width: %dpx; max-width: %dpx" aria-hidden="true" focusable="false">'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', head % (NARROWEST * width, 1.7 * width), text, count=1)
    text = re.sub(r"font-family: [^;]*; ", "", text)
    text = re.sub(r"(?<=\d\.\d{2})\d+(?=[^<>]*>)", "", text)  # of coordinates; labels keep their digits
    text = re.sub(r"\s*\n\s*", "\n", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text
