"""CED and Dasheng: the published arithmetic from samples to vectors, and what is said of weights that are not theirs.

Dasheng is held to the numbers of its own package at its true size (``make_dasheng_golden.py`` wrote them). For CED no
numbers exist that may be compared with; its shapes are held to those published.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.siren.make_dasheng_golden import PLACE, MelScale, Spectrogram
from tests.trainer.siren.recipe import LENGTHS_S, RATE_HZ, recipe_weights, signal
from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.ced import SHAPES as CED
from trainer.siren.encoders.ced import CedEncoder, ced
from trainer.siren.encoders.dasheng import SHAPES as DASHENG
from trainer.siren.encoders.dasheng import DashengEncoder, dasheng
from trainer.siren.encoders.mel import decibels, mel_filters, mel_power
from trainer.siren.encoders.pieces import cut, resample
from trainer.siren.encoders.vit import MelVit, VitShape
from trainer.siren.errors import WeightsError

CPU = torch.device("cpu")
GOLDEN = json.loads(PLACE.read_text())
RATES_HZ = [8_000, 12_000, 20_480, 44_100, 48_000, 50_000]


def tone(freq_hz: float, rate_hz: int = RATE_HZ, length_s: float = 1.0) -> Tensor:
    time_s = torch.arange(round(length_s * rate_hz), dtype=torch.float64) / rate_hz
    return torch.sin(2 * math.pi * freq_hz * time_s).float()


def heard(pieces: Tensor) -> Tensor:
    return mel_power(pieces, 512, 160, 64, 0.0, 8000.0, RATE_HZ)


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the recipe's weights, and a count of batches, which decides nothing."""
    counts = {key: torch.tensor(0) for key in shapes if key.endswith("num_batches_tracked")}
    return {**{key: torch.from_numpy(value) for key, value in recipe_weights(shapes).items()}, **counts}


def empty(shape: VitShape) -> MelVit:
    """Return an encoder that has shapes and no numbers: the largest have 1.2 billion."""
    with torch.device("meta"):
        return MelVit(shape)


def parameters(shape: VitShape) -> int:
    return sum(p.numel() for p in empty(shape).parameters())


def shapes_of(vit: MelVit) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in vit.state_dict().items()}


def tiny_state() -> dict[str, Tensor]:
    return drawn(shapes_of(empty(CED["tiny"])))


def loaded(folder: Path, state: dict[str, Tensor], mode: Mode = "strict") -> CedEncoder:
    path = folder / "weights.safetensors"
    save_file(state, path)
    return ced("tiny", path, CPU, mode)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CedEncoder:
    return loaded(tmp_path_factory.mktemp("tiny"), tiny_state())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DashengEncoder:
    """Dasheng base from a file in the published form: 86 million recipe weights, the mel filters, a configuration."""
    own = {key: tuple(shape) for key, shape in GOLDEN["shapes"].items() if not key.startswith("front_end.")}
    spectrogram, mel_scale = Spectrogram(512), MelScale(512, 64, 0, 8000, RATE_HZ)
    state = {
        **drawn(own),
        "front_end.0.spectrogram.window": spectrogram.window,
        "front_end.0.mel_scale.fb": mel_scale.fb,
    }
    path = tmp_path_factory.mktemp("base") / "dasheng_base.pt"
    torch.save({"model": state, "config": {"embed_dim": 768, "hop_size": 160}}, path)
    encoder = dasheng("base", path, CPU, "siren")
    path.unlink()  # a third of a gigabyte
    return encoder


# The front end.


def test_one_band_of_8_khz_has_its_centre_where_htk_has_it():
    centre = 700 * (math.sqrt(1 + 8000 / 700) - 1)  # half the mels: 1767.8 Hz
    filters = mel_filters(16, 1, 0.0, 8000.0, 16_000, CPU)[:, 0]
    wanted = [0, 1000 / centre] + [(8000 - hz) / (8000 - centre) for hz in range(2000, 9000, 1000)]
    assert filters.tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("n_fft", "n_mels", "low_hz", "high_hz"), [(512, 64, 0, 8000), (1024, 128, 20, 7600)])
