"""Which operating state is in force: who counts for more, what a change costs, and that nothing unknown is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_edge.alerts import AlertPolicy
from echo_edge.config import AlertConfig
from echo_edge.operating import InForce, StateWatch
from echo_edge.records import Score
from echo_edge.tail import Persistence

S = 1_000_000_000
RUN = {"run-50hz": np.array([-20.0])}
RUN_AND_OFF = {**RUN, "off": np.array([-70.0])}


class World:
    """One point that hears a window a second, from second 1000 on."""

    def __init__(self, off_below_db: float | None = None, settle_s: float = 10.0) -> None:
        self.states = StateWatch("pump-12/de", off_below_db, settle_s)
        self.now_s = 1000

    @property
    def now_ns(self) -> int:
        return self.now_s * S

    def hear(self, level_db: float = -18.0, known: dict[str, Any] = RUN) -> InForce:
        start_ns = self.now_ns
        self.now_s += 1
        return self.states.in_force(start_ns, self.now_ns, np.array([level_db]), known)

    def settle(self, level_db: float = -18.0, known: dict[str, Any] = RUN) -> InForce:
        for _ in range(20):
            now = self.hear(level_db, known)
        return now


def test_where_nobody_tells_the_best_of_all_states_decides() -> None:
    assert World().hear() == InForce(None, "auto")


def test_what_was_taught_and_told_is_in_force_once_it_has_settled() -> None:
    world = World(settle_s=10)
    world.hear()
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    heard = [world.hear() for _ in range(12)]
    assert [now.withheld for now in heard] == ["not_monitored"] * 10 + [None] * 2
    assert heard[0].reason == "settling after the change to run-50hz"
    assert [now.changed for now in heard] == [True] + [False] * 11
    assert heard[-1] == InForce("run-50hz", "mqtt")


def test_a_state_that_is_told_again_and_again_does_not_settle_again() -> None:
    world = World()
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    world.settle()
    for _ in range(5):
        world.states.tell("run-50hz", "mqtt", world.now_ns)
        assert world.hear() == InForce("run-50hz", "mqtt")


def test_a_state_that_came_and_went_between_two_windows_still_settles() -> None:
    world = World()
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    world.settle()
    for name in ("idle", "run-50hz"):
        world.states.tell(name, "mqtt", world.now_ns)
    assert world.hear().withheld == "not_monitored"


def test_a_told_state_that_nobody_taught_asks_for_its_enrollment_at_once() -> None:
    world = World()
    world.states.tell("run-40hz", "mqtt", world.now_ns)
    now = world.hear()
    assert (now.withheld, now.name, now.source) == ("unknown", "run-40hz", "mqtt")
    assert now.reason == ("state run-40hz is not enrolled: `echo-edge enroll start CONFIG pump-12/de --state run-40hz`")


def test_a_person_counts_for_more_than_mqtt_until_it_is_taken_back() -> None:
    world = World(settle_s=0)
    known = {**RUN, "idle": np.array([-30.0])}
    world.states.tell("idle", "order", world.now_ns)
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    assert (world.hear(known=known).name, world.states.latest and world.states.latest.source) == ("idle", "order")
    world.states.forget("order", world.now_ns)
    assert world.hear(known=known).name == "run-50hz"
    world.states.forget("mqtt", world.now_ns)
    assert world.hear(known=known) == InForce(None, "auto", changed=True)


def test_a_state_ends_at_its_time_and_what_was_told_beneath_holds_again() -> None:
    world = World(settle_s=2)
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    world.states.tell("washing", "order", world.now_ns, world.now_ns + 5 * S)
    heard = [world.hear() for _ in range(8)]
    assert [now.withheld for now in heard] == ["unknown"] * 4 + ["not_monitored"] * 3 + [None]
    assert heard[4].reason == "settling after the change to run-50hz"


def test_a_state_that_had_ended_before_it_was_told_is_none() -> None:
    world = World()
    world.states.tell("run-40hz", "mqtt", world.now_ns, world.now_ns - 1)
    assert world.hear() == InForce(None, "auto")


def test_a_silent_machine_is_off_whatever_is_told_and_that_is_said() -> None:
    world = World(off_below_db=-50)
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    world.settle()
    off = world.hear(-60)
    assert (off.name, off.source, off.withheld, off.changed) == ("off", "level", "not_monitored", True)
    assert off.reason == "the machine is off, although run-50hz is told (mqtt)"
    taught = world.settle(-60, RUN_AND_OFF)
    assert (taught.name, taught.source, taught.withheld) == ("off", "level", None)
    assert taught.reason == "the level is below off_below_db, although run-50hz is told (mqtt)"
    assert world.hear(known=RUN_AND_OFF).reason == "settling after the change to run-50hz"


def test_one_channel_that_is_loud_keeps_a_point_from_being_off() -> None:
    states = StateWatch("pump-12/de", off_below_db=-50)
    two = {"run": np.array([-20.0, -20.0])}
    assert states.in_force(0, S, np.array([-60.0, -49.0]), two).name is None
    assert states.in_force(S, 2 * S, np.array([-60.0, -51.0]), two).name == "off"


def test_a_machine_that_is_off_and_was_never_taught_so_is_not_monitored_without_alarm() -> None:
    world = World(off_below_db=-50)
    assert world.hear(-60) == InForce("off", "level", "not_monitored", "the machine is off", changed=True)


def test_much_quieter_than_every_taught_state_is_unknown_only_where_nobody_tells() -> None:
    world = World(settle_s=3)
    assert world.hear(-29.9) == InForce(None, "auto")
    now = world.hear(-30.1)
    assert (now.name, now.withheld, now.changed) == (None, "unknown", True)
    assert "look whether it runs" in str(now.reason)
    assert str(now.reason).endswith("`echo-edge enroll start CONFIG pump-12/de --state off`")
    assert world.hear().reason == "settling after the start of the machine"
    assert world.hear(-31, RUN_AND_OFF).withheld == "not_monitored"
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    assert world.settle(-40) == InForce("run-50hz", "mqtt")


def test_a_clock_that_is_set_back_does_not_settle_for_as_long() -> None:
    world = World()
    world.states.tell("run-50hz", "mqtt", world.now_ns)
    assert world.hear().withheld == "not_monitored"
    world.now_s -= 500
    assert world.hear() == InForce("run-50hz", "mqtt")


NAMES = st.sampled_from(["run-50hz", "off", "run-40hz"])
SOURCES = st.sampled_from(["mqtt", "order"])
STEPS = st.one_of(
    st.tuples(st.just("tell"), NAMES, SOURCES, st.none() | st.integers(-5, 30)),
    st.tuples(st.just("forget"), SOURCES),
    st.tuples(st.just("hear"), st.sampled_from([-18.0, -29.0, -45.0, -75.0]), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60), st.sampled_from([None, -50.0]), st.sampled_from([0.0, 3.0]))
def test_whatever_is_told_and_heard_no_alert_opens_while_unknown_or_settling(
    steps: list[Any], off_below_db: float | None, settle_s: float
) -> None:
    world = World(off_below_db, settle_s)
    policy = AlertPolicy(AlertConfig(hold_off_s=0), Persistence(2, 3))
    changed_s = -1e9
    strange_in_a_row = 0
    for kind, *rest in steps:
        if kind == "tell":
            name, source, ends_s = rest
            world.states.tell(name, source, world.now_ns, None if ends_s is None else world.now_ns + ends_s * S)
            continue
        if kind == "forget":
            world.states.forget(rest[0], world.now_ns)
            continue
        level_db, off_taught = rest
        known = RUN_AND_OFF if off_taught else RUN
        start_s = world.now_s
        now = world.hear(level_db, known)
        if now.changed:
            policy.forget()
            changed_s, strange_in_a_row = start_s, 0
        if now.withheld:
            assert now.reason
            continue
        assert now.name is None or now.name in known
        assert start_s >= changed_s + settle_s - 1, "judged within the settling time"
        event = policy.update(Score("pump-12/de", start_s * S, world.now_ns, 9.0, 1.0, "run", 0, (), "b", False, {}))
        strange_in_a_row += 1
        if event is not None and event.type == "open":
            assert strange_in_a_row >= 2, "windows of before the change were counted"
