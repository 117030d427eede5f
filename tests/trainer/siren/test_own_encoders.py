"""ECHO in all its forms says the same, and the trivial encoders say what their names promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tests.trainer.siren import trees
from trainer.checkpoint import save_safetensors
from trainer.export import export_package
from trainer.model.echo import Echo
from trainer.siren.encoders.base import Encoder
from trainer.siren.encoders.echo import TorchEcho, untrained
from trainer.siren.encoders.spectra import ENVELOPE_BANDS, features, vibration
from trainer.siren.errors import WeightsError
from trainer.siren.registry import WITHOUT_DOWNLOAD, Choice, encoder

CPU = torch.device("cpu")
RATE_HZ = 16_000


def of(word: str) -> Encoder:
    return encoder(word, "strict", Choice(CPU))


def hum(seconds: float, *, number: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    return trees.tone(number, rate_hz, round(seconds * rate_hz))


@pytest.mark.parametrize("seconds", [1.0, 20.0, 33.0])
def test_a_checkpoint_says_what_the_published_model_says_of_a_signal_of_any_length(toy: Echo, seconds: float) -> None:
    samples = hum(seconds)
    with torch.inference_mode():
        wanted = toy.embed(torch.from_numpy(samples), RATE_HZ)[0].numpy()
    found = TorchEcho("toy", toy, CPU).embed(samples[None], RATE_HZ)
    assert found.shape == (1, 7 * 64)
    np.testing.assert_allclose(found[0], wanted, atol=2e-6)


def test_a_checkpoint_by_torch_and_its_package_by_onnx_runtime_say_the_same(tmp_path: Path, toy: Echo) -> None:
    save_safetensors(toy, tmp_path / "toy.safetensors")
    package, _ = export_package(toy, tmp_path, "toy-package", provenance="test", licence="none")
    signal = np.stack([hum(1.5), hum(1.5, number=3)])
    by_torch, by_onnx = of(str(tmp_path / "toy.safetensors")), of(str(package))
    assert (by_torch.name, by_onnx.name) == ("toy", "toy-package")
    np.testing.assert_allclose(by_torch.embed(signal, RATE_HZ), by_onnx.embed(signal, RATE_HZ), atol=2e-2)
    assert by_torch.band_edges(RATE_HZ) == by_onnx.band_edges(RATE_HZ) == tuple(range(0, 449, 64))


@pytest.mark.parametrize("word", WITHOUT_DOWNLOAD)
def test_a_signal_gives_the_same_vectors_alone_and_among_others(word: str) -> None:
    one = of(word)
    signals = [np.stack([hum(2.0), hum(2.0, number=2)]), hum(1.0, number=5)[None], hum(2.0, number=7)[None]]
    together = one.embed_batch(signals, RATE_HZ)
    assert [vectors.shape[0] for vectors in together] == [2, 1, 1]
    assert len({vectors.shape[1] for vectors in together}) == 1
    for signal, vectors in zip(signals, together, strict=True):
        np.testing.assert_allclose(one.embed(signal, RATE_HZ), vectors, rtol=1e-4, atol=1e-5)
    edges = one.band_edges(RATE_HZ)
    assert edges is None or (edges[0], edges[-1]) == (0, together[0].shape[1])


def test_every_encoder_has_a_digest_of_its_own_and_another_seed_another() -> None:
    digests = {of(word).digest for word in (*WITHOUT_DOWNLOAD, "untrained:tiny:1")}
    assert len(digests) == len(WITHOUT_DOWNLOAD) + 1
    assert untrained("tiny", 0, CPU).digest == of("untrained:tiny:0").digest


@pytest.mark.parametrize("word", ["untrained:tiny", "untrained:giant:0", "nowhere/model.pth", "no-such-package"])
def test_a_word_that_is_no_encoder_is_refused_by_name(word: str) -> None:
    with pytest.raises(WeightsError, match=word.partition(":")[0]):
        of(word)


def test_louder_is_a_higher_level_and_the_same_shape_to_the_vibration_analyst() -> None:
    soft, loud = vibration(hum(1.0), RATE_HZ), vibration(10 * hum(1.0), RATE_HZ)
    assert loud[0] - soft[0] == pytest.approx(np.log(10), abs=1e-5)
    np.testing.assert_allclose(loud[1:], soft[1:], atol=1e-4)
    assert soft.shape == (3 + ENVELOPE_BANDS,)


def test_impacts_fifty_times_a_second_stand_out_at_fifty_hertz_of_the_envelope() -> None:
    random = np.random.default_rng(0)
    samples = 0.05 * random.standard_normal(2 * RATE_HZ)
    samples[:: RATE_HZ // 50] += 3
    quiet, hit = vibration(random.standard_normal(2 * RATE_HZ), RATE_HZ), vibration(samples, RATE_HZ)
    edges = np.geomspace(8, 1000, ENVELOPE_BANDS + 1)
    assert hit[1] > quiet[1]
    assert hit[2] > quiet[2] + 1
    rise = (hit - quiet)[3:]
    assert rise[np.searchsorted(edges, 50) - 1] > np.median(rise[:10]) + 1


@pytest.mark.parametrize(("samples", "said"), [(np.ones(16_000), "all samples are equal"), (hum(0.3), "too short")])
def test_what_has_no_level_or_is_too_short_has_no_vibration_features(samples: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vibration(samples.astype(np.float32), RATE_HZ)


def test_the_average_spectrum_has_one_number_a_bin_and_log_mel_128_at_any_rate() -> None:
    made = features(CPU, "strict")
    for rate_hz, bins in ((12_000, 151), (16_000, 201), (48_000, 601)):
        signal = hum(1.0, rate_hz=rate_hz)[None]
        assert made["mean-log-spectrum"]().embed(signal, rate_hz).shape == (1, bins)
        assert made["mean-deviation"]().embed(signal, rate_hz).shape == (1, 2 * bins)
        assert made["log-mel"]().embed(signal, rate_hz).shape == (1, 128)
