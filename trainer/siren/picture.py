"""The report's picture: every encoder's figures as points with their doubt, data set by data set."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.siren.faults import LEAKAGE_FREE
from trainer.siren.published import FAULTS, LATER, ROWS, YEARS
from trainer.siren.results import PUBLISHED_K, Result, Run, shown
from trainer.siren.tasks import TASKS

COLOURS = ("#0072b2", "#e69f00", "#009e73")  # told apart by colour-blind eyes too (Okabe and Ito)
MARKERS = ("o", "s", "D")
INCH_A_ROW = 0.34
LABELS = {
    ("siren", False): "siren",
    ("strict", False): "strict, published protocol",
    ("strict", True): "strict, leakage-free",
}
"""By mode and whether the protocol is leakage-free; colours and markers go by this order."""


def picture(runs: Sequence[Run]) -> bytes:
    """Return a PNG; published values stand as grey lines."""
    panels = [(run, part) for run in runs for part in _parts(run)]
    rows = max(len({r.encoder for r in run.results}) for run, _ in panels)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        height = down * (1.2 + INCH_A_ROW * max(rows, 3)) + 0.4
        figure = Figure(figsize=(4.6 * across + 1.4, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
        for axis, (run, part) in zip(axes, panels, strict=False):
            _panel(axis, run, part)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        named = {label: mark for axis in axes for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=2 * across, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _parts(run: Run) -> list[str]:
    return [p for p in dict.fromkeys(r.part for r in run.results) if p not in {"dev", "eval"}]


def _panel(axis: Axes, run: Run, part: str) -> None:
    drawn = shown([r for r in run.results if r.part == part])
    encoders = list(dict.fromkeys(r.encoder for r in drawn))
    of_areas = any(r.figure == "area" for r in drawn)
    k = drawn[0].k if drawn else 0
    if k == PUBLISHED_K or of_areas:
        for line in _published(run.dataset, part):
            axis.axvline(line / 100, color="#cccccc", linewidth=1, zorder=0, label=f"published ({LATER})")
    for number, kind in enumerate(LABELS):
        found = {r.encoder: r for r in drawn if (r.mode, r.protocol == LEAKAGE_FREE) == kind}
        here = [(i, found[e]) for i, e in enumerate(encoders) if e in found]
        if here:
            _points(axis, here, 0.22 * (number - 1), number, LABELS[kind])
    axis.set_yticks(range(len(encoders)), encoders)
    axis.set_ylim(len(encoders) - 0.5, -0.5)
    axis.set_xlabel("mean of AUC and partial AUC" if of_areas else f"accuracy, k = {k}")
    title = f"{TASKS[run.dataset].title} {'' if part == 'overall' else part}".strip()
    axis.set_title(title + ("" if run.complete else " (incomplete)"))
    axis.grid(axis="x", color="#eeeeee")
    axis.set_axisbelow(True)


def _points(axis: Axes, rows: Sequence[tuple[int, Result]], offset: float, number: int, label: str) -> None:
    values = np.array([r.value for _, r in rows])
    doubt = np.array([[r.value - r.low for _, r in rows], [r.high - r.value for _, r in rows]])
    axis.errorbar(
        values,
        [i + offset for i, _ in rows],
        xerr=np.maximum(doubt, 0.0),
        fmt=MARKERS[number % len(MARKERS)],
        color=COLOURS[number % len(COLOURS)],
        markersize=5,
        linewidth=1,
        label=label,
    )


def _published(dataset: str, part: str) -> list[float]:
    columns = (*YEARS, *FAULTS)
    name = dataset if part == "overall" else f"{dataset} {part}".strip()
    if name not in columns:
        return []
    at = columns.index(name)
    return [(*row.years, *row.faults)[at] for row in ROWS if row.table == LATER and name not in row.doubtful]
