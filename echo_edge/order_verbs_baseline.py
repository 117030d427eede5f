"""Orders about baselines. None of them takes a path: files lie in ``exports`` and ``imports`` of the state folder."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from echo_edge import baseline_orders
from echo_edge.baseline_file import SUFFIX
from echo_edge.errors import BaselineError, OrderError
from echo_edge.features import zone_at
from echo_edge.order_bench import EXIT_USAGE, Bench, OfPoint, Text, order, would
from echo_edge.order_types import Call, Verb
from echo_edge.verbs import Args

log = logging.getLogger(__name__)

KEPT_EXPORTS = 20
Id = Annotated[str, Field(pattern=r"^bl_\d{4,18}$")]


class ListArgs(Args):
    """Of a point, or of all; the newest ones."""

    point: str | None = None
    limit: int = Field(default=50, ge=1, le=500)


class IdArgs(Args):
    """One version."""

    id: Id


class DiffArgs(Args):
    """From one version to another."""

    old: Id
    new: Id


class ActivateArgs(OfPoint):
    """Judge the point by this version."""

    id: Id
    note: Text = ""


class RollbackArgs(OfPoint):
    """Judge the point by the version before."""

    note: Text = ""


class RejectArgs(IdArgs):
    """Never activate it."""

    note: Text = ""


class LabelArgs(IdArgs):
    """What people are to call it; empty: nothing any more."""

    label: Text


class ImportArgs(OfPoint):
    """A file in ``imports``; ``key`` is the PEM of a public key that is trusted from now on."""

    file: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,80}$")
    key: str | None = Field(default=None, max_length=4096)
    note: Text = ""


def _list(bench: Bench, args: ListArgs, _: Call) -> dict[str, Any]:
    found = baseline_orders.run_verb(bench.store, "list", {"point": args.point})["baselines"]
    return {"baselines": found[-args.limit :], "left_out": max(0, len(found) - args.limit)}


def _show(bench: Bench, args: IdArgs, _: Call) -> dict[str, Any]:
    told = baseline_orders.run_verb(bench.store, "show", {"id": args.id})
    point, rate_hz = told["manifest"]["point"], told["manifest"]["origin"]["rate_hz"]
    for state in told["heard"].values():  # where the class of the machine is known
        if (usual := state["usual"].get("velocity_rms_mm_s")) and (
            zone := zone_at(bench.config, point, rate_hz, usual[1])
        ):
            state["zone"] = zone
    return told


def _diff(bench: Bench, args: DiffArgs, _: Call) -> dict[str, Any]:
    return baseline_orders.run_verb(bench.store, "diff", {"old": args.old, "new": args.new})


def _changed(bench: Bench, verb: str, call: Call, what: str, **args: Any) -> dict[str, Any]:
    asked = {**args, "by": call.actor}
    if call.dry_run:
        return would(what, **baseline_orders.run_verb(bench.store.rehearsal(), verb, asked))
    return bench.monitor.run_verb(verb, asked)


def _activate(bench: Bench, args: ActivateArgs, call: Call) -> dict[str, Any]:
    what = f"judge {args.point} by {args.id}"
    return _changed(bench, "activate", call, what, point=args.point, id=args.id, why=args.note)


def _rollback(bench: Bench, args: RollbackArgs, call: Call) -> dict[str, Any]:
    return _changed(bench, "rollback", call, f"go back at {args.point}", point=args.point, why=args.note)


def _reject(bench: Bench, args: RejectArgs, call: Call) -> dict[str, Any]:
    return _changed(bench, "reject", call, f"never activate {args.id}", id=args.id, why=args.note)


def _label(bench: Bench, args: LabelArgs, call: Call) -> dict[str, Any]:
    store = bench.store.rehearsal() if call.dry_run else bench.store
    store.label(args.id, call.actor, args.label)
    return would(f"label {args.id}") if call.dry_run else {"id": args.id, "label": args.label}


def _export(bench: Bench, args: IdArgs, call: Call) -> dict[str, Any]:
    point = bench.store.manifest(args.id).point
    folder = bench.folder / "exports"
    path = folder / f"{args.id}-{point.replace('/', '-')}{SUFFIX}"
    if call.dry_run:
        return would(f"write {path.name}")
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # the same bytes are written again
        key = bench.store.export(args.id, path)
        data = path.read_bytes()
        for old in sorted(folder.glob(f"*{SUFFIX}"), key=_written_ns)[:-KEPT_EXPORTS]:
            old.unlink(missing_ok=True)
            log.info("%s: removed, newer exports take its place", old.name)
    except OSError as error:
        raise BaselineError(f"{folder}: cannot be written: {error.strerror}; look at the disk") from error
    digest = hashlib.sha256(data).hexdigest()
    return {"exported": args.id, "file": path.name, "size_bytes": len(data), "sha256": digest, "key_id": key.id}


def _written_ns(path: Path) -> int:
    return path.stat().st_mtime_ns


def _import(bench: Bench, args: ImportArgs, call: Call) -> dict[str, Any]:
    if ".." in args.file:
        raise OrderError(f"file: '{args.file}' is no name of a file in 'imports'", EXIT_USAGE)
    path, key = bench.folder / "imports" / args.file, None if args.key is None else args.key.encode()
    store = bench.store.rehearsal() if call.dry_run else bench.store
    try:
        made = store.import_(path, args.point, call.actor, key, args.note, follow=False)
    except BaselineError as error:  # who orders from afar is told the name that they gave, and no folder of ours
        raise BaselineError(str(error).replace(str(path), args.file)) from error
    if call.dry_run:
        return would(f"propose what {args.file} holds for {args.point}", proposed=made.id)
    return baseline_orders.imported(made)


VERBS: dict[str, Verb[Bench, Any]] = {
    "baseline.list": order("viewer", ListArgs, _list, "Lists versions of what is normal."),
    "baseline.show": order("viewer", IdArgs, _show, "Shows what is known of one."),
    "baseline.diff": order("viewer", DiffArgs, _diff, "Compares two."),
    "baseline.activate": order("engineer", ActivateArgs, _activate, "Judges a point by it from now on."),
    "baseline.rollback": order("engineer", RollbackArgs, _rollback, "Judges a point by the one before again."),
    "baseline.reject": order("engineer", RejectArgs, _reject, "Never lets it be activated."),
    "baseline.export": order("engineer", IdArgs, _export, "Writes it to one signed file in `exports`."),
    "baseline.import": order("engineer", ImportArgs, _import, "Proposes what a file in `imports` holds."),
    "baseline.label": order("engineer", LabelArgs, _label, "Gives it a name or note for people."),
}
