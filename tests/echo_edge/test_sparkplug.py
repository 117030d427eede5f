"""A Sparkplug host that knows the rules, against an edge node without a network."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_edge.config_ecosystems import SparkplugConfig
from echo_edge.envelope import Envelope, subject
from echo_edge.payload import Quality, features_payload, quality_payload
from echo_edge.sparkplug import EdgeNode, PrimaryHost, SparkplugTopics, asks_for_rebirth
from echo_edge.sparkplug_b import Content, Kind, Metric, Value, decode, encode
from echo_edge.sparkplug_metrics import Feed, metrics_of
from tests.echo_edge.test_report_alerts import Line

TOPICS = SparkplugTopics("hall3", "gw")
GROUP = "spBv1.0/hall3"


class Host:
    """Believes what the births and changes say, and fails when a message breaks a rule."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Metric]] = {}
        """Node (``""``) and devices that are born -> their metrics."""

        self.history: list[Metric] = []
        self.birth_count: Value | None = None
        self.births = 0
        self._seq = 0

    def hear(self, topic: str, payload: bytes) -> None:
        _, _, kind, gateway, *device = topic.split("/")
        assert gateway == "gw"
        about, content = "".join(device), decode(payload)
        if kind == "NDEATH":
            self._node_dies(content)
            return
        self._count(kind, content)
        if kind == "DDEATH":
            del self.values[about]
        elif kind in ("NBIRTH", "DBIRTH"):
            self._born(about, content)
        else:
            for metric in content.metrics:
                assert self.values[about][metric.name].kind is metric.kind, "a change of what no birth named"
                if metric.historical:
                    self.history.append(metric)
                else:
                    self.values[about][metric.name] = metric

    def newest(self, device: str) -> dict[str, Value | None]:
        return {name: metric.value for name, metric in self.values[device].items()}

    def _count(self, kind: str, content: Content) -> None:
        self._seq = 0 if kind == "NBIRTH" else (self._seq + 1) % 256
        assert content.seq == self._seq

    def _born(self, about: str, content: Content) -> None:
        metrics = {metric.name: metric for metric in content.metrics}
        assert len(metrics) == len(content.metrics), "a name twice"
        assert not any(metric.historical for metric in content.metrics)
        if about:
            assert "" in self.values, "a device before its node"
        else:
            assert metrics["Node Control/Rebirth"].value is False
            self.values.clear()
            self.birth_count, self.births = metrics["bdSeq"].value, self.births + 1
        self.values[about] = metrics

    def _node_dies(self, content: Content) -> None:
        assert content.seq is None
        (metric,) = content.metrics
        assert (metric.name, metric.kind) == ("bdSeq", Kind.INT64)
        if metric.value == self.birth_count:  # else it is the will of another connection
            self.values.clear()


def test_a_payload_has_the_bytes_that_the_specification_asks_for() -> None:
    payload = encode([Metric("a", Kind.BOOLEAN, True, 3)], 5, 1)
    # 1: time 5; 2: metric of 9 bytes (1: "a", 3: time 3, 4: type 11, 14: true); 3: seq 1
    assert payload.hex(" ") == "08 05 12 09 0a 01 61 18 03 20 0b 70 01 18 01"


@given(st.lists(st.tuples(st.sampled_from(Kind), st.booleans(), st.integers(-(2**63), 2**63 - 1))))
def test_what_is_encoded_can_be_decoded(values: list[tuple[Kind, bool, int]]) -> None:
    made = {
        Kind.INT64: lambda n: n,
        Kind.DATETIME: abs,
        Kind.DOUBLE: float,
        Kind.BOOLEAN: lambda n: n > 0,
        Kind.STRING: str,
    }
    metrics = tuple(
        Metric(f"m{i}", kind, None if null else made[kind](n), i, historical=null)
        for i, (kind, null, n) in enumerate(values)
    )
    assert decode(encode(metrics, 7, 255)) == Content(metrics, 7, 255)


@given(st.binary(max_size=60))
def test_whatever_is_sent_to_us_is_decoded_or_refused(payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode(payload), Content)


NAMES = st.sampled_from(["de/level", "de/score", "nde/level"])
ACTIONS = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(["", "pump", "fan"]), NAMES, st.one_of(st.none(), st.integers(0, 3))),
    st.tuples(st.just("alive"), st.sampled_from(["pump", "fan"]), st.booleans()),
    st.tuples(st.sampled_from(["due", "away", "connect", "rebirth"])),
)


