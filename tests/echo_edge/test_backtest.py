"""Backtest: what verdicts on recordings of an invented machine, with faults at known times, are said to be worth."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from echo_edge.backtest import Alert, Course, FalseAlarms, Fault, assess, joined
from echo_edge.backtest_labels import faults_of, read_labels, read_times, timeline
from echo_edge.backtest_past import remembered_verdicts
from echo_edge.backtest_picture import draw
from echo_edge.backtest_report import as_json, as_markdown, notes, tables
from echo_edge.backtest_run import Backtest, Plan, backtest
from echo_edge.baseline_store import BaselineStore
from echo_edge.enroll import Enrollment
from echo_edge.errors import BaselineError, RecordingError
from echo_edge.history import History
from echo_edge.history_reader import HistoryReader
from echo_edge.memory import Circumstances, Memory, shapes_of
from echo_edge.pipeline import Pipeline
from echo_edge.plain_detectors import Learned
from echo_edge.recordings import recorded_windows
from echo_edge.records import FalseAlarmRate, Score
from echo_edge.replay import replay_through
from sensors import Machine
from tests.echo_edge.remembered import MODEL, hop, kept, memory
from tests.world import POINT, RATE_HZ, make_config, make_embedder

SECOND_NS = 1_000_000_000
PROMISE = FalseAlarmRate(1.0, 1.0, 500.0)


def recordings(folder: Path, faults: Sequence[str | None], seconds: int = 20, **machine: float) -> list[Path]:
    """One file for each fault, in which it begins after half the time; None for a healthy one."""
    folder.mkdir(exist_ok=True)
    invented = Machine(1, RATE_HZ, **machine)  # type: ignore[arg-type]
    files = []
    for i, fault in enumerate(faults):
        half = seconds * RATE_HZ // 2
        invented.set_fault(None)
        first = invented.samples(half)
        invented.set_fault(fault)
        files.append(folder / f"{i:02d}.wav")
        soundfile.write(files[-1], np.concatenate([first, invented.samples(half)]), RATE_HZ, subtype="FLOAT")
    return files


def labelled(folder: Path, *rows: str, columns: str = "path,start_s,end_s,label,fault") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def store(folder: Path) -> BaselineStore:
    return BaselineStore(folder / "state.db", "gw")


def run_of(folder: Path, plan: Plan) -> Backtest:
    return backtest(make_config(), POINT, plan, make_embedder(), store(folder), HistoryReader(folder / "history"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    folder = tmp_path_factory.mktemp("days")
    files = recordings(folder / "days", [None, None, None, None, "outer_race", None, "cavitation", None])
    rows = ["days/04.wav,10,20,anomaly,outer race", "days/06.wav,10,,anomaly,cavitation"]
    return run_of(folder, Plan(files, labels=labelled(folder, *rows), learn_minutes=1))


def test_faults_at_known_times_are_found_soon_and_nothing_else_is(found: Backtest) -> None:
    assert [f.outcome for f in found.ours.faults] == ["found", "found"]
    assert all(0 < delay_s < 8 for delay_s in found.ours.delays_s)
    assert found.ours.false_alarms.count == 0


def test_what_was_learned_is_not_judged_and_every_hour_is_accounted_for(found: Backtest) -> None:
    course = found.ours.course
    assert course.start_ns[0] == 60 * SECOND_NS
    assert course.end_ns[-1] == 160 * SECOND_NS
    assert found.learned_s == pytest.approx(60)
    assert found.ours.false_alarms.normal_h * 3600 == pytest.approx(80)


def test_plain_detectors_judge_the_same_windows_with_the_same_promise(found: Backtest) -> None:
    assert [one.name for one in found.plain] == ["mean log spectrum", "plain KNN"]
    for one in found.plain:
        np.testing.assert_array_equal(one.course.judged, found.ours.course.judged)
        assert one.false_alarms.promise.estimated == pytest.approx(found.ours.false_alarms.promise.estimated, rel=1e-3)
        assert one.count("found") == 2


def test_verdicts_are_those_of_replay_window_by_window(tmp_path: Path) -> None:
    learned, files = recordings(tmp_path / "well", [None] * 3), recordings(tmp_path / "days", [None, "outer_race"])
    silent, rate = soundfile.read(files[0], dtype="float32")
    silent[: 4 * rate] = 0
    soundfile.write(files[0], silent, rate, subtype="FLOAT")
    result = run_of(tmp_path, Plan(files, learn=learned))
    pipeline = Pipeline(make_config(), make_embedder())
    pipeline.points[POINT].adopt(enrollment_from(learned).finish(None))
    lines = list(replay_through(pipeline, POINT, files))
    ratios = [line["score"] / line["threshold"] if "score" in line else np.nan for line in lines if "event" not in line]
    np.testing.assert_allclose(result.ours.course.ratio, ratios, rtol=1e-4)
    assert result.ours.course.reasons.total() == 8
    opened = [line["t_s"] for line in lines if line.get("event") == "open"]
    assert [alert.opened_ns / 1e9 for alert in result.ours.course.alerts] == pytest.approx(opened, abs=1e-3)


def enrollment_from(files: Sequence[Path]) -> Enrollment:
    pipeline, enrollment = Pipeline(make_config(), make_embedder()), Enrollment(POINT, "run", 0)
    windows = list(recorded_windows(POINT, [0], 0.5, 0.5, files))
    for first in range(0, len(windows), 8):
        pipeline.learn(enrollment, windows[first : first + 8])
    return enrollment


def test_a_stored_baseline_is_compared_with_plain_detectors_of_the_very_windows_it_learned(tmp_path: Path) -> None:
    enrollment = enrollment_from(recordings(tmp_path / "well", [None] * 3))
    baseline = store(tmp_path).propose(enrollment.finish(None), "tester")
    store(tmp_path).activate(POINT, baseline.id, "tester")
    restored = Learned.restored(store(tmp_path).load(baseline.id).states[0])
    assert restored is not None
    true_ones = enrollment.material()
    for again, true in ((restored.bands, true_ones.bands), (restored.spectrum, true_ones.spectrum)):
        spread = true.astype(np.float64).std(axis=0)
        assert (np.abs(again.astype(np.float64) - true) < 0.02 * spread + 2e-3).all()
    files = recordings(tmp_path / "days", [None, "outer_race"])
    for plan in (Plan(files), Plan(files, baseline=baseline.id)):
        result = run_of(tmp_path, plan)
        assert (result.baseline, result.not_compared, len(result.plain)) == (baseline.id, None, 2)


def test_a_baseline_that_kept_only_some_of_its_windows_says_that_it_cannot_be_compared(tmp_path: Path) -> None:
    enrollment = enrollment_from(recordings(tmp_path / "well", [None] * 3))
    baseline = enrollment.finish(None)
    state = baseline.states[0]
    state = replace(state, held_out=np.concatenate([state.held_out, state.held_out]))
    assert Learned.restored(state) is None


def test_remembered_hours_are_judged_again_as_their_recordings_would_be(tmp_path: Path) -> None:
    learned, files = recordings(tmp_path / "well", [None] * 3), recordings(tmp_path / "days", [None, "outer_race"])
    pipeline = Pipeline(make_config(), make_embedder())
    pipeline.points[POINT].adopt(enrollment_from(learned).finish(None))
    history = History(tmp_path / "history", keep_days=1e5)
    for window in recorded_windows(POINT, [0], 0.5, 0.5, files):
        (verdict,) = pipeline.step([window])
        assert verdict.embedding is not None
        origin = pipeline.points[POINT].origin(window)
        shapes = shapes_of(verdict.embedding)
        about = Circumstances(origin, "usb", {}, "bl_0001", ("run",), verdict.embedding.indicator_names, shapes)
        facts = (window.time_ns, window.end_ns, verdict.level)
        history.add(POINT, Memory(about, *facts, embedding=verdict.embedding))
    history.flush()
    from_files = run_of(tmp_path, Plan(files, learn=learned))
    from_past = run_of(tmp_path, Plan((), learn=learned, past_ns=(0, 3600 * SECOND_NS)))
    np.testing.assert_allclose(from_past.ours.course.ratio, from_files.ours.course.ratio, rtol=0.02, atol=0.02)
    assert [a.opened_ns for a in from_past.ours.course.alerts] == [a.opened_ns for a in from_files.ours.course.alerts]
    with pytest.raises(RecordingError, match=r"not one window could be judged \(there is none\)"):
        run_of(tmp_path, Plan((), learn=learned, past_ns=(7200 * SECOND_NS, 9000 * SECOND_NS)))


def test_what_was_not_monitored_at_the_time_is_not_judged_now(tmp_path: Path) -> None:
    point = Pipeline(make_config(), make_embedder()).points[POINT]
    levels = ("not_monitored", "resting", "unjudged")
    history = kept(tmp_path, [memory(t, level=level, ratio=None) for t, level in zip(hop(3), levels, strict=True)])
    reasons = [verdict.reason for verdict in remembered_verdicts(point, history, (0, 2**62), MODEL)]
    assert reasons == ["not monitored at the time", "not monitored at the time", "not enrolled yet"]


# what is counted, and how


def course(ratios: Sequence[float | None], alerts: Sequence[tuple[int, int | None]] = ()) -> Course:
    """Windows of a second; alerts opened by the window that ends at one second and cleared at another."""
    said = Course()
    for i, ratio in enumerate(ratios):
        score = None
        if ratio is not None:
            score = Score(POINT, i, i + 1, ratio, 1.0, "run", 0, (), "bl", True, {})
        said.add(i * SECOND_NS, (i + 1) * SECOND_NS, score, None, None if ratio is not None else "the sensor: silence")
    for opened_s, cleared_s in alerts:
        cleared_ns = None if cleared_s is None else cleared_s * SECOND_NS
        said.alerts.append(Alert(opened_s * SECOND_NS, (opened_s - 1) * SECOND_NS, "warning", 2.0, cleared_ns))
    return said


def fault(start_s: float, end_s: float, name: str = "fault") -> Fault:
    return Fault(round(start_s * SECOND_NS), round(end_s * SECOND_NS), name)


def assessed(said: Course, *faults: Fault) -> tuple[int, list[str], list[float]]:
    result = assess("ours", said, faults, PROMISE, 1.0, {})
    return result.false_alarms.count, [f.outcome for f in result.faults], result.delays_s


def test_an_alert_is_of_the_fault_that_its_newest_window_holds() -> None:
    said = course([0.5] * 30, [(5, 7), (14, 16), (22, 24)])
    assert assessed(said, fault(10, 15), fault(21.5, 25)) == (1, ["found", "found"], [0.5, 4.0])


def test_a_fault_that_begins_under_an_open_alert_is_neither_found_nor_missed() -> None:
    assert assessed(course([2.0] * 30, [(8, 20)]), fault(10, 15), fault(25, 28)) == (1, ["hidden", "missed"], [])


def test_a_fault_of_which_nothing_was_judged_is_not_missed() -> None:
    assert assessed(course([0.5] * 5 + [None] * 5), fault(6, 8)) == (0, ["not_judged"], [])


def test_a_window_that_holds_any_faulty_sample_is_not_normal_time() -> None:
    result = assess("ours", course([0.5] * 10), [fault(3.5, 5.5)], PROMISE, 1.0, {})
    assert result.false_alarms.normal_h * 3600 == pytest.approx(7)


def test_the_interval_of_a_rate_is_garwoods() -> None:
    month = FalseAlarms(3, 720.0, PROMISE)
    assert month.per_month == pytest.approx(3)
    assert month.interval_95 == pytest.approx((0.6187, 8.7673), abs=1e-3)  # tabulated for a count of 3
    assert FalseAlarms(0, 720.0, PROMISE).interval_95 == pytest.approx((0.0, 3.6889), abs=1e-3)


def test_a_promise_is_broken_kept_or_open() -> None:
    month = FalseAlarms(3, 720.0, PROMISE)
    assert [month.against(rate) for rate in (0.5, 1.0, 9.0)] == ["broken", "open", "kept"]


def test_where_nothing_normal_was_judged_there_is_no_rate() -> None:
    none = assess("ours", course([2.0] * 5), [fault(0, 5)], PROMISE, 1.0, {}).false_alarms
    assert (none.per_month, none.interval_95, none.against(1.0)) == (None, None, "open")


def test_a_fault_that_goes_on_in_the_next_recording_is_one() -> None:
    apart = [fault(10, 20), fault(20, 30), fault(40, 50), fault(50, 60, "other")]
    assert joined(apart) == [fault(10, 30), fault(40, 50), fault(50, 60, "other")]


# what is read


def test_recordings_are_ordered_by_the_times_of_a_table(tmp_path: Path) -> None:
    recordings(tmp_path / "days", [None, None], seconds=4)
    table = tmp_path / "times.csv"
    table.write_text("path,start\ndays/00.wav,2026-05-03T08:10:00\ndays/01.wav,2026-05-03T10:00:00+02:00\n")
    files, starts_ns = read_times(table)
    assert [file.name for file in files] == ["01.wav", "00.wav"]
    assert (starts_ns[1] - starts_ns[0]) / 1e9 == 600
    assert timeline(files, starts_ns)[0] == (starts_ns[0], starts_ns[0] + 4 * SECOND_NS)


def test_a_gap_between_recordings_is_counted(tmp_path: Path) -> None:
    learned, files = recordings(tmp_path / "well", [None] * 2), recordings(tmp_path / "days", [None, None])
    starts_ns = [1_777_777_777 * SECOND_NS, 1_777_777_877 * SECOND_NS]
    result = run_of(tmp_path, Plan(files, starts_ns, learn=learned))
    assert result.ours.course.gaps == 1
    assert any("1 gap" in note for note in notes(result))


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        (["days/09.wav,anomaly"], "path,label", "2: .*09.wav is not among the recordings that are replayed"),
        (["days/00.wav,broken"], "path,label", "label 'broken' is neither 'normal' nor 'anomaly'"),
        (["days/00.wav,3,9,anomaly"], "path,start_s,end_s,label", "3 s to 9 s is not within .* lasts 4.000 s"),
        (["days/00.wav,3,2,anomaly"], "path,start_s,end_s,label", "3 s to 2 s is not within"),
        (["days/00.wav,x,2,anomaly"], "path,start_s,end_s,label", "start_s 'x' is not a number"),
        (["days/00.wav,anomaly"], "path,state", "1: the columns are path,start_s"),
        (["days/00.wav,anomaly,1", "days/00.wav,normal,2"], "path,label,scale", "3: .* has two scales"),
        (["days/00.wav,anomaly,a,b"], "path,label,fault", "another number of columns"),
    ],
)
def test_a_label_that_cannot_be_so_is_named_with_its_line(
    tmp_path: Path, rows: list[str], columns: str, says: str
) -> None:
    files = recordings(tmp_path / "days", [None], seconds=4)
    with pytest.raises(RecordingError, match=says):
        read_labels(labelled(tmp_path, *rows, columns=columns), files)


def test_two_faults_at_one_time_are_refused(tmp_path: Path) -> None:
    files = recordings(tmp_path / "days", [None], seconds=4)
    rows = ("days/00.wav,0,3,anomaly,a", "days/00.wav,2,4,anomaly,b")
    with pytest.raises(RecordingError, match="a and b are at the same time"):
        faults_of(read_labels(labelled(tmp_path, *rows), files), files, timeline(files))


def test_recordings_that_overlap_in_time_are_refused(tmp_path: Path) -> None:
    files = recordings(tmp_path / "days", [None, None], seconds=4)
    with pytest.raises(RecordingError, match=r"01.wav: begins 1.000 s before .*00.wav ends"):
        timeline(files, [0, 3 * SECOND_NS])


def test_what_is_learned_must_not_be_faulty_nor_judged(tmp_path: Path) -> None:
    files = recordings(tmp_path / "days", ["outer_race", None])
    labels = labelled(tmp_path, "days/00.wav,10,,anomaly,outer race")
    with pytest.raises(RecordingError, match=r"something is faulty within the first 0\.25 minutes"):
        run_of(tmp_path, Plan(files, labels=labels, learn_minutes=0.25))
    with pytest.raises(RecordingError, match="is to be learned and judged as well"):
        run_of(tmp_path, Plan(files, learn=[tmp_path / "days"]))


def test_without_a_baseline_it_says_what_to_do(tmp_path: Path) -> None:
    files = recordings(tmp_path / "days", [None], seconds=4)
    with pytest.raises(BaselineError, match="not enrolled yet"):
        run_of(tmp_path, Plan(files))
    with pytest.raises(BaselineError, match="there is no baseline 'bl_0007'"):
        run_of(tmp_path, Plan(files, baseline="bl_0007"))


def test_when_nothing_can_be_judged_the_reason_is_told_and_no_rate(tmp_path: Path) -> None:
    learned, files = recordings(tmp_path / "well", [None] * 2), [tmp_path / "dead.wav"]
    soundfile.write(files[0], np.zeros(4 * RATE_HZ, np.float32), RATE_HZ, subtype="FLOAT")
    with pytest.raises(RecordingError, match=r"not one window could be judged \(8 windows: the sensor: silence"):
        run_of(tmp_path, Plan(files, learn=learned))


# what is told


def test_the_report_names_every_figure_and_the_json_is_plain(found: Backtest) -> None:
    page = as_markdown(found, "course.png")
    assert "![score by threshold over time](course.png)" in page
    assert "| echo-edge | 2 | 0 | 0 | 0 |" in page
    assert "| outer race | 0:01:30 | 10 s | after " in page
    told = json.loads(json.dumps(as_json(found)))
    assert told["detectors"]["echo-edge"]["faults"]["found"] == 2
    assert told["detectors"]["echo-edge"]["promise"]["target"] == {"per_month": 1.0, "verdict": "open"}
    assert told["hours"]["normal"] == pytest.approx(80 / 3600)


def test_without_normal_time_a_rate_is_not_told_as_0(found: Backtest) -> None:
    alarms = replace(found.ours.false_alarms, normal_h=0.0)
    none = replace(found, ours=replace(found.ours, false_alarms=alarms), plain=())
    assert as_json(none)["detectors"]["echo-edge"]["false_alarms"]["per_month"] is None
    assert tables(none)[0].rows[0][2] == "no normal time: no rate"


def test_without_labels_it_says_that_all_counts_as_normal(found: Backtest) -> None:
    assert any("Nothing is labelled" in note for note in notes(replace(found, labelled=False)))


def test_the_picture_shows_faults_where_they_are(found: Backtest) -> None:
    image = Image.open(io.BytesIO(draw(found))).convert("RGB")
    assert image.width == 1400
    shaded = (np.asarray(image) == (0xFB, 0xE3, 0xD3)).all(axis=2)[100]
    at = np.flatnonzero(shaded)
    left, right = 64, 1400 - 20  # the axis, from 60 s to 160 s
    assert (at.min() - left) / (right - left) == pytest.approx(0.30, abs=0.01)
    assert (at.max() - left) / (right - left) == pytest.approx(0.80, abs=0.01)
