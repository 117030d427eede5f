"""Orders about the configuration: read it, check a text, put one in place and begin anew; and about sound clips."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from echo_edge.clip_job import MAX_S
from echo_edge.config_versions import MAX_BYTES, ConfigVersions
from echo_edge.errors import ConfigError, OrderError
from echo_edge.order_bench import EXIT_USAGE, Bench, OfPoint, order, would
from echo_edge.order_types import Call, Verb
from echo_edge.redact import redact
from echo_edge.verbs import Args


class TextArgs(Args):
    """A whole configuration, as its file would have it."""

    text: str = Field(min_length=1, max_length=MAX_BYTES)


class ClipArgs(OfPoint):
    """How long to record from now on."""

    seconds: float = Field(default=MAX_S, ge=2.0, le=MAX_S)
    """Not shorter: in less a voice is not told from a machine."""

    pre_s: float = Field(default=0.0, ge=0, le=10)
    """Seconds before now; refused, since no sound is kept before it is asked for."""


def _versions(bench: Bench) -> ConfigVersions:
    if bench.versions is None:
        raise OrderError("there is no configuration file here that an order could look at", EXIT_USAGE)
    return bench.versions


def _get(bench: Bench, _: Args, __: Call) -> dict[str, Any]:
    versions = _versions(bench)
    text = versions.text
    return {"text": redact(text), "sha256": versions.sha256, "version": versions.name(text), "kept": versions.names()}


def _validate(bench: Bench, args: TextArgs, _: Call) -> dict[str, Any]:
    try:
        config = _versions(bench).checked(args.text)
    except ConfigError as error:
        return {"valid": False, "problems": [redact(problem) for problem in error.problems]}
    return {"valid": True, "points": list(config.points())}


def _apply(bench: Bench, args: TextArgs, call: Call) -> dict[str, Any]:
    versions = _versions(bench)
    if call.dry_run:
        versions.may_apply(args.text, bench.config)
        return would("put it in place, begin anew with it, and go back if the daemon does not come up")
    previous = versions.apply(args.text, bench.config, call.actor)
    bench.restart()
    return {"accepted": True, "sha256": versions.sha256, "previous": previous, "restarts": True}


def _clip(bench: Bench, args: ClipArgs, call: Call) -> dict[str, Any]:
    if args.pre_s > 0:
        raise OrderError("pre_s: no sound is kept before it is asked for; record from now on", EXIT_USAGE)
    settings = bench.points[args.point].config
    capture = bench.captures.get(settings.device)
    if call.dry_run or capture is None:
        bench.clips.check(args.point, capture)
        return would(f"record {args.seconds:g} s of {args.point}, unless somebody speaks")
    name = bench.clips.start(args.point, capture, settings.channel_numbers, args.seconds, call.actor)
    return {"accepted": True, "file": name, "unless": "somebody speaks; the audit log tells"}


VERBS: dict[str, Verb[Bench, Any]] = {
    "config.get": order("engineer", Args, _get, "Tells the configuration, without what looks like a secret."),
    "config.validate": order("engineer", TextArgs, _validate, "Checks a configuration; nothing is changed."),
    "config.apply": order("admin", TextArgs, _apply, "Puts a configuration in place; the old one returns if it fails."),
    "clip.record": order("engineer", ClipArgs, _clip, "Records a few seconds, encrypted, unless somebody speaks."),
}
