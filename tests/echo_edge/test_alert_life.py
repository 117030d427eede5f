"""The life of an alert: every way through it against a model that keeps nothing but a list; and over restarts."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echo_edge import alert_orders
from echo_edge.alert_life import Life, restored
from echo_edge.alert_orders import Wanted
from echo_edge.alerts import UPDATE_EVERY_NS, AlertPolicy
from echo_edge.config import AlertConfig, Config
from echo_edge.errors import OrderError
from echo_edge.pipeline import Pipeline, Point, Verdict
from echo_edge.records import Answer, Score, Window
from echo_edge.report import Reporter
from echo_edge.tail import Persistence
from echo_edge.troubles import GATEWAY_HOLD_OFF_NS, UNUSABLE_S, WELL_S, Trouble
from tests.ledger import TOPICS, Ledger, make_reporter
from tests.world import machine_windows, make_config, make_embedder

TORTURE = bool(os.environ.get("ECHO_EDGE_TORTURE"))
EXAMPLES = 2000 if TORTURE else 60
SECOND_NS, MINUTE_NS = 10**9, 60 * 10**9
NOW_NS = 1_777_885_512 * SECOND_NS
POINTS = ("pump/de", "pump/nde")
THRESHOLD = 2.0
LANG = Answer("m.lang", "", NOW_NS)


def two_points() -> Config:
    point = {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}, "alert": {"hold_off_s": 0}}
    return make_config(machines={"pump": {"points": {"de": point, "nde": point}}})


CONFIG, EMBEDDER, WINDOW = two_points(), make_embedder(), machine_windows(1)[0]


def opened(kind: Any = "machine", severity: Any = "warning") -> Life:
    return Life.opened(kind, "pump/de", severity, NOW_NS, value=3.0 if kind == "machine" else None)


class NoBooks:
    def closed(self, alert_id: str, time_ns: int) -> None:
        pass


class Plant:
    """Two points and the gateway; one window is enough to open and to clear. Restarted, it has what the disk has."""

    def __init__(self) -> None:
        self.ledger, self.now_ns, self.restarts = Ledger(), NOW_NS, 0
        self.restart()

    def restart(self) -> None:
        self.restarts += 1
        self.reporter: Reporter = make_reporter(CONFIG, self.ledger, f"{self.restarts:08x}")
        self.points: dict[str, Point] = Pipeline(CONFIG, EMBEDDER).points
        for point in self.points.values():
            policy = AlertPolicy(AlertConfig(hold_off_s=0), Persistence(1, 1))
            object.__setattr__(point, "_policy", policy)
        self.reporter.restore(self.points)
        self.reporter.begin()

    def wait(self, ns: int) -> None:
        self.now_ns += ns
        for point in self.points.values():
            slot = point.policy.slot
            self._told(slot.keep(slot.life.at(self.now_ns)) if slot.life else None, point)
            self._told(point.sensor_alarm.wake(self.now_ns), point)
        for step in self.reporter.alerts.gateway.wake(self.now_ns):
            self._told(step, None)

    def score(self, name: str, value: float, provisional: bool) -> None:
        begin_ns = self.now_ns - 2 * SECOND_NS
        score = Score(name, begin_ns, self.now_ns, value, THRESHOLD, "run", 0, (), "bl_0001", provisional, {})
        policy = self.points[name].policy
        event = policy.update(score)
        window = Window(name, WINDOW.samples, WINDOW.rate_hz, begin_ns)
        verdict = Verdict(window, "normal", score=score, event=event, life=policy.latest if event else None)
        self.reporter.alerts.judged(verdict)

    def sensor(self, name: str, trouble: Trouble | None) -> None:
        alarm, now_s = self.points[name].sensor_alarm, self.now_ns / 1e9
        for later_s in (0.0, WELL_S if trouble is None else UNUSABLE_S):
            self._told(alarm.update(trouble, now_s + later_s, self.now_ns), self.points[name])

    def gateway(self, problems: dict[str, str]) -> None:
        for step in self.reporter.alerts.gateway.update(problems, self.now_ns):
            self._told(step, None)

    def life(self, key: str) -> Life | None:
        kind, _, about = key.partition(":")
        if kind == "monitor":
            slots = self.reporter.alerts.gateway.slots
            return slots[about].life if about in slots else None
        point = self.points[about]
        return (point.policy.slot if kind == "machine" else point.sensor_alarm.slot).life

    def _told(self, step: Life | None, point: Point | None) -> None:
        if step is not None:
            self.reporter.alerts.step(step, point)


KEYS = ["machine:pump/de", "machine:pump/de", "machine:pump/nde", "sensor:pump/de", "monitor:outbox"]
OF_MACHINE = KEYS[0]
OPS = st.one_of(
    st.tuples(st.just("strange"), st.sampled_from(KEYS), st.sampled_from([2.5, 5.0, 9.0]), st.booleans()),
    st.tuples(st.just("well"), st.sampled_from(KEYS)),
    st.tuples(st.sampled_from(["ack", "ack", "clear"]), st.sampled_from(KEYS)),
    st.tuples(st.just("shelve"), st.sampled_from(KEYS), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
    st.tuples(st.just("restart")),
)


@dataclass
class Model:
    """What should be told, from a list of what was told and a few facts; knows nothing of the code."""

    told: list[tuple[str, int, int, str, str]] = field(default_factory=list)  # key, which alert, rev, type, severity
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    now_ns: int = NOW_NS

    def tell(self, key: str, kind: str) -> None:
        fact = self.facts[key]
        number = len([one for one in self.told if one[0] == key and one[3] == "open"]) + (kind == "open")
        rev = 1 if kind == "open" else max(one[2] for one in self.told if one[:2] == (key, number)) + 1
        self.told.append((key, number, rev, kind, fact["severity"]))
        fact |= {"told": fact["severity"], "told_peak": fact["peak"], "told_ns": self.now_ns}

    def strange(self, key: str, value: float, firm: bool) -> None:
        worse = {"machine": "alarm", "sensor": "fault", "monitor": "warning"}[key.partition(":")[0]]
        fact = self.facts.get(key)
        if fact is None or not fact["active"]:
            if fact is not None and "held_ns" in fact and self.now_ns - fact["held_ns"] < GATEWAY_HOLD_OFF_NS:
                return
            severity = worse if firm else "warning"
            self.facts[key] = {"active": True, "ack": False, "until": None, "severity": severity, "peak": value}
            self.tell(key, "open")
            return
        fact["severity"] = worse if firm else fact["severity"]
        fact["peak"] = max(fact["peak"], value)
        if fact["until"] is not None:
            return
        if fact["severity"] != fact["told"]:
            self.tell(key, "escalate")
        elif key.startswith("machine") and value > 1.5 * fact["told_peak"] and self.rested(fact):
            self.tell(key, "update")

    def rested(self, fact: dict[str, Any]) -> bool:
        waited: bool = self.now_ns - fact["told_ns"] >= UPDATE_EVERY_NS
        return waited

    def end(self, key: str, by_hand: bool) -> None:
        fact = self.facts.get(key)
        if fact is None or not fact["active"]:
            return
        fact |= {"active": False, "until": None, "gone": by_hand or fact["ack"]}
        if key.startswith("monitor"):
            fact["held_ns"] = self.now_ns
        self.tell(key, "clear")

    def wait(self) -> None:
        for key, fact in self.facts.items():
            if fact["until"] is not None and self.now_ns >= fact["until"]:
                fact["until"] = None
                self.tell(key, "escalate" if fact["severity"] != fact["told"] else "update")

    def waiting(self, key: str) -> bool:
        """Somebody has to know of it."""
        return key in self.facts and not self.facts[key].get("gone", False)


def obey(plant: Plant, model: Model, op: tuple[Any, ...]) -> None:
    """Do one thing to both."""
    what, args = op[0], op[1:]
    plant.wait(SECOND_NS)
    model.now_ns = plant.now_ns
    model.wait()
    if what == "wait":
        plant.wait(args[0] * MINUTE_NS)
        model.now_ns = plant.now_ns
        model.wait()
    elif what == "restart":
        plant.restart()
        for fact in model.facts.values():  # what was not told is not on disk; it is found out again
            fact |= {"severity": fact["told"], "peak": fact["told_peak"]}
            fact.pop("held_ns", None)
    elif what in ("strange", "well"):
        kind, _, about = args[0].partition(":")
        value, firm = args[1:] if what == "strange" else (1.0, False)
        severity: Any = "fault" if firm else "warning"
        trouble = Trouble(severity, ("x",), "the sensor is unwell") if what == "strange" else None
        if kind == "machine":
            plant.score(about, value, provisional=not firm)
        elif kind == "sensor":
            plant.sensor(about, trouble)
        else:
            plant.gateway({about: "disk_full"} if what == "strange" else {})
        model.strange(args[0], value, firm) if what == "strange" else model.end(args[0], by_hand=False)
    else:
        answer(plant, model, what, args)


def answer(plant: Plant, model: Model, what: Any, args: tuple[Any, ...]) -> None:
    """A person does something about an alert; refused where there is none, or it has cleared."""
    key = args[0]
    life, fact = plant.life(key), model.facts.get(key)
    assert (life is not None) == model.waiting(key)
    if life is None or fact is None:
        return
    until_ns = plant.now_ns + args[1] * MINUTE_NS if what == "shelve" else None
    wanted = Wanted(life.alert_id, what, Answer("m.lang", "seen", plant.now_ns), until_ns)
    if what != "ack" and not fact["active"]:
        with pytest.raises(OrderError, match="cleared by itself"):
            alert_orders.answer(plant.points, plant.reporter.alerts, NoBooks(), wanted)  # type: ignore[arg-type]
        return
    told = alert_orders.answer(plant.points, plant.reporter.alerts, NoBooks(), wanted)  # type: ignore[arg-type]
    assert (told["rev"] == life.rev) == (what == "ack" and fact["ack"])
    if told["rev"] == life.rev:
        return
    if what == "clear":
        model.end(key, by_hand=True)
    elif what == "shelve":
        fact["until"] = until_ns
        model.tell(key, "shelve")
    else:
        fact |= {"ack": True, "gone": not fact["active"]}
        model.tell(key, "ack")


def by_key(told: list[tuple[str, int, int, str, str]]) -> list[tuple[str, int, int, str, str]]:
    """Of each alert in order; two that wake at the same moment may do so in any."""
    return sorted(told, key=lambda one: one[0])


def as_told(events: list[dict[str, Any]]) -> list[tuple[str, int, int, str, str]]:
    numbers: dict[str, list[str]] = {}
    found = []
    for event in events:
        about = event.get("problem") or f"{event['machine']}/{event['point']}"
        key = f"{event['kind']}:{about}"
        ids = numbers.setdefault(key, [])
        if event["alert_id"] not in ids:
            ids.append(event["alert_id"])
        found.append((key, ids.index(event["alert_id"]) + 1, event["rev"], event["type"], event["severity"]))
    return found


@settings(max_examples=EXAMPLES, deadline=None, derandomize=not TORTURE)
@given(st.lists(OPS, min_size=25, max_size=50))
@example(  # worse while it is shelved
    [
        ("strange", OF_MACHINE, 2.5, False),
        ("shelve", OF_MACHINE, 3),
        ("strange", OF_MACHINE, 9.0, True),
        ("wait", 4),
        ("well", OF_MACHINE),
    ]
)
def test_every_way_through_a_life_is_told_as_the_model_says(ops: list[tuple[Any, ...]]) -> None:
    plant, model = Plant(), Model()
    for op in ops:
        obey(plant, model, op)
        assert by_key(as_told(plant.ledger.events)) == by_key(model.told)
        active = {key for key, fact in model.facts.items() if fact["active"]}
        listed = plant.ledger.listed()
        assert len([one for one in listed if one["state"] == "active"]) == len(active)
        assert len(listed) == len([key for key in model.facts if model.waiting(key)]) == len(plant.ledger.lives)
        for name in POINTS:
            told = plant.ledger.state(TOPICS.alert_active(name))
            assert (told["alert"] is not None) == (f"machine:{name}" in active)
            assert (told["sensor"] is not None) == (f"sensor:{name}" in active)
    kinds: dict[str, set[str]] = {}
    for event in plant.ledger.events:
        kinds.setdefault(event["alert_id"], set()).add(f"{event['kind']} {event.get('point')}")
    assert all(len(found) == 1 for found in kinds.values())


def test_a_life_goes_on_after_a_restart_with_its_id_and_clears_when_the_machine_is_well() -> None:
    plant = Plant()
    plant.score("pump/de", 5.0, provisional=False)
    before = plant.ledger.events[0]
    plant.restart()
    kept = plant.ledger.state(TOPICS.alert_active("pump/de"))["alert"]
    assert kept == {name: value for name, value in before.items() if name not in ("seq", "id")}
    plant.wait(SECOND_NS)
    plant.score("pump/de", 1.0, provisional=False)
    after = plant.ledger.events[1]
    assert (after["alert_id"], after["rev"], after["type"]) == (before["alert_id"], 2, "clear")
    assert after["peak"] == before["peak"]
    assert plant.ledger.state(TOPICS.alert_active("pump/de"))["alert"] is None


def test_a_cleared_alert_waits_for_a_person_and_the_next_one_takes_its_place() -> None:
    plant = Plant()
    for value in (5.0, 1.0):
        plant.wait(SECOND_NS)
        plant.score("pump/de", value, provisional=False)
    (waiting,) = plant.ledger.listed()
    assert (waiting["state"], waiting["acknowledged"]) == ("cleared", False)
    plant.wait(SECOND_NS)
    plant.score("pump/de", 5.0, provisional=False)
    (second,) = plant.ledger.listed()
    assert second["alert_id"] != waiting["alert_id"]


def test_what_a_person_did_stays_with_the_alert() -> None:
    life = opened().answered("ack", replace(LANG, note="greased"))
    life = life.answered("shelve", replace(LANG, by="k.weber"), NOW_NS + MINUTE_NS)
    assert life.ack == replace(LANG, note="greased")
    assert life.said == replace(LANG, by="k.weber")
    assert life.cleared(NOW_NS).said is None
    assert life.cleared(NOW_NS).over


def test_severity_never_falls() -> None:
    life = opened(severity="alarm").followed(NOW_NS, severity="warning", value=1.0)
    assert (life.severity, life.rev, life.peak_value) == ("alarm", 1, 3.0)


def test_a_shelved_alert_is_silent_until_it_clears_or_the_time_is_up() -> None:
    life = opened().answered("shelve", LANG, NOW_NS + MINUTE_NS)
    quiet = life.followed(NOW_NS, severity="alarm", value=9.0, news=True)
    assert (quiet.rev, quiet.severity, quiet.peak_value) == (life.rev, "alarm", 9.0)
    assert quiet.at(NOW_NS + MINUTE_NS - 1) is quiet
    woken = quiet.at(NOW_NS + MINUTE_NS)
    assert (woken.type, woken.rev, woken.shelved_until_ns) == ("escalate", 3, None)
    assert life.at(NOW_NS + MINUTE_NS).type == "update"
    assert (quiet.cleared(NOW_NS).type, quiet.cleared(NOW_NS).shelved_until_ns) == ("clear", None)


@pytest.mark.parametrize(
    ("said", "until_ns", "problem"),
    [
        (replace(LANG, by=" "), NOW_NS + 1, "nobody is named"),
        (replace(LANG, note="x" * 201), NOW_NS + 1, "at most 200 characters"),
        (replace(LANG, note="two\nlines"), NOW_NS + 1, "one line"),
        (LANG, None, "needs an end"),
        (LANG, NOW_NS, "in the future"),
    ],
)
def test_what_cannot_be_done_is_refused(said: Answer, until_ns: int | None, problem: str) -> None:
    with pytest.raises(OrderError, match=problem):
        opened().answered("shelve", said, until_ns)


@given(st.sampled_from(["machine", "sensor", "monitor"]), st.booleans(), st.booleans(), st.text(max_size=200))
def test_a_life_survives_being_stored(kind: Any, acknowledged: bool, shelved: bool, note: str) -> None:
    life = opened(kind)
    said = replace(LANG, note=note if note.isprintable() else "")
    life = life.answered("shelve", said, NOW_NS + MINUTE_NS) if shelved else life
    life = life.answered("ack", said) if acknowledged else life
    assert restored(json.loads(json.dumps(life.as_json() | {"message": {}}))) == life


@pytest.mark.parametrize(
    "damage",
    [
        {"rev": 0},
        {"alert_id": "../x"},
        {"kind": "human"},
        {"severity": "fault"},
        {"opened_ns": 10**30},
        {"peak_value": None},
        {"ack": {"by": 3}},
        {"cleared_ns": 5, "ack": {"by": "m.lang", "note": "", "time_ns": 1}},
        {"message": None},
        {"message": {"alert_id": "of another"}},
    ],
)
def test_a_life_that_cannot_be_read_is_forgotten_and_the_others_go_on(
    damage: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    plant = Plant()
    for name in POINTS:
        plant.score(name, 5.0, provisional=True)
    plant.ledger.lives["machine:pump/de"] |= damage
    with caplog.at_level(logging.ERROR):
        plant.restart()
    assert [one["point"] for one in plant.ledger.listed()] == ["nde"]
    assert "an alert of before the restart (machine:pump/de) is forgotten" in caplog.text
    plant.wait(SECOND_NS)
    plant.score("pump/de", 5.0, provisional=True)
    assert plant.ledger.steps()[-1] == "open"
