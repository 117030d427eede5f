"""A Sparkplug B edge node without its network: what the host knows of us, and what it must be told next.

The rules are those of Sparkplug 3.0: births before data, ``seq`` from 0 to 255 without a gap, only changes between
births. The gateway is the edge node, each machine a device.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from echo_edge.sparkplug_b import Kind, Metric, decode, encode

NAMESPACE = "spBv1.0"
NODE = ""
"""In place of a machine's id: the gateway itself."""

REBIRTH, BIRTH_COUNT = "Node Control/Rebirth", "bdSeq"
COUNT_TO = 256
KEPT = 10_000
AT_ONCE = 200  # metrics in one message: some 20 KB


class SparkplugTopics:
    """Where an edge node's messages go; ``group`` has no ``/``, ``+`` or ``#``."""

    def __init__(self, group: str, gateway: str) -> None:
        self._group, self.gateway = group, gateway
        self.commands = self.of("NCMD")

    def of(self, kind: str, device: str = NODE) -> str:
        """``kind`` as of the node: ``NDATA`` becomes ``DDATA`` for a device."""
        ours = f"D{kind[1:]}" if device else kind
        return "/".join([NAMESPACE, self._group, ours, self.gateway, *([device] if device else [])])


@dataclass(frozen=True, slots=True)
class Telegram:
    """One message to publish."""

    topic: str
    payload: bytes


class EdgeNode:
    """Takes changes, gives messages. Not thread-safe.

    Without ``birth``, or after ``away``, changes are kept and become history at the next birth: the newest ``kept``,
    the others are counted in ``dropped``. A device that is not alive has no messages; its values wait for its birth.

    Args:
        devices: ids of all machines.
    """

    def __init__(self, topics: SparkplugTopics, devices: Collection[str], *, kept: int = KEPT) -> None:
        self.topics = topics
        self.dropped = 0
        self._values: dict[str, dict[str, Metric]] = {device: {} for device in (NODE, *devices)}
        self._alive = {NODE}
        self._born: set[str] = set()
        self._unnamed: set[str] = set()
        """Those of whom the host does not know every name."""

        self._kept = kept
        self._changes: deque[tuple[str, Metric]] = deque()
        self._seq = 0

    def update(self, device: str, metrics: Iterable[Metric]) -> None:
        """Take in what may have changed of a device, or of the ``NODE``.

        A name, once told, stays with its kind. A new one makes the host learn the device anew.
        """
        known = self._values[device]
        for metric in metrics:
            before = known.get(metric.name)
            if before is not None and before.value == metric.value:
                continue
            known[metric.name] = metric
            if before is None:
                self._unnamed.add(device)
            if device in self._alive:
                self._keep(device, metric)

    def names(self, device: str) -> tuple[str, ...]:
        """Metrics of a device that have a value."""
        return tuple(name for name, metric in self._values[device].items() if metric.value is not None)

    def alive(self, device: str, alive: bool) -> None:
        """At least one sensor of a machine is there, or none is."""
        if alive:
            self._alive.add(device)
        else:
            self._alive.discard(device)

    @property
    def born(self) -> bool:
        """The host has been told of the node, by all its names, since ``away``."""
        return NODE in self._known

    def birth(self, birth_count: int, time_ms: int) -> list[Telegram]:
        """Return the node's birth, those of its living devices, and what they went through since ``away``.

        Args:
            birth_count: ``bdSeq``, as in this connection's ``death``.
        """
        before = list(self._data(time_ms)) if NODE in self._born else []
        self._born = {NODE}
        self._unnamed.discard(NODE)
        self._seq = 0
        control = [
            Metric(BIRTH_COUNT, Kind.INT64, birth_count, time_ms),
            Metric(REBIRTH, Kind.BOOLEAN, False, time_ms),
        ]
        metrics = [*control, *self._values[NODE].values()]
        return [*before, self._telegram("NBIRTH", NODE, metrics, time_ms), *self._news(time_ms, history_of={NODE})]

    def due(self, time_ms: int) -> list[Telegram]:
        """Return what is news to the host; nothing before ``birth``."""
        return list(self._news(time_ms, history_of=())) if self.born else []

    def death(self, birth_count: int, time_ms: int) -> Telegram:
        """Return what is published when we vanish or leave; it has no ``seq``."""
        metrics = [Metric(BIRTH_COUNT, Kind.INT64, birth_count, time_ms)]
        return Telegram(self.topics.of("NDEATH"), encode(metrics, time_ms, None))

    def away(self) -> None:
        """Nobody hears us any more."""
        self._born.clear()

    @property
    def _known(self) -> set[str]:
        return self._born - self._unnamed

    def _news(self, time_ms: int, history_of: Collection[str]) -> Iterator[Telegram]:
        yield from self._data(time_ms, history_of)
        for device in sorted(self._born - self._alive):
            self._born.discard(device)
            yield self._telegram("NDEATH", device, (), time_ms)
        newborn = sorted(self._alive - self._known)
        for device in newborn:
            self._born.add(device)
            self._unnamed.discard(device)
            yield self._telegram("NBIRTH", device, self._values[device].values(), time_ms)
        if newborn:
            yield from self._data(time_ms, newborn)  # what they went through before this birth

    def _data(self, time_ms: int, history_of: Collection[str] = ()) -> Iterator[Telegram]:
        """What changed in all whom the host knows, oldest first; the rest waits."""
        known = self._known
        changes = [change for change in self._changes if change[0] in known]
        self._changes = deque(change for change in self._changes if change[0] not in known)
        for device, of_device in groupby(changes, key=lambda change: change[0]):
            metrics_now = [metric for _, metric in of_device]
            if device in history_of:  # what still holds has been told by the birth
                still = self._values[device]
                metrics_now = [metric.as_history() for metric in metrics_now if metric is not still[metric.name]]
            for metrics in _apart(metrics_now):
                yield self._telegram("NDATA", device, metrics, time_ms)

    def _telegram(self, kind: str, device: str, metrics: Iterable[Metric], time_ms: int) -> Telegram:
        seq, self._seq = self._seq, (self._seq + 1) % COUNT_TO
        return Telegram(self.topics.of(kind, device), encode(metrics, time_ms, seq))

    def _keep(self, device: str, metric: Metric) -> None:
        self._changes.append((device, metric))
        if len(self._changes) > self._kept:
            self._changes.popleft()
            self.dropped += 1


