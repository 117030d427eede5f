"""EAT: the published arithmetic from samples to vectors, and what is said of weights that are not its own.

The base size is held to the numbers of the code published beside its weights (``make_eat_golden.py`` wrote them).
What needs no true size is shown on a small one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.siren.make_eat_golden import CONFIG, PLACE
from tests.trainer.siren.make_fisher_golden import KEPT, eps_of, patch_weights, shapes_of
from tests.trainer.siren.recipe import LENGTHS_S, RATE_HZ, signal
from trainer.siren.encoders.base import FloatArray, Mode
from trainer.siren.encoders.eat import CELLS, SIZES, EatEncoder, PatchTransformer, eat, own_names
from trainer.siren.encoders.weights import Stored
from trainer.siren.errors import WeightsError

CPU = torch.device("cpu")
GOLDEN = json.loads(PLACE.read_text())
SHAPES = {key: tuple(shape) for key, shape in GOLDEN["shapes"].items()}
TABLE = "fixed_positional_encoder.positions"
SMALL = (48, 2, 3)
"""Width, layers and heads."""

SMALLER = {n * 768: n * 48 for n in (1, 3, 4)}


def small_state(**changed: Tensor | None) -> dict[str, Tensor]:
    """Return weights of two layers by their stored names, some of them others or, where None, left out."""
    later = tuple(f"model.blocks.{n}." for n in range(2, 12))
    shapes = {key: shape for key, shape in SHAPES.items() if not key.startswith(later)}
    state = patch_weights({key: tuple(SMALLER.get(n, n) for n in shape) for key, shape in shapes.items()})
    return {key: value for key, value in {**state, **changed}.items() if value is not None}


def made(state: Mapping[str, Tensor], mode: Mode = "siren", sha256: str = "0" * 64, **config: object) -> EatEncoder:
    stored = Stored(Path("weights.pt"), sha256, dict(state), {"model": config})
    return EatEncoder("eat-small", SMALL, stored, CPU, mode)


def fairseq_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as a checkpoint of the training code has them: its names, and ten seconds of places."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix("model.").replace("pre_norm.", "context_encoder.norm.")
        found[name if name.startswith("blocks.") else f"modality_encoders.IMAGE.{name}"] = value
    found[f"modality_encoders.IMAGE.{TABLE}"] = state[f"model.{TABLE}"][:, :CELLS]
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> EatEncoder:
    path = tmp_path_factory.mktemp("eat") / "model.safetensors"
    save_file(patch_weights(SHAPES), path)
    encoder = eat("base", path, CPU, "siren")
    path.unlink()  # a third of a gigabyte
    return encoder


@pytest.fixture(scope="module")
def small() -> EatEncoder:
    return made(small_state())


def heard(encoder: EatEncoder, samples: FloatArray) -> FloatArray:
    with torch.inference_mode():
        return encoder.embed_pieces(torch.from_numpy(samples)[None])[0].numpy()


# Against the published code.


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_eat_says_what_its_published_code_says(base, length_s):
    wanted = GOLDEN["embeddings"][str(length_s)]
    found = base.embed(signal(length_s)[None], RATE_HZ)[0]
    assert len(found) == wanted["length"] == 768
    assert float(np.linalg.norm(found)) == pytest.approx(wanted["norm"], rel=1e-5)
    for part, numbers in {"first": found[:KEPT], "last": found[-KEPT:]}.items():
        print(f"{length_s} s, {part}: {np.abs(numbers - wanted[part]).max():.1e} away")
        assert numbers.tolist() == pytest.approx(wanted[part], rel=1e-4, abs=2e-5)


def test_weights_of_the_training_code_are_the_same_encoder_without_what_only_training_needs(small):
    decoder = {"modality_encoders.IMAGE.decoder.proj.bias": torch.ones(48), "recon_proj.bias": torch.ones(16)}
    other = made({**fairseq_names(small_state()), **decoder})
    assert np.array_equal(heard(other, signal(3)), heard(small, signal(3)))


def test_names_and_shapes_are_the_published_ones_but_for_places_after_ten_seconds():
    with torch.device("meta"):
        own = shapes_of(PatchTransformer(*SIZES["base"], CELLS))
    published = {key.removeprefix("model."): shape for key, shape in SHAPES.items()}
    assert published.pop(TABLE) == (1, CONFIG["max_length"] * 8, 768)
    assert own.pop(TABLE) == (1, 512, 768)
    assert own == published


def test_norms_add_what_the_published_ones_add(base):
    assert eps_of(base.network) == GOLDEN["eps"] == [1e-6]


@pytest.mark.parametrize(("size", "millions"), [("base", 88), ("large", 309)])
def test_eat_is_as_large_as_published(size, millions):
    """The published counts are of the Hugging Face files, whose table of places reaches two minutes."""
    with torch.device("meta"):
        parts = PatchTransformer(*SIZES[size], CONFIG["max_length"] * 8).parameters()
    assert sum(p.numel() for p in parts) / 1e6 == pytest.approx(millions, rel=0.03)


# Clips.


def test_a_clip_gives_the_same_whatever_else_is_in_the_batch_and_however_often(small):
    short, long = 1e-3 * signal(3), 30 * signal(12)
    together = small.embed_batch([np.stack([short, short]), long[None], 50 * short[None]], RATE_HZ)
    alone = small.embed(short[None], RATE_HZ)
    assert [found.shape for found in together] == [(2, 48), (1, 48), (1, 48)]
    assert np.array_equal(alone, small.embed(short[None], RATE_HZ))
    for found in together[0]:
        assert np.allclose(found, alone[0], rtol=1e-4, atol=1e-5)
    assert np.abs(together[2] - alone).max() > 0.01


def test_all_of_a_clip_of_eight_seconds_is_heard_in_siren_mode_too(small):
    samples = signal(8)
    assert small.mode == "siren"
    assert np.allclose(small.embed(samples[None], RATE_HZ)[0], heard(small, samples - samples.mean()), atol=1e-4)


def test_an_offset_of_the_microphone_is_not_heard(small):
    samples = signal(3)[:RATE_HZ]  # before its digital silence, where rounding is all there is
    shifted = small.embed(samples[None] + np.float32(0.01), RATE_HZ)
    assert np.allclose(shifted, small.embed(samples[None], RATE_HZ), atol=1e-2)


def test_what_is_short_of_a_picture_is_filled_up_and_less_than_a_frame_is_refused(small):
    assert heard(small, signal(3)[:400]).shape == (48,)
    with pytest.raises(ValueError, match="399 samples of 16 kHz are too few: one frame is 400"):
        small.embed(signal(3)[None, :399], RATE_HZ)


# Weights.


@pytest.mark.parametrize(
    ("size", "name"), [("base", "EAT-base_epoch30_pretrain"), ("large", "EAT-large_epoch20_pretrain")]
)
def test_missing_weights_are_told_with_their_file_their_page_and_their_place(tmp_path, monkeypatch, size, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as told:
        eat(size, None, CPU, "siren")
    said = str(told.value)
    assert said.startswith(f"eat-{size}: checkpoints/{name}.safetensors: no such file")
    assert f"(MIT) from huggingface.co/worstchan/{name} " in said
    assert "model.safetensors" in said
    assert f"put it at checkpoints/{name}.safetensors" in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.blocks.1.attn.qkv.bias", None, r"blocks\.1\.attn\.qkv\.bias: missing, expected shape \(144,\)"),
        ("model.pre_norm.bias", torch.ones(47), r"pre_norm\.bias: wrong shape: expected \(48,\), found \(47,\)"),
        ("model.head.weight", torch.ones(527, 48), r"head\.weight: unexpected, shape \(527, 48\)"),
        (f"model.{TABLE}", torch.ones(1, 400, 48), rf"{TABLE}: wrong shape: expected \(1, 512, 48\)"),
    ],
)
def test_weights_of_another_encoder_are_refused_by_name(key, value, said):
    with pytest.raises(WeightsError, match=rf"eat-small: weights\.pt: {said}"):
        made(small_state(**{key: value}))


@pytest.mark.parametrize(("key", "value", "own"), [("num_heads", 4, "3"), ("layer_norm_first", True, "False")])
def test_a_configuration_that_no_shape_shows_is_refused_by_name(key, value, own):
    with pytest.raises(WeightsError, match=rf"eat-small: weights\.pt: cfg: {key} is {value}, expected {own}"):
        made(small_state(), **{key: value})


def test_what_only_training_needs_has_no_name_here():
    decoder = {"modality_encoders.IMAGE.decoder.proj.bias": torch.ones(1), "recon_proj.bias": torch.ones(1)}
    assert own_names(decoder) == {}


def test_the_digest_follows_the_weights_and_not_the_mode(base, small):
    assert made(small_state(), "strict").digest == small.digest  # its wrapper is right about tails: both cut alike
    assert made(small_state(), sha256="1" * 64).digest != small.digest
    assert len(small.digest) == 64
    assert (base.name, base.mode, base.device) == ("eat-base", "siren", CPU)
