"""Commands about baselines: what there is, what differs, which one judges, who decided so. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from echo_edge.cli_shared import (
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    By,
    ConfigPath,
    PointName,
    cells,
    err,
    fail,
    load,
    local_time,
    out,
    printable,
    say,
    table_of,
)
from echo_edge.config import Config

CHECK = "An import is only a proposal: activate it, and check it for 10 minutes on the new machine."
COLOURS = {"active": "green", "proposed": "yellow", "damaged": "red"}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Versions of what is normal: list, compare, activate, roll back, take to a twin machine.\n\n"
    "Changes go through the running daemon, which judges by them at once, or are made alone while none runs.",
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Which one, for example `bl_0007`.", show_default=False)]
Why = Annotated[str, typer.Option("--why", help="The reason; kept in the audit log.", show_default=False)]
OptionalPoint = Annotated[
    str | None, typer.Argument(metavar="[POINT]", help="`machine/point`; all of them without it.", show_default=False)
]


def _ask(config: Config, verb: str, **args: Any) -> dict[str, Any]:
    from echo_edge.baseline_command import ask  # noqa: PLC0415  # the index, which other commands do without

    return ask(config, verb, args)


@app.command("list")
def list_(config: ConfigPath, point: OptionalPoint = None, as_json: AsJson = False) -> None:
    """List the versions of a point, or of all points: status, states, who made them and when."""
    result = _ask(load(config, point), "list", point=point)
    if as_json:
        print(json.dumps(result))
        return
    columns = ("id", "point", "status", "follows", "states", "learned", "by", "made", "note")
    table = table_of(*columns, whole=("id", "status", "follows"), title="Baselines")
    for one in result["baselines"]:
        learned = f"{one['learned_s'] / 60:.0f} min"
        told = (one["parent"] or one["imported_from"], ", ".join(one["states"]), learned, one["author"])
        last = (local_time(one["created_ns"]), one["label"] or one["note"])
        row = cells(one["id"], one["point"], one["status"], *told, *last)
        if one["problem"]:
            row = [*cells(one["id"], one["point"], one["status"]), *cells(*[""] * 5), *cells(one["problem"])]
        row[2].stylize(COLOURS.get(one["status"], "dim"))
        table.add_row(*row)
    out.print(table if result["baselines"] else "no baseline yet; 'echo-edge enroll' makes one")


@app.command()
def show(config: ConfigPath, id_: Id, as_json: AsJson = False) -> None:
    """Show what is known of a version: sensor, states, what was left out, checks, promises, who, signature."""
    result = _ask(load(config), "show", id=id_)
    if as_json:
        print(json.dumps(result))
        return
    told, origin = result["manifest"], result["manifest"]["origin"]
    table = Table(show_header=False, title=f"{told['id']} of {told['point']}: {result['status']}, verified")
    came = told["imported_from"]
    rows = {
        "made": f"{local_time(told['created_ns'])} by {told['author']}",
        "label": result["label"],
        "note": told["note"],
        "follows": told["parent"],
        "imported from": came and f"{came['id']} of {came['point']} on gateway {came['gateway']}, key {came['key_id']}",
        "sensor": told["identity"],
        "settings": ", ".join(f"{name} {value}" for name, value in told["settings"].items()),
        "samples": f"{origin['rate_hz']} Hz, channels {origin['channels']}, {origin['length_s']:g} s, {origin['unit']}",
        "model": f"{origin['model_name']} ({origin['model_sha256'][:12]})",
        **{f"state {state['name']}": _state(state) for state in told["states"]},
        **{f"at {row['target']:g} a month": _promise(row) for row in told["false_alarms"]},
        "signed with": f"key {told['key_id']} of gateway {told['gateway']}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(*cells(name, value))
    out.print(table)


def _state(state: dict[str, Any]) -> str:
    about, learned = state["about"], state["learned"]
    text = f"{about['windows']} windows kept, {about['learned_s'] / 60:.1f} min learned"
    if learned is None:
        return text
    left_out = ", ".join(f"{count} {reason}" for reason, count in learned["excluded"].items())
    checks = ", ".join(str(finding.get("check", finding)) for finding in learned["checks"])
    added = f", {learned['added_windows']} of them new" if learned["added_windows"] else ""
    text += f" ({learned['how']}, {learned['windows']} useful{added})"
    return text + (f"; left out: {left_out}" if left_out else "") + (f"; checks: {checks}" if checks else "")


def _promise(row: dict[str, Any]) -> str:
    thresholds = ", ".join(f"{state} {value:.3g}" for state, value in row["thresholds"].items())
    proven = f"demonstrated fewer than {row['demonstrated_upper_95']:.3g} (95 %)"
    return f"threshold {thresholds}; estimated {row['estimated']:.3g}, {proven}"


@app.command()
def diff(
    config: ConfigPath,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The earlier one.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The later one.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare two versions of a point: sensor, gain, states, thresholds, and how strange the new is to the old.

    The strange share is the part of a state's windows that the old version would have called strange. When it is most
    of them, ask whether the machine was healthy while the new one was learned.
    """
    result = _ask(load(config), "diff", old=old, new=new)
    if as_json:
        print(json.dumps(result))
        return
    table = Table("what", old, new, "strange to the old", title=f"{result['point']}")
    for change in result["changed"]:
        table.add_row(*cells(change["what"], change["old"], change["new"], ""))
    for state in result["states"]:
        windows = [one and f"{one['windows']} windows, {one['learned_s'] / 60:.1f} min" for one in _both(state)]
        share = state["strange_share"]
        table.add_row(*cells(f"state {state['name']}", *windows, None if share is None else f"{share:.1%}"))
    promises = [{row["target"]: _promise(row) for row in rows} for rows in _both(result["false_alarms"])]
    for target in {**promises[0], **promises[1]}:
        table.add_row(*cells(f"at {target:g} a month", *(one.get(target) for one in promises), ""))
    out.print(table)
    if result["incomparable"]:
        say(f"How strange the new is to the old cannot be told: {result['incomparable']}")


