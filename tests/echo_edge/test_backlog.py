"""What is owed to the broker: order, window, refusals and overflow, without a network."""

from __future__ import annotations

import pytest

from echo_edge.backlog import Backlog, verdict

STATE, EVENTS = "gw1/m/pump-12/p/de/state", "gw1/m/pump-12/p/de/alert"


def test_reason_codes_are_told_apart() -> None:
    outcomes = {0: "accepted", 0x10: "no_subscriber", 0x87: "denied", 0x97: "busy", 0x80: "busy", 0x95: "unfit"}
    assert {code: verdict(code) for code in outcomes} == outcomes


def drain(backlog: Backlog, reason: int, now_s: float) -> list[bytes]:
    """Send all that is due and give every message the same answer."""
    sent = []
    while (message := backlog.take(now_s)) is not None:
        sent.append(message.payload)
        backlog.sent(len(sent), message, now_s)
    for mid in range(1, len(sent) + 1):
        backlog.settle(mid, reason, now_s)
    return sent


def test_a_full_queue_drops_the_oldest_updates_before_anything_else(caplog: pytest.LogCaptureFixture) -> None:
    backlog = Backlog(max_events=3)
    for payload, kind in ((b"o1", "open"), (b"u1", "update"), (b"o2", "open"), (b"o3", "open"), (b"o4", "open")):
        backlog.add_event(EVENTS, payload, kind)
    assert backlog.counters.events_lost == 2
    assert drain(backlog, 0, 0.0) == [b"o2", b"o3", b"o4"]
    assert backlog.idle
    assert len(caplog.records) == 1


def test_no_more_than_a_window_is_in_flight_and_no_state_twice() -> None:
    backlog = Backlog(window=3)
    backlog.set_state(STATE, b"1")
    for number in range(5):
        backlog.add_event(EVENTS, str(number).encode(), "open")
    taken = []
    while (message := backlog.take(0.0)) is not None:
        taken.append(message.payload)
        backlog.sent(len(taken), message, 0.0)
        backlog.set_state(STATE, b"2")
    assert taken == [b"1", b"0", b"1"]
    backlog.settle(1, 0, 0.0)
    newest = backlog.take(0.0)
    assert newest is not None
    assert newest.payload == b"2"


def test_a_denied_topic_waits_while_the_others_go_on() -> None:
    backlog = Backlog(retry_s=60)
    backlog.add_event("denied", b"d", "open")
    assert drain(backlog, 0x87, 0.0) == [b"d"]
    backlog.add_event("allowed", b"a", "open")
    assert drain(backlog, 0, 59.0) == [b"a"]
    assert drain(backlog, 0, 60.0) == [b"d"]
    assert backlog.counters.topics_denied == ()


def test_a_busy_broker_gets_longer_and_longer_pauses() -> None:
    backlog = Backlog(busy_s=5)
    backlog.add_event(EVENTS, b"e", "open")
    sent_at = [now_s for now_s in range(40) if drain(backlog, 0x97, float(now_s))]
    assert sent_at == [0, 5, 15, 35]


def test_a_message_that_no_try_makes_fit_is_given_up_and_counted() -> None:
    backlog = Backlog()
    backlog.add_event(EVENTS, b"too large", "open")
    backlog.add_event(EVENTS, b"fine", "open")
    message = backlog.take(0.0)
    for _ in range(3):
        assert message is not None
        backlog.sent(1, message, 0.0)
        backlog.settle(1, 0x95, 0.0)
        message = backlog.take(0.0)
    assert message is not None
    assert message.payload == b"fine"
    assert backlog.counters.events_lost == 1


def test_after_a_reconnect_everything_unanswered_is_owed_again_in_order() -> None:
    backlog = Backlog(window=4)
    backlog.set_state(STATE, b"state")
    for number in range(4):
        backlog.add_event(EVENTS, str(number).encode(), "open")
    assert [mid for mid in range(1, 9) if take_one(backlog, mid)] == [1, 2, 3, 4]
    backlog.settle(2, 0, 0.0)
    backlog.reconnected(receive_maximum=65535)
    backlog.set_state("status", b"online", first=True)
    backlog.settle(3, 0, 0.0)  # an answer that belongs to the old connection
    assert drain(backlog, 0, 0.0) == [b"online", b"state", b"1", b"2"]
    assert drain(backlog, 0, 0.0) == [b"3"]


def test_the_broker_may_ask_for_a_smaller_window() -> None:
    backlog = Backlog(window=20)
    for _ in range(5):
        backlog.add_event(EVENTS, b"e", "open")
    backlog.reconnected(receive_maximum=2)
    assert len(drain(backlog, 0, 0.0)) == 2


def test_a_removed_state_is_not_published_again() -> None:
    backlog = Backlog()
    backlog.set_state(STATE, b"")
    assert drain(backlog, 0, 0.0) == [b""]
    backlog.reconnected(65535)
    assert drain(backlog, 0, 0.0) == []


def take_one(backlog: Backlog, mid: int) -> bool:
    message = backlog.take(0.0)
    if message is not None:
        backlog.sent(mid, message, 0.0)
    return message is not None
