"""From steps to messages: where each goes, what is retained of it, and what becomes of a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echo_edge.alert_life import Life
from echo_edge.config import Config
from echo_edge.envelope import Envelope, Listener
from echo_edge.machine_state import Machines
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, REST, WARNING
from echo_edge.payload import Info, MachineState, alert_payload, encode
from echo_edge.pipeline import Pipeline
from echo_edge.records import Answer, BandShare, OperatingState
from echo_edge.report import Reporter
from echo_edge.report_alerts import rank
from echo_edge.troubles import Trouble
from tests.broker import wait_for
from tests.echo_edge.test_alert_life import Plant
from tests.echo_edge.test_payload import EVENT, EVIDENCE, MOVED, SCORE, envelope
from tests.echo_edge.test_pipeline import enrolled
from tests.ledger import TOPICS, Ledger, make_reporter, sensor
from tests.world import POINT, machine_windows, make_config, make_embedder

SECOND_NS = 10**9


class Line:
    """One point that was taught, its reporter, and windows of an invented machine."""

    def __init__(self, *, listeners: Sequence[Listener] = (), **mqtt: Any) -> None:
        self.config: Config = make_config(mqtt=mqtt)
        self.ledger, self.pipeline = Ledger(), Pipeline(self.config, make_embedder())
        self.point = self.pipeline.points[POINT]
        self.point.adopt(replace(enrolled(self.pipeline), id="bl_0001"))
        self.reporter: Reporter = make_reporter(self.config, self.ledger, listeners=listeners)
        self.reporter.begin()
        self.reporter.sensor(sensor(), self.point)

    def hear(self, count: int, **machine: Any) -> None:
        for verdict in self.pipeline.step(machine_windows(count, **machine)):
            self.reporter.verdict(verdict, self.point)


def test_a_step_goes_durable_to_its_point_and_as_the_same_bytes_to_the_whole_gateway() -> None:
    line = Line()
    line.hear(10, fault="outer_race")
    assert line.ledger.topics == [TOPICS.alert(POINT)]
    assert line.ledger.copies == line.ledger.events
    assert line.ledger.ranks == [WARNING]  # a provisional baseline warns
    assert line.ledger.state(TOPICS.alert_active(POINT))["alert"] == line.ledger.events[0]
    (listed,) = line.ledger.listed()
    assert (listed["machine"], listed["point"], listed["kind"], listed["state"]) == ("pump", "de", "machine", "active")


def test_of_several_windows_at_once_each_step_is_stored_with_its_own_life() -> None:
    line = Line()
    healthy = [replace(w, time_ns=w.time_ns + 60 * SECOND_NS) for w in machine_windows(10, skip_s=50)]
    for verdict in line.pipeline.step([*machine_windows(10, fault="outer_race"), *healthy]):
        line.reporter.verdict(verdict, line.point)
    assert [(event["type"], event["rev"]) for event in line.ledger.events] == [("open", 1), ("clear", 2)]
    assert line.ledger.lives["machine:pump/de"]["rev"] == 2


@pytest.mark.parametrize(
    ("severity", "kind", "expected"),
    [
        ("alarm", "open", CRITICAL),
        ("fault", "escalate", CRITICAL),
        ("warning", "open", WARNING),
        ("alarm", "update", REST),
        ("fault", "shelve", REST),
        ("alarm", "clear", REST),
    ],
)
def test_what_is_new_and_severe_goes_first(severity: Any, kind: Any, expected: int) -> None:
    assert rank(replace(Life.opened("sensor", POINT, severity, 0), type=kind)) == expected


def test_a_sensor_that_is_lost_is_an_alarm_of_its_own_beside_the_machines() -> None:
    line = Line()
    line.hear(10, fault="outer_race")
    alarm = line.point.sensor_alarm
    line.reporter.sensor(sensor("lost", "unplugged"), line.point)
    line.reporter.look(line.point)
    alarm._since_s["fault"] -= 5
    line.reporter.look(line.point)
    machine, lost = line.ledger.events
    assert (lost["kind"], lost["severity"], lost["reasons"]) == ("sensor", "fault", ["sensor_lost"])
    assert lost["text"].startswith("pump / de: the sensor is lost: unplugged; open since ")
    assert lost["alert_id"] != machine["alert_id"]
    active = line.ledger.state(TOPICS.alert_active(POINT))
    assert (active["alert"], active["sensor"]) == (machine, lost)
    assert line.ledger.state(TOPICS.machine_state("pump"))["alerts"] == [machine["alert_id"], lost["alert_id"]]
    assert [one["kind"] for one in line.ledger.listed()] == ["sensor", "machine"]  # the worst first


def test_a_driver_that_starts_is_no_alarm() -> None:
    ledger, config = Ledger(), make_config()
    reporter, point = make_reporter(config, ledger), Pipeline(config, make_embedder()).points[POINT]
    reporter.begin()
    for _ in range(2):
        reporter.look(point)
        point.sensor_alarm._since_s = {"fault": 0.0, "warning": 0.0}
    reporter.sensor(sensor(), point)
    reporter.look(point)
    assert ledger.events == []


def test_what_is_wrong_with_the_gateway_goes_to_a_topic_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line = Line()
    line.reporter.monitor_alarms({"outbox": "disk_full: no space left on device"})
    line.reporter.monitor_alarms({})
    assert line.ledger.topics == [TOPICS.alerts, TOPICS.alerts]
    assert line.ledger.copies == []
    opened, cleared = line.ledger.events
    told = [record.levelno for record in caplog.records if record.message.startswith("alert ")]
    assert told == [logging.WARNING, logging.INFO], "its end needs nobody's eyes"
    assert opened["text"].startswith("gateway gw: disk_full: no space left on device; open since")
    assert cleared["text"].startswith("gateway gw: no longer: disk_full: no space left on device at ")
    assert (opened["kind"], opened["problem"]) == ("monitor", "outbox")
    assert line.ledger.state(TOPICS.alert_active(POINT))["alert"] is None
    assert line.ledger.state(TOPICS.machine_state("pump"))["alerts"] == []


def test_the_alerts_of_a_point_that_is_gone_are_closed_and_nothing_retained_is_left_of_it() -> None:
    plant = Plant()
    plant.score("pump/nde", 5.0, provisional=False)
    config = make_config()  # has only pump/de
    reporter = make_reporter(config, plant.ledger, "0badcafe")
    assert reporter.restore(Pipeline(config, make_embedder()).points) == set()
    reporter.begin()
    last = plant.ledger.events[-1]
    assert (last["type"], last["rev"], last["point"]) == ("clear", 2, "nde")
    assert "not in the configuration any more" in last["text"]
    assert plant.ledger.lives == {}
    assert plant.ledger.listed() == []
    assert {plant.ledger.states[topic] for topic in TOPICS.retained("pump/nde")} == {None}
    assert plant.ledger.states[TOPICS.machine_state("pump")] is not None


def test_the_list_of_a_whole_gateway_is_cut_at_sixty_and_says_so() -> None:
    line = Line()
    line.reporter.monitor_alarms({f"problem_{n}": "x" * 500 for n in range(70)})
    told = line.ledger.state(TOPICS.alerts_active)
    assert (len(told["alerts"]), told["more"]) == (60, 10)
    assert len(encode(told)) < 65_536


def test_an_alert_of_the_fastest_sensor_with_the_longest_words_fits_into_the_outbox() -> None:
    shares = tuple(BandShare(i * 1280.0, i * 1280 + 1280.0, (i % 30) / 1000) for i in range(76))  # 192 kHz
    wordy = replace(EVIDENCE, moved=(replace(MOVED, words="velocity RMS (ch10) 4.2 mm/s, usual 1.1 to 1.4 " * 3),) * 5)
    said = Answer("\U0001f600" * 200, "\U0001f600" * 200, EVENT.time_ns)
    event = replace(EVENT, score=replace(SCORE, bands=shares), ack=said)
    alert = alert_payload(envelope(), event, "echo-tiny", "\U0001f600" * 500, wordy, f"{'a' * 32}-123.png")
    assert len(encode(alert)) < 8000
    told = [band["share"] for band in alert["evidence"]["bands"]]
    assert len(told) == 24
    assert min(told) >= sorted(band.share for band in shares)[-24]
    edges = [band["hz"][0] for band in alert["evidence"]["bands"]]
    assert edges == sorted(edges)


def test_scores_are_streamed_only_where_they_are_wanted() -> None:
    quiet, loud = Line(), Line(score_stream=True)
    for line in (quiet, loud):
        line.hear(3, skip_s=50)
    assert quiet.ledger.copies == []
    assert len(loud.ledger.copies) == 3
    for one in loud.ledger.copies:
        assert one["calibrated"] == pytest.approx(1 - 10 ** (-one["raw"] * 0.30103 / one["threshold"]), abs=1e-4)
        assert one["window"]["to"] == one["ts"]


def machines(interval_s: float = 60.0) -> tuple[Machines, list[MachineState]]:
    told: list[MachineState] = []
    return Machines(["m/a", "m/b"], lambda _, state: told.append(state), interval_s), told


def test_a_machine_is_as_bad_as_its_worst_point_and_normal_only_when_all_are() -> None:
    rolled, told = machines()
    for point, level in (
        ("m/a", "normal"),
        ("m/b", "normal"),
        ("m/a", "warning"),
        ("m/b", "unknown"),
        ("m/a", "normal"),
    ):
        rolled.level(point, level, None)
    assert [(one.level, one.monitored) for one in told] == [
        ("not_monitored", 1),
        ("normal", 2),
        ("warning", 2),
        ("warning", 1),
        ("unknown", 1),
    ]


def test_a_machine_is_told_on_change_only_and_its_state_where_all_agree() -> None:
    rolled, told = machines()
    run, idle = OperatingState("run", "auto"), OperatingState("idle", "auto")
    rolled.level("m/a", "normal", run)
    rolled.level("m/b", "normal", run)
    assert [one.operating_state for one in told] == [None, "run"]
    for state in (idle, run, idle):
        rolled.level("m/a", "normal", state)  # may change with every window
    assert len(told) == 2
    rolled.alerts("m/b", ("x",))
    rolled.alerts("m/b", ("x",))
    assert (told[-1].alerts, told[-1].operating_state, len(told)) == (("x",), None, 3)


def test_a_change_of_the_operating_state_is_told_after_the_interval() -> None:
    rolled, told = machines(interval_s=0.02)
    for state in ("run", "idle"):
        rolled.level("m/a", "normal", OperatingState(state, "auto"))
        rolled.level("m/b", "normal", OperatingState(state, "auto"))
    time.sleep(0.03)
    rolled.level("m/b", "normal", OperatingState("idle", "auto"))
    assert told[-1].operating_state == "idle"


def test_evidence_of_the_first_step_stays_with_what_persons_do_later() -> None:
    plant = Plant()
    plant.score("pump/de", 5.0, provisional=False)
    opened = plant.ledger.events[0]
    life = plant.points["pump/de"].policy.open
    assert life is not None
    plant.reporter.alerts.step(life.answered("ack", Answer("m.lang", "greased", plant.now_ns)), plant.points["pump/de"])
    acked = plant.ledger.events[1]
    assert (acked["type"], acked["rev"], acked["by"], acked["note"]) == ("ack", 2, "m.lang", "greased")
    assert acked["ack"] == {"by": "m.lang", "note": "greased", "ts": acked["ts"]}
    assert acked["text"].startswith("pump / de: acknowledged by m.lang; open since ")
    for name in ("score", "evidence", "normal_state", "peak", "opened"):
        assert acked[name] == opened[name]


def test_an_alert_on_a_real_disk_goes_on_in_the_next_run(tmp_path: Path) -> None:
    config, broker = make_config(), Ledger()
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    alert: dict[str, Any] = {}
    for run in range(2):
        outbox = Outbox(tmp_path / "outbox.db", "gw", max_mb=4)
        outbox.start()
        points = Pipeline(config, make_embedder()).points
        envelope = Envelope("gw", f"{run:08x}")
        reporter = Reporter(config, broker, outbox, TOPICS, envelope, info)  # type: ignore[arg-type]
        known = reporter.restore(points)
        reporter.begin()
        if run == 0:
            life = Life.opened("sensor", POINT, "fault", time.time_ns())
            points[POINT].sensor_alarm.trouble = Trouble("fault", ("sensor_lost",), "the sensor is lost")
            reporter.alerts.step(life, points[POINT])
            wait_for(lambda: broker.state(TOPICS.alert_active(POINT))["sensor"] is not None, "the alarm on disk")
            alert = broker.state(TOPICS.alert_active(POINT))["sensor"]
        else:
            assert known == set()  # of machines
            told = points[POINT].sensor_alarm.slot.life
            assert told is not None
            assert (told.alert_id, told.rev) == (alert["alert_id"], 1)
            kept = broker.state(TOPICS.alert_active(POINT))["sensor"]
            assert kept == {name: value for name, value in alert.items() if name not in ("seq", "id")}
        outbox.stop()