@given(st.lists(ACTIONS, max_size=40))
@settings(max_examples=150)
def test_whatever_happens_the_host_knows_the_newest_values_and_misses_nothing(actions: list[tuple[Any, ...]]) -> None:
    node, host, connected, count, time_ms = EdgeNode(TOPICS, ["pump", "fan"]), Host(), False, 0, 1000
    truth: dict[str, dict[str, Value | None]] = {"": {}, "pump": {}, "fan": {}}
    alive = set[str]()

    def tell() -> None:
        for telegram in node.due(time_ms) if node.born else node.birth(count, time_ms):
            host.hear(telegram.topic, telegram.payload)

    for action, *what in actions:
        time_ms += 1
        if action == "change":
            device, name, value = what
            node.update(device, [Metric(name, Kind.INT64, value, time_ms)])
            truth[device][name] = value
        elif action == "alive":
            node.alive(what[0], what[1])
            (alive.add if what[1] else alive.discard)(what[0])
        elif action == "connect":
            count, connected = (count + 1 if not connected else count), True
            tell()
        elif action == "away":
            if connected:
                host.hear(TOPICS.of("NDEATH"), node.death(count, time_ms).payload)
            connected = False
            node.away()
        elif connected and action == "due":
            tell()
        elif connected:
            for telegram in node.birth(count, time_ms):
                host.hear(telegram.topic, telegram.payload)
    count += not connected
    tell()
    assert host.values.keys() == {"", *alive}
    assert host.newest("") == truth[""] | {"bdSeq": count, "Node Control/Rebirth": False}
    assert all(host.newest(device) == truth[device] for device in alive)


def level(value: int, time_ms: int, name: str = "de/level") -> Metric:
    return Metric(name, Kind.INT64, value, time_ms)


def told(node: EdgeNode, host: Host, time_ms: int = 99) -> list[str]:
    """Let the host hear what is due; return the kinds of messages."""
    telegrams = node.due(time_ms) if node.born else node.birth(0, time_ms)
    for telegram in telegrams:
        host.hear(telegram.topic, telegram.payload)
    return [telegram.topic.split("/")[2] for telegram in telegrams]


def test_only_what_changed_is_told() -> None:
    node, host = EdgeNode(TOPICS, ["pump"]), Host()
    node.update("pump", [level(1, 1), level(1, 1, "nde/level")])
    node.alive("pump", True)
    assert told(node, host) == ["NBIRTH", "DBIRTH"]
    node.update("pump", [level(1, 2), level(2, 2, "nde/level")])
    (telegram,) = node.due(3)
    assert telegram.topic == f"{GROUP}/DDATA/gw/pump"
    assert [metric.name for metric in decode(telegram.payload).metrics] == ["nde/level"]
    assert told(node, host) == []


def test_the_sequence_number_wraps_after_255() -> None:
    node, host = EdgeNode(TOPICS, ["pump"]), Host()
    node.alive("pump", True)
    told(node, host)
    for n in range(600):
        node.update("pump", [level(n, n)])
        assert told(node, host) == (["DDATA"] if n else ["DBIRTH"])
    assert host.newest("pump") == {"de/level": 599}


def test_what_changed_while_nobody_heard_is_history_with_its_own_time() -> None:
    node, host = EdgeNode(TOPICS, ["pump"]), Host()
    node.alive("pump", True)
    node.update("pump", [level(0, 1000)])
    told(node, host)
    node.away()
    for n in range(1, 5):
        node.update("pump", [level(n, 1000 + n)])
    assert told(node, host, 5000) == ["NBIRTH", "DBIRTH", "DDATA", "DDATA", "DDATA"]
    assert [(metric.value, metric.time_ms) for metric in host.history] == [(1, 1001), (2, 1002), (3, 1003)]
    assert host.values["pump"]["de/level"] == level(4, 1004)


def test_of_too_many_changes_the_oldest_are_dropped_and_counted() -> None:
    node, host = EdgeNode(TOPICS, ["pump"], kept=10), Host()
    node.alive("pump", True)
    for n in range(25):
        node.update("pump", [level(n, n)])
    told(node, host)
    assert node.dropped == 15
    assert [metric.value for metric in host.history] == list(range(15, 24))


def test_a_long_history_goes_in_messages_of_a_size_that_brokers_take() -> None:
    node = EdgeNode(TOPICS, ["pump"])
    node.alive("pump", True)
    for turn in (0, 1):
        node.update("pump", [level(turn, turn, f"m{n}") for n in range(1000)])
    telegrams = node.birth(0, 9)
    assert len(telegrams) == 2 + 5
    assert all(len(telegram.payload) < 20_000 for telegram in telegrams[2:])


