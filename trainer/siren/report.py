"""The report: our encoders, the trivial ones among them, and the published figures in one table; then each data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from trainer.siren.faults import LEAKAGE_FREE
from trainer.siren.overview import overview
from trainer.siren.results import NEIGHBOURS, Result, Run, shown
from trainer.siren.tables import DASH, header, row
from trainer.siren.tasks import TASKS
from trainer.siren.tasks.base import FaultTask

REMARKS = 40  # shown of what was passed over
FEW_CLIPS = 2  # a difference of so many clips is none
METHODS = {
    "per band": "matched band by band",
    "local density": "a distance counts in units of the usual one around where it leads",
    "combined": (
        "the least strange answer of nearest, local density, Mahalanobis and principal components' residual, each "
        "standardised"
    ),
}


def markdown(runs: Sequence[Run], picture: str = "") -> str:
    """Return the whole report of the runs of one folder."""
    parts = ["# SIREN", _how_to_read()]
    parts += [f"![Figures with their 95 % intervals]({picture})"] if picture else []
    parts.append(overview(runs))
    for run in runs:
        task = TASKS[run.dataset]
        parts.append(_faults(task, run) if isinstance(task, FaultTask) else _year(task.title, run))
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_to_read() -> str:
    return (
        "*siren* repeats the published code, its faults included; *strict* compares true channels, follows the "
        "challenge's own domain rule, and for fault sets lets nothing vote that shares a mounting, severity or session "
        "with the clip (leakage-free). The figures that a spectrum averaged over time reaches stand among the others: "
        "an encoder that is not above them adds nothing there."
    )


def _faults(task: FaultTask, run: Run) -> str:
    parts = [f"## {task.title}", _incomplete(run)]
    for part in dict.fromkeys(result.part for result in run.results):
        inside = [result for result in run.results if result.part == part]
        parts.append(_accuracies(task, part, inside))
        parts.append(_beyond(inside, lambda r: r.protocol, "accuracy"))
        parts.append(_averages(inside))
        parts.append(_classes(task, inside))
        parts.append(_conditions(inside))
    parts.append(_remarks(run))
    return "\n\n".join(part for part in parts if part)


def _accuracies(task: FaultTask, part: str, results: Sequence[Result]) -> str:
    plain = [result for result in results if result.method == NEIGHBOURS]
    columns = sorted({(r.mode, r.protocol, r.k) for r in plain}, key=lambda c: (c[0], c[1] == LEAKAGE_FREE, c[2]))
    best = {c: max(r.right or 0 for r in plain if (r.mode, r.protocol, r.k) == c) for c in columns}
    counts = {(r.mode, r.protocol): r.count for r in plain}
    lines = header(["", *(f"{mode}, {protocol}, k = {k}" for mode, protocol, k in columns)])
    for encoder in _encoders(plain):
        cells = []
        for column in columns:
            found = [r for r in plain if r.encoder == encoder and (r.mode, r.protocol, r.k) == column]
            cells.append(_share(found[0], best[column]) if found else DASH)
        lines.append(row([encoder, *cells]))
    protocols = "; ".join(f"{mode}, {protocol}: {count} clips" for (mode, protocol), count in counts.items())
    smallest, largest = min(counts.values()), max(counts.values())
    text = (
        f"Accuracy, clips named rightly and the 95 % Wilson interval. **Bold**: within {FEW_CLIPS} clips of the "
        f"column's best, which is no difference (one clip is {100 / largest:.2f} to {100 / smallest:.2f} points). "
        f"Asked: {protocols}. In the published protocol ({task.protocol}) {task.leak}; leakage-free keeps apart: "
        f"{task.grouping}. Clips whose class has then no other clip are not asked."
    )
    return (f"### {part}\n\n" if part else "") + "\n".join(lines) + f"\n\n{text}"


def _share(result: Result, best: int) -> str:
    mark = "**" if best - (result.right or 0) <= FEW_CLIPS else ""
    return f"{mark}{result.value:.3f}{mark} ({result.right}; {result.low:.2f}-{result.high:.2f})"


def _beyond(results: Sequence[Result], group: Callable[[Result], str], what: str) -> str:
    plain = [r for r in shown(results) if r.mode == "strict"]
    ks = {r.k for r in plain}
    others = [r for r in results if r.method != NEIGHBOURS and r.k in ks]
    if not others:
        return ""
    columns = list(dict.fromkeys((group(r), r.method) for r in [*plain, *others]))
    columns.sort(key=lambda column: column[0] == LEAKAGE_FREE)
    lines = header(["", *(f"{name}: {method}" for name, method in columns)])
    for encoder in _encoders(others):
        found = {(group(r), r.method): r for r in [*plain, *others] if r.encoder == encoder}
        lines.append(row([encoder, *(f"{found[c].value:.3f}" if c in found else DASH for c in columns)]))
    used = [f"*{name}*, {text}" for name, text in METHODS.items() if any(r.method == name for r in others)]
    return f"Beyond plain neighbours ({what}, strict): {'; '.join(used)}.\n\n" + "\n".join(lines)


def _averages(results: Sequence[Result]) -> str:
    chosen = shown(results)
    if not chosen:
        return ""
    names = ("precision", "recall", "F1")
    lines = header(["", "protocol", *(f"macro {n}" for n in names), *(f"weighted {n}" for n in names)])
    for r in chosen:
        cells = [f"{v:.3f}" for v in (*r.details["macro"], *r.details["weighted"])]
        lines.append(row([r.encoder, f"{r.mode}, {r.protocol}", *cells]))
    return f"Over classes, k = {chosen[0].k} (the published code prints the weighted ones).\n\n" + "\n".join(lines)


def _classes(task: FaultTask, results: Sequence[Result]) -> str:
    chosen = [r for r in shown(results) if r.protocol == LEAKAGE_FREE or r.mode == "siren"]
    if not chosen:
        return ""
    protocols = sorted({(r.mode, r.protocol) for r in chosen})
    columns = [r for pair in protocols for r in chosen if (r.mode, r.protocol) == pair]
    lines = header(["recall of", *(f"{r.encoder}, {r.mode}" for r in columns)])
    for label in task.classes:
        found = [r.details["classes"].get(label) for r in columns]
        lines.append(row([label, *(f"{c[1]:.2f} of {c[3]}" if c else "not asked" for c in found)]))
    return "\n".join(lines)


def _conditions(results: Sequence[Result]) -> str:
    chosen = [r for r in shown(results) if r.details.get("conditions")]
    names = sorted({name for r in chosen for name in r.details["conditions"]})
    if not names:
        return ""
    lines = header(["named rightly in", *(f"{r.encoder}, {r.mode}" for r in chosen)])
    for name in names:
        cells = [r.details["conditions"].get(name) for r in chosen]
        lines.append(row([name, *(f"{c[0]} of {c[1]}" if c else DASH for c in cells)]))
    return "\n".join(lines)


def _year(title: str, run: Run) -> str:
    parts = ("dev", "eval", "overall")
    plain = [r for r in run.results if r.method == NEIGHBOURS]
    lines = header(["", "mode", *parts])
    for encoder in _encoders(plain):
        for mode in ("siren", "strict"):
            found = {r.part: r for r in plain if (r.encoder, r.mode) == (encoder, mode)}
            if found:
                cells = [
                    f"{found[p].value:.3f} ({found[p].low:.3f}-{found[p].high:.3f})" if p in found else DASH
                    for p in parts
                ]
                lines.append(row([encoder, mode, *cells]))
    text = (
        "Mean of AUC and partial AUC (0.5 is chance for both), with the 95 % interval of a bootstrap over test clips. "
        "Since 2022 strict sets a domain's normal clips against the anomalies of both domains, as the challenge does."
    )
    machines = _machines(plain)
    beyond = _beyond([r for r in run.results if r.part == "overall"], lambda r: r.part, "overall")
    table = "\n".join(lines) + f"\n\n{text}"
    return "\n\n".join(p for p in (f"## {title}", _incomplete(run), table, machines, beyond, _remarks(run)) if p)


def _machines(results: Sequence[Result]) -> str:
    """Return AUC and partial AUC by machine, the plain mean over its groups."""
    chosen = [r for r in results if r.part != "overall"]
    pairs = sorted({(r.encoder, r.mode) for r in chosen})
    found: dict[str, dict[tuple[str, str], str]] = {}
    for r in chosen:
        machines = dict.fromkeys(_machine(name) for name in r.details["auc"])
        for machine in machines:
            means = [
                fmean(v for name, v in r.details[which].items() if _machine(name) == machine)
                for which in ("auc", "pauc")
            ]
            found.setdefault(f"{machine}, {r.part}", {})[r.encoder, r.mode] = f"{means[0]:.3f} / {means[1]:.3f}"
    lines = header(["AUC / partial AUC", *(f"{encoder}, {mode}" for encoder, mode in pairs)])
    lines += [row([machine, *(cells.get(pair, DASH) for pair in pairs)]) for machine, cells in found.items()]
    return "\n".join(lines)


def _machine(group: str) -> str:
    return group.replace("_section_", "_id_").split("_id_")[0]


def _incomplete(run: Run) -> str:
    return "" if run.complete else "**The data set is incomplete**: its figures compare with nothing published."


def _remarks(run: Run) -> str:
    if not run.remarks:
        return ""
    listed = [f"- {remark}" for remark in run.remarks[:REMARKS]]
    if len(run.remarks) > REMARKS:
        listed.append(f"- and {len(run.remarks) - REMARKS} more, in {run.dataset}.json")
    return "Passed over in mode siren, as the published code does:\n\n" + "\n".join(listed)


def _encoders(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(r.encoder for r in results))
