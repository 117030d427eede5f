"""Adaptation: what is clearly normal may join, slowly; a fault that grows slowly may not teach itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from echo_edge.adaptation import DAY_NS, MARGIN, Version, allowed, candidates, line_of
from echo_edge.adaptation_job import AdaptationJob, Adapted, adapt
from echo_edge.alerts import AlertPolicy
from echo_edge.baseline import Baseline
from echo_edge.config import AlertConfig, Config
from echo_edge.errors import BaselineError
from echo_edge.history import History
from echo_edge.lineage import StoredLineage, VersionStore
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import MAX_BANK, NormalState
from echo_edge.records import Embedding
from tests.echo_edge.remembered import NAMES, ORIGIN, POINT, SECOND_NS, START_NS, embedding, hop, kept, memory
from tests.world import make_config

LEARNED = 300
LATER_NS = START_NS + DAY_NS
WEEK_NS = 7 * DAY_NS


@dataclass
class Versions:
    """Baselines in memory, with what adaptation added to each."""

    stored: dict[str, Baseline] = field(default_factory=dict)
    steps: dict[str, Version] = field(default_factory=dict)

    def add(self, baseline: Baseline, now_ns: int, added: dict[str, int] | None = None) -> Baseline:
        baseline = replace(baseline, id=f"bl_{len(self.stored) + 1:04d}")
        self.stored[baseline.id] = baseline
        self.steps[baseline.id] = Version(baseline.id, now_ns, added)
        return baseline

    def active(self, _point: str) -> Baseline | None:
        return list(self.stored.values())[-1] if self.stored else None

    def load(self, id_: str) -> Baseline:
        return self.stored[id_]

    def line(self, baseline: Baseline) -> list[Version]:
        steps = [self.steps[baseline.id]]
        while steps[-1].added is not None:
            steps.append(self.steps[str(self.stored[steps[-1].id].parent)])
        return steps


def config(share: float | None = 0.05) -> Config:
    points = {"de": {"device": "acc", "window": {"length_s": 5, "hop_s": 5}, "alert": THREE_OF_FIVE}}
    adaptation = {} if share is None else {"adaptation": {"share_per_month": share}}
    return make_config(machines={"pump": {"points": points, **adaptation}})


THREE_OF_FIVE = {"windows": 5, "strange_windows": 3}


def enrolled(versions: Versions, names: tuple[str, ...] = NAMES) -> Baseline:
    learned = Material.of([embedding(t, 10_000 + i) for i, t in enumerate(hop(LEARNED))])
    state = NormalState.learn("run", replace(learned, indicator_names=names))
    return versions.add(Baseline(POINT, ORIGIN, "usb:1", (state,)), START_NS)


def normal(baseline: Baseline) -> Normal:
    return Normal(baseline.id, baseline.states, 1.0, 5.0, AlertConfig(**THREE_OF_FIVE))


def well(count: int = 100, start_ns: int = LATER_NS, velocity: float = 1.0, **facts: object) -> list[object]:
    return [
        memory(t, i, seen=embedding(t, i, velocity=velocity), **facts)  # type: ignore[arg-type]
        for i, t in enumerate(hop(count, start_ns))
    ]


def after(history: History, versions: Versions, now_ns: int, share: float | None = 0.05) -> Adapted | str:
    return adapt(config(share), POINT, history, versions, now_ns)


def test_a_grown_state_keeps_its_thresholds_and_finds_the_new_windows_nearer() -> None:
    before = enrolled(Versions())
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
    (state,) = enrolled(Versions()).states
    grown = state.with_more(Material.of([embedding(0, i) for i in range(10)]))
    again = NormalState.from_arrays("run", grown.arrays())
    assert again.judge(embedding(0, 99)).value == grown.judge(embedding(0, 99)).value


def test_a_bank_grows_to_its_bound_and_not_beyond() -> None:
    (state,) = enrolled(Versions()).states
    grown = state.with_more(Material.of([embedding(0, i) for i in range(MAX_BANK)]))
    assert grown.windows == MAX_BANK


def test_windows_of_another_shape_are_refused() -> None:
    (state,) = enrolled(Versions()).states
    with pytest.raises(BaselineError, match=r"has \(channels, bands, width\)"):
        state.with_more(Material.of([embedding(0, 1, shape=(1, 3, 16))]))


def test_old_calm_windows_join_up_to_the_share_and_no_more(tmp_path: Path) -> None:
    versions = Versions()
    before = enrolled(versions)
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    result = after(history, versions, LATER_NS + 8 * DAY_NS)
    assert isinstance(result, Adapted)
    assert result.added == {"run": 15}  # 5 % of 300
    assert result.parent == before.id
    assert result.baseline.states[0].windows == 315
    assert normal(result.baseline).thresholds == normal(before).thresholds
    versions.add(result.baseline, LATER_NS + 8 * DAY_NS, dict(result.added))
    assert after(history, versions, LATER_NS + 9 * DAY_NS) == "it was adapted less than a week ago"
    assert after(history, versions, LATER_NS + 20 * DAY_NS) == "'run': this month's share is used up"


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    history = kept(tmp_path, well())  # type: ignore[arg-type]
    assert after(history, versions, LATER_NS + 8 * DAY_NS, share=None) == "adaptation is off"


def no_candidates(result: Adapted | str) -> bool:
    return isinstance(result, str) and "no window was normal with margin, old enough" in result


def test_windows_younger_than_a_week_wait(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    assert no_candidates(after(kept(tmp_path, well()), versions, LATER_NS + 6 * DAY_NS))  # type: ignore[arg-type]


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
        versions = Versions()
        enrolled(versions)
        memories = [*well(), memory(LATER_NS + hours * 3600 * SECOND_NS, **trouble)]  # type: ignore[arg-type]
        history = kept(tmp_path / str(hours), memories)  # type: ignore[arg-type]
        assert no_candidates(after(history, versions, LATER_NS + 20 * DAY_NS)) != teaches


def test_windows_near_the_threshold_teach_nothing(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    history = kept(tmp_path, well(ratio=MARGIN + 0.01))  # type: ignore[arg-type]
    assert no_candidates(after(history, versions, LATER_NS + 8 * DAY_NS))


def test_what_another_baseline_called_normal_teaches_nothing(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    history = kept(tmp_path, well(baseline="bl_0099"))  # type: ignore[arg-type]
    assert no_candidates(after(history, versions, LATER_NS + 8 * DAY_NS))


def test_nothing_is_learned_while_an_alert_is_open(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    now_ns = LATER_NS + 9 * DAY_NS
    open_now = memory(now_ns - 10 * SECOND_NS, level="alarm", ratio=2.0, alert_id="ab" * 16)
    history = kept(tmp_path, [*well(), open_now])  # type: ignore[list-item]
    assert after(history, versions, now_ns) == "an alert is open, or was within the last day"


@pytest.mark.parametrize(("velocity", "refused"), [(1.2, False), (1.3, True)])
def test_a_quarter_more_vibration_than_a_person_taught_is_refused(
    tmp_path: Path, velocity: float, refused: bool
) -> None:
    versions = Versions()
    enrolled(versions)
    history = kept(tmp_path, well(velocity=velocity))  # type: ignore[arg-type]
    result = after(history, versions, LATER_NS + 8 * DAY_NS)
    told = isinstance(result, str) and "velocity_rms_mm_s has grown to 1.3" in result
    assert told == refused


def test_the_level_stands_for_vibration_where_there_is_no_velocity(tmp_path: Path) -> None:
    versions = Versions()
    names = ("crest", "kurtosis")
    enrolled(versions, names)
    louder = [
        memory(
            t,
            i,
            seen=replace(embedding(t, i), level_db=np.array([-17.5]), indicator_names=names),
            indicators=names,
        )
        for i, t in enumerate(hop(100, LATER_NS))
    ]
    result = after(kept(tmp_path, louder), versions, LATER_NS + 8 * DAY_NS)
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
    assert (line.ancestor, dict(line.added), line.rests) == ("bl_1", {"run": 7, "idle": 1}, False)


def test_a_share_is_of_the_bank_less_what_was_added() -> None:
    (state,) = enrolled(Versions()).states
    assert [allowed(state, 0.05, added) for added in (0, 10, 15, 99)] == [15, 5, 0, 0]


def test_candidates_are_none_without_a_past() -> None:
    assert candidates([], "run", ["bl_0001"], START_NS) == []


def test_the_daily_work_goes_on_after_a_point_that_cannot_be_read(tmp_path: Path) -> None:
    class Damaged(Versions):
        def active(self, _point: str) -> Baseline | None:
            raise BaselineError("damaged")

    delivered: list[str] = []
    job = AdaptationJob(config(), History(tmp_path), Damaged(), lambda point, _: delivered.append(point))
    job.work()
    job.tick()  # not due yet
    assert delivered == []


def first_alert_day(folder: Path, fault: Callable[[int, int, float], Embedding], *, adapts: bool) -> tuple[float, int]:
    """Live through months in which a fault grows from nothing: days until the first alert, and versions until then."""
    versions = Versions()
    baseline = enrolled(versions)
    policy = AlertPolicy(AlertConfig(**THREE_OF_FIVE), normal(baseline).persistence)
    judge, history = normal(baseline), History(folder, keep_days=3650)
    per_day = 12
    for day in range(130):
        for i, t in enumerate(hop(per_day, LATER_NS + day * DAY_NS)):
            seen = fault(t, day * per_day + i, day / 100)
            score = judge.score(seen)
            if policy.update(score) is not None:
                return day, len(versions.stored)
            history.add(POINT, memory(t, ratio=score.value / score.threshold, seen=seen, baseline=baseline.id))
        now_ns = LATER_NS + (day + 1) * DAY_NS
        history.flush()
        result = after(history, versions, now_ns) if adapts and day % 3 == 0 else ""
        if isinstance(result, Adapted):
            baseline = versions.add(result.baseline, now_ns, dict(result.added))
            judge = normal(baseline)
    return np.inf, len(versions.stored)


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


def test_a_machine_that_has_moved_as_a_whole_waits_for_a_person(tmp_path: Path) -> None:
    versions = Versions()
    enrolled(versions)
    moved = [memory(t, i, seen=embedding(t, i, centre=0.5)) for i, t in enumerate(hop(100, LATER_NS))]
    result = after(kept(tmp_path, moved), versions, LATER_NS + 8 * DAY_NS)
    assert isinstance(result, str)
    assert "together its windows are less usual than what bl_0001 learned" in result


def test_a_slow_harmless_change_is_taken_in(tmp_path: Path) -> None:
    def season(t: int, seed: int, severity: float) -> Embedding:
        return embedding(t, seed, centre=0.02 * severity)

    versions = Versions()
    before = enrolled(versions)
    judge = normal(before)
    seen = [season(t, i, 1.0) for i, t in enumerate(hop(100, LATER_NS))]
    ratios = [s.value / s.threshold for s in map(judge.score, seen)]
    history = kept(tmp_path, [memory(e.time_ns, seen=e, ratio=r) for e, r in zip(seen, ratios, strict=True)])
    result = after(history, versions, LATER_NS + 8 * DAY_NS)
    assert isinstance(result, Adapted)
    later = [season(0, 500 + i, 1.0) for i in range(50)]
    grown = normal(result.baseline)
    assert np.mean([grown.score(e).value for e in later]) < np.mean([judge.score(e).value for e in later])


@dataclass
class Made:
    """What a store tells of a version."""

    parent: str | None
    author: str
    note: str
    created_ns: int = 0


class SignedStore:
    """A store of versions as far as a lineage asks it; ``actions`` is its audit log."""

    def __init__(self, two_person: bool = False) -> None:
        self.made = {"bl_0001": Made(None, "m.lang", "after 3 windows of 'glass' were mended")}
        self.baselines: dict[str, Baseline] = {}
        self.actions: list[tuple[str, ...]] = []
        self._two_person = two_person

    def active(self, _point: str, /) -> Baseline | None:
        return None

    def load(self, id_: str, /) -> Baseline:
        return self.baselines[id_]

    def manifest(self, id_: str, /) -> Made:
        return self.made[id_]

    def propose(self, baseline: Baseline, author: str, note: str = "") -> Baseline:
        stored = replace(baseline, id=f"bl_{len(self.made) + 1:04d}")
        self.made[stored.id] = Made(baseline.parent, author, note, 5)
        self.baselines[stored.id] = stored
        self.actions.append(("propose", stored.id, author, note))
        return stored

    def activate(self, _point: str, id_: str, actor: str, why: str = "", /) -> Baseline:
        self.actions.append(("activate", id_, actor, why))
        return self.baselines[id_]

    def needs_another_person(self, _point: str, /) -> bool:
        return self._two_person


def adapted(parent: Baseline) -> Adapted:
    return Adapted(replace(parent, parent=parent.id, id=""), parent.id, {"run": 3, "idle-2": 1})


def test_what_adaptation_stored_is_read_back_as_a_line_to_its_ancestor() -> None:
    store = SignedStore()
    lineage = StoredLineage(store)
    person_made = enrolled(Versions())
    grown = lineage.keep(POINT, adapted(person_made))
    assert grown is not None
    again = lineage.keep(POINT, adapted(grown))
    assert again is not None
    assert [(v.id, v.added) for v in lineage.line(again)] == [
        ("bl_0003", {"run": 3, "idle-2": 1}),
        ("bl_0002", {"run": 3, "idle-2": 1}),
        ("bl_0001", None),
    ]
    assert lineage.ancestor(again) == "bl_0001"
    why = "grown by 3 windows of 'run', 1 windows of 'idle-2'"
    assert store.actions[:2] == [
        ("propose", "bl_0002", "adaptation", why),
        ("activate", "bl_0002", "adaptation", why),
    ]


def test_where_two_persons_are_asked_for_adaptation_only_proposes() -> None:
    store = SignedStore(two_person=True)
    assert StoredLineage(store).keep(POINT, adapted(enrolled(Versions()))) is None
    assert [action[0] for action in store.actions] == ["propose"]


def test_a_store_without_versions_is_told_apart() -> None:
    assert isinstance(SignedStore(), VersionStore)
    assert not isinstance(Versions(), VersionStore)