def _both(pair: dict[str, Any]) -> tuple[Any, Any]:
    return pair["old"], pair["new"]


@app.command()
def activate(config: ConfigPath, point: PointName, id_: Id, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Judge the point by this version from now on."""
    result = _ask(load(config, point), "activate", point=point, id=id_, by=by, why=why)
    _done(result, f"{point} is judged by {id_} ({', '.join(result['states'])})", as_json)


@app.command()
def rollback(config: ConfigPath, point: PointName, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Judge the point by the version that was active before the present one; again, and it goes further back."""
    result = _ask(load(config, point), "rollback", point=point, by=by, why=why)
    _done(result, f"{point} is judged by {result['active']} again ({', '.join(result['states'])})", as_json)


@app.command()
def reject(config: ConfigPath, id_: Id, by: By, why: Why = "", as_json: AsJson = False) -> None:
    """Never let this version be activated. It stays in the list."""
    _done(_ask(load(config), "reject", id=id_, by=by, why=why), f"{id_} is rejected", as_json)


@app.command()
def export(
    config: ConfigPath,
    id_: Id,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, NAME.eebl.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a version to one signed file, for a twin machine.

    Who imports it needs this gateway's public key, too: `signing.pub` in the state folder.
    """
    result = _ask(load(config), "export", id=id_, file=str(file.absolute()))
    _done(result, f"{id_} is in {file}, signed with key {result['key_id']}", as_json)


@app.command("import")
def import_(
    config: ConfigPath,
    point: PointName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.", show_default=False)],
    by: By,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The other gateway's `signing.pub`; trusted from now on.", show_default=False),
    ] = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Propose another gateway's version for a point here.

    An import is only a proposal; transfer needs a 10 min check on the new machine. The signer must be this gateway,
    or one whose public key is given with `--key` or was given before.
    """
    pem = None
    try:
        pem = None if key is None else key.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{key}: cannot be read: {error}", EXIT_USAGE)
    args = {"point": point, "file": str(file.absolute()), "key": pem, "by": by, "why": why}
    result = _ask(load(config, point), "import", **args)
    came = result["imported_from"]
    text = f"{result['proposed']} is proposed for {point}, from {came['id']} of {came['point']} on {came['gateway']}."
    _done(result, f"{text} {CHECK}", as_json)


def _done(result: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
    else:
        say(text)


def audit(
    config: ConfigPath,
    point: OptionalPoint = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest entries.")] = 50,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check all of it; exit code 1 when it is not whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell who did what to baselines, when and why; or check that nobody changed what is written there.

    `--verify` follows the chain of hashes to its signed end, and compares it with the baselines that are stored.
    """
    result = _ask(load(config, point), "audit", point=point, limit=limit, verify=verify)
    if as_json:
        print(json.dumps(result))
    elif verify:
        for text in (*result["problems"], *result["notes"]):
            err.print(printable(text), style="red", markup=False, highlight=False, soft_wrap=True)
        if not result["problems"]:
            say(f"whole: {result['entries']} entries, and all that they tell of")
    else:
        columns = ("entry", "when", "who", "what", "point", "object", "why")
        table = table_of(*columns, whole=("entry",), title="Audit log")
        for row in result["entries"]:
            told = (row["who"], row["what"], row["point"], row["object"], row["why"])
            table.add_row(*cells(row["seq"], local_time(row["time_ns"]), *told))
        out.print(table)
    if verify and result["problems"]:
        sys.exit(EXIT_FAILED)
