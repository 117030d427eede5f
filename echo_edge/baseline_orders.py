"""What can be asked about baselines: verbs with arguments in JSON, the same for the command line and the daemon."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from echo_edge import verbs
from echo_edge.baseline import Baseline
from echo_edge.baseline_diff import difference
from echo_edge.baseline_store import BaselineStore
from echo_edge.envelope import timestamp
from echo_edge.levels import levels_db
from echo_edge.normal_state import NormalState
from echo_edge.verbs import Args

MAX_SHOWN = 256  # windows whose mean spectrum is shown
CHANGES_ACTIVE = ("activate", "rollback")
CHANGES = (*CHANGES_ACTIVE, "reject", "import")
"""Verbs that write: through the daemon while one runs. The others only read, and anyone may call them beside it."""


class Decision(Args):
    """Who asks for a change, and why."""

    by: str
    why: str = ""


class ActivateArgs(Decision):
    """Judge the point by this version."""

    point: str
    id: str


class RollbackArgs(Decision):
    """Judge the point by the version before."""

    point: str


class RejectArgs(Decision):
    """Never activate this version."""

    id: str


class ImportArgs(Decision):
    """Propose a file's baseline; ``key`` is the PEM of a public key that is trusted from now on."""

    point: str
    file: Path
    key: str | None = None


class ListArgs(Args):
    """Of a point, or of all."""

    point: str | None = None


class ShowArgs(Args):
    """Everything but the vectors."""

    id: str


class DiffArgs(Args):
    """From one version to another."""

    old: str
    new: str


class ExportArgs(Args):
    """To a file that does not exist yet."""

    id: str
    file: Path


class AuditArgs(Args):
    """The newest entries, or a check of all of them."""

    point: str | None = None
    limit: int = Field(default=50, ge=1)
    verify: bool = False


def run_verb(store: BaselineStore, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Do what a verb says and return what a person wants to know, as JSON.

    Raises:
        OrderError: no such verb, or arguments that do not fit it.
        BaselineError: refused; nothing was changed.
    """
    return verbs.run(VERBS, "baselines", store, verb, args)


def _activate(store: BaselineStore, args: ActivateArgs) -> dict[str, Any]:
    baseline = store.activate(args.point, args.id, args.by, args.why)
    return {"point": args.point, "active": baseline.id, "states": [state.name for state in baseline.states]}


def _rollback(store: BaselineStore, args: RollbackArgs) -> dict[str, Any]:
    baseline = store.rollback(args.point, args.by, args.why)
    return {"point": args.point, "active": baseline.id, "states": [state.name for state in baseline.states]}


def _reject(store: BaselineStore, args: RejectArgs) -> dict[str, Any]:
    store.reject(args.id, args.by, args.why)
    return {"rejected": args.id}


def _import(store: BaselineStore, args: ImportArgs) -> dict[str, Any]:
    key = None if args.key is None else args.key.encode()
    return imported(store.import_(args.file, args.point, args.by, key, args.why))


def imported(baseline: Baseline) -> dict[str, Any]:
    """What a person wants to know of what was brought in."""
    origin = baseline.imported_from
    told = None if origin is None else asdict(origin)
    return {"point": baseline.point, "proposed": baseline.id, "imported_from": told}


def _list(store: BaselineStore, args: ListArgs) -> dict[str, Any]:
    return {"baselines": [asdict(summary) for summary in store.list(args.point)]}


def _show(store: BaselineStore, args: ShowArgs) -> dict[str, Any]:
    baseline = store.load(args.id)  # with its vectors: what is shown has been verified whole
    signed = store.signed(args.id)
    (summary,) = (one for one in store.list(baseline.point) if one.id == args.id)
    since_ns = summary.active_since_ns
    return {
        "status": summary.status,
        "label": summary.label,
        "active_since": None if since_ns is None else timestamp(since_ns),
        "manifest": signed.manifest.model_dump(mode="json"),
        "manifest_sha256": signed.sha256,
        "signature": signed.signature.hex(),
        "heard": {state.name: heard(state, baseline.origin.rate_hz) for state in baseline.states},
    }


def heard(state: NormalState, rate_hz: int) -> dict[str, Any]:
    """What a state was learned from, for people: when, how loud each range of frequencies was, what is usual.

    ``spectrum`` is of the loudest channel in each range, in dB of an arbitrary reference; ``usual`` is what 5 % and
    95 % of the windows were below, over all channels.
    """
    levels_wl, ranges = levels_db(state.spectra(MAX_SHOWN), rate_hz)
    levels_cl = levels_wl.mean(axis=0).reshape(ranges[-1].channel + 1, -1)
    low_k, high_k = state.usual[0].min(axis=0).tolist(), state.usual[1].max(axis=0).tolist()
    return {
        "from": timestamp(int(state.start_ns[0])),
        "until": timestamp(int(state.end_ns[-1])),
        "spectrum": [
            {"hz": [round(place.low_hz, 1), round(place.high_hz, 1)], "db": round(level_db, 1)}
            for place, level_db in zip(ranges, levels_cl.max(axis=0).tolist(), strict=False)
        ],
        "usual": {
            name: [float(f"{low:.4g}"), float(f"{high:.4g}")]
            for name, low, high in zip(state.indicator_names, low_k, high_k, strict=True)
        },
    }


def _diff(store: BaselineStore, args: DiffArgs) -> dict[str, Any]:
    return difference(store.load(args.old), store.load(args.new))


def _export(store: BaselineStore, args: ExportArgs) -> dict[str, Any]:
    return {"exported": args.id, "file": str(args.file), "key_id": store.export(args.id, args.file).id}


def _audit(store: BaselineStore, args: AuditArgs) -> dict[str, Any]:
    if args.verify:
        return asdict(store.verify_audit())
    return {"entries": [asdict(entry) for entry in store.audit(args.limit, args.point)]}


VERBS = {
    "list": verbs.verb(ListArgs, _list),
    "show": verbs.verb(ShowArgs, _show),
    "diff": verbs.verb(DiffArgs, _diff),
    "activate": verbs.verb(ActivateArgs, _activate),
    "rollback": verbs.verb(RollbackArgs, _rollback),
    "reject": verbs.verb(RejectArgs, _reject),
    "export": verbs.verb(ExportArgs, _export),
    "import": verbs.verb(ImportArgs, _import),
    "audit": verbs.verb(AuditArgs, _audit),
}
