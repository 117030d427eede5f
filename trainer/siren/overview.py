"""One table in the layout of the paper's: our encoders in both modes, then the published figures.

"all" is the mean of the two groups' means, as in the later published table.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from trainer.siren.faults import LEAKAGE_FREE
from trainer.siren.published import EARLY, FAULTS, LATER, ROWS, YEARS, Published
from trainer.siren.results import NEIGHBOURS, PUBLISHED_K, Result, Run
from trainer.siren.tables import DASH, header, row
from trainer.siren.tasks import TASKS
from trainer.siren.tasks.base import FaultTask

TITLES = {
    **{year: year.removeprefix("dcase") for year in YEARS},
    "iiee": "IIEE",
    "iica": "IICA",
    "cwru": "CWRU",
    "mafaulda vibration": "MAFAULDA vibration",
    "mafaulda sound": "MAFAULDA sound",
}
KINDS = ("siren", "strict", "leakage-free")

Cells = dict[str, float]
"""Percent by column, as far as there are any."""


def overview(runs: Sequence[Run]) -> str:
    """Return the table of the runs of one folder; empty when none of them fills a column of it."""
    ours: dict[str, dict[str, Cells]] = {kind: {} for kind in KINDS}
    for run in runs:
        for result in run.results:
            column = _column(result)
            for kind in _kinds(result) if column else ():
                ours[kind].setdefault(result.encoder, {})[str(column)] = 100 * result.value
    there = {column for rows in ours.values() for cells in rows.values() for column in cells}
    columns = [column for column in (*YEARS, *FAULTS) if column in there]
    if not columns:
        return ""
    incomplete = {run.dataset for run in runs if not run.complete}
    lines = header(["", *_titled(columns, incomplete)])
    for kind, rows in ours.items():
        lines += [row([f"{encoder}, {kind}", *_cells(cells, columns)]) for encoder, cells in rows.items()]
    for table in (LATER, EARLY):
        lines += [
            row([f"*{one.model}, published {table}*", *_cells(_published(one), columns, one.doubtful)])
            for one in ROWS
            if one.table == table
        ]
    notes = (
        f"In percent: DCASE, the mean of AUC and partial AUC; fault sets, accuracy with k = {PUBLISHED_K}. The "
        "published rows compare with ours of *siren*. *strict*: the same protocol with true channels and the "
        "challenge's own rule; *leakage-free*: besides, nothing votes that shares a mounting, severity or session."
    )
    if "mafaulda sound" in columns:
        notes += " (!): the published value let recordings vote on themselves."
    if incomplete:
        notes += " A data set marked incomplete compares with nothing published."
    return "## In one table\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _kinds(result: Result) -> list[str]:
    """Return which of our rows a result belongs to; the one strict figure of a data set that comes split is both."""
    if result.mode == "siren":
        return ["siren"]
    if result.protocol != LEAKAGE_FREE:
        return ["strict"]
    task = TASKS[result.dataset]
    split = isinstance(task, FaultTask) and task.protocol == "split"
    return ["strict", "leakage-free"] if split else ["leakage-free"]


def _titled(columns: Sequence[str], incomplete: Collection[str]) -> list[str]:
    titles = [TITLES[c] + (" (incomplete)" if c.split()[0] in incomplete else "") for c in columns]
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
    if result.k != PUBLISHED_K:
        return None
    return f"{result.dataset} {result.part}".strip()


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"
