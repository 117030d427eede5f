"""Windows that repeat earlier ones share one vote."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from echo_edge.duplicates import duplicates

Array = NDArray[np.float32]


def windows(count: int, seed: int = 0) -> Array:
    """Vectors of unit size that differ by a tenth of it, as the encoder's do."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((1, 7, 24))
    return np.asarray(common + 0.1 * random.standard_normal((count, 1, 7, 24)), np.float32)


def test_windows_of_a_running_machine_are_all_different() -> None:
    assert not duplicates(windows(300)).any()


def test_a_looped_file_has_the_votes_of_its_first_turn() -> None:
    once = windows(40)
    assert duplicates(np.concatenate((once, once, once[:17]))).tolist() == [False] * 40 + [True] * 57


def test_a_copy_with_a_little_noise_is_still_a_copy_and_one_with_more_is_not() -> None:
    once = windows(300)
    usual = np.linalg.norm(np.diff(once.reshape(300, -1), axis=0), axis=1).mean()

    def copies(share: float) -> Array:
        noise = np.random.default_rng(1).standard_normal(once.shape)
        noise *= share * usual / np.linalg.norm(noise.reshape(300, -1), axis=1)[:, None, None, None]
        return np.asarray(once + noise, np.float32)

    assert duplicates(np.concatenate((once, copies(0.04))))[300:].all()
    assert not duplicates(np.concatenate((once, copies(0.06)))).any()


def test_what_the_index_keeps_in_half_precision_is_compared_as_well() -> None:
    once = windows(300).astype(np.float16)
    assert duplicates(np.concatenate((once, once)))[300:].all()
    assert not duplicates(once).any()


def test_a_signal_that_never_changes_is_one_vote() -> None:
    assert duplicates(np.ones((5, 3), np.float32)).tolist() == [False, True, True, True, True]


def test_none_and_one_window_repeat_nothing() -> None:
    assert duplicates(windows(1)).tolist() == [False]
    assert duplicates(windows(0)).tolist() == []


def test_as_many_windows_as_a_state_keeps_take_seconds() -> None:
    many = np.random.default_rng(0).standard_normal((4096, 1344), dtype=np.float32)
    started = time.process_time()
    assert not duplicates(many).any()
    assert time.process_time() - started < 20
