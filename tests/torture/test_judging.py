"""What the measurements judge by is what the daemon judges by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echo_edge.normal import Normal
from echo_edge.normal_state import TOLERATED
from tests.torture.features import Heard, hear, make_embedder
from tests.torture.hall import DAY_WINDOWS
from tests.torture.judging import ALERT, METHODS, Learned, echo, embedding, joined_parts, spectrum, thumbs, whole
from tests.torture.operation import Operation, site


@pytest.fixture(scope="module")
def heard() -> Heard:
    return hear(Operation(site(0), DAY_WINDOWS).part(DAY_WINDOWS // 2, DAY_WINDOWS // 2 + 140), make_embedder())


@pytest.fixture(scope="module")
def learned(heard: Heard) -> Learned:
    return Learned(heard.rows(0, 100))


def test_many_windows_at_once_score_as_one_by_one(heard: Heard, learned: Learned) -> None:
    normal = Normal("bl", [learned.state], 1.0, 5.0, ALERT)
    scores = [normal.score(embedding(heard, i)).value for i in range(100, 140)]
    # the daemon compares four windows that a coarse search names, here the four nearest are compared
    np.testing.assert_allclose(learned.daemon().score(heard.rows(100, 140)), scores, rtol=0.01)
    assert learned.threshold(learned.daemon(), 1.0).value == normal.thresholds["run"]


def test_the_daemon_is_its_parts_joined(heard: Heard, learned: Learned) -> None:
    parts = {
        "echo": learned.nearest(echo, TOLERATED["echo"]),
        "spectrum": learned.nearest(spectrum, TOLERATED["spectrum"]),
        "indicators": learned.spread(),
    }
    joint = joined_parts(parts)
    np.testing.assert_allclose(joint.held_out, learned.state.held_out)
    later = heard.rows(100, 140)
    np.testing.assert_allclose(joint.score(later), learned.daemon().score(later), rtol=1e-9)


def test_each_part_that_is_left_out_changes_the_scores(heard: Heard, learned: Learned) -> None:
    later = heard.rows(100, 140)
    as_it_is = learned.nearest(echo).score(later)
    for other in (learned.nearest(whole(echo)), learned.nearest(echo, density=False), learned.plain(echo)):
        assert not np.allclose(other.score(later), as_it_is, rtol=0.01)
    assert np.array_equal(learned.nearest(echo).score(later), as_it_is)


def test_an_indicator_alone_is_read_upwards(heard: Heard, learned: Learned) -> None:
    level = learned.indicator("velocity_rms_mm_s")
    k = heard.indicator_names.index("velocity_rms_mm_s")
    louder = replace(heard, indicators=heard.indicators * np.where(np.arange(heard.indicators.shape[2]) == k, 2, 1))
    assert level.score(louder).min() > level.held_out.max()
    quieter = replace(heard, indicators=heard.indicators / 2)
    assert level.score(quieter).max() < level.held_out.max()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_a_rarer_target_has_a_higher_threshold(
    method: str, heard: Heard, learned: Learned
) -> None:
    scorer, thresholds = METHODS[method](learned, (0.1, 10.0))
    assert scorer.held_out.shape == (100,)
    assert scorer.score(heard.rows(100, 140)).shape == (40,)
    assert thresholds[0].value > thresholds[1].value
    rare, often = (threshold.promise() for threshold in thresholds[:2])
    assert rare is not None
    assert often is not None
    assert 0 < rare.estimated < often.estimated


def test_a_rule_of_thumb_promises_nothing(learned: Learned) -> None:
    maximum, _ = thumbs(learned.daemon())
    assert maximum.value == learned.state.held_out.max()
    assert maximum.promise() is None
