"""Nearest: the coarse search is only a short cut."""

from __future__ import annotations

import numpy as np
import pytest

from echo_edge.nearest import Nearest


@pytest.mark.parametrize("learned", [3, 40, 600])
def test_the_coarse_search_gives_what_an_exhaustive_one_gives(learned: int) -> None:
    random = np.random.default_rng(1)
    mixing = random.standard_normal((8, 2 * 5 * 24))
    hidden = random.standard_normal((learned + 50, 8)) @ mixing + 0.5 * random.standard_normal((learned + 50, 240))
    vectors = hidden.reshape(-1, 2, 5, 24).astype(np.float16)
    known, asked = vectors[:learned], vectors[learned:]
    third = np.arange(learned) % 3
    held = [(np.flatnonzero(third == k), third != k) for k in range(3)]
    bank, _ = Nearest.learn(known, np.arange(learned, dtype=np.int64), held)
    found = np.stack([bank.distances(one) for one in asked])
    # but for vectors that round the other way when they are whitened alone
    np.testing.assert_allclose(found, bank.exact_distances(asked), rtol=2e-3)
