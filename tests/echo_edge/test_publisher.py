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

from echo_edge.backlog import Backlog, NoSubscriber
from echo_edge.demo_broker import demo_broker, free_port
from echo_edge.envelope import Envelope, Topics
from echo_edge.errors import ConfigError
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.outgoing import REST
from echo_edge.publisher import Publisher, Timing
from echo_edge.records import TopicMessage
from tests.broker import Mosquitto, Subscriber, make_certificates, needs_mosquitto, publish, wait_for
from tests.outboxes import event, memory_outbox

pytestmark = needs_mosquitto
TOPICS = Topics("echo-edge/v1", "gw1")
QUICK = Timing(backoff_base_s=0.05, backoff_cap_s=0.3, stable_s=0.0)
# Where the last messages count: on a busy machine a farewell of 2 s may be over before the broker had its turn.
POLITE = Timing(backoff_base_s=0.05, backoff_cap_s=0.3, stable_s=0.0, farewell_s=20.0)
EVENTS = TOPICS.alert("pump-12/de")
STATE = TOPICS.state("pump-12/de")


@contextmanager
def publisher(
    port: int,
    timing: Timing = QUICK,
    jitter: Callable[[float], float] | None = None,
    no_subscriber: NoSubscriber = "accept",
    **settings: Any,
) -> Iterator[Publisher]:
    with memory_outbox() as outbox:
        mqtt = MqttSettings(port=port, **settings)
        backlog = Backlog(outbox, retry_s=0.3, busy_s=0.1, no_subscriber=no_subscriber)
        made = Publisher(mqtt, TOPICS, Envelope("gw1"), outbox, timing=timing, backlog=backlog, jitter=jitter)
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


def told(subscriber: Subscriber) -> list[int | str]:
    """What the events said that came, in order."""
    return [message.json["n"] for message in subscriber.on("/alert")]


def numbered(first: int, last: int) -> list[int]:
    return list(range(first, last))


def say(made: Publisher, number: int | str) -> None:
    made.outbox.put(event(EVENTS, number))


def test_a_late_subscriber_sees_status_and_states(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port) as made:
        made.set_state(STATE, b"old")
        made.set_state(STATE, b"new")
        say(made, "event")
        delivered(online(made), 1)
        with Subscriber(broker.port) as late:
            assert late.wait("/status")[0].json["state"] == "online"
            assert late.wait("/de/state")[0].payload == b"new"
            assert all(message.retain for message in late.messages)
            assert late.on("/alert") == []


def test_status_goes_first_then_alarms_then_states_then_the_rest(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber, memory_outbox() as outbox:
        made = Publisher(MqttSettings(port=broker.port), TOPICS, Envelope("gw1"), outbox, timing=POLITE)
        outbox.put(event(TOPICS.alert("m/update"), 1, REST))
        outbox.put(event(EVENTS, 2))
        made.set_state(STATE, b"state")
        wait_for(lambda: outbox.status.waiting == 2, "both events")
        made.start()
        delivered(made, 2)
        made.stop()
        subscriber.wait("/status", 3)
        order = [message.topic.partition("/v1/gw1/")[2] for message in subscriber.messages]
        point = "m/pump-12/p/de"
        assert order == ["status", f"{point}/alert", f"{point}/state", "m/m/p/update/alert", "status", "status"]


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
        "from echo_edge.outbox import Outbox\n"
        "from echo_edge.publisher import Publisher\n"
        "settings = MqttSettings(port=int(sys.argv[1]))\n"
        "Publisher(settings, Topics('echo-edge/v1', 'gw1'), Envelope('gw1'), Outbox(None, 'gw1')).start()\n"
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
            say(made, number)
        delivered(made, 5)
        broker.stop()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        started_s = time.monotonic()
        for number in range(5, 300):
            say(made, number)
        assert time.monotonic() - started_s < 0.5
        assert made.outbox.status.waiting == 295
        broker.start()
        delivered(made, 300)
        wait_for(lambda: len(set(told(reader))) == 300, "300 different events")
        # The broker may repeat what the reader had not acknowledged when it stopped.
        assert list(dict.fromkeys(told(reader))) == numbered(0, 300)
        assert made.counters.events_given_up == 0


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
            say(made, number)
        wait_for(lambda: made.counters.events_accepted > 100, "some events through")
        broker.kill()
        wait_for(lambda: not made.connected, "the loss to be noticed")
        accepted = made.counters.events_accepted
        assert accepted + made.outbox.status.waiting == 2000
        say(made, 2000)
        first.stop()
        broker.start()
        with Subscriber(broker.port) as second:
            heard.set()
            delivered(made, 2001)
            # Only what the old broker acknowledged is settled; the new one gets all the rest, in order.
            second.wait("/alert", 2001 - accepted)
            assert told(second) == numbered(accepted, 2001)
        assert made.counters.events_given_up == 0


def test_a_broker_that_is_absent_at_the_start_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    broker = Mosquitto(tmp_path)
    with publisher(broker.port) as made:
        wait_for(lambda: made.problems == ("connection refused",), "a refused connection")
        say(made, "1")
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
        say(made, "1")
        say(made, "2")
        wait_for(lambda: made.problems == (f"mqtt_denied: {EVENTS}",), "the refusal to be noticed")
        assert (made.counters.events_accepted, made.outbox.status.waiting) == (0, 2)
        broker.set_acl("topic readwrite #\n")
        delivered(made, 2)
        subscriber.wait("/alert", 2)
        assert told(subscriber) == ["1", "2"]
        assert not made.problems


def test_an_old_protocol_is_warned_about_because_it_calls_a_refusal_a_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, acl="topic read #\n") as broker, Subscriber(broker.port) as subscriber:
        with publisher(broker.port, protocol="3.1.1") as made:
            say(made, "thrown away")
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
        say(made, "into the ice")
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


