"""BEATs: the published arithmetic from samples to vectors, and what is said of weights that are not its own.

It is held, at its true size, to the numbers of another implementation, and the filter banks to those of torchaudio
(``make_beats_golden.py`` wrote both). What needs no true size is shown on a small one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from tests.trainer.siren.make_beats_golden import FRAMES, PLACE, beats_weights
from tests.trainer.siren.recipe import LENGTHS_S, RATE_HZ, signal
from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.beats import SOURCE, BeatsEncoder, beats
from trainer.siren.encoders.fbank import filter_banks
from trainer.siren.errors import WeightsError

CPU = torch.device("cpu")
GOLDEN = json.loads(PLACE.read_text())
SHAPES = {key: tuple(shape) for key, shape in GOLDEN["shapes"].items()}
TABLE = "self_attn.relative_attention_bias.weight"

SMALL = {**GOLDEN["cfg"], "embed_dim": 32, "encoder_layers": 2, "encoder_embed_dim": 48}
SMALL |= {"encoder_ffn_embed_dim": 96, "encoder_attention_heads": 4}
SMALLER = {512: 32, 768: 48, 3072: 96, 12: 4, 768 // 12: 48 // 4, 768 // 16: 48 // 16}
"""Widths, heads, width of a head and width of a group, from the true size to the small one."""


def small_state() -> dict[str, Tensor]:
    """Return weights of two layers."""
    layers = ("encoder.layers.0.", "encoder.layers.1.")
    kept = {key: shape for key, shape in SHAPES.items() if "layers" not in key or key.startswith(layers)}
    return beats_weights({key: tuple(SMALLER.get(n, n) for n in shape) for key, shape in kept.items()})


def loaded(folder: Path, state: dict[str, Tensor], cfg: object, mode: Mode = "strict") -> BeatsEncoder:
    path = folder / "weights.pt"
    torch.save({"cfg": cfg, "model": state}, path)
    encoder = beats(path, CPU, mode)
    path.unlink()  # a third of a gigabyte at its true size
    return encoder


@pytest.fixture(scope="module")
def true_size(tmp_path_factory) -> BeatsEncoder:
    return loaded(tmp_path_factory.mktemp("beats"), beats_weights(SHAPES), GOLDEN["cfg"])


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> BeatsEncoder:
    return loaded(tmp_path_factory.mktemp("beats"), small_state(), SMALL)


# The front end.


@pytest.mark.parametrize("window", ["povey", "hanning"])
def test_filter_banks_are_those_of_torchaudio(window):
    wanted = GOLDEN["bands"][window]
    found = filter_banks(torch.from_numpy(signal(3))[None] * 2**15, window)[0]
    assert list(found.shape) == wanted["shape"]
    for frame in FRAMES:
        assert found[frame].tolist() == pytest.approx(wanted["frames"][str(frame)], rel=1e-4, abs=1e-3)


# The encoder against another implementation.


def test_the_published_names_and_shapes_are_90_million_numbers_and_load_to_the_last(true_size):
    stored_once = {key: shape for key, shape in SHAPES.items() if not key.endswith(TABLE) or ".0." in key}
    assert sum(int(np.prod(shape)) for shape in stored_once.values()) == pytest.approx(90e6, rel=0.01)
    assert true_size.name == "beats"


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_beats_says_what_another_implementation_says(true_size, length_s):
    wanted = GOLDEN["embeddings"][str(length_s)]
    with torch.inference_mode():
        found = true_size.embed_pieces(torch.from_numpy(signal(length_s))[None])[0]
    print(f"{length_s} s: {float((found[:48] - torch.tensor(wanted['first'])).abs().max()):.1e} away")
    assert found.shape == (768,)
    assert float(found.norm()) == pytest.approx(wanted["norm"], rel=1e-5)
    assert found[:48].tolist() == pytest.approx(wanted["first"], rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("other", [{"max_distance": 1280}, {"deep_norm": False}, {"encoder_attention_heads": 2}])
def test_the_stored_configuration_decides_what_no_shape_shows(tmp_path, small, other):
    state = small_state()
    if heads := other.get("encoder_attention_heads"):  # half the heads, each of twice the width
        for key, value in state.items():
            if key.endswith(("grep_a", TABLE)):
                state[key] = value[:, :heads]
            if key.endswith("grep_linear.weight"):
                state[key] = value.repeat(1, 2)
    found = loaded(tmp_path, state, {**SMALL, **other})
    assert np.abs(found.embed(signal(12)[None], RATE_HZ) - small.embed(signal(12)[None], RATE_HZ)).max() > 0.01
    assert found.digest != small.digest


def test_what_the_configuration_leaves_out_is_as_published(tmp_path, small):
    silent = {key: SMALL[key] for key in SMALL if key.startswith("e")}  # widths, layers and heads alone
    found = loaded(tmp_path, small_state(), silent)
    assert np.array_equal(found.embed(signal(3)[None], RATE_HZ), small.embed(signal(3)[None], RATE_HZ))


# Clips.


def test_a_clip_gives_the_same_whatever_else_is_in_the_batch_and_however_often(small):
    short, long = 1e-3 * signal(3), 30 * signal(12)
    together = small.embed_batch([np.stack([short, short]), long[None], 50 * short[None]], RATE_HZ)
    alone = small.embed(short[None], RATE_HZ)
    assert [found.shape for found in together] == [(2, 48), (1, 48), (1, 48)]
    assert np.array_equal(alone, small.embed(short[None], RATE_HZ))
    for found in (together[0][0], together[0][1]):
        assert np.allclose(found, alone[0], rtol=1e-4, atol=1e-5)
    assert np.abs(together[2][0] - alone[0]).max() > 0.01


def test_an_offset_of_the_microphone_is_not_heard(small):
    samples = signal(3)
    shifted = small.embed(samples[None] + np.float32(0.01), RATE_HZ)
    assert np.allclose(shifted, small.embed(samples[None], RATE_HZ), atol=1e-2)


def test_siren_mode_of_eight_seconds_is_the_vector_of_the_last_two(tmp_path, small):
    samples = signal(8)
    whole, end = (torch.from_numpy(samples - samples.mean())[None, first:] for first in (0, 6 * RATE_HZ))
    siren = loaded(tmp_path, small_state(), SMALL, "siren")
    for encoder, piece in [(siren, end), (small, whole)]:
        found = torch.from_numpy(encoder.embed(samples[None], RATE_HZ))
        assert torch.allclose(found, encoder.embed_pieces(piece), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [399, 400 + 15 * 160 - 1])
def test_less_than_the_sixteen_frames_of_a_token_is_too_short(small, samples):
    with pytest.raises(ValueError, match=rf"{samples} samples .*too few.* 16"):
        small.embed_pieces(torch.zeros(1, samples))
    assert small.embed_pieces(torch.zeros(1, 400 + 15 * 160)).shape == (1, 48)


# Weights.


def test_missing_weights_are_told_with_their_file_their_page_and_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as told:
        beats(None, CPU, "siren")
    said = str(told.value)
    assert said.startswith("beats: checkpoints/BEATs_iter3.pt: no such file")
    assert "github.com/microsoft/unilm/tree/master/beats" in said
    assert "MIT" in said
    assert "put it at checkpoints/BEATs_iter3.pt" in said
    assert SOURCE.file == "BEATs_iter3.pt"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("encoder.layers.1.self_attn.grep_a", None, r"layers\.1\.self_attn\.grep_a: missing, expected shape \(1, 4, 1"),
        ("encoder.layers.0.fc1.bias", torch.ones(95), r"fc1\.bias: wrong shape: expected \(96,\), found \(95,\)"),
        ("encoder.layers.2.fc1.bias", torch.ones(96), r"encoder\.layers\.2\.fc1\.bias: unexpected, shape \(96,\)"),
        (f"encoder.layers.1.{TABLE}", torch.ones(320, 4), r"layers\.1\..*bias\.weight: .* all layers share"),
    ],
)
def test_weights_of_another_encoder_are_refused_by_name(tmp_path, key, value, said):
    state = {**small_state(), key: value}
    with pytest.raises(WeightsError, match=said):
        loaded(tmp_path, {name: kept for name, kept in state.items() if kept is not None}, SMALL)


@pytest.mark.parametrize(("key", "value"), [("activation_fn", "relu"), ("layer_norm_first", True)])
def test_a_configuration_that_was_never_published_is_refused_by_name(tmp_path, key, value):
    with pytest.raises(WeightsError, match=f"{key} is '?{value}'?, expected"):
        loaded(tmp_path, small_state(), {**SMALL, key: value})


def test_the_digest_follows_weights_and_tail_and_nothing_else(tmp_path, small):
    assert loaded(tmp_path, small_state(), SMALL).digest == small.digest
    assert len(small.digest) == 64
    assert loaded(tmp_path, small_state(), SMALL, "siren").digest != small.digest
    assert loaded(tmp_path, {**small_state(), "layer_norm.bias": torch.zeros(32)}, SMALL).digest != small.digest
    assert (small.name, small.mode, small.device) == ("beats", "strict", CPU)
