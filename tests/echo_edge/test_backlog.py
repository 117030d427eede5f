"""What is owed to the broker: order, window and refusals, without a network."""

from __future__ import annotations

from echo_edge.backlog import Backlog, verdict
from echo_edge.outgoing import CRITICAL, REST, WARNING
from tests.outboxes import ListOutbox

STATE, EVENTS = "gw1/m/pump-12/p/de/state", "gw1/m/pump-12/p/de/alert"


def test_reason_codes_are_told_apart() -> None:
    outcomes = {0: "accepted", 0x10: "no_subscriber", 0x87: "denied", 0x97: "busy", 0x80: "busy", 0x95: "unfit"}
    assert {code: verdict(code) for code in outcomes} == outcomes


def drain(backlog: Backlog, reason: int, now_s: float = 0.0) -> list[bytes]:
    """Send all that is due, each message after the answer to the one before, and give all the same answer."""
    sent = []
    while (message := backlog.take(now_s)) is not None:
        sent.append(message.payload)
        backlog.sent(len(sent), message, now_s)
        backlog.settle(len(sent), reason, now_s)
    return sent


def take_one(backlog: Backlog, mid: int) -> bytes | None:
    message = backlog.take(0.0)
    if message is not None:
        backlog.sent(mid, message, 0.0)
    return None if message is None else message.payload


def proven(outbox: ListOutbox, **settings: int) -> Backlog:
    """A backlog over a broker that has taken an event of the topic already."""
    backlog = Backlog(outbox, **settings)
    outbox.add(EVENTS, b"first")
    assert drain(backlog, 0) == [b"first"]
    return backlog


def test_status_goes_first_then_critical_events_then_states_then_the_rest() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    outbox.add(EVENTS, b"clear", REST)
    outbox.add(EVENTS, b"warning", WARNING)
    outbox.add(EVENTS, b"alarm", CRITICAL)
    backlog.set_state(STATE, b"state")
    backlog.send_once("rsp", b"answer")
    backlog.set_state("status", b"online", first=True)
    assert drain(backlog, 0) == [b"online", b"alarm", b"answer", b"state", b"warning", b"clear"]


def test_a_long_row_of_alarms_does_not_keep_the_states_away() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    for number in range(25):
        outbox.add(EVENTS, str(number).encode())
    backlog.set_state(STATE, b"state")
    assert drain(backlog, 0).index(b"state") == 10


def test_no_more_than_a_window_is_in_flight_and_no_state_twice() -> None:
    outbox = ListOutbox()
    backlog = proven(outbox, window=3)
    backlog.set_state(STATE, b"1")
    for number in range(5):
        outbox.add(EVENTS, str(number).encode(), WARNING)
    taken = []
    while (payload := take_one(backlog, len(taken) + 1)) is not None:
        taken.append(payload)
        backlog.set_state(STATE, b"2")
    assert taken == [b"1", b"0", b"1"]
    backlog.settle(1, 0, 0.0)
    assert take_one(backlog, 9) == b"2"


def test_only_a_few_states_are_in_flight_so_that_an_alert_never_waits_behind_many() -> None:
    backlog = Backlog(ListOutbox())
    for number in range(10):
        backlog.set_state(f"state/{number}", b"s")
    assert sum(take_one(backlog, mid) is not None for mid in range(10)) == 4


def test_a_topic_is_tried_with_one_event_before_more_are_on_their_way() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    for number in range(5):
        outbox.add(EVENTS, str(number).encode())
    assert [take_one(backlog, mid) for mid in (1, 2)] == [b"0", None]
    backlog.settle(1, 0, 0.0)
    assert [take_one(backlog, mid) for mid in (2, 3, 4, 5, 6)] == [b"1", b"2", b"3", b"4", None]


def test_an_event_that_nobody_hears_is_kept_and_tried_again_and_then_all_come_in_order() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox, retry_s=60)
    for number in range(3):
        outbox.add(EVENTS, str(number).encode())
    assert drain(backlog, 0x10) == [b"0"]
    assert backlog.counters.topics_unheard == (EVENTS,)
    assert drain(backlog, 0x10, 59.0) == []
    assert drain(backlog, 0x10, 60.0) == [b"0"]
    assert drain(backlog, 0, 120.0) == [b"0", b"1", b"2"]
    assert backlog.counters.topics_unheard == ()
    assert backlog.idle


def test_a_plant_may_accept_that_nobody_hears() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox, no_subscriber="accept")
    outbox.add(EVENTS, b"e")
    assert drain(backlog, 0x10) == [b"e"]
    assert not outbox.rows
    assert backlog.counters.topics_unheard == (EVENTS,)


def test_a_record_that_need_not_be_heard_is_settled_when_nobody_listens() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    outbox.add("gw1/audit", b"a", REST, waits=False)
    assert drain(backlog, 0x10) == [b"a"]
    assert not outbox.rows
    assert backlog.counters.topics_unheard == ()


