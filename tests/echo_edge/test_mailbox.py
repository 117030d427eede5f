"""Mailbox: bounded and fair."""

from __future__ import annotations

import threading
import time

import numpy as np

from echo_edge.mailbox import ORDERS, WINDOWS_PER_POINT, Mailbox
from echo_edge.records import PlantState, Window


def window(point: str, time_ns: int) -> Window:
    return Window(point, np.zeros((1, 10), np.float32), 1000, time_ns)


def test_a_busy_point_forgets_its_own_oldest_and_crowds_out_no_other() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put(window("quiet/p", 5))
    for i in range(10):
        mailbox.put(window("busy/p", i))
    mail = mailbox.take(0)
    assert [(w.point, w.time_ns) for w in mail.windows] == [("quiet/p", 5), ("busy/p", 8), ("busy/p", 9)]
    assert mailbox.windows_dropped == {"busy/p": 10 - WINDOWS_PER_POINT}


def test_orders_are_refused_when_too_many_wait() -> None:
    mailbox: Mailbox[str] = Mailbox()
    assert all(mailbox.order(lambda: None) for _ in range(ORDERS))
    assert not mailbox.order(lambda: None)
    assert len(mailbox.take(0).orders) == ORDERS
    assert mailbox.order(lambda: None)


def test_only_the_newest_state_of_a_point_is_kept() -> None:
    mailbox: Mailbox[str] = Mailbox()
    for i in range(100):
        mailbox.state("a/p", PlantState(f"state-{i}", i))
    mailbox.state("b/p", PlantState(None, 0))
    assert mailbox.take(0).states == {"a/p": PlantState("state-99", 99), "b/p": PlantState(None, 0)}
    assert mailbox.take(0).states == {}


def test_only_the_newest_report_of_a_sender_is_kept() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.report("mic", "lost")
    mailbox.report("mic", "ok")
    assert mailbox.take(0).reports == ["ok"]


def test_taking_waits_for_mail_but_no_longer_than_asked() -> None:
    mailbox: Mailbox[str] = Mailbox()
    assert mailbox.take(0.01).windows == []
    sender = threading.Timer(0.05, mailbox.put, (window("m/p", 1),))
    sender.start()
    begun_s = time.monotonic()
    assert len(mailbox.take(10).windows) == 1
    assert time.monotonic() - begun_s < 5
    sender.join()


def test_closing_wakes_the_taker() -> None:
    mailbox: Mailbox[str] = Mailbox()
    closer = threading.Timer(0.05, mailbox.close)
    closer.start()
    mailbox.take(10)
    assert mailbox.closed
    assert not mailbox.order(lambda: None)
    closer.join()
