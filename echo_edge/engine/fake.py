"""An engine without a model: cheap deterministic features, for tests of everything behind the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echo_edge.artifact import FrontEnd, ModelPackage
from echo_edge.engine.base import FloatArray, check_input, check_output
from echo_edge.frontend import SPEC


class FakeEngine:
    """Projects the time average of every band and its spread onto fixed directions: linear, so changes show."""

    name = "fake"

    def __init__(self, embed_dim: int = 16) -> None:
        self.embed_dim = embed_dim
        directions = np.random.default_rng(0).standard_normal((2 * SPEC.band_width + 1, embed_dim))
        self._directions = (directions / np.sqrt(len(directions))).astype(np.float32)

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """As ``Engine.run``."""
        check_input(bands, position)
        features = np.concatenate((bands.mean(axis=2), bands.std(axis=2), position[:, None]), axis=1)
        cls: FloatArray = features @ self._directions
        return check_output(cls, self.name)


def fake_package(engine: FakeEngine) -> ModelPackage:
    """Return a package that names ``engine`` as its model and has no files."""
    front_end = FrontEnd(**{key: getattr(SPEC, key) for key in FrontEnd.model_fields})
    return ModelPackage(
        name="fake",
        onnx_path=Path("fake.onnx"),
        sha256="0" * 64,
        embed_dim=engine.embed_dim,
        depth=1,
        heads=1,
        patch_kernel_t=SPEC.patch_frames,
        norm_first=False,
        opset=20,
        front_end=front_end,
        provenance="fixed random directions",
        weights_licence="Apache-2.0",
        test_vectors=(),
    )
