"""Batches: what they hold, and that they depend on seed and number alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from tests.trainer.runs import configured, listed, noises, recorded
from trainer import frontend
from trainer.bands import Bands, bands_of
from trainer.config import DataConfig
from trainer.data.dataset import Batch, Batches
from trainer.data.decode import DecodeError
from trainer.data.machines import RATES_HZ
from trainer.data.manifest import ManifestError

LENGTHS_S = (0.5, 0.9, 1.7, 0.6, 2.5, 0.45, 1.0)


def data(folder, *changes: str) -> DataConfig:
    return configured(folder, *(f"data.{change}" for change in changes)).data


def identical(one: Batch, other: Batch) -> bool:
    tensors = torch.equal(one.samples, other.samples) and all(torch.equal(one.rows[k], other.rows[k]) for k in one.rows)
    return tensors and one.clips == other.clips and one.rates_hz == other.rates_hz and one.frames == other.frames


def seen(batches: Iterable[Batch]) -> list[Bands]:
    return [bands_of(batch) for batch in batches]


def rows(batches: Iterable[Batch]) -> Counter[bytes]:
    """Return every band of some batches as its bytes, counted."""
    return Counter(band.numpy().tobytes() for bands in seen(batches) for band in bands.seen)


def names(batches: Iterable[Batch]) -> list[str]:
    return [clip.split(" from ")[0] for batch in batches for clip in batch.clips]


def test_a_batch_mixes_rates_and_has_as_many_bands_as_asked_of_equal_length(tmp_path):
    batches = Batches(data(tmp_path, "machines_share=0.5"), [noises(tmp_path, LENGTHS_S)], seed=0)
    drawn = [batches[k] for k in range(10)]
    for bands in seen(drawn):
        assert bands.seen.shape[:2] == (12, 32)
        assert bands.seen.shape[2] % 16 == 0
        assert 32 <= bands.seen.shape[2] <= 80
        assert bands.position.shape == (12,)
        assert bands.seen.dtype == bands.position.dtype == torch.float32
        assert bool(torch.isfinite(bands.seen).all())
    assert any(len(set(batch.rates_hz)) > 1 for batch in drawn)
    assert len({batch.frames for batch in drawn}) > 1


def test_a_batch_depends_on_seed_and_number_not_on_what_was_drawn_before(tmp_path):
    manifest = noises(tmp_path, LENGTHS_S)
    one, other = (Batches(data(tmp_path), [manifest], seed=3) for _ in range(2))
    for _ in map(one.__getitem__, range(9)):
        pass
    assert identical(one[4], other[4])
    other_seed = Batches(data(tmp_path), [manifest], seed=4)
    assert not torch.equal(one[4].rows["position"], other_seed[4].rows["position"])
    assert not torch.equal(one[4].rows["position"], one[5].rows["position"])


@pytest.mark.parametrize("world", [2, 3])
def test_all_processes_see_together_what_one_sees_and_nothing_twice(tmp_path, world):
    config, manifest = data(tmp_path), noises(tmp_path, LENGTHS_S)
    alone = Batches(config, [manifest], seed=0)
    shares = [Batches(config, [manifest], seed=0, rank=rank, world=world) for rank in range(world)]
    for k in range(4):
        parts = [share[k] for share in shares]
        assert rows(parts) == rows([alone[k]])
        assert Counter(clip for part in parts for clip in part.clips) == Counter(alone[k].clips)
        assert len({part.frames for part in parts}) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_number_of_workers_changes_no_batch(tmp_path):
    batches = Batches(data(tmp_path), [noises(tmp_path, LENGTHS_S)], seed=0)
    drawn = DataLoader(batches, batch_size=None, sampler=range(3, 9), num_workers=2)
    assert all(identical(batch, batches[k]) for k, batch in enumerate(drawn, start=3))


def test_aligned_bands_are_those_of_inference_and_the_padded_last_one_occurs(tmp_path):
    manifest = noises(tmp_path, [1.0] * 4, rates_hz=[8_000])
    batches = Batches(data(tmp_path, "aligned_share=1", "machines_share=0"), [manifest], seed=0)
    known, last = set(frontend.positions(8_000).tolist()), frontend.positions(8_000)[-1]
    padded = 0
    for bands in seen(batches[k] for k in range(10)):
        assert set(bands.position.tolist()) <= known
        for band, position in zip(bands.seen, bands.position, strict=True):
            empty = not band[:27].any()  # 101 bins: three bands, and five bins at the end of a fourth
            assert empty == (position == last)
            padded += empty
    assert padded > 0


def test_a_band_lies_where_its_position_says(tmp_path):
    """A tone in bin 40 of 101 stands in row 40 - start of every band that has it; start follows from the position."""
    tone = np.sin(2 * np.pi * 40 * 40 * np.arange(8000) / 8_000)
    manifest = listed(tmp_path, [recorded(tmp_path, f"{n}.wav", tone, 8_000) for n in range(4)])
    config = data(tmp_path, "aligned_share=0", "machines_share=0", "bands_per_batch=20")
    batches = Batches(config, [manifest], seed=0)
    aligned = frontend.positions(8_000).tolist()
    starts, with_tone = set(), 0
    for bands in seen(batches[k] for k in range(32)):
        for band, position in zip(bands.seen, bands.position, strict=True):
            start = (float(position) * 200 - 31) / 2
            assert start == pytest.approx(round(start), abs=1e-3)
            starts.add(round(start))
            if start % 32 == 0:
                assert float(position) == aligned[round(start) // 32]
            if 0 <= 40 - round(start) < 32:
                assert int(band.mean(1).argmax()) == 40 - round(start)
                with_tone += 1
    assert starts == set(range(101 - 32 + 1))
    assert with_tone > 100


def test_a_rate_with_a_single_band_gives_that_band(tmp_path):
    manifest = noises(tmp_path, [1.0] * 4, rates_hz=[2_000])  # 26 bins
    bands = bands_of(Batches(data(tmp_path, "aligned_share=0", "machines_share=0"), [manifest], seed=0)[0])
    assert bands.seen.shape[0] == 12
    assert set(bands.position.tolist()) == set(frontend.positions(2_000).tolist())
    assert not bands.seen[:, :6].any()


def test_an_epoch_visits_every_segment_once_in_another_order_each_time(tmp_path):
    lengths_s = [0.6, 1.7, 3.3, 0.9, 0.5, 0.8, 0.7, 0.45]  # crops have 0.8 s at most: 1, 2, 4, 1, 1, 1, 1, 1 segments
    batches = Batches(data(tmp_path, "machines_share=0"), [noises(tmp_path, lengths_s, [8_000])], seed=0)
    assert batches.batches_per_epoch == 3
    epochs = [names(batches[epoch * 3 + k] for k in range(3)) for epoch in range(3)]
    assert [Counter(epoch) for epoch in epochs] == [Counter("012345671222"[n] + ".wav" for n in range(12))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_epoch_that_does_not_divide_fills_its_last_batch_and_leaves_nothing_out(tmp_path):
    batches = Batches(data(tmp_path, "machines_share=0"), [noises(tmp_path, [0.5] * 6, [8_000])], seed=0)
    found = Counter(names(batches[k] for k in range(2)))
    assert sorted(found.values()) == [1, 1, 1, 1, 2, 2]


def test_a_recording_shorter_than_the_shortest_crop_is_left_out(tmp_path):
    manifest = noises(tmp_path, [0.39, 0.4, 0.39, 0.5])
    batches = Batches(data(tmp_path, "machines_share=0"), [manifest], seed=0)
    assert set(names(batches[k] for k in range(6))) == {"1.wav", "3.wav"}


def test_a_batch_is_no_longer_than_its_shortest_recording(tmp_path):
    manifest = noises(tmp_path, [0.4] * 4 + [0.8] * 4)
    batches = Batches(data(tmp_path, "machines_share=0"), [manifest], seed=0)
    for k in range(6):
        short = set(names([batches[k]])) & {f"{n}.wav" for n in range(4)}
        assert not short or batches[k].frames <= 38  # 0.4 s: frames of 25 ms, every 10 ms


def test_half_of_the_batches_end_within_a_patch_and_are_filled_with_zeros(tmp_path):
    batches = Batches(data(tmp_path), [], seed=0)
    drawn = [batches[k] for k in range(30)]
    within = [batch for batch in drawn if batch.frames % 16]
    assert 5 < len(within) < 25
    for batch, bands in zip(within, seen(within), strict=True):
        assert 0 < bands.seen.shape[2] - batch.frames < 16
        assert not bands.seen[..., batch.frames :].any()
        assert bands.seen[..., batch.frames - 1].any()


def test_resampling_goes_down_only_and_with_its_probability(tmp_path):
    manifest = noises(tmp_path, [1.0] * 8, rates_hz=[16_000])
    for share, expected in (("0", {16_000}), ("1", {8_000, 12_000}), ("0.5", {8_000, 12_000, 16_000})):
        batches = Batches(data(tmp_path, "machines_share=0", f"resample_share={share}"), [manifest], seed=0)
        assert {rate for k in range(12) for rate in batches[k].rates_hz} == expected


def test_without_recordings_every_clip_is_a_machine_at_one_of_many_rates(tmp_path):
    batches = Batches(data(tmp_path, "machines_share=0"), [], seed=0)
    drawn = [batches[k] for k in range(10)]
    assert set(names(drawn)) == {"a simulated machine"}
    assert len({rate for batch in drawn for rate in batch.rates_hz}) > 5
    assert {rate for batch in drawn for rate in batch.rates_hz} <= set(RATES_HZ)


def test_machines_and_recordings_share_a_batch_as_configured(tmp_path):
    batches = Batches(data(tmp_path, "machines_share=0.25"), [noises(tmp_path, LENGTHS_S)], seed=0)
    assert [names([batches[k]]).count("a simulated machine") for k in range(5)] == [1] * 5


def test_crops_stay_within_the_part_that_the_manifest_allows(tmp_path):
    samples = np.full(16_000, np.nan)  # which no crop may hold
    samples[8000:12_000] = np.random.default_rng(0).standard_normal(4000)
    row = recorded(tmp_path, "part.wav", samples, 8_000, offset_s=1.0, duration_s=0.5)
    batches = Batches(data(tmp_path, "machines_share=0"), [listed(tmp_path, [row])], seed=0)
    starts = [
        float(found[1]) for k in range(10) for clip in batches[k].clips if (found := re.search(r"([\d.]+) s", clip))
    ]
    assert len(set(starts)) > 5
    assert all(1.0 <= start < 1.5 for start in starts)


def test_seconds_that_were_rounded_up_ask_for_no_frame_beyond_the_end(tmp_path):
    noise = np.random.default_rng(0).standard_normal(506)
    row = recorded(tmp_path, "a.wav", noise, 1_000, duration_s=0.5069)  # a crop has 496: one in twelve ends at the end
    batches = Batches(data(tmp_path, "machines_share=0", "crop_s=[0.506, 0.506]"), [listed(tmp_path, [row])], seed=0)
    assert all(bands.seen.shape == (12, 32, 48) for bands in seen(batches[k] for k in range(20)))


def test_a_recording_that_vanished_is_named(tmp_path):
    manifest = noises(tmp_path, [1.0])
    (tmp_path / "0.wav").unlink()
    with pytest.raises(DecodeError, match=r"0\.wav: cannot be read"):
        Batches(data(tmp_path, "machines_share=0"), [manifest], seed=0)[0]


def test_a_manifest_that_leaves_nothing_to_train_on_is_refused(tmp_path):
    manifest = noises(tmp_path, [0.3, 0.2])
    with pytest.raises(ManifestError, match=r"all\.csv: no recording left of split, licences and 0\.4 s or longer"):
        Batches(data(tmp_path), [manifest], seed=0)
    with pytest.raises(ManifestError, match="no recording left"):
        Batches(data(tmp_path), [noises(tmp_path, [1.0]).only(licences=["MIT"])], seed=0)


def test_several_manifests_are_one_corpus(tmp_path):
    manifests = [noises(tmp_path / "a", [1.0] * 4), noises(tmp_path / "b", [1.0] * 4)]
    (tmp_path / "a" / "0.wav").unlink()
    (tmp_path / "b" / "3.wav").unlink()
    batches = Batches(data(tmp_path, "machines_share=0"), manifests, seed=0)
    with pytest.raises(DecodeError, match=r"a/0\.wav|b/3\.wav"):
        [batches[k] for k in range(2)]
