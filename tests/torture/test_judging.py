"""What the measurements judge by is what the daemon judges by."""

from __future__ import annotations

import numpy as np
import pytest

from echo_edge.normal import Normal
from tests.torture.features import Heard, hear, make_embedder
from tests.torture.hall import DAY_WINDOWS
from tests.torture.judging import (
    ALERT,
    METHODS,
    Learned,
    echo,
    embedding,
    rarities,
    spectrum,
    strongest,
    thumbs,
)
from tests.torture.operation import Operation, site


@pytest.fixture(scope="module")
def heard() -> Heard:
    return hear(Operation(site(0), DAY_WINDOWS).part(DAY_WINDOWS // 2, DAY_WINDOWS // 2 + 140), make_embedder())


@pytest.fixture(scope="module")
def learned(heard: Heard) -> Learned:
    return Learned(heard.rows(0, 100))


def test_many_windows_at_once_score_as_one_by_one(heard: Heard, learned: Learned) -> None:
    normal = Normal("bl", [learned.state], 1.0, 5.0, ALERT)
    scores = [normal.score(embedding(heard, i)) for i in range(100, 140)]
    together = rarities(learned.state, heard.rows(100, 140))
    for part, values in together.items():
        np.testing.assert_allclose(values, [score.rarities[part] for score in scores], rtol=1e-6)
    values = learned.daemon().score(heard.rows(100, 140))
    np.testing.assert_allclose(values, [score.value for score in scores], rtol=1e-6)
    assert learned.threshold(learned.daemon(), 1.0).value == normal.thresholds["run"]


def test_the_daemon_is_the_strongest_of_its_parts(heard: Heard, learned: Learned) -> None:
    joint = strongest(learned.nearest(echo), learned.nearest(spectrum), learned.spread())
    np.testing.assert_array_equal(joint.held_out, learned.state.held_out)
    later = heard.rows(100, 140)
    np.testing.assert_allclose(joint.score(later), learned.daemon().score(later), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_a_rarer_target_has_a_higher_threshold(
    method: str, heard: Heard, learned: Learned
) -> None:
    scorer, thresholds = METHODS[method](learned, (0.1, 10.0))
    assert scorer.held_out.shape == (100,)
    assert scorer.score(heard.rows(100, 140)).shape == (40,)
    assert thresholds[0].value > thresholds[1].value
    promise = thresholds[0].promise()
    assert promise is not None
    assert promise.estimated == pytest.approx(0.1)


def test_a_rule_of_thumb_promises_nothing(learned: Learned) -> None:
    maximum, _ = thumbs(learned.daemon())
    assert maximum.value == learned.state.held_out.max()
    assert maximum.promise() is None
