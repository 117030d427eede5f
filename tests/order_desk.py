"""A bridge for orders without a broker: a clock that is turned by hand, verbs that only count, a client that signs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from echo_edge.baseline_store import BaselineStore
from echo_edge.config_orders import Operator, OrdersConfig
from echo_edge.envelope import Envelope, Topics, timestamp
from echo_edge.errors import OrderError
from echo_edge.operator_keys import PrivateKey, SharedKey, Signer
from echo_edge.order_desk import Desk
from echo_edge.order_envelope import sign
from echo_edge.order_ledger import Ledger
from echo_edge.order_mqtt import OrderBridge
from echo_edge.order_types import Call, Role, Verb
from echo_edge.records import TopicMessage
from echo_edge.verbs import Args

TOPICS = Topics("echo-edge/v1", "gw-hall3")
NOW_NS = 1_777_886_000 * 10**9
KEYS: dict[str, Signer] = {
    "v-view": SharedKey(b"v" * 32),
    "m-lang": SharedKey(b"m" * 32),
    "e-eng": PrivateKey(b"e" * 32),
}
ROLES: dict[str, Role] = {"v-view": "viewer", "m-lang": "technician", "e-eng": "engineer"}


class PointArgs(Args):
    point: str
    minutes: int = Field(default=5, ge=1, le=60)
    until: AwareDatetime | None = None
    pair: tuple[int, int] | None = None


class Bench:
    """Remembers what was done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any], Call]] = []

    def do(self, verb: str, args: Args, call: Call) -> dict[str, Any]:
        if not call.dry_run:
            self.done.append((verb, args.model_dump(), call))
        return {"count": len(self.done)}


def _verb(name: str, role: Role, args: type[Args] = Args) -> Verb[Bench, Any]:
    return Verb(role, args, lambda bench, given, call: bench.do(name, given, call), f"Does {name}.")


def _refuses(_: Bench, __: Args, ___: Call) -> dict[str, Any]:
    raise OrderError("the baseline is another by now", 6)


def _breaks(_: Bench, __: Args, ___: Call) -> dict[str, Any]:
    raise ZeroDivisionError


VERBS: dict[str, Verb[Bench, Any]] = {
    "ping": _verb("ping", "viewer"),
    "state.set": _verb("state.set", "technician", PointArgs),
    "threshold.set": _verb("threshold.set", "engineer"),
    "conflict": Verb("technician", Args, _refuses, "Refuses."),
    "broken": Verb("technician", Args, _breaks, "Has a defect."),
    "nan": Verb("technician", Args, lambda *_: {"x": float("nan")}, "Tells what is no JSON."),
    "long": Verb("technician", Args, lambda *_: {"x": "x" * 100_000}, "Tells too much."),
}


class Clock:
    def __init__(self) -> None:
        self.ns = NOW_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic_s(self) -> float:
        return self.ns / 1e9

    def turn(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Mouth:
    """Remembers what was published."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.set: Counter[str] = Counter()
        self.sent: list[tuple[str, dict[str, Any], bytes | None]] = []

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        assert qos == 1
        self.states[topic] = payload
        self.set[topic] += 1

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0, correlation: bytes | None = None) -> None:
        assert qos == 1
        self.sent.append((topic, json.loads(payload), correlation))


class Gateway:
    """A bridge, its desk and its disk; ``restart`` begins anew on the same disk."""

    def __init__(
        self,
        folder: Path,
        unsigned_role: Role | None = None,
        verbs: Mapping[str, Verb[Bench, Any]] = VERBS,
    ) -> None:
        self.folder, self.unsigned_role, self.verbs = folder, unsigned_role, verbs
        self.clock, self.bench = Clock(), Bench()
        self.store = BaselineStore(folder / "state.db", "gw-hall3")
        self.takes: Literal["at once", "later", "nothing"] = "at once"
        """How the pipeline's thread is."""

        self.waiting: list[Callable[[], None]] = []
        self._ctr = 0
        self.restart()

    def restart(self) -> None:
        operators = {
            name: Operator(name, name, ROLES[name], key.public if isinstance(key, PrivateKey) else key)
            for name, key in KEYS.items()
        }
        self.mouth = Mouth()
        self.bridge = OrderBridge(
            OrdersConfig(unsigned_role=self.unsigned_role),
            operators,
            Desk(self.bench, self.verbs, self.store.note),
            self._post,
            self.mouth,
            TOPICS,
            Envelope("gw-hall3", "b0b0b0b0"),
            Ledger(self.folder / "state.db", self.clock.now_ns, self.clock.monotonic_s),
            now_ns=self.clock.now_ns,
            monotonic_s=self.clock.monotonic_s,
        )
        self.bridge.tick()

    def _post(self, work: Callable[[], None]) -> bool:
        if self.takes == "at once":
            work()
        elif self.takes == "later":
            self.waiting.append(work)
        return self.takes != "nothing"

    @property
    def nonce(self) -> str:
        told: str = json.loads(self.mouth.states[TOPICS.nonce])["nonce"]
        return told

    def body(self, verb: str, args: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """What a client that behaves would sign now."""
        self._ctr += 1
        told = {
            "v": 1,
            "gw": "gw-hall3",
            "id": f"order-{self._ctr}",
            "verb": verb,
            "args": dict(args or {}),
            "ts": timestamp(self.clock.ns),
            "nonce": self.nonce,
            "ctr": self._ctr,
        } | changes
        return {name: value for name, value in told.items() if value is not None}

    def wire(self, verb: str, args: Mapping[str, Any] | None = None, by: str = "m-lang", **changes: Any) -> bytes:
        return sign(f"{TOPICS.orders}{verb}", self.body(verb, args, **changes), by, KEYS[by])

    def hear(
        self,
        verb: str,
        payload: bytes,
        *,
        retained: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> list[tuple[str, dict[str, Any], bytes | None]]:
        """Let a message come, and return what it was answered with."""
        before = len(self.mouth.sent)
        message = TopicMessage(f"{TOPICS.orders}{verb}", payload, self.clock.ns, retained, response_topic, correlation)
        self.bridge.hear(message)
        return self.mouth.sent[before:]

    def order(
        self, verb: str, args: Mapping[str, Any] | None = None, by: str = "m-lang", **changes: Any
    ) -> dict[str, Any]:
        """Give a signed order and return its one answer."""
        ((topic, told, _),) = self.hear(verb, self.wire(verb, args, by, **changes))
        assert topic == TOPICS.answer(verb)
        return told

    @property
    def done(self) -> list[str]:
        return [verb for verb, _, _ in self.bench.done]

    @property
    def audited(self) -> list[tuple[str, str, str]]:
        return [(entry.who, entry.what, entry.object) for entry in self.store.audit()]


def code(answer: Mapping[str, Any]) -> str:
    told: str = answer["error"]["code"]
    return told
