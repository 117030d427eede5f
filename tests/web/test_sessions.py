"""Sessions and the throttle of logins, by a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from echo_edge.web.accounts import Accounts
from echo_edge.web.sessions import IDLE_S, LONGEST_S, OF_ONE, Sessions
from echo_edge.web.throttle import ENTRIES, FREE_TRIES, Throttle


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    made = Accounts(tmp_path)
    made.add("boss", "admin")
    made.add("ann", "technician")
    return made


def test_each_login_has_an_id_and_a_token_that_nobody_had(accounts: Accounts) -> None:
    sessions = Sessions(accounts)
    ids = {sessions.begin("ann") for _ in range(10)}
    tokens = {session.csrf for one in ids if (session := sessions.get(one)) is not None}
    assert len(ids) == len(tokens) == 10
    assert all(len(one) >= 43 for one in ids | tokens), "256 bits"


def test_an_id_is_nowhere_in_the_memory_of_the_table(accounts: Accounts) -> None:
    sessions = Sessions(accounts)
    assert sessions.begin("ann") not in str(vars(sessions))


def test_a_session_ends_when_nobody_uses_it(accounts: Accounts) -> None:
    clock = Clock()
    sessions = Sessions(accounts, clock)
    one = sessions.begin("ann")
    for _ in range(3):
        clock.wait(IDLE_S - 1)
        assert sessions.get(one) is not None
    clock.wait(IDLE_S - 1)
    assert sessions.get(one, used=False) is not None
    clock.wait(2)
    assert sessions.get(one) is None
    assert sessions.get(one) is None


def test_a_session_ends_after_twelve_hours_of_use(accounts: Accounts) -> None:
    clock = Clock()
    sessions = Sessions(accounts, clock)
    one = sessions.begin("ann")
    for _ in range(int(LONGEST_S // 1000)):
        clock.wait(1000)
        assert sessions.get(one) is not None
    clock.wait(1000)
    assert sessions.get(one) is None


def test_logging_out_and_every_change_of_the_account_end_it(accounts: Accounts) -> None:
    sessions = Sessions(accounts)
    boss = sessions.begin("boss")
    out, code, role, removed = (sessions.begin("ann") for _ in range(4))
    sessions.end(out)
    assert sessions.get(out) is None
    assert sessions.get(code) is not None
    accounts.set_role("ann", "viewer")
    assert sessions.get(role) is None
    again = sessions.begin("ann")
    accounts.new_code("ann")
    assert sessions.get(again) is None
    last = sessions.begin("ann")
    accounts.remove("ann")
    assert [sessions.get(one) for one in (code, removed, last)] == [None] * 3
    assert sessions.get(boss) is not None


def test_one_person_has_no_more_than_so_many_and_the_oldest_gives_way(accounts: Accounts) -> None:
    sessions = Sessions(accounts)
    boss, ids = sessions.begin("boss"), [sessions.begin("ann") for _ in range(OF_ONE + 3)]
    assert [sessions.get(one) is not None for one in ids] == [False] * 3 + [True] * OF_ONE
    assert sessions.get(boss) is not None


def test_an_address_has_five_tries_and_then_waits_that_double_up_to_an_hour() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    assert [throttle.begin("10.0.0.1", f"name{n}").wait_s for n in range(FREE_TRIES)] == [0.0] * FREE_TRIES
    waits = []
    for n in range(8):
        waits.append(throttle.begin("10.0.0.1", f"other{n}").wait_s)
        clock.wait(waits[-1])
        assert throttle.begin("10.0.0.1", f"other{n}").wait_s == 0
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert throttle.begin("10.0.0.2", "ann").wait_s == 0


def test_waiting_is_not_made_longer_by_trying() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(FREE_TRIES):
        throttle.begin("10.0.0.1", "ann")
    for _ in range(1000):
        assert throttle.begin("10.0.0.1", "ann").wait_s == 60
    clock.wait(60)
    assert throttle.begin("10.0.0.1", "ann").wait_s == 0


def test_a_login_that_succeeds_does_not_count_and_gives_no_new_tries() -> None:
    throttle = Throttle(Clock())
    for _ in range(FREE_TRIES - 1):
        throttle.begin("10.0.0.1", "boss")
    for _ in range(20):  # who has an account of their own can not use it to go on guessing
        throttle.succeeded(throttle.begin("10.0.0.1", "ann"))
    assert throttle.begin("10.0.0.1", "boss").wait_s == 0
    assert throttle.begin("10.0.0.1", "boss").wait_s == 60


def test_a_name_that_is_attacked_from_many_addresses_is_held_back_as_a_whole() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    made = 0
    for _ in range(60):  # an hour
        for address in range(200):
            made += throttle.begin(f"10.0.1.{address}", "boss").wait_s == 0
        clock.wait(60)
    assert made < 1000, "each might have tried 11 times"


def test_the_person_under_attack_gets_in_from_where_nobody_has_failed() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for address in range(20):
        for _ in range(50):
            throttle.begin(f"10.0.1.{address}", "boss")
    one = throttle.begin("10.0.0.7", "boss")
    assert one.wait_s == 0
    throttle.succeeded(one)
    for address in range(100):
        throttle.begin(f"10.0.2.{address}", "boss")
    assert throttle.begin("10.0.0.7", "boss").wait_s == 0, "they were let in from there before"


def test_who_was_let_in_before_is_not_kept_out_by_a_neighbour_of_the_same_network() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    throttle.succeeded(throttle.begin("2001:db8::a", "ann"))
    for n in range(50):
        throttle.begin(f"2001:db8::bad:{n:x}", "ann")
    assert [throttle.begin("2001:db8::a", "ann").wait_s for _ in range(FREE_TRIES + 1)] == [0.0] * FREE_TRIES + [60]
    assert throttle.begin("2001:db8::b", "ann").wait_s > 0, "nobody was let in from there"


def test_a_try_that_was_not_made_does_not_count() -> None:
    throttle = Throttle(Clock())
    for _ in range(3 * FREE_TRIES):
        one = throttle.begin("10.0.0.1", "ann")
        assert one.wait_s == 0
        throttle.not_made(one)


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    throttle = Throttle(Clock())
    for n in range(FREE_TRIES):
        assert throttle.begin(f"2001:db8::{n:x}", f"name{n}").wait_s == 0
    assert throttle.begin("2001:db8::ffff", "ann").wait_s == 60
    assert throttle.begin("2001:db8:0:1::1", "ann").wait_s == 0
    assert throttle.begin("::ffff:10.0.0.1", "ann").wait_s == 0


def test_no_flood_of_names_and_addresses_makes_it_grow_or_frees_who_floods() -> None:
    throttle = Throttle(Clock())
    for n in range(3 * ENTRIES):
        throttle.begin("10.0.0.1", f"n{n}")
        throttle.begin(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", f"n{n}")
    assert len(throttle._counts) <= ENTRIES