def test_an_event_that_nobody_hears_is_kept_until_somebody_does(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, publisher(broker.port, no_subscriber="hold") as made:
        say(made, 1)
        wait_for(lambda: made.problems == (f"no_subscriber: nobody listens to {EVENTS}",), "the loneliness to be told")
        say(made, 2)
        with Subscriber(broker.port) as subscriber:
            delivered(made, 2)
            subscriber.wait("/alert", 2)
            assert told(subscriber) == [1, 2]
            assert not made.problems


def test_an_exception_in_what_hears_costs_nothing_but_the_message(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def hear(message: TopicMessage) -> None:
        heard.append(message.payload)
        raise RuntimeError(f"cannot read {len(heard) % 3}")

    with Mosquitto(tmp_path) as broker, memory_outbox() as outbox, Subscriber(broker.port) as subscriber:
        made = Publisher(
            MqttSettings(port=broker.port), TOPICS, Envelope("gw1"), outbox, listen_to=["told/#"], hear=hear
        )
        made.start()
        online(made)
        for number in range(100):
            publish(broker, f"told/{number}", b"x")
        say(made, 1)
        subscriber.wait("/alert")
        assert made.alive
        made.stop()
    assert len(heard) == 100


def test_a_second_client_with_our_id_is_named_and_does_not_make_us_fight(tmp_path: Path) -> None:
    patient = Timing(backoff_base_s=0.2, backoff_cap_s=2.0)
    with Mosquitto(tmp_path) as broker, publisher(broker.port, timing=patient, jitter=lambda s: s) as made:
        online(made)
        with publisher(broker.port, timing=patient, jitter=lambda s: s / 2) as second:
            online(second)
            wait_for(lambda: any("another come as echo-edge-gw1" in problem for problem in made.problems), "the rival")
            say(made, 1)
        assert broker.log.count("New client connected") < 12
        with Subscriber(broker.port):
            delivered(made, 1)


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
        settings = MqttSettings(port=broker.port)
        made = Publisher(settings, TOPICS, Envelope("gw1"), Outbox(None, "gw1"), timing=QUICK, now_ns=now_ns)
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
                say(made, str(number) * 500)
            delivered(made, 200)
        with publisher(broker.port, ca_file=other / "ca.crt") as made:
            wait_for(lambda: any(problem.startswith("TLS: ") for problem in made.problems), "the stranger")
            assert not made.connected
        with publisher(broker.port) as made:
            wait_for(lambda: bool(made.problems), "plaintext to a TLS port to fail")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_new_authority_and_a_new_password_are_taken_over_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echo_edge.publisher.FILES_EVERY_S", 0.1)
    caplog.set_level(logging.INFO)
    (tmp_path / "own").mkdir()
    (tmp_path / "next").mkdir()
    own, later = make_certificates(tmp_path / "own"), make_certificates(tmp_path / "next")
    ca, password = tmp_path / "ca.crt", tmp_path / "password"
    ca.write_bytes((own / "ca.crt").read_bytes())
    password.write_text("old")
    port = free_port()

    def read() -> MqttSettings:
        secret = SecretStr(password.read_text())
        return MqttSettings(port=port, ca_file=ca, username="gw1", password=secret, password_file=password)

    with memory_outbox() as outbox:
        made = Publisher(read(), TOPICS, Envelope("gw1"), outbox, timing=QUICK, reread=read, jitter=lambda _: 0.1)
        made.start()
        try:
            with Mosquitto(tmp_path / "a", passwords={"gw1": "old"}, certificates=own, port=port):
                online(made)
                assert made.broker_certificate_ends_s == pytest.approx(time.time() + 2 * 86400, abs=3600)
                ca.write_text("half a file")
                wait_for(lambda: "no good yet" in caplog.text, "the half of a certificate to be noticed")
                assert made.connected
                password.write_text("new")
                ca.write_bytes((later / "ca.crt").read_bytes())
                wait_for(lambda: "connecting anew" in caplog.text, "the new files to be noticed")
            with Mosquitto(tmp_path / "b", passwords={"gw1": "new"}, certificates=later, port=port):
                online(made)
        finally:
            made.stop()


@pytest.mark.parametrize("prefer", ["mosquitto", "amqtt"])
def test_the_demo_broker_carries_states_events_and_the_will(prefer: str) -> None:
    with demo_broker(prefer) as broker:  # type: ignore[arg-type]
        protocol = MQTTv311 if broker.protocol == "3.1.1" else MQTTv5
        with Subscriber(broker.port, protocol=protocol) as subscriber:
            with publisher(broker.port, POLITE, protocol=broker.protocol) as made:
                made.set_state(STATE, b"state")
                for number in range(50):
                    say(made, number)
                delivered(made, 50)
                subscriber.wait("/alert", 50)
                with Subscriber(broker.port, protocol=protocol) as late:
                    assert late.wait("/de/state")[0].retain
            assert told(subscriber) == numbered(0, 50)
            assert [m.json["state"] for m in subscriber.wait("/status", 3)] == ["online", "stopping", "offline"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port), timeout=1)
