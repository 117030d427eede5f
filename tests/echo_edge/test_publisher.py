"""The publisher against real brokers that are absent, killed, frozen, restarted and unwilling."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311
from pydantic import SecretStr

from echo_edge.backlog import Backlog
from echo_edge.demo_broker import demo_broker, free_port
from echo_edge.envelope import Envelope, Topics
from echo_edge.errors import ConfigError
from echo_edge.mqtt import MqttSettings
from echo_edge.publisher import Publisher, Timing
from tests.broker import Mosquitto, Subscriber, make_certificates, needs_mosquitto, wait_for

pytestmark = needs_mosquitto
TOPICS = Topics("echo-edge/v1", "gw1")
QUICK = Timing(backoff_base_s=0.05, backoff_cap_s=0.3, stable_s=0.0)
# Where the last messages count: on a busy machine a farewell of 2 s may be over before the broker had its turn.
POLITE = Timing(backoff_base_s=0.05, backoff_cap_s=0.3, stable_s=0.0, farewell_s=20.0)
EVENTS = TOPICS.alert("pump-12/de")
STATE = TOPICS.state("pump-12/de")


@contextmanager
def publisher(
    port: int, timing: Timing = QUICK, jitter: Callable[[float], float] | None = None, **settings: Any
) -> Iterator[Publisher]:
    mqtt, backlog = MqttSettings(port=port, **settings), Backlog(retry_s=0.3, busy_s=0.1)
    made = Publisher(mqtt, TOPICS, Envelope("gw1"), timing=timing, backlog=backlog, jitter=jitter)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def online(made: Publisher) -> Publisher:
    wait_for(lambda: made.connected, "a connection")
    return made


def delivered(made: Publisher, count: int) -> None:
    wait_for(lambda: made.counters.events_accepted >= count, f"{count} events acknowledged")


def texts(subscriber: Subscriber, topic: str) -> list[str]:
    return [message.payload.decode() for message in subscriber.on(topic)]


def numbered(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


def test_a_late_subscriber_sees_status_and_states(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port) as made:
        made.set_state(STATE, b"old")
        made.set_state(STATE, b"new")
        made.send_event(EVENTS, b"event")
        delivered(online(made), 1)
        with Subscriber(broker.port) as late:
            assert late.wait("/status")[0].json["state"] == "online"
            assert late.wait("/de/state")[0].payload == b"new"
            assert all(message.retain for message in late.messages)
            assert late.on("/alert") == []


def test_status_goes_first_then_states_then_events(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        made = Publisher(MqttSettings(port=broker.port), TOPICS, Envelope("gw1"), timing=POLITE)
        made.send_event(EVENTS, b"event")
        made.set_state(STATE, b"state")
        made.start()
        delivered(made, 1)
        made.stop()
        subscriber.wait("/status", 3)
        order = [message.topic.rpartition("/")[2] for message in subscriber.messages]
        assert order == ["status", "state", "alert", "status", "status"]


def test_a_polite_stop_says_stopping_then_offline_and_leaves_no_will(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with publisher(broker.port, POLITE) as made:
            online(made)
            made.set_state(STATE, b"last words")
        states = [message.json for message in subscriber.wait("/status", 3)]
        assert [state["state"] for state in states] == ["online", "stopping", "offline"]
        assert [state["seq"] for state in states] == [1, 2, 3]
        assert texts(subscriber, "/de/state") == ["last words"]
        time.sleep(0.2)
        assert len(subscriber.on("/status")) == 3


def test_the_broker_says_offline_for_a_process_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from echo_edge.envelope import Envelope, Topics\n"
        "from echo_edge.mqtt import MqttSettings\n"
        "from echo_edge.publisher import Publisher\n"
        "settings = MqttSettings(port=int(sys.argv[1]))\n"
        "Publisher(settings, Topics('echo-edge/v1', 'gw1'), Envelope('gw1')).start()\n"
        "time.sleep(30)\n"
    )
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with subprocess.Popen([sys.executable, "-c", script, str(broker.port)]) as process:
            subscriber.wait("/status")
            os.kill(process.pid, signal.SIGKILL)
        last = subscriber.wait("/status", 2)[1].json
        assert (last["state"], last["reason"], "seq" in last) == ("offline", "connection_lost", False)
        with Subscriber(broker.port) as late:
            assert late.wait("/status")[0].json["state"] == "offline"


def test_a_broker_that_lost_its_memory_gets_every_state_again(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port) as made:
        for number in range(50):
            made.set_state(TOPICS.state(f"m{number}/p"), f"state {number}".encode())
        made.set_state(TOPICS.state("m7/p"), b"")
        online(made)
        broker.kill()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        made.set_state(TOPICS.state("m3/p"), b"changed meanwhile")
        broker.start()
        with Subscriber(broker.port) as late:
            wait_for(lambda: len({m.topic for m in late.on("/state") if m.payload}) == 49, "49 states")
            assert late.wait("/m3/p/p/state")[-1].payload == b"changed meanwhile"
            assert late.on("/status")[-1].json["state"] == "online"


def test_events_of_an_outage_arrive_afterwards_in_order_and_none_is_lost(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, persistent=True) as broker,
        Subscriber(broker.port, session="reader") as reader,
        publisher(broker.port) as made,
    ):
        online(made)
        for number in range(5):
            made.send_event(EVENTS, str(number).encode())
        delivered(made, 5)
        broker.stop()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        started_s = time.monotonic()
        for number in range(5, 300):
            made.send_event(EVENTS, str(number).encode())
        assert time.monotonic() - started_s < 0.5
        assert made.counters.events_waiting == 295
        broker.start()
        delivered(made, 300)
        wait_for(lambda: len(set(texts(reader, "/alert"))) == 300, "300 different events")
        # The broker may repeat what the reader had not acknowledged when it stopped.
        assert list(dict.fromkeys(texts(reader, "/alert"))) == numbered(0, 300)
        assert made.counters.events_lost == 0


def test_a_killed_broker_costs_repeats_but_no_event(tmp_path: Path) -> None:
    heard = threading.Event()

    def when_heard(_ceiling_s: float) -> float:
        heard.wait(20)  # the second subscriber must be there first
        return 0.0

    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as first,
        publisher(broker.port, jitter=when_heard) as made,
    ):
        online(made)
        for number in range(2000):
            made.send_event(EVENTS, str(number).encode())
        wait_for(lambda: made.counters.events_accepted > 100, "some events through")
        broker.kill()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        accepted = made.counters.events_accepted
        assert accepted + made.counters.events_waiting == 2000
        made.send_event(EVENTS, b"2000")
        first.stop()
        broker.start()
        with Subscriber(broker.port) as second:
            heard.set()
            delivered(made, 2001)
            # Only what the old broker acknowledged is settled; the new one gets all the rest, in order.
            second.wait("/alert", 2001 - accepted)
            assert texts(second, "/alert") == numbered(accepted, 2001)
        assert made.counters.events_lost == 0


def test_a_broker_that_is_absent_at_the_start_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Mosquitto(tmp_path)
    with publisher(broker.port) as made:
        wait_for(lambda: made.problems == ("connection refused",), "a refused connection")
        made.send_event(EVENTS, b"1")
        time.sleep(0.5)  # several attempts, one line
        with broker:
            delivered(made, 1)
            assert "connection refused" not in made.problems
            lines = [record.getMessage() for record in caplog.records if record.name == "echo_edge.publisher"]
    assert lines == [
        f"127.0.0.1:{broker.port}: connection refused; trying again",
        f"connected to 127.0.0.1:{broker.port} as echo-edge-gw1",
    ]


def test_a_wrong_password_is_named_but_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret: dict[str, Any] = {
        "username": "gw1",
        "password": SecretStr("hunter2"),
        "password_source": "the credential mqtt-password",
    }
    with Mosquitto(tmp_path, passwords={"gw1": "right"}) as broker:
        with publisher(broker.port, **secret) as made:
            wait_for(lambda: bool(made.problems), "a refusal")
            assert made.problems == ("refused: not authorised",)
            assert not made.connected
        assert "user gw1, password from the credential mqtt-password" in caplog.text
        assert "hunter2" not in caplog.text + repr(MqttSettings(port=1, **secret))
        with publisher(broker.port, username="gw1", password=SecretStr("right")) as made:
            online(made)


def test_a_refused_password_is_tried_again_only_at_the_cap(tmp_path: Path) -> None:
    patient = Timing(backoff_base_s=0.01, backoff_cap_s=60)
    with Mosquitto(tmp_path, passwords={"gw1": "right"}) as broker:
        with publisher(broker.port, timing=patient, username="gw1", password=SecretStr("wrong")) as made:
            wait_for(lambda: bool(made.problems), "a refusal")
            time.sleep(0.5)
        assert broker.log.count("not authorised") == 1


def test_an_event_that_the_access_list_refuses_is_kept_until_it_is_allowed(tmp_path: Path) -> None:
    denied = "topic read #\ntopic readwrite echo-edge/v1/gw1/status\n"
    with (
        Mosquitto(tmp_path, acl=denied) as broker,
        Subscriber(broker.port) as subscriber,
        publisher(broker.port) as made,
    ):
        made.send_event(EVENTS, b"1")
        made.send_event(EVENTS, b"2")
        wait_for(lambda: made.problems == (f"mqtt_denied: {EVENTS}",), "the refusal to be noticed")
        assert (made.counters.events_accepted, made.counters.events_waiting) == (0, 2)
        broker.set_acl("topic readwrite #\n")
        delivered(made, 2)
        assert [message.payload for message in subscriber.wait("/alert", 2)] == [b"1", b"2"]
        assert not made.problems


def test_an_old_protocol_is_warned_about_because_it_calls_a_refusal_a_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, acl="topic read #\n") as broker, Subscriber(broker.port) as subscriber:
        with publisher(broker.port, protocol="3.1.1") as made:
            made.send_event(EVENTS, b"thrown away")
            delivered(made, 1)
            assert made.problems == ()
        assert subscriber.messages == []
    assert [r.getMessage() for r in caplog.records if "3.1.1" in r.getMessage()] == [
        "MQTT 3.1.1: a message that the broker's access list refuses is acknowledged as if it had been delivered; "
        "use a broker that speaks MQTT 5"
    ]


def test_a_frozen_broker_is_left_and_found_again(tmp_path: Path) -> None:
    hasty = Timing(backoff_base_s=0.05, backoff_cap_s=0.2, answer_s=0.5)
    with Mosquitto(tmp_path) as broker, publisher(broker.port, timing=hasty) as made:
        online(made)
        broker.freeze()
        made.send_event(EVENTS, b"into the ice")
        wait_for(lambda: "no answer to a message" in made.problems, "the silence to be noticed")
        wait_for(lambda: "no answer to CONNECT" in made.problems, "a new attempt that is not answered either")
        broker.thaw()
        delivered(made, 1)


def test_a_silent_broker_is_noticed_even_when_there_is_nothing_to_say(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port, keepalive_s=1) as made:
        online(made)
        broker.freeze()
        wait_for(lambda: "connection lost: keep alive timeout" in made.problems, "the silence to be noticed")
        broker.thaw()
        online(made)


def test_back_off_grows_to_its_cap_and_starts_afresh_only_after_a_stable_connection() -> None:
    ceilings: list[float] = []

    def jitter(ceiling_s: float) -> float:
        ceilings.append(ceiling_s)
        return 0.0 if len(ceilings) < 9 else 60.0

    with publisher(free_port(), timing=Timing(), jitter=jitter):
        wait_for(lambda: len(ceilings) == 9, "nine attempts")
    assert ceilings == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_event_that_nobody_hears_is_accepted_and_remarked_on(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port) as made:
        made.send_event(EVENTS, b"1")
        delivered(made, 1)
        assert made.counters.events_without_subscriber == 1
        assert made.problems == ("no_subscriber: nobody listens to alerts",)
        with Subscriber(broker.port):
            made.send_event(EVENTS, b"2")
            delivered(made, 2)
            assert not made.problems


def connected(broker: Mosquitto, times: int) -> bool:
    return broker.log.count("as echo-edge-gw1") == times


def test_there_are_never_two_connections(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port):
        for connections in (1, 2, 3, 4):
            wait_for(partial(connected, broker, connections), "the next connection")
            broker.restart()
        assert "already connected" not in broker.log


def test_stopping_is_quick_whatever_the_broker_does(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        with publisher(broker.port) as made:
            online(made)
            broker.freeze()
            started_s = time.monotonic()
            made.stop()
            assert time.monotonic() - started_s < 3
        broker.thaw()
    with publisher(free_port()) as made:
        wait_for(lambda: bool(made.problems), "a refused connection")
        started_s = time.monotonic()
        made.stop()
        assert time.monotonic() - started_s < 1
    made.set_state(STATE, b"too late, and harmless")


def test_a_status_that_changes_while_we_connect_is_said_too(tmp_path: Path) -> None:
    asked: list[int] = []

    def now_ns() -> int:
        asked.append(time.time_ns())
        if len(asked) == 2:  # the first is for the will, the second for `online`, which is being made
            made.set_status("degraded", "mic1 lost")
        return asked[-1]

    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        made = Publisher(MqttSettings(port=broker.port), TOPICS, Envelope("gw1"), timing=QUICK, now_ns=now_ns)
        made.start()
        try:
            wait_for(lambda: any(m.json["state"] == "degraded" for m in subscriber.on("/status")), "the change")
        finally:
            made.stop()


def test_degraded_is_said_and_said_again_after_a_reconnect(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port) as made:
        online(made)
        made.set_status("degraded", "mic1 lost")
        broker.kill()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        broker.start()
        online(made)
        with Subscriber(broker.port) as late:
            assert late.wait("/status")[-1].json["reason"] == "mic1 lost"


def test_plaintext_to_another_host_needs_a_word_from_a_person() -> None:
    for host in ("broker.local", "192.0.2.1", "::2"):
        with pytest.raises(ConfigError, match="another host"):
            MqttSettings(host=host)
    MqttSettings(host="broker.local", allow_plaintext=True)
    MqttSettings(host="broker.local", ca_file=Path("ca.crt"))
    for host in ("localhost", "127.0.0.3", "::1"):
        MqttSettings(host=host)


def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    with publisher(free_port(), ca_file=tmp_path / "ca.pem") as made:
        wait_for(lambda: made.problems == (f"{tmp_path}/ca.pem: No such file or directory",), "the missing file")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the client library drops a failed handshake's socket
def test_tls_carries_everything_and_a_stranger_is_named(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "other").mkdir()
    own, other = make_certificates(tmp_path / "own"), make_certificates(tmp_path / "other")
    with Mosquitto(tmp_path, certificates=own) as broker:
        with publisher(broker.port, ca_file=own / "ca.crt") as made:
            for number in range(200):
                made.send_event(EVENTS, str(number).encode() * 500)
            delivered(made, 200)
        with publisher(broker.port, ca_file=other / "ca.crt") as made:
            wait_for(lambda: any(problem.startswith("TLS: ") for problem in made.problems), "the stranger")
            assert not made.connected
        with publisher(broker.port) as made:
            wait_for(lambda: bool(made.problems), "plaintext to a TLS port to fail")


@pytest.mark.parametrize("prefer", ["mosquitto", "amqtt"])
def test_the_demo_broker_carries_states_events_and_the_will(prefer: str) -> None:
    with demo_broker(prefer) as broker:  # type: ignore[arg-type]
        protocol = MQTTv311 if broker.protocol == "3.1.1" else MQTTv5
        with Subscriber(broker.port, protocol=protocol) as subscriber:
            with publisher(broker.port, POLITE, protocol=broker.protocol) as made:
                made.set_state(STATE, b"state")
                for number in range(50):
                    made.send_event(EVENTS, str(number).encode())
                delivered(made, 50)
                subscriber.wait("/alert", 50)
                with Subscriber(broker.port, protocol=protocol) as late:
                    assert late.wait("/de/state")[0].retain
            assert texts(subscriber, "/alert") == numbered(0, 50)
            assert [m.json["state"] for m in subscriber.wait("/status", 3)] == ["online", "stopping", "offline"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port), timeout=1)
