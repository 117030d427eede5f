"""The report's picture: every encoder's figures as points with their doubt, data set by data set."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.siren.published import FAULTS, LATER, ROWS, YEARS
from trainer.siren.results import NEIGHBOURS, Result, Run
from trainer.siren.tasks import TASKS

COLOURS = ("#0072b2", "#e69f00", "#009e73")  # told apart by colour-blind eyes too (Okabe and Ito)
MARKERS = ("o", "s", "D")
INCH_A_ROW = 0.34


def picture(runs: Sequence[Run]) -> bytes:
    """Return a PNG; published values stand as grey lines."""
    panels = [(run, part) for run in runs for part in _parts(run)]
    if not panels:
        raise ValueError("no results to draw")
    rows = max(len({r.encoder for r in run.results}) for run, _ in panels)
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.6 * across + 1.2, down * (1.6 + INCH_A_ROW * rows)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
        for axis, (run, part) in zip(axes, panels, strict=False):
            _panel(axis, run, part)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _parts(run: Run) -> list[str]:
    return [p for p in dict.fromkeys(r.part for r in run.results) if p not in {"dev", "eval"}]


def _panel(axis: Axes, run: Run, part: str) -> None:
    shown = [r for r in run.results if r.part == part and r.method == NEIGHBOURS]
    largest = max((r.k for r in shown), default=0)
    shown = [r for r in shown if r.k == largest]
    encoders = list(dict.fromkeys(r.encoder for r in shown))
    kinds = list(dict.fromkeys((r.mode, r.protocol) for r in shown))
    for first, line in enumerate(_published(run.dataset, part)):
        label = f"published ({LATER})" if first == 0 else None
        axis.axvline(line / 100, color="#cccccc", linewidth=1, zorder=0, label=label)
    for number, kind in enumerate(kinds):
        found = {r.encoder: r for r in shown if (r.mode, r.protocol) == kind}
        here = [(i, found[e]) for i, e in enumerate(encoders) if e in found]
        offset = 0.22 * (number - (len(kinds) - 1) / 2)
        _points(axis, here, offset, number, f"{kind[0]}, {kind[1]}")
    axis.set_yticks(range(len(encoders)), encoders)
    axis.invert_yaxis()
    axis.set_xlabel("accuracy" if shown and shown[0].figure == "accuracy" else "mean of AUC and partial AUC")
    axis.set_title(f"{TASKS[run.dataset].title} {part if part != 'overall' else ''}".strip() + f", k = {largest}")
    axis.grid(axis="x", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=1)


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
