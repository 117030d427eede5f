"""One table in the layout of the paper's: our encoders in both modes, then the published figures.

"all" is the mean of the two groups' means, as in the later published table.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from trainer.siren.faults import LEAKAGE_FREE
from trainer.siren.published import EARLY, FAULTS, LATER, ROWS, YEARS, Published
from trainer.siren.results import NEIGHBOURS, Result, Run
from trainer.siren.tables import DASH, header, row

TITLES = {
    **{year: year.removeprefix("dcase") for year in YEARS},
    "iiee": "IIEE",
    "iica": "IICA",
    "cwru": "CWRU",
    "mafaulda vibration": "MAFAULDA vibration",
    "mafaulda sound": "MAFAULDA sound",
}
K = 5  # of the published figures

Cells = dict[str, float]
"""Percent by column, as far as there are any."""


def overview(runs: Sequence[Run]) -> str:
    """Return the table of the runs of one folder; empty when none of them fills a column of it."""
    ours: dict[tuple[str, str], Cells] = {}
    for run in runs:
        for result in run.results:
            if (column := _column(result)) is not None:
                ours.setdefault((result.encoder, result.mode), {})[column] = 100 * result.value
    columns = [column for column in (*YEARS, *FAULTS) if any(column in cells for cells in ours.values())]
    if not columns:
        return ""
    lines = header(["", *_titled(columns)])
    for mode in ("siren", "strict"):
        lines += [
            row([f"{encoder}, {mode}", *_cells(cells, columns)]) for (encoder, m), cells in ours.items() if m == mode
        ]
    for table in (LATER, EARLY):
        lines += [
            row([f"*{one.model}, published {table}*", *_cells(_published(one), columns, one.doubtful)])
            for one in ROWS
            if one.table == table
        ]
    notes = f"In percent: DCASE, the mean of AUC and partial AUC; fault sets, accuracy with k = {K}."
    if any("mafaulda sound" in column for column in columns):
        notes += " (!): the published value let recordings vote on themselves."
    return "## In one table\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _titled(columns: Sequence[str]) -> list[str]:
    titles = [TITLES[column] for column in columns]
    if set(YEARS) <= set(columns):
        titles.insert(len(YEARS), "mean")
    return [*titles, *(["mean of faults"] if set(FAULTS) <= set(columns) else []), *_all(columns)]


def _all(columns: Sequence[str]) -> list[str]:
    return ["all"] if {*YEARS, *FAULTS} <= set(columns) else []


def _cells(cells: Cells, columns: Sequence[str], doubtful: Sequence[str] = ()) -> list[str]:
    """Return one row's cells; means only where every member is there."""

    def mean(group: Sequence[str]) -> float | None:
        return fmean(cells[c] for c in group) if all(c in cells for c in group) else None

    shown = [_percent(cells.get(column)) + (" (!)" if column in doubtful else "") for column in columns]
    if set(YEARS) <= set(columns):
        shown.insert(len(YEARS), _percent(mean(YEARS)))
    if set(FAULTS) <= set(columns):
        shown.append(_percent(mean(FAULTS)) + (" (!)" if doubtful else ""))
    if _all(columns):
        means = [mean(YEARS), mean(FAULTS)]
        known = [value for value in means if value is not None]
        shown.append(_percent(fmean(known) if len(known) == len(means) else None) + (" (!)" if doubtful else ""))
    return shown


def _published(one: Published) -> Cells:
    return dict(zip((*YEARS, *FAULTS), (*one.years, *one.faults), strict=True))


def _column(result: Result) -> str | None:
    """Return which column of the one table a result fills, if any."""
    if result.method != NEIGHBOURS:
        return None
    if result.figure == "area":
        return result.dataset if result.part == "overall" else None
    if result.k != K or (result.mode == "strict") != (result.protocol == LEAKAGE_FREE):
        return None
    return f"{result.dataset} {result.part}".strip()


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"
