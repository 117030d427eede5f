"""Whether a machine is louder than its surroundings where the sensor sits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echo_edge.ambient import check_ambient
from echo_edge.levels import DB_PER_UNIT

RATE_HZ = 8000


def surroundings(windows: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return -0.2 + 0.3 / DB_PER_UNIT * random.standard_normal((windows, channels, 4, 32))


def running(db: float, channels: int = 1, channel: int = 0) -> NDArray[np.float64]:
    spectrum = surroundings(30, channels, 1)
    spectrum[:, channel, 2] += db / DB_PER_UNIT
    return spectrum


def test_a_machine_that_is_well_heard_in_one_range_is_fine() -> None:
    assert check_ambient(running(7), surroundings(5), RATE_HZ) is None
    assert check_ambient(running(7, 2, 1), surroundings(5, 2), RATE_HZ) is None


def test_a_machine_that_is_hardly_heard_is_told_with_the_place() -> None:
    finding = check_ambient(running(4), surroundings(5), RATE_HZ)
    assert finding is not None
    assert (finding.check, finding.bad) == ("ambient", False)
    assert finding.text.startswith("running, the machine is at most 4.")
    assert " kHz)" in finding.text


def test_a_machine_that_is_not_heard_cannot_be_learned() -> None:
    finding = check_ambient(running(0), surroundings(5), RATE_HZ)
    assert finding is not None
    assert finding.bad
