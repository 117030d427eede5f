"""Many signals at once give what ``Echo.embed`` gives of each, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from trainer.evaluation import evaluate_while_training
from trainer.evaluation.features import embed, mean_and_deviation, mean_log_spectrum, torch_encoder
from trainer.evaluation.spread import effective_rank
from trainer.model.echo import Echo


def test_signals_of_many_lengths_are_embedded_as_one_by_one(toy: Echo) -> None:
    random = np.random.default_rng(0)
    signals = [random.standard_normal(n).astype(np.float32) for n in (4000, 2500, 4000, 1000 * 41, 2530)]
    found = embed(torch_encoder(toy), signals, 1000)
    with torch.no_grad():
        for signal, vectors in zip(signals, found, strict=True):
            alone, _ = toy.embed(torch.from_numpy(signal), 1000)
            np.testing.assert_allclose(vectors.ravel(), alone.numpy(), atol=1e-4)


def test_the_mean_and_deviation_of_a_log_spectrogram_have_its_bins() -> None:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert mean_log_spectrum(samples, 16_000).shape == (201,)
    both = mean_and_deviation(samples, 16_000)
    np.testing.assert_array_equal(both[:201], mean_log_spectrum(samples, 16_000))
    assert both[201:].min() > 0


def test_evaluating_while_training_leaves_the_model_and_the_random_numbers_as_they_were(toy: Echo) -> None:
    toy.train()
    before = torch.random.get_rng_state()
    figures = evaluate_while_training(toy, None)
    assert set(figures) == {"effective_rank", "deviation"}
    assert figures["effective_rank"] > 2
    assert toy.training
    assert torch.equal(before, torch.random.get_rng_state())
    assert evaluate_while_training(toy, None) == figures


def test_the_effective_rank_of_equal_directions_is_their_number() -> None:
    corners = np.concatenate([np.eye(5), -np.eye(5)])
    assert effective_rank(corners) == pytest.approx(5)
    assert effective_rank(torch.from_numpy(corners) + 100) == pytest.approx(5)
    # singular values 3, 1: exp of the entropy of 0.75 and 0.25
    assert effective_rank(corners[[0, 1, 5, 6]] * [3, 1, 1, 1, 1]) == pytest.approx(0.75**-0.75 * 0.25**-0.25)


def test_collapsed_vectors_have_no_rank_however_much_their_bands_differ() -> None:
    bands = np.random.default_rng(0).standard_normal((1, 3, 8))
    assert effective_rank(np.repeat(bands, 20, axis=0)) == 0.0
