"""Order desk: whoever orders something, and by whichever way, is checked here, served here and written down here."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from echo_edge.config_yaml import suggest
from echo_edge.envelope import split_point
from echo_edge.errors import EchoEdgeError, EngineError, OrderRefusedError
from echo_edge.order_answers import one_line
from echo_edge.order_envelope import refused_args
from echo_edge.order_types import ROLES, Call, Verb

log = logging.getLogger(__name__)

Bench = TypeVar("Bench")  # what verbs work with
Note = Callable[[str, str, str, str, str], object]
"""Adds a row to the audit log: who, what, why, point, object; raises EchoEdgeError when it cannot."""

REFUSAL_EVERY_S, REFUSALS = 3600.0, 200  # the same one is written down once in so long; at most so many in that time
DONE, REFUSED = "order", "order_refused"  # what the audit log says


class Desk(Generic[Bench]):
    """A closed table of verbs, and who may what. All of it runs in the pipeline's thread."""

    def __init__(self, bench: Bench, verbs: Mapping[str, Verb[Bench, Any]], note: Note) -> None:
        self._bench = bench
        self.verbs = verbs
        self._note = note
        self._refusals: dict[tuple[str, str, str], float] = {}  # what was refused, and when (monotonic)

    def carry_out(self, verb: str, args: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """Do what an order says, and return what came of it.

        Args:
            args: as JSON has them; nothing is converted, except texts into times and the like.

        Raises:
            OrderRefusedError: ``unknown_verb``, ``forbidden``, ``bad_args``, ``failed`` (by a defect of ours).
            EchoEdgeError: whatever the verb refuses with; nothing was changed then.
            EngineError: the process must end.
        """
        try:
            result = self._carried_out(verb, args, call)
        except EngineError:
            raise
        except EchoEdgeError as error:
            self._written(REFUSED, verb, args, call, str(error))
            raise
        except Exception as error:  # a defect in one verb, reached from outside, must not end the monitoring
            log.exception("%s failed by a defect of its own", verb)
            self._written(REFUSED, verb, args, call, f"failed: {type(error).__name__}")
            raise OrderRefusedError("failed", "failed by a defect of echo-edge; its log says more") from error
        self._written(DONE, verb, args, call, "")
        return result

    def find(self, verb: str) -> Verb[Bench, Any]:
        """Look it up; raises OrderRefusedError, ``unknown_verb``."""
        if verb not in self.verbs:
            raise OrderRefusedError("unknown_verb", f"'{one_line(verb, 64)}' is no verb{suggest(verb, self.verbs)}")
        return self.verbs[verb]

    def _carried_out(self, verb: str, args: Mapping[str, Any], call: Call) -> dict[str, Any]:
        known = self.find(verb)
        if ROLES.index(call.role) < ROLES.index(known.role):
            raise OrderRefusedError("forbidden", f"{verb} is for {known.role}, {call.actor} is {call.role}")
        try:
            # by way of JSON: strict, and yet times and lists of fixed length have a form there
            parsed = known.args.model_validate_json(json.dumps(args), strict=True)
        except ValidationError as error:
            raise refused_args(error, "args") from error
        return known.work(self._bench, parsed, call)

    def _written(self, what: str, verb: str, args: Mapping[str, Any], call: Call, why: str) -> None:
        """Write down what changed something, or was to; reading is for viewers, and leaves no trace."""
        known = self.verbs.get(verb)
        if known is None or known.role == "viewer" or (what == DONE and call.dry_run):
            return
        if what == REFUSED and call.channel == "mqtt" and call.anonymous:
            return  # anyone: the bridge counts them, and they do not fill the disk
        if what == REFUSED and self._told_lately(call.actor, verb, why):
            return
        log.info("%s %s by %s (%s, %s)%s", what, verb, call.actor, call.role, call.channel, f": {why}" if why else "")
        alias = f", says '{call.alias}'" if call.alias else ""
        about = one_line(f"{call.role} by {call.channel}{alias}{f': {why}' if why else ''}")
        try:
            self._note(one_line(call.actor, 200), what, about, _point(args), verb)
        except EchoEdgeError as error:  # what was done is done, and its answer must say so
            log.error("the audit log misses '%s %s by %s': %s", what, verb, call.actor, error)

    def _told_lately(self, actor: str, verb: str, why: str) -> bool:
        """One row an hour for the same refusal: whoever may order must not fill the disk with what they may not."""
        now_s = time.monotonic()
        self._refusals = {key: s for key, s in self._refusals.items() if now_s - s < REFUSAL_EVERY_S}
        key = (actor, verb, why[:40])
        if key in self._refusals or len(self._refusals) >= REFUSALS:
            return True
        self._refusals[key] = now_s
        return False


def _point(args: Mapping[str, Any]) -> str:
    """The point that an order is about, where it names one."""
    point = args.get("point")
    try:
        split_point(point if isinstance(point, str) else "")
    except ValueError:
        return ""
    return str(point)
