"""Calibration files and the filter that applies them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensors.block import Block
from sensors.calibration import CalibrationFile, ResponseFilter, Sign, correction_db, read_calibration
from sensors.continuity import NS

UMIK = """\
"Sens Factor =-.7dB, SERNO: 7000123"\r
* a comment\r
20.00\t-2.00\r
1000.00\t0.00\r
10000.00\t4.00\r
20000.00\t25.0 17.5\r
"""
RATE_HZ = 48_000
HALF = RATE_HZ // 10


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "umik.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_umik_file_tells_its_rows_serial_and_sensitivity(tmp_path: Path) -> None:
    file = read_calibration(written(tmp_path, "\ufeff" + UMIK))
    assert file.frequencies_hz_f.tolist() == [20, 1000, 10_000, 20_000]
    assert file.levels_db_f.tolist() == [-2, 0, 4, 25]
    assert (file.name, file.serial, file.note) == ("umik.txt", "7000123", "Sens Factor -.7 dB")


def test_a_dayton_file_tells_its_rows_and_its_level_at_1_khz(tmp_path: Path) -> None:
    file = read_calibration(written(tmp_path, "*1000Hz -36.6\n20 -1.5\n20000   2\n"))
    assert file.levels_db_f.tolist() == [-1.5, 2]
    assert file.note == "-36.6 dB at 1000 Hz"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "umik.txt: 0 rows of frequency and dB"),
        ('"Sens Factor =-.7dB"\n20 0\n', "umik.txt: 1 rows of frequency and dB"),
        ("20 0\n1000 0\n500 0\n", "umik.txt:3: frequency 500 does not rise above the one before (1000)"),
        ("20 0\n20 0\n", "umik.txt:2: frequency 20 does not rise"),
        ("0 0\n20 0\n", "umik.txt:1: frequency 0 does not rise"),
        ("20 0\n1000 loud\n", "umik.txt:2: 'loud' is no number"),
        ("20 nan\n1000 0\n", "umik.txt:1: '20 nan' holds what is no finite number"),
        ("20\n1000 0\n", "umik.txt:1: '20' is no row"),
        ("20,5\t-0,5\n", "umik.txt:1: '20,5' is no number; write decimals with a point"),
        ("20.5,-0.5\n", "umik.txt:1: '20.5,-0.5' is no row of frequency and dB; write decimals with a point"),
    ],
)
def test_a_file_that_is_none_is_refused_with_line_and_value(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        read_calibration(written(tmp_path, text))
    assert reason in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt: No such file"):
        read_calibration(tmp_path / "none.txt")


@pytest.mark.parametrize(("sign", "factor"), [("response", -1), ("correction", 1)])
def test_the_sign_says_whether_the_file_is_subtracted_or_added(tmp_path: Path, sign: Sign, factor: int) -> None:
    file = read_calibration(written(tmp_path, UMIK))
    between_hz = np.sqrt(1000.0 * 10_000.0)  # the middle of two rows, over log frequency
    at_hz = np.array([0, 5, 20, 1000, between_hz, 10_000, 24_000])
    assert correction_db(file, sign, at_hz) == pytest.approx(factor * np.array([-2, -2, -2, 0, 2, 4, 20]))


FILE = CalibrationFile("f", np.array([50.0, 200.0, 1000.0, 5000.0, 20_000.0]), np.array([-6.0, -1.0, 0.0, 2.0, 6.0]))


def blocks(x_tc: np.ndarray, sizes: list[int], gaps: dict[int, int] | None = None) -> list[Block]:
    """Cut samples into blocks; ``gaps`` is position of a block -> frames lost before it (0: unknown)."""
    made, start, lost = [], 0, 0
    for position, size in enumerate(sizes):
        after_gap = gaps is not None and position in gaps
        missing = gaps[position] if gaps is not None and after_gap else 0
        lost += missing
        at = start + lost
        made.append(Block(x_tc[start : start + size], at * NS // RATE_HZ, after_gap, missing, at, at * NS // RATE_HZ))
        start += size
    return made


def filtered(given: list[Block], sign: Sign = "response") -> list[Block]:
    correct = ResponseFilter(FILE, sign, RATE_HZ)
    return [block for block in map(correct.push, given) if block is not None]


@pytest.mark.parametrize("tone_hz", [100, 200, 440, 1000, 3000, 5000, 12_000, 20_000])
def test_a_tone_is_corrected_to_a_tenth_of_a_decibel(tone_hz: float) -> None:
    x_tc = np.sin(2 * np.pi * tone_hz * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)[:, None]
    y_tc = np.concatenate([b.samples for b in filtered(blocks(x_tc, [HALF] * 10))])
    gain_db = 20 * np.log10(y_tc.std() / x_tc.std())
    assert gain_db == pytest.approx(correction_db(FILE, "response", np.array([tone_hz]))[0], abs=0.1)


def test_every_output_sample_has_the_time_and_index_of_its_input_sample() -> None:
    x_tc = np.zeros((RATE_HZ, 1), dtype=np.float32)
    x_tc[20_000] = 1.0
    done = filtered(blocks(x_tc, [HALF] * 10))
    assert (done[0].index, done[0].after_gap, done[0].lost_frames) == (HALF, False, 0)
    (peak,) = [b for b in done if b.index <= 20_000 < b.index + len(b.samples)]
    assert np.argmax(np.abs(peak.samples)) + peak.index == 20_000
    for block in done:
        assert block.time_ns == block.monotonic_ns == pytest.approx(block.index * NS / RATE_HZ, abs=2)
        assert block.samples.dtype == np.float32
    assert sum(len(b.samples) for b in done) == RATE_HZ - 2 * HALF


def test_block_sizes_do_not_matter() -> None:
    x_tc = np.random.default_rng(3).standard_normal((RATE_HZ, 2)).astype(np.float32)
    sizes = [1, 100, 20_000, 7, 3000, 9000, 15_892]
    one, other = filtered(blocks(x_tc, [HALF] * 10)), filtered(blocks(x_tc, sizes))
    assert one[0].index == other[0].index
    whole, pieces = (np.concatenate([b.samples for b in done]) for done in (one, other))
    assert np.allclose(whole, pieces, atol=1e-5)


def test_no_output_is_made_of_samples_from_both_sides_of_a_gap() -> None:
    x_tc = np.random.default_rng(4).standard_normal((RATE_HZ, 1)).astype(np.float32)
    given = blocks(x_tc, [HALF] * 10, {5: 1000})
    done = filtered(given)
    (after,) = [b for b in done if b.after_gap]
    assert after.index == 5 * HALF + 1000 + HALF
    assert after.lost_frames == 1000 + 2 * HALF
    alone = filtered(given[5:])
    assert np.array_equal(after.samples, alone[0].samples)


def test_a_second_gap_before_anything_is_certain_again_is_still_one_gap_in_the_output() -> None:
    x_tc = np.zeros((RATE_HZ, 1), dtype=np.float32)
    done = filtered(blocks(x_tc, [HALF] * 10, {4: 0, 5: 500}))
    assert [(b.index, b.after_gap, b.lost_frames) for b in done if b.after_gap] == [
        (6 * HALF + 500, True, 3 * HALF + 500)
    ]
