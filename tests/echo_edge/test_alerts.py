"""Alert policy: k of n, two limits, one id from open to clear."""

from __future__ import annotations

from dataclasses import replace

from echo_edge.alerts import AlertPolicy
from echo_edge.config import AlertConfig
from echo_edge.records import Answer, Event, Score
from echo_edge.tail import Persistence

SECOND_NS = 1_000_000_000


def score(value: float, second: int, *, provisional: bool = False) -> Score:
    start_ns = second * SECOND_NS
    return Score("m/p", start_ns, start_ns + SECOND_NS, value, 2.0, "run", 0, (), "bl_0001", provisional, {})


def play(
    values: list[float], config: AlertConfig | None = None, *, provisional: bool = False
) -> list[tuple[int, Event]]:
    policy = AlertPolicy(config or AlertConfig(hold_off_s=0), Persistence(3, 5))
    told = [(i, policy.update(score(v, i, provisional=provisional))) for i, v in enumerate(values)]
    return [(i, event) for i, event in told if event is not None]


def kinds(values: list[float], config: AlertConfig | None = None) -> list[tuple[int, str]]:
    return [(i, event.type) for i, event in play(values, config)]


def test_an_alert_opens_with_the_third_strange_window_of_five() -> None:
    assert kinds([1, 3, 1, 3, 3]) == [(4, "open")]


def test_short_windows_must_be_strange_for_two_seconds() -> None:
    policy = AlertPolicy(AlertConfig(hold_off_s=0), Persistence(3, 5))
    quarter_ns = SECOND_NS // 4
    short = [replace(score(3, 0), time_ns=i * quarter_ns, end_ns=(i + 1) * quarter_ns) for i in range(10)]
    assert [policy.update(s) is not None for s in short].index(True) == 7


def test_two_strange_windows_of_five_are_no_alert() -> None:
    assert kinds([3, 1, 1, 3, 1, 1, 3, 1, 1, 3]) == []


def test_an_alert_clears_only_after_five_well_windows_in_a_row() -> None:
    assert kinds([3, 3, 3, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1]) == [(2, "open"), (12, "clear")]


def test_between_the_two_limits_nothing_changes() -> None:
    just_below = 1.95  # above 0.95 of the threshold of 2
    assert kinds([3, 3, 3, *[just_below] * 20]) == [(2, "open")]


def test_one_id_lives_from_open_to_clear_and_the_revision_rises() -> None:
    events = [event for _, event in play([3, 3, 3, *[3.0] * 10, 9, 1, 1, 1, 1, 1])]
    assert [e.type for e in events] == ["open", "update", "clear"]
    assert len({e.alert_id for e in events}) == 1
    assert [e.rev for e in events] == [1, 2, 3]
    assert events[-1].peak_value == 9
    assert events[-1].opened_ns == events[0].time_ns


def test_a_second_alert_has_an_id_of_its_own() -> None:
    well = [1.0] * 5
    opens = [e for _, e in play([3, 3, 3, *well, 3, 3, 3, *well]) if e.type == "open"]
    assert len(opens) == 2
    assert opens[0].alert_id != opens[1].alert_id


def test_after_a_clear_no_alert_opens_during_the_hold_off() -> None:
    config = AlertConfig(hold_off_s=10)
    values = [3, 3, 3, 1, 1, 1, 1, 1, *[3.0] * 20]
    assert kinds(values, config) == [(2, "open"), (7, "clear"), (17, "open")]


def test_a_clock_that_is_set_back_does_not_mute_the_next_alert() -> None:
    policy = AlertPolicy(AlertConfig(hold_off_s=30), Persistence(3, 5))
    for i, value in enumerate([3, 3, 3, 1, 1, 1, 1, 1]):
        policy.update(score(value, 1_000_000 + i))
    told = [policy.update(score(3, i)) for i in range(5)]
    assert [event.type for event in told if event] == ["open"]


def test_a_provisional_baseline_warns_and_a_firm_one_alarms() -> None:
    assert play([3, 3, 3], provisional=True)[0][1].severity == "warning"
    assert play([3, 3, 3])[0][1].severity == "alarm"


def test_a_warning_grows_to_an_alarm_once_the_baseline_is_firm_and_the_machine_still_strange() -> None:
    policy = AlertPolicy(AlertConfig(hold_off_s=0), Persistence(3, 5))
    for i in range(3):
        policy.update(score(3, i, provisional=True))
    told = [policy.update(score(value, 3 + i)) for i, value in enumerate([1, 3, 3])]
    assert [event and (event.type, event.severity, event.rev) for event in told] == [
        None,
        ("escalate", "alarm", 2),
        None,
    ]


def test_after_a_person_cleared_an_alert_the_count_begins_anew_and_the_hold_off_applies() -> None:
    policy = AlertPolicy(AlertConfig(hold_off_s=10), Persistence(3, 5))
    for i in range(3):
        policy.update(score(3, i))
    assert policy.open is not None
    policy.slot.keep(policy.open.answered("clear", Answer("m.lang", "", 3 * SECOND_NS)))
    policy.cleared_by_hand(3 * SECOND_NS)
    assert policy.strange_windows == 0
    told = [(i, policy.update(score(3, i))) for i in range(3, 20)]
    assert [(i, event.type) for i, event in told if event] == [(12, "open")]


def test_the_peak_is_followed_between_the_steps() -> None:
    events = [event for _, event in play([3, 3, 3, 4, 3, 1, 1, 1, 1, 1])]
    assert [(event.type, event.peak_value) for event in events] == [("open", 3), ("clear", 4)]
