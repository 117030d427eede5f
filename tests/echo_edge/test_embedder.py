"""Windows of any rate, length and channel count become band vectors in the fewest engine calls."""

from __future__ import annotations

import numpy as np
import pytest

from echo_edge import frontend
from echo_edge.embedder import Embedder
from echo_edge.engine.base import FloatArray
from echo_edge.engine.fake import FakeEngine, fake_package
from echo_edge.errors import ArtifactError
from echo_edge.records import Window


class CountingEngine(FakeEngine):
    """Remembers how many bands each call brought."""

    def __init__(self, embed_dim: int = 16) -> None:
        super().__init__(embed_dim)
        self.calls: list[int] = []

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        self.calls.append(len(bands))
        return super().run(bands, position)


def window(point: str, rate_hz: int, seconds: float = 1.0, channels: int = 1, seed: int = 0) -> Window:
    samples = np.random.default_rng(seed).standard_normal((channels, round(rate_hz * seconds)))
    return Window(point, samples.astype(np.float32), rate_hz, time_ns=5)


def make_embedder() -> tuple[Embedder, CountingEngine]:
    engine = CountingEngine()
    return Embedder(fake_package(engine), engine), engine


def test_windows_of_one_length_share_one_call_at_any_rate():
    embedder, engine = make_embedder()
    embeddings = embedder.embed([window("a/x", 48_000), window("b/y", 25_600, channels=3), window("c/z", 16_000)])
    assert engine.calls == [19 + 3 * 11 + 7]
    assert [e.bands.shape for e in embeddings] == [(1, 19, 16), (3, 11, 16), (1, 7, 16)]


def test_each_length_is_a_call_and_the_order_stays():
    embedder, engine = make_embedder()
    embeddings = embedder.embed([window("a/x", 16_000, 1), window("b/y", 16_000, 2), window("c/z", 16_000, 1)])
    assert engine.calls == [14, 7]
    assert [e.point for e in embeddings] == ["a/x", "b/y", "c/z"]


def test_every_channel_of_a_batch_is_what_it_would_be_alone():
    embedder, engine = make_embedder()
    windows = [window("a/x", 25_600, channels=2, seed=1), window("b/y", 48_000, seed=2), window("c/z", 2000, 1.01)]
    for one, embedding in zip(windows, embedder.embed(windows), strict=True):
        for channel, vectors in zip(one.samples, embedding.bands, strict=True):
            assert vectors == pytest.approx(engine.run(*frontend.bands(channel, one.rate_hz)), abs=1e-6)


def test_an_embedding_carries_point_rate_and_times():
    embedder, _ = make_embedder()
    (embedding,) = embedder.embed([window("a/x", 16_000, 0.5)])
    assert (embedding.point, embedding.rate_hz) == ("a/x", 16_000)
    assert (embedding.time_ns, embedding.end_ns) == (5, 500_000_005)


def test_no_windows_are_no_embeddings_and_no_call():
    embedder, engine = make_embedder()
    assert embedder.embed([]) == []
    assert engine.calls == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_window_with_samples_that_are_not_finite_is_never_embedded(bad):
    embedder, engine = make_embedder()
    broken = window("pump/de", 16_000, channels=2)
    broken.samples[1, 77] = bad
    with pytest.raises(ValueError, match="pump/de: sample 77"):
        embedder.embed([window("a/x", 16_000), broken])
    assert engine.calls == []


def test_it_names_the_model_that_made_the_vectors():
    embedder, _ = make_embedder()
    assert (embedder.model_name, embedder.model_sha256, embedder.engine_name) == ("fake", "0" * 64, "fake")


def test_a_package_and_an_engine_of_different_width_do_not_go_together():
    with pytest.raises(ArtifactError, match="16 wide, engine fake gives 8"):
        Embedder(fake_package(FakeEngine(16)), FakeEngine(8))
