"""Adaptation: what is clearly normal may join, slowly; a fault that grows slowly may not teach itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from echo_edge import lineage
from echo_edge.adaptation import DAY_NS, MARGIN, Version, allowed, candidates, line_of
from echo_edge.adaptation_job import AdaptationJob, adapt
from echo_edge.alerts import AlertPolicy
from echo_edge.baseline import Baseline, Learned
from echo_edge.baseline_store import BaselineStore
from echo_edge.config import AlertConfig, Config
from echo_edge.errors import BaselineError
from echo_edge.history import History
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import MAX_BANK, NormalState
from echo_edge.records import Embedding
from tests.baselines import enroll, sql
from tests.echo_edge.remembered import NAMES, ORIGIN, POINT, SECOND_NS, START_NS, embedding, hop, kept, memory
from tests.world import make_config

LEARNED = 300
LATER_NS = START_NS + DAY_NS
WEEK_NS = 7 * DAY_NS


class Site:
    """The store of a gateway whose clock is set by hand."""

    def __init__(self, folder: Path, two_person: tuple[str, ...] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.now_ns = START_NS
        self.store = BaselineStore(folder / "state.db", "gw", two_person, lambda: self.now_ns)

    def after(self, history: History, now_ns: int, share: float | None = 0.05) -> Baseline | str:
        """What adaptation says at a time."""
        self.now_ns = now_ns
        return adapt(config(share), POINT, history, self.store, now_ns)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def config(share: float | None = 0.05) -> Config:
    points = {"de": {"device": "acc", "window": {"length_s": 5, "hop_s": 5}, "alert": THREE_OF_FIVE}}
    adaptation = {} if share is None else {"adaptation": {"share_per_month": share}}
    return make_config(machines={"pump": {"points": points, **adaptation}})


THREE_OF_FIVE = {"windows": 5, "strange_windows": 3}


@cache
def taught(names: tuple[str, ...] = NAMES) -> Baseline:
    """What a person taught; not stored."""
    learned = Material.of([embedding(t, 10_000 + i) for i, t in enumerate(hop(LEARNED))])
    state = NormalState.learn("run", replace(learned, indicator_names=names), 86_400)  # as if of a whole day
    return Baseline(POINT, ORIGIN, "usb:1", (state,), {"run": Learned("live", LEARNED)})


def normal(baseline: Baseline) -> Normal:
    return Normal(baseline.id, baseline.states, 1.0, 5.0, AlertConfig(**THREE_OF_FIVE))


def well(count: int = 100, start_ns: int = LATER_NS, velocity: float = 1.0, **facts: object) -> list[object]:
    return [
        memory(t, i, seen=embedding(t, i, velocity=velocity), **facts)  # type: ignore[arg-type]
        for i, t in enumerate(hop(count, start_ns))
    ]


def test_a_grown_state_keeps_its_thresholds_and_finds_the_new_windows_nearer() -> None:
    before = taught()
    (state,) = before.states
    new = [embedding(LATER_NS + 5 * SECOND_NS * i, i, centre=1.0) for i in range(10)]
    grown = state.with_more(Material.of(new))
    old_normal, new_normal = normal(before), normal(replace(before, states=(grown,)))
    assert grown.windows == state.windows + 10
    assert new_normal.thresholds == old_normal.thresholds
    assert new_normal.false_alarm_rate() == old_normal.false_alarm_rate()
    assert all(new_normal.score(e).value < old_normal.score(e).value for e in new)
    other = embedding(0, 77)
    assert new_normal.score(other).value == pytest.approx(old_normal.score(other).value, rel=1e-3)
    np.testing.assert_array_equal(grown.nearest_picture(new[3]), new[3].picture)


def test_a_grown_state_comes_back_from_its_arrays() -> None:
    (state,) = taught().states
    grown = state.with_more(Material.of([embedding(0, i) for i in range(10)]))
    again = NormalState.from_arrays("run", grown.arrays())
    assert again.judge(embedding(0, 99)).value == grown.judge(embedding(0, 99)).value


def test_a_bank_grows_to_its_bound_and_not_beyond() -> None:
    (state,) = taught().states
    grown = state.with_more(Material.of([embedding(0, i) for i in range(MAX_BANK)]))
    assert grown.windows == MAX_BANK


def test_windows_of_another_shape_are_refused() -> None:
    (state,) = taught().states
    with pytest.raises(BaselineError, match=r"has \(channels, bands, width\)"):
        state.with_more(Material.of([embedding(0, 1, shape=(1, 3, 16))]))


def test_old_calm_windows_join_up_to_the_share_and_no_more(site: Site, tmp_path: Path) -> None:
    before = enroll(site.store, taught())
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    result = site.after(history, LATER_NS + 8 * DAY_NS)
    assert isinstance(result, Baseline)
    assert result.learned["run"] == Learned("adaptation", LEARNED + 15, added_windows=15)  # 5 % of 300
    assert result.parent == before.id
    assert result.states[0].windows == 315
    assert normal(result).thresholds == normal(before).thresholds
    lineage.keep(site.store, result)
    assert site.after(history, LATER_NS + 9 * DAY_NS) == "it was adapted less than a week ago"
    assert site.after(history, LATER_NS + 20 * DAY_NS) == "'run': this month's share is used up"


def test_it_is_off_unless_it_is_asked_for(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    assert site.after(history, LATER_NS + 8 * DAY_NS, share=None) == "adaptation is off"


def no_candidates(result: Baseline | str) -> bool:
    return isinstance(result, str) and "no window was normal with margin, old enough" in result


def test_windows_younger_than_a_week_wait(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    assert no_candidates(site.after(kept(tmp_path, well()), LATER_NS + 6 * DAY_NS))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "trouble",
    [
        {"level": "warning", "ratio": 1.2, "alert_id": "ab" * 16},
        {"level": "not_monitored", "ratio": None},
    ],
)
def test_a_day_before_trouble_teaches_nothing_and_a_day_and_more_before_does(
    tmp_path: Path, trouble: dict[str, object]
) -> None:
    for hours, teaches in ((20, False), (26, True)):
        site = Site(tmp_path / str(hours))
        enroll(site.store, taught())
        memories = [*well(), memory(LATER_NS + hours * 3600 * SECOND_NS, **trouble)]  # type: ignore[arg-type]
        history = kept(tmp_path / str(hours), memories)  # type: ignore[arg-type]
        assert no_candidates(site.after(history, LATER_NS + 20 * DAY_NS)) != teaches


def test_a_machine_that_is_switched_off_every_evening_still_teaches(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    evening = memory(LATER_NS + 10 * 3600 * SECOND_NS, level="resting", ratio=None)
    history = kept(tmp_path, [*well(), evening])  # type: ignore[list-item]
    assert not no_candidates(site.after(history, LATER_NS + 20 * DAY_NS))


def test_windows_near_the_threshold_teach_nothing(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    history = kept(tmp_path, well(ratio=MARGIN + 0.01))  # type: ignore[arg-type]
    assert no_candidates(site.after(history, LATER_NS + 8 * DAY_NS))


def test_what_another_baseline_called_normal_teaches_nothing(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    history = kept(tmp_path, well(baseline="bl_0099"))  # type: ignore[arg-type]
    assert no_candidates(site.after(history, LATER_NS + 8 * DAY_NS))


def test_nothing_is_learned_while_an_alert_is_open(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    now_ns = LATER_NS + 9 * DAY_NS
    open_now = memory(now_ns - 10 * SECOND_NS, level="alarm", ratio=2.0, alert_id="ab" * 16)
    history = kept(tmp_path, [*well(), open_now])  # type: ignore[list-item]
    assert site.after(history, now_ns) == "an alert is open, or was within the last day"


@pytest.mark.parametrize(("velocity", "refused"), [(1.2, False), (1.3, True)])
def test_a_quarter_more_vibration_than_a_person_taught_is_refused(
    site: Site, tmp_path: Path, velocity: float, refused: bool
) -> None:
    enroll(site.store, taught())
    history = kept(tmp_path, well(velocity=velocity))  # type: ignore[arg-type]
    result = site.after(history, LATER_NS + 8 * DAY_NS)
    told = isinstance(result, str) and "velocity_rms_mm_s has grown to 1.3" in result
    assert told == refused


def test_the_level_stands_for_vibration_where_there_is_no_velocity(site: Site, tmp_path: Path) -> None:
    names = ("crest", "kurtosis")
    enroll(site.store, taught(names))
    louder = [
        memory(
            t,
            i,
            seen=replace(embedding(t, i), level_db=np.array([-17.5]), indicator_names=names),
            indicators=names,
        )
        for i, t in enumerate(hop(100, LATER_NS))
    ]
    result = site.after(kept(tmp_path, louder), LATER_NS + 8 * DAY_NS)
    assert isinstance(result, str)
    assert "level has grown to 1.3" in result


def test_a_line_leads_back_to_what_a_person_made_and_counts_a_month() -> None:
    now_ns = 100 * DAY_NS
    steps = [
        Version("bl_4", now_ns - 8 * DAY_NS, {"run": 3}),
        Version("bl_3", now_ns - 20 * DAY_NS, {"run": 4, "idle": 1}),
        Version("bl_2", now_ns - 40 * DAY_NS, {"run": 50}),
        Version("bl_1", now_ns - 90 * DAY_NS, None),
        Version("bl_0", now_ns - 91 * DAY_NS, None),
    ]
    line = line_of(steps, now_ns)
    assert (line.ancestor, dict(line.added)) == ("bl_1", {"run": 7, "idle": 1})


def test_a_share_is_of_the_bank_less_what_was_added() -> None:
    (state,) = taught().states
    assert [allowed(state, 0.05, added) for added in (0, 10, 15, 99)] == [15, 5, 0, 0]


def test_candidates_are_none_without_a_past() -> None:
    assert candidates([], "run", ["bl_0001"], START_NS) == []


def test_the_daily_work_goes_on_after_a_point_that_cannot_be_read(tmp_path: Path) -> None:
    now_ns = time.time_ns()
    site = Site(tmp_path)
    enroll(site.store, replace(taught(), point="fan/de"))
    enroll(site.store, taught())
    sql(tmp_path, "UPDATE baseline SET vectors = x'00' WHERE point = 'fan/de'")
    calm = kept(tmp_path / "history", well(100, now_ns - 8 * DAY_NS, baseline="bl_0002"))  # type: ignore[arg-type]
    delivered: list[Baseline] = []
    job = AdaptationJob(config(), calm, site.store, delivered.append)
    job.tick()  # not due yet
    assert delivered == []
    job.work()
    assert [(grown.point, grown.parent) for grown in delivered] == [(POINT, "bl_0002")]


def first_alert_day(folder: Path, fault: Callable[[int, int, float], Embedding], *, adapts: bool) -> tuple[float, int]:
    """Live through months in which a fault grows from nothing: days until the first alert, and versions until then."""
    site = Site(folder)
    baseline = enroll(site.store, taught())
    policy = AlertPolicy(AlertConfig(**THREE_OF_FIVE), normal(baseline).persistence)
    judge, history = normal(baseline), History(folder, keep_days=3650)
    per_day = 12
    for day in range(130):
        for i, t in enumerate(hop(per_day, LATER_NS + day * DAY_NS)):
            seen = fault(t, day * per_day + i, day / 100)
            score = judge.score(seen)
            if policy.update(score) is not None:
                return day, len(site.store.list())
            history.add(POINT, memory(t, ratio=score.value / score.threshold, seen=seen, baseline=baseline.id))
        now_ns = LATER_NS + (day + 1) * DAY_NS
        history.flush()
        result = site.after(history, now_ns) if adapts and day % 3 == 0 else ""
        if isinstance(result, Baseline):
            baseline = lineage.keep(site.store, result) or baseline
            judge = normal(baseline)
    return np.inf, len(site.store.list())


def imbalance(t: int, seed: int, severity: float) -> Embedding:
    """What imbalance does: velocity, and little of the spectrum."""
    return embedding(t, seed, centre=0.05 * severity, velocity=1 + 0.6 * severity)


def unheard_by_meters(t: int, seed: int, severity: float) -> Embedding:
    """A fault that only the encoder hears: velocity and level stay."""
    seen = embedding(t, seed)
    seen.bands[:, 1, :4] += 6 * severity
    return seen


@pytest.mark.parametrize("fault", [imbalance, unheard_by_meters])
def test_a_fault_that_grows_over_months_does_not_teach_itself(
    tmp_path: Path, fault: Callable[[int, int, float], Embedding]
) -> None:
    without, _ = first_alert_day(tmp_path / "off", fault, adapts=False)
    with_it, versions = first_alert_day(tmp_path / "on", fault, adapts=True)
    assert without < 100
    assert versions > 1
    assert with_it <= 1.4 * without
    print(f"{fault.__name__}: first alert on day {without} without adaptation, day {with_it} with it")


def test_a_machine_that_has_moved_as_a_whole_waits_for_a_person(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    moved = [memory(t, i, seen=embedding(t, i, centre=0.5)) for i, t in enumerate(hop(100, LATER_NS))]
    result = site.after(kept(tmp_path, moved), LATER_NS + 8 * DAY_NS)
    assert isinstance(result, str)
    assert "together its windows are less usual than what bl_0001 learned" in result


def test_a_slow_harmless_change_is_taken_in(site: Site, tmp_path: Path) -> None:
    def season(t: int, seed: int, severity: float) -> Embedding:
        return embedding(t, seed, centre=0.02 * severity)

    before = enroll(site.store, taught())
    judge = normal(before)
    seen = [season(t, i, 1.0) for i, t in enumerate(hop(100, LATER_NS))]
    ratios = [s.value / s.threshold for s in map(judge.score, seen)]
    history = kept(tmp_path, [memory(e.time_ns, seen=e, ratio=r) for e, r in zip(seen, ratios, strict=True)])
    result = site.after(history, LATER_NS + 8 * DAY_NS)
    assert isinstance(result, Baseline)
    later = [season(0, 500 + i, 1.0) for i in range(50)]
    grown = normal(result)
    assert np.mean([grown.score(e).value for e in later]) < np.mean([judge.score(e).value for e in later])


def more(count: int) -> Material:
    return Material.of([embedding(t, i) for i, t in enumerate(hop(count))])


def idle() -> Baseline:
    return replace(
        taught(), states=(NormalState.learn("idle", more(LEARNED)),), learned={"idle": Learned("live", LEARNED)}
    )


def test_what_adaptation_stored_is_read_back_as_a_line_to_its_ancestor(site: Site) -> None:
    first = enroll(site.store, taught().followed_by(idle()))
    second = lineage.keep(site.store, first.grown("adaptation", {"run": more(3), "idle": more(1)}))
    assert second is not None
    third = lineage.keep(site.store, second.grown("adaptation", {"idle": more(2)}))
    assert third is not None
    assert [(v.id, v.added) for v in lineage.line(site.store, third)] == [
        ("bl_0003", {"idle": 2}),
        ("bl_0002", {"run": 3, "idle": 1}),
        ("bl_0001", None),
    ]
    assert lineage.ancestor(site.store, third) == "bl_0001"
    told = site.store.manifest("bl_0003")
    assert {s.name: s.learned for s in told.states} == {
        "run": Learned("adaptation", LEARNED + 3),
        "idle": Learned("adaptation", LEARNED + 3, added_windows=2),
    }
    assert [(row.who, row.what, row.object, row.why) for row in site.store.audit()[2:4]] == [
        ("adaptation", "propose", "bl_0002", "grown by 3 windows of 'run', 1 windows of 'idle'"),
        ("adaptation", "activate", "bl_0002", "grown by 3 windows of 'run', 1 windows of 'idle'"),
    ]


def test_what_a_person_makes_of_an_adapted_version_is_a_persons_whatever_the_name(site: Site) -> None:
    first = enroll(site.store, taught())
    grown = lineage.keep(site.store, first.grown("adaptation", {"run": more(3)}))
    assert grown is not None
    for made in (grown.followed_by(idle()), grown.grown("history", {"run": more(5)})):
        stored = enroll(site.store, made, by=lineage.AUTHOR)
        assert lineage.line(site.store, stored) == [Version(stored.id, START_NS, None)]


def test_a_person_who_has_a_proposal_is_not_sent_another_every_day(tmp_path: Path) -> None:
    site = Site(tmp_path, two_person=(POINT,))
    proposed = site.store.propose(taught(), "lang")
    site.store.activate(POINT, proposed.id, "vogt")
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    grown = site.after(history, LATER_NS + 8 * DAY_NS)
    assert isinstance(grown, Baseline)
    assert lineage.keep(site.store, grown) is None
    waits = "bl_0002, which adaptation proposed, waits for a person"
    assert site.after(history, LATER_NS + 20 * DAY_NS) == waits
    site.store.reject("bl_0002", "vogt", "it was hot")
    assert isinstance(site.after(history, LATER_NS + 21 * DAY_NS), Baseline)
    lineage.keep(site.store, grown)
    site.store.reject("bl_0003", "vogt", "it still is")
    assert site.after(history, LATER_NS + 22 * DAY_NS) == "it was adapted less than a week ago"


def test_what_was_rolled_back_is_not_made_anew_the_next_day(site: Site, tmp_path: Path) -> None:
    enroll(site.store, taught())
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    grown = site.after(history, LATER_NS + 8 * DAY_NS)
    assert isinstance(grown, Baseline)
    lineage.keep(site.store, grown)
    site.store.rollback(POINT, "vogt")
    assert site.after(history, LATER_NS + 9 * DAY_NS) == "it was adapted less than a week ago"
