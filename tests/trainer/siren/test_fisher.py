"""FISHER: the published arithmetic from samples to vectors at any rate, and what is said of weights not its own.

The small one is held, at its true size, to the numbers of the published code (``make_fisher_golden.py`` wrote them).
What needs no true size is shown on the tiny one.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from tests.trainer.siren.make_fisher_golden import (
    CASES,
    KEPT,
    PLACE,
    eps_of,
    native_signal,
    patch_weights,
    shapes_of,
    spectrogram,
)
from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.eat import PatchTransformer, own_names
from trainer.siren.encoders.fisher import CELLS, DEPTH, SOURCES, WIDTHS, FisherEncoder, fisher, log_spectrogram
from trainer.siren.errors import WeightsError

CPU = torch.device("cpu")
GOLDEN = json.loads(PLACE.read_text())
SHAPES = {key: tuple(shape) for key, shape in GOLDEN["shapes"].items()}
RATE_HZ = 16_000


def narrowed(size: str) -> dict[str, tuple[int, ...]]:
    """Return the published names with the shapes of another size."""
    widths = {n * WIDTHS["small"]: n * WIDTHS[size] for n in (1, 3, 4)}
    return {key: tuple(widths.get(n, n) for n in shape) for key, shape in SHAPES.items()}


@cache
def tiny_state() -> dict[str, Tensor]:
    return patch_weights(narrowed("tiny"))


def loaded(folder: Path, size: str, state: dict[str, Tensor], mode: Mode = "strict", **config: object) -> FisherEncoder:
    path = folder / SOURCES[size].file
    torch.save({"model": state, "cfg": {"model": config}}, path)
    return fisher(size, path, CPU, mode)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> FisherEncoder:
    return loaded(tmp_path_factory.mktemp("small"), "small", patch_weights(SHAPES), "siren", band_width=50)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> FisherEncoder:
    return loaded(tmp_path_factory.mktemp("tiny"), "tiny", tiny_state())


def network(size: str) -> PatchTransformer:
    """Return a network that has shapes and no numbers."""
    with torch.device("meta"):
        return PatchTransformer(WIDTHS[size], DEPTH, WIDTHS[size] // 64, CELLS)


# Against the published code.


@pytest.mark.parametrize(("rate_hz", "length_s"), CASES)
def test_fisher_says_what_its_published_code_says_at_any_rate_and_length(small, rate_hz, length_s):
    wanted = GOLDEN["embeddings"][f"{rate_hz} Hz, {length_s} s"]
    found = small.embed(native_signal(rate_hz, length_s)[None], rate_hz)[0]
    assert len(found) == wanted["length"]
    assert float(np.linalg.norm(found)) == pytest.approx(wanted["norm"], rel=1e-5)
    for part, numbers in {"first": found[:KEPT], "last": found[-KEPT:]}.items():
        print(f"{rate_hz} Hz, {length_s} s, {part}: {np.abs(numbers - wanted[part]).max():.1e} away")
        assert numbers.tolist() == pytest.approx(wanted[part], rel=1e-4, abs=2e-5)


def test_names_and_shapes_are_the_published_ones():
    published = own_names({key: torch.empty(shape, device="meta") for key, shape in SHAPES.items()})
    assert {key: tuple(value.shape) for key, value in published.items()} == shapes_of(network("small"))


def test_norms_add_what_the_published_ones_add(small):
    assert eps_of(small.network) == GOLDEN["eps"] == [1e-6]


@pytest.mark.parametrize(("size", "millions"), [("tiny", 5.39), ("mini", 9.54), ("small", 21.39)])
def test_fisher_is_as_large_as_published(size, millions):
    learned = sum(p.numel() for p in network(size).parameters() if p.requires_grad)
    assert learned / 1e6 == pytest.approx(millions, abs=0.005)


# Pictures and bands.


@pytest.mark.parametrize("rate_hz", [1_000, 16_000, 44_100, 48_000])
def test_the_picture_is_that_of_frames_transformed_one_by_one(rate_hz):
    samples = native_signal(rate_hz, 0.5)
    bins = 25 * rate_hz // 1000 // 2 + 1
    found = log_spectrogram(torch.from_numpy(samples)[None], rate_hz)[0]
    assert found.shape == (48, bins)
    assert np.allclose(found, spectrogram(samples, rate_hz)[:, :bins], atol=2e-3)


def test_digital_silence_has_the_level_of_the_floor():
    level = log_spectrogram(torch.zeros(1, 8000), RATE_HZ)
    assert torch.allclose(level, torch.tensor((math.log(1e-10) + 3.017344307886898) / (2 * 2.1531635155379805)))


@pytest.mark.parametrize(
    ("rate_hz", "bands", "length"),
    [(1_000, 1, 384), (12_000, 3, 1152), (16_000, 4, 1536), (44_100, 11, 4224), (48_000, 12, 4608)],
)
def test_a_vector_has_384_numbers_for_each_whole_band_of_a_rate(small, rate_hz, bands, length):
    assert small.band_edges(rate_hz) == tuple(range(0, length + 1, 384))
    assert len(small.band_edges(rate_hz)) == bands + 1
    assert small.embed(native_signal(rate_hz, 0.2)[None], rate_hz).shape == (1, length)


def test_a_tone_is_heard_in_its_own_band_and_above_the_last_in_none(tiny):
    """At 50 kHz a bin is 40 Hz: twelve bands of 50 bins end at 24 kHz, and 26 bins are left."""
    time_s = np.arange(10_000) / 50_000
    clips = [native_signal(50_000, 0.2)]
    clips += [clips[0] + np.sin(2 * np.pi * hertz * time_s).astype(np.float32) for hertz in (3_000, 21_000, 24_600)]
    quiet, *louder = tiny.embed_batch([clip[None] for clip in clips], 50_000)
    second, eleventh, above = (np.abs(found - quiet).reshape(12, 192).max(1) for found in louder)
    assert (int(second.argmax()), int(eleventh.argmax())) == (1, 10)
    assert min(second[1], eleventh[10]) > 0.5
    assert max(np.delete(second, 1).max(), np.delete(eleventh, 10).max(), above.max()) < 0.05


def test_a_stored_configuration_tells_how_wide_a_band_is_and_is_50_when_it_does_not(tmp_path, tiny):
    assert tiny.band_width == 50
    wide = loaded(tmp_path, "tiny", tiny_state(), band_width=100)
    assert wide.band_edges(48_000) == tuple(range(0, 6 * 192 + 1, 192))
    assert wide.embed(native_signal(48_000, 0.2)[None], 48_000).shape == (1, 6 * 192)


# Clips.


def test_a_clip_gives_the_same_whatever_else_is_in_the_batch_and_however_often(tiny):
    rate_hz = 8_000
    short, long = 1e-3 * native_signal(rate_hz, 1), 30 * native_signal(rate_hz, 11)
    together = tiny.embed_batch([np.stack([short, short]), long[None], 50 * short[None]], rate_hz)
    alone = tiny.embed(short[None], rate_hz)
    assert [found.shape for found in together] == [(2, 384), (1, 384), (1, 384)]
    assert np.array_equal(alone, tiny.embed(short[None], rate_hz))
    for found in (together[0][0], together[0][1]):
        assert np.allclose(found, alone[0], rtol=1e-4, atol=1e-5)
    assert np.allclose(together[1], tiny.embed(long[None], rate_hz), rtol=1e-4, atol=1e-5)
    assert np.abs(together[2][0] - alone[0]).max() > 0.01


def test_a_long_clip_is_the_mean_of_1024_frames_each_and_of_the_last_1024(tiny):
    samples = native_signal(1_000, 12)
    samples -= samples.mean()
    first, last = samples[: 1023 * 10 + 25], samples[(1198 - 1024) * 10 : 1197 * 10 + 25]
    wanted = np.mean([tiny.embed(piece[None] - piece.mean(), 1_000) for piece in (first, last)], axis=0)
    found = tiny.embed(samples[None], 1_000)
    assert np.abs(found - tiny.embed(first[None], 1_000)).max() > 0.05
    assert np.allclose(found, wanted, atol=0.02)  # a piece by itself loses a mean that is not quite the clip's


@pytest.mark.parametrize(("rate_hz", "least"), [(16_000, 400 + 15 * 160), (1_000, 25 + 15 * 10)])
def test_less_than_the_sixteen_frames_of_a_token_is_too_short(tiny, rate_hz, least):
    samples = native_signal(rate_hz, 1)
    with pytest.raises(ValueError, match=f"{least - 1} samples at {rate_hz} Hz are too few: one patch needs {least}"):
        tiny.embed(samples[None, : least - 1], rate_hz)
    assert tiny.embed(samples[None, :least], rate_hz).shape[0] == 1


def test_samples_that_are_no_numbers_are_refused(tiny):
    with pytest.raises(ValueError, match="finite"):
        tiny.embed(np.full((1, 8000), np.nan, np.float32), RATE_HZ)


# Weights.


@pytest.mark.parametrize("size", WIDTHS)
def test_missing_weights_are_told_with_their_file_their_page_and_their_place(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as told:
        fisher(size, None, CPU, "siren")
    said = str(told.value)
    assert said.startswith(f"fisher-{size}: checkpoints/FISHER-{size}-0723.pt: no such file")
    assert f"(MIT) from huggingface.co/jiangab/FISHER-{size}-0723 " in said
    assert f"put it at checkpoints/FISHER-{size}-0723.pt" in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("blocks.3.attn.qkv.bias", None, r"blocks\.3\.attn\.qkv\.bias: missing, expected shape \(576,\)"),
        ("blocks.3.attn.qkv.bias", torch.ones(575), r"qkv\.bias: wrong shape: expected \(576,\), found \(575,\)"),
        ("blocks.12.norm1.bias", torch.ones(192), r"blocks\.12\.norm1\.bias: unexpected, shape \(192,\)"),
        ("norm.weight", torch.ones(192), r"norm\.weight: unexpected, shape \(192,\)"),
    ],
)
def test_weights_of_another_encoder_are_refused_by_name(tmp_path, key, value, said):
    state = {**tiny_state(), key: value}
    with pytest.raises(WeightsError, match=f"fisher-tiny: .*{said}"):
        loaded(tmp_path, "tiny", {name: kept for name, kept in state.items() if kept is not None})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_heads": 12}, "num_heads is 12, expected 3"),
        ({"layer_norm_first": True}, "layer_norm_first is True, expected False"),
        ({"modalities": {"image": {"flatten": "time"}}}, "flatten is time, expected freq"),
        ({"band_width": 8}, "band_width is 8, expected at least 16"),
    ],
)
def test_a_configuration_that_no_shape_shows_is_refused_by_name(tmp_path, config, said):
    with pytest.raises(WeightsError, match=f"cfg: {said}"):
        loaded(tmp_path, "tiny", tiny_state(), **config)


def test_the_digest_follows_weights_and_band_width_and_not_the_mode(tmp_path, tiny):
    assert len(tiny.digest) == 64
    assert (tiny.name, tiny.mode, tiny.device) == ("fisher-tiny", "strict", CPU)
    assert loaded(tmp_path, "tiny", tiny_state(), "siren").digest == tiny.digest  # a clip is cut alike in both
    changed = {**tiny_state(), "blocks.0.norm1.bias": torch.zeros(192)}
    assert loaded(tmp_path, "tiny", changed).digest != tiny.digest
    assert loaded(tmp_path, "tiny", tiny_state(), band_width=100).digest != tiny.digest