def test_a_machine_dies_with_its_last_sensor_and_what_was_measured_is_unknown_then() -> None:
    envelope, node, host = Envelope("gw"), EdgeNode(TOPICS, ["pump"]), Host()
    feed = Feed(node, ["pump/de", "pump/nde"])

    def quality(point: str, state: str) -> None:
        feed.tell(*subject(quality_payload(envelope, Quality(point, 10**15, state))))

    assert told(node, host) == ["NBIRTH"]
    quality("pump/de", "ok")
    assert told(node, host) == ["DBIRTH"]
    quality("pump/nde", "degraded")
    feed.tell(*subject(features_payload(envelope, "pump/de", 10**15, {"velocity_rms_mm_s": 2.5}, "none", "B")))
    assert told(node, host) == ["DBIRTH"]  # it learns of new names
    assert host.values["pump"]["de/velocity_rms_mm_s"] == Metric("de/velocity_rms_mm_s", Kind.DOUBLE, 2.5, 10**9)
    quality("pump/de", "lost")
    assert told(node, host) == ["DDATA"]
    assert host.newest("pump")["de/velocity_rms_mm_s"] is None
    assert host.newest("pump")["de/zone"] is None
    quality("pump/nde", "lost")
    assert told(node, host) == ["DDATA", "DDEATH"]
    quality("pump/de", "ok")
    assert told(node, host) == ["DBIRTH"]
    assert (host.newest("pump")["de/quality"], host.newest("pump")["nde/quality"]) == ("ok", "lost")


def test_an_alert_of_the_reporter_reaches_the_host_with_its_words() -> None:
    node, host = EdgeNode(TOPICS, ["pump"]), Host()
    feed, heard = Feed(node, ["pump/de"]), list[tuple[str, str]]()
    line = Line(listeners=[feed.tell, lambda schema, about, _: heard.append((schema, about))])
    told(node, host)
    assert host.newest("pump")["de/alert/active"] is False
    line.hear(10, fault="outer_race")
    told(node, host)
    (event,) = line.ledger.events
    seen = host.newest("pump")
    assert (seen["de/level"], seen["de/alert/active"], seen["de/alert/severity"]) == ("warning", True, "warning")
    assert (seen["de/alert/text"], seen["de/alert/id"]) == (event["text"], event["alert_id"])
    assert (seen["level"], seen["alerts/active"]) == ("warning", 1)
    assert isinstance(seen["de/score"], float)
    assert isinstance(seen["de/threshold"], float)
    assert host.newest("")["alerts/active"] == 1
    assert host.newest("")["alerts/worst"] == event["text"]
    assert ("alert", "pump/de") in heard
    assert ("machine-state", "pump") in heard
    assert ("info", "") in heard


def test_messages_that_no_host_needs_make_no_metrics() -> None:
    assert metrics_of("audit", {"ts": "2026-03-01T12:00:00.000Z"}) == []


def test_a_host_that_was_online_later_than_it_says_to_be_offline_is_online() -> None:
    host = PrimaryHost("ignition")
    assert host.topic == "spBv1.0/STATE/ignition"
    host.hear(b'{"online": true, "timestamp": 20}')
    host.hear(b'{"online": false, "timestamp": 19}')
    assert host.online
    host.hear(b'{"online": false, "timestamp": 20}')
    assert not host.online


@pytest.mark.parametrize(
    "payload", [b"ONLINE", b"1", b'{"online": "yes", "timestamp": 1}', b'{"online": true}', b"\xff"]
)
def test_a_state_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="no STATE message"):
        PrimaryHost("ignition").hear(payload)


def test_rebirth_is_asked_for_by_a_true_value_alone_with_its_type_or_without() -> None:
    def command(value: bool) -> bytes:
        return encode([Metric("Node Control/Rebirth", Kind.BOOLEAN, value, 1)], 1, None)

    assert asks_for_rebirth(command(True))
    assert not asks_for_rebirth(command(False))
    assert asks_for_rebirth(bytes.fromhex("12 18 0a 14") + b"Node Control/Rebirth" + bytes.fromhex("70 01"))
    assert not asks_for_rebirth(encode([Metric("Node Control/Reboot", Kind.BOOLEAN, True, 1)], 1, None))


@pytest.mark.parametrize("group", ["STATE", "a/b", "a+", "#", ""])
def test_a_group_that_would_break_the_topics_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="group"):
        SparkplugConfig(group=group)