def test_a_denied_topic_waits_while_the_others_go_on_and_nothing_is_deleted() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox, retry_s=60)
    outbox.add("denied", b"d")
    assert drain(backlog, 0x87) == [b"d"]
    outbox.add("allowed", b"a")
    assert drain(backlog, 0, 59.0) == [b"a"]
    assert len(outbox.rows) == 1
    assert drain(backlog, 0, 60.0) == [b"d"]
    assert backlog.counters.topics_denied == ()


def test_a_busy_broker_gets_longer_and_longer_pauses() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox, busy_s=5)
    outbox.add(EVENTS, b"e")
    assert [now_s for now_s in range(40) if drain(backlog, 0x97, float(now_s))] == [0, 5, 15, 35]
    assert len(outbox.rows) == 1


def test_an_event_that_no_try_makes_fit_is_put_aside_and_the_next_one_goes() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    outbox.add(EVENTS, b"too large")
    outbox.add(EVENTS, b"fine")
    for mid in range(3):
        assert take_one(backlog, mid) == b"too large"
        backlog.settle(mid, 0x95, 0.0)
    assert take_one(backlog, 3) == b"fine"
    assert [row.payload for row in outbox.given_up] == [b"too large"]
    assert backlog.counters.events_given_up == 1


def test_after_a_reconnect_everything_unanswered_is_owed_again_in_order() -> None:
    outbox = ListOutbox()
    backlog = proven(outbox, window=4)
    backlog.set_state(STATE, b"state")
    for number in range(4):
        outbox.add(EVENTS, str(number).encode())
    assert [take_one(backlog, mid) for mid in range(1, 9)][:4] == [b"0", b"1", b"2", b"3"]
    backlog.settle(2, 0, 0.0)
    backlog.reconnected(receive_maximum=65535)
    backlog.set_state("status", b"online", first=True)
    backlog.settle(3, 0, 0.0)  # an answer that belongs to the old connection
    assert drain(backlog, 0) == [b"online", b"0", b"2", b"3", b"state"]


def test_the_broker_may_ask_for_a_smaller_window() -> None:
    outbox = ListOutbox()
    backlog = proven(outbox, window=20)
    backlog.reconnected(receive_maximum=2)
    for _ in range(5):
        outbox.add(EVENTS, b"e")
    assert take_one(backlog, 1)
    backlog.settle(1, 0, 0.0)
    assert sum(take_one(backlog, mid) is not None for mid in range(2, 9)) == 2


def test_a_removed_state_is_not_published_again() -> None:
    backlog = Backlog(ListOutbox())
    backlog.set_state(STATE, b"")
    assert drain(backlog, 0) == [b""]
    backlog.reconnected(65535)
    assert drain(backlog, 0) == []


def test_an_answer_is_dropped_when_the_connection_is_lost_and_when_too_many_wait() -> None:
    backlog = Backlog(ListOutbox())
    for number in range(201):
        backlog.send_once("rsp", str(number).encode())
    assert take_one(backlog, 1) == b"1"
    backlog.disconnected()
    assert take_one(backlog, 2) is None
    assert backlog.counters.once_dropped == 200


def test_a_broker_that_answers_nothing_is_silent_and_one_that_is_only_slow_is_not() -> None:
    outbox = ListOutbox()
    backlog = proven(outbox)
    for _ in range(3):
        outbox.add(EVENTS, b"e")
    for mid in (1, 2, 3):
        assert take_one(backlog, mid)
    assert backlog.silent_s(19.0) == 19.0
    backlog.settle(1, 0, 19.0)
    assert backlog.silent_s(30.0) == 11.0


def test_an_answer_that_is_denied_troubles_nobody() -> None:
    backlog = Backlog(ListOutbox())
    backlog.send_once("somebody/chose/this", b"answer")
    assert drain(backlog, 0x87) == [b"answer"]
    assert backlog.counters.topics_denied == ()
    assert backlog.idle


def test_one_answer_that_never_comes_is_noticed_while_later_ones_do() -> None:
    outbox = ListOutbox()
    backlog = proven(outbox)
    outbox.add(EVENTS, b"lost")
    assert take_one(backlog, 1)
    for second in range(1, 31):
        backlog.set_state(STATE, str(second).encode())
        assert take_one(backlog, 100 + second)
        backlog.settle(100 + second, 0, float(second))
    assert backlog.silent_s(30.0) == 29.0


def test_what_is_too_large_for_the_broker_is_put_aside_unsent() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    backlog.reconnected(65535, max_packet_bytes=1000)
    outbox.add(EVENTS, b"x" * 2000)
    outbox.add(EVENTS, b"small")
    backlog.set_state(STATE, b"y" * 2000)
    backlog.set_state("other", b"state")
    assert drain(backlog, 0) == [b"small", b"state"]
    assert [row.payload for row in outbox.given_up] == [b"x" * 2000]
    assert backlog.idle


def test_an_alarm_goes_before_any_number_of_answers() -> None:
    outbox = ListOutbox()
    backlog = Backlog(outbox)
    for number in range(15):
        outbox.add(EVENTS, str(number).encode())
        backlog.send_once("rsp", b"answer")
    assert drain(backlog, 0)[:15] == [str(number).encode() for number in range(15)]