class PrimaryHost:
    """Whether the host that matters is there, by its STATE messages."""

    def __init__(self, host: str) -> None:
        self.topic = f"{NAMESPACE}/STATE/{host}"
        self.online = False
        self._time_ms = -1

    def hear(self, payload: bytes) -> None:
        """Take in a STATE message. One that is older than the newest is of an earlier life of the host, and is ignored.

        Raises:
            ValueError: it is none.
        """
        try:
            state = json.loads(payload)
            online, time_ms = state["online"], state["timestamp"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.topic}: no STATE message: {payload[:100]!r}") from error
        if not isinstance(online, bool) or not isinstance(time_ms, int):
            raise ValueError(f"{self.topic}: no STATE message: {payload[:100]!r}")
        if time_ms >= self._time_ms:
            self.online, self._time_ms = online, time_ms


def asks_for_rebirth(payload: bytes) -> bool:
    """Whether a command to the node says ``Node Control/Rebirth``.

    Raises:
        ValueError: it is no Sparkplug B payload.
    """
    return any(metric.name == REBIRTH and metric.value is True for metric in decode(payload).metrics)


def _apart(metrics: Sequence[Metric]) -> Iterator[list[Metric]]:
    """Split so that no message is too long or has a name twice."""
    some: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name in some or len(some) == AT_ONCE:
            yield list(some.values())
            some = {}
        some[metric.name] = metric
    if some:
        yield list(some.values())