def test_bands_are_triangles_that_share_all_between_the_first_centre_and_the_last(n_fft, n_mels, low_hz, high_hz):
    filters = mel_filters(n_fft, n_mels, low_hz, high_hz, RATE_HZ, CPU)
    assert torch.allclose(filters, MelScale(n_fft, n_mels, low_hz, high_hz, RATE_HZ).fb, atol=2e-5)
    total = filters.sum(1)
    assert torch.allclose(total[total.argmax() : -n_fft // 16], torch.ones(1), atol=1e-4)


def test_a_tone_on_a_bin_has_the_power_of_its_hann_window_in_three_bins():
    power = heard(tone(1000)[None])
    assert power.shape == (1, 64, 101)
    assert power[0, :, 50].sum().item() == pytest.approx((512 / 4) ** 2 * (1 + 1 / 4 + 1 / 4), rel=1e-4)


def test_decibels_end_at_100_below_one_and_at_120_below_the_loudest():
    powers = torch.tensor([[[1.0, 1e-3, 0.0]], [[1e4, 1.0, 0.0]]])
    assert decibels(powers).tolist() == [[[0, -30, -100]], [[40, 0, pytest.approx(-80)]]]


def test_a_loud_neighbour_leaves_a_quiet_piece_as_it_is():
    quiet, loud = 1e-4 * tone(440), 100 * tone(3000)
    assert torch.equal(decibels(heard(torch.stack([quiet, loud])))[:1], decibels(heard(quiet[None])))


def test_less_than_half_a_frame_is_too_short():
    with pytest.raises(ValueError, match="256 samples are too few"):
        heard(torch.zeros(1, 256))


# Pieces.


def cut_s(length_s: int, *, siren_tail: bool) -> list[tuple[float, float]]:
    """Return where the pieces of a clip begin and end, in seconds."""
    pieces = cut(torch.arange(length_s * RATE_HZ), siren_tail=siren_tail)
    return [(int(piece[0]) / RATE_HZ, (int(piece[-1]) + 1) / RATE_HZ) for piece in pieces]


@pytest.mark.parametrize(
    ("length_s", "clamped", "siren"),
    [
        (4, [(0, 4)], [(0, 4)]),
        (6, [(0, 6)], [(2, 6)]),
        (8, [(0, 8)], [(6, 8)]),
        (10, [(0, 10)], [(0, 10)]),
        (12, [(0, 10), (2, 12)], [(0, 10), (2, 12)]),
        (20, [(0, 10), (10, 20)], [(0, 10), (10, 20)]),
    ],
)
def test_siren_hears_the_end_alone_of_clips_between_five_and_ten_seconds(length_s, clamped, siren):
    assert cut_s(length_s, siren_tail=False) == clamped
    assert cut_s(length_s, siren_tail=True) == siren


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_sine_stays_a_sine_at_another_rate(rate_hz):
    found = resample(0.5 * tone(997, rate_hz), rate_hz)
    assert found.shape == (RATE_HZ,)
    assert torch.allclose(found[400:-400], 0.5 * tone(997)[400:-400], atol=1e-3)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_signal_keeps_its_length_in_seconds_rounded_up(rate_hz):
    for length in (1, 777, rate_hz + 1):
        assert len(resample(torch.ones(length), rate_hz)) == math.ceil(length * RATE_HZ / rate_hz)


def test_what_the_new_rate_cannot_hold_is_gone_and_the_same_rate_is_the_same():
    assert resample(tone(11_000, 48_000), 48_000)[400:-400].abs().max() < 0.01
    assert torch.equal(resample(tone(440), RATE_HZ), tone(440))


@pytest.mark.parametrize(("samples", "said"), [([], "no samples"), ([0.0, np.nan] * 4000, "finite")])
def test_a_signal_that_cannot_be_heard_is_refused(tiny, samples, said):
    with pytest.raises(ValueError, match=said):
        tiny.embed(np.array([samples], np.float32), RATE_HZ)


# Dasheng against its own package.


def test_dasheng_has_the_published_names_and_shapes():
    published = {key.replace("init_bn.1.", "init_bn."): tuple(shape) for key, shape in GOLDEN["shapes"].items()}
    own = shapes_of(empty(DASHENG["base"]))
    assert {key for key in published if key not in own} == {
        "front_end.0.spectrogram.window",
        "front_end.0.mel_scale.fb",
    }
    assert own == {key: shape for key, shape in published.items() if key in own}


def test_norms_add_what_the_published_ones_add_though_no_number_shows_it():
    own = {key: module.eps for key, module in empty(DASHENG["base"]).named_modules() if hasattr(module, "eps")}
    assert own == {key.replace("init_bn.1", "init_bn"): eps for key, eps in GOLDEN["eps"].items()}


@pytest.mark.parametrize("length_s", LENGTHS_S)
def test_dasheng_says_what_its_own_package_says(base, length_s):
    wanted = GOLDEN["embeddings"][str(length_s)]
    with torch.inference_mode():
        tokens = base.vit(torch.from_numpy(signal(length_s))[None])[0]
    mean = tokens.mean(0)
    for key, found in {"first": mean, "last_token": tokens[-1]}.items():
        print(f"{length_s} s, {key}: {float((found[:48] - torch.tensor(wanted[key])).abs().max()):.1e} away")
    assert len(tokens) == wanted["tokens"]
    assert float(mean.norm()) == pytest.approx(wanted["norm"], rel=1e-5)
    assert mean[:48].tolist() == pytest.approx(wanted["first"], rel=1e-4, abs=2e-5)
    assert tokens[-1, :48].tolist() == pytest.approx(wanted["last_token"], rel=1e-4, abs=5e-5)


def test_the_embedding_is_the_mean_of_a_pieces_tokens_with_the_clips_mean_taken_off(base):
    samples = signal(3)
    wanted = base.vit(torch.from_numpy(samples - samples.mean())[None]).mean(1)
    found = base.embed(samples[None] + np.float32(0.01), RATE_HZ)
    assert found.shape == (1, 768)
    assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-3)


@pytest.mark.parametrize(("size", "millions"), [("base", 86), ("0.6b", 600), ("1.2b", 1200)])
def test_dasheng_is_as_large_as_published(size, millions):
    assert parameters(DASHENG[size]) == pytest.approx(millions * 1e6, rel=0.06)


# CED.


@pytest.mark.parametrize(("size", "millions"), [("tiny", 5.5), ("mini", 9.6), ("small", 22), ("base", 86)])
def test_ced_is_as_large_as_published(size, millions):
    classifier = CED[size].dim * 527 + 527  # the classes of AudioSet; not part of the encoder
    assert parameters(CED[size]) + classifier == pytest.approx(millions * 1e6, rel=0.02)


def test_ten_seconds_are_248_tokens_of_ced_and_250_of_dasheng(tiny):
    pieces = torch.from_numpy(signal(10))[None]
    assert heard(pieces).shape == (1, 64, 1001)
    assert tiny.vit(pieces).shape == (1, 248, 192)
    assert MelVit(VitShape(64, 1, 1, (64, 4), 252)).eval()(pieces).shape == (1, 250, 64)


def test_a_clip_gives_the_same_whatever_else_is_in_the_batch_and_however_often(tiny):
    short, long = 1e-3 * signal(3), 30 * signal(12)
    together = tiny.embed_batch([np.stack([short, short]), long[None], 50 * short[None]], RATE_HZ)
    alone = tiny.embed(short[None], RATE_HZ)
    assert [found.shape for found in together] == [(2, 192), (1, 192), (1, 192)]
    assert np.array_equal(alone, tiny.embed(short[None], RATE_HZ))
    for found, wanted in [(together[0][0], alone[0]), (together[0][1], alone[0])]:
        assert np.allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(together[2][0] - alone[0]).max() > 0.01


def test_siren_mode_of_eight_seconds_is_the_vector_of_the_last_two(tmp_path, tiny):
    samples = signal(8)
    whole, end = (torch.from_numpy(samples - samples.mean())[None, first:] for first in (0, 6 * RATE_HZ))
    siren = loaded(tmp_path, tiny_state(), "siren")
    for encoder, piece in [(siren, end), (tiny, whole)]:
        found = torch.from_numpy(encoder.embed(samples[None], RATE_HZ))
        assert torch.allclose(found, encoder.embed_pieces(piece), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("samples", "said"), [(2399, "too few"), (1012 * 160, "too many")])
def test_ced_refuses_less_than_a_patch_and_more_than_its_table(tiny, samples, said):
    with pytest.raises(ValueError, match=f"{samples} samples are {said}"):
        tiny.embed_pieces(torch.zeros(1, samples))


# Weights.


@pytest.mark.parametrize(
    ("made", "size", "file", "page"),
    [
        (dasheng, "base", "dasheng_base.pt", "zenodo.org/records/11511780"),
        (dasheng, "0.6b", "dasheng_06b.pt", "zenodo.org/records/11511780"),
        (dasheng, "1.2b", "dasheng_12b.pt", "zenodo.org/records/11511780"),
        (ced, "mini", "ced_mini.pt", "huggingface.co/mispeech/ced-mini"),
    ],
)
def test_missing_weights_are_told_with_their_file_their_page_and_their_place(
    tmp_path, monkeypatch, made, size, file, page
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as told:
        made(size, None, CPU, "siren")
    said = str(told.value)
    assert said.startswith(f"{made.__name__}-{size}: checkpoints/{file}: no such file")
    assert page in said
    assert "Apache-2.0" in said
    assert f"put it at checkpoints/{file}" in said


def test_weights_with_a_prefix_and_a_classifier_are_the_same_encoder(tmp_path, tiny):
    state = {f"encoder.{key.replace('init_bn.', 'init_bn.1.')}": value for key, value in tiny_state().items()}
    other = loaded(tmp_path, {**state, "outputlayer.1.weight": torch.zeros(527, 192)})
    assert np.array_equal(other.embed(signal(3)[None], RATE_HZ), tiny.embed(signal(3)[None], RATE_HZ))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("blocks.3.attn.qkv.bias", None, r"blocks\.3\.attn\.qkv\.bias: missing, expected shape \(576,\)"),
        ("norm.weight", torch.ones(193), r"norm\.weight: wrong shape: expected \(192,\), found \(193,\)"),
        ("cls_token", torch.ones(1, 1, 192), r"cls_token: unexpected, shape \(1, 1, 192\)"),
        ("front_end.0.mel_scale.fb", torch.ones(257, 64), r"front_end\.0\.mel_scale\.fb: not the one"),
        ("front_end.0.spectrogram.window", torch.ones(400), r"front_end\.0\.spectrogram\.window: not the one"),
    ],
)
def test_weights_of_another_encoder_are_refused_by_name(tmp_path, key, value, said):
    state = {**tiny_state(), key: value}
    with pytest.raises(WeightsError, match=said):
        loaded(tmp_path, {name: kept for name, kept in state.items() if kept is not None})


def test_a_stored_configuration_that_no_shape_shows_is_refused(tmp_path):
    path = tmp_path / "ced_tiny.pt"
    torch.save({"model": tiny_state(), "config": {"hop_size": 320}}, path)
    with pytest.raises(WeightsError, match="hop_size is 320, expected 160"):
        ced("tiny", path, CPU, "siren")


def test_the_digest_follows_weights_and_tail_and_nothing_else(tmp_path, tiny):
    assert loaded(tmp_path, tiny_state()).digest == tiny.digest
    assert len(tiny.digest) == 64
    assert loaded(tmp_path, tiny_state(), "siren").digest != tiny.digest
    assert loaded(tmp_path, {**tiny_state(), "norm.bias": torch.zeros(192)}).digest != tiny.digest
    assert (tiny.name, tiny.mode, tiny.device) == ("ced-tiny", "strict", CPU)
