"""Noise at the promised ratio, distances worked by hand, and a fault that is louder than its background."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.shared_data import SHARED, needs_shared
from trainer.evaluation import detection
from trainer.evaluation.detection import Excerpt, Rig, detect, load_backgrounds, load_rigs, mix, roc, scores
from trainer.evaluation.features import FloatArray, mean_log_spectrum

DATA = SHARED / "data"
RATE_HZ = 8000


def noise(seed: int, level: float = 1.0, n: int = RATE_HZ) -> FloatArray:
    return (level * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def rms(samples: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("snr_db", [10.0, 0.0, -6.0])
def test_background_is_added_at_exactly_the_ratio_asked_for(snr_db: float) -> None:
    machine, hall = noise(1, 0.3), noise(2)
    added = mix(machine, rms(machine), hall / rms(hall), snr_db) - machine
    assert 20 * np.log10(rms(machine) / rms(added)) == pytest.approx(snr_db, abs=1e-4)
    assert np.corrcoef(added, hall)[0, 1] == pytest.approx(1.0)


def test_partial_auc_is_standardised_as_worked_by_hand() -> None:
    # Ten normal 0..9, faults at 9.5 and 8.5: up to a false positive rate of 0.1 half the faults are found, area 0.05;
    # chance has 0.005 and all have 0.1 there: (1 + 0.045 / 0.095) / 2.
    values = np.array([*range(10), 9.5, 8.5], dtype=np.float64)
    auc, pauc = roc(values, np.array([False] * 10 + [True] * 2))
    assert auc == pytest.approx(0.95)
    assert pauc == pytest.approx((1 + 0.045 / 0.095) / 2)


def test_a_score_is_the_root_mean_square_over_bands_of_distances_in_units_of_the_usual_one() -> None:
    # two bands of one number; normals lie 1 apart in the first band and 4 apart in the second
    known = np.array([[[0], [0]], [[1], [4]], [[2], [8]]], np.float32)
    asked = np.array([[[5], [8]], [[2], [20]], [[1], [4]]], np.float32)
    found = scores(known, np.arange(3), asked)
    np.testing.assert_allclose(found, [np.sqrt(9 / 2), np.sqrt(9 / 2), 0], atol=1e-6)


def test_one_excerpt_in_several_backgrounds_does_not_tell_what_is_usual() -> None:
    known = np.array([[[0.0]], [[0.001]], [[2.0]], [[2.001]]], np.float32)
    found = scores(known, np.array([0, 0, 1, 1]), np.array([[[4.0]]], np.float32))
    assert found[0] == pytest.approx(1.0, rel=1e-2)


def test_a_band_that_hardly_ever_changes_does_not_turn_a_whisper_into_infinity() -> None:
    known = np.array([[[0], [0], [1]], [[1], [1], [1]], [[2], [2], [1]]], np.float32)
    found = scores(known, np.arange(3), np.array([[[0], [0], [1.1]]], np.float32))
    assert found[0] == pytest.approx(np.sqrt(1 / 3), rel=1e-3)


def test_a_loud_fault_is_found_and_every_detector_hears_the_same_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "SNRS_DB", (None, 10.0))
    normal = [Excerpt(noise(i), 1.0, "run") for i in range(8)]
    faulty = [Excerpt(noise(20 + i, 2.0), 1.0, "run", faulty=True) for i in range(4)]
    rig = Rig("toy", RATE_HZ, tuple(normal[:4]), (*normal[4:], *faulty), ((("run",), ("run",)),))
    halls = [noise(40, n=2 * RATE_HZ)], [noise(50, n=2 * RATE_HZ)]
    heard: list[list[FloatArray]] = []

    def detector(windows: list[FloatArray], rate_hz: int) -> FloatArray:
        heard.append(list(windows))
        return np.stack([mean_log_spectrum(x, rate_hz) for x in windows])[:, None]

    rows = list(detect(detector, rig, halls))
    assert [(row.snr_db, row.gain_db) for row in rows] == [(snr, gain) for snr in (None, 10.0) for gain in (0.0, 6.0)]
    assert rows[0].auc == rows[0].pauc == 1.0
    # The fault is 6 dB of level and nothing else. Louder by 6 dB it lies 12 dB away, softer 0 dB; a normal window 6 dB.
    assert rows[1].auc == pytest.approx(0.5)
    first, heard = heard, []
    assert list(detect(detector, rig, halls)) == rows
    for one, other in zip(first, heard, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_shared
def test_what_is_learned_is_never_tested() -> None:
    learn, test = load_backgrounds(DATA / "audio", 48_000)
    assert len(learn) > 15 < len(test)
    assert [rms(clip) for clip in learn + test] == pytest.approx([1.0] * len(learn + test), rel=1e-3)
    assert not {clip.tobytes() for clip in learn} & {clip.tobytes() for clip in test}
    for rig in load_rigs(DATA):
        for learned, tested in rig.folds:
            known = {e.samples.tobytes() for e in rig.learned if e.state in learned}
            asked = {e.samples.tobytes() for e in rig.tested if e.state in tested}
            faulty = [e.faulty for e in rig.tested if e.state in tested]
            print(f"{rig.name}: learns {len(known)}, tests {len(asked)}, {sum(faulty)} of them faulty")
            assert known
            assert not known & asked
            assert 0 < sum(faulty) < len(faulty)
