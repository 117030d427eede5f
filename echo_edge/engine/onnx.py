"""ONNX Runtime on the CPU: the engine every machine has.

Shape suffixes: N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from echo_edge.engine.base import FloatArray, check_input, check_output
from echo_edge.errors import ArtifactError, EngineError
from echo_edge.frontend import SPEC

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

TOKENS_PER_RUN = 700
"""Patches per call into the runtime: activations stay near the cache, the weights are not fetched too often. Of 200
to 1300, 700 was the best for small and within the noise of the best for tiny."""

# They have no common base but Exception.
RUNTIME_ERRORS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    state.EPFail,
)


class OnnxEngine:
    """One session; not shared between threads."""

    name = "onnx"
    tokens_per_run = TOKENS_PER_RUN

    def __init__(self, package: ModelPackage, threads: int = 1) -> None:
        """Load the model.

        Raises:
            ArtifactError: the file is damaged or is not such a model.
        """
        self._open(package, threads, ["CPUExecutionProvider"])

    def _open(self, package: ModelPackage, threads: int, providers: Sequence[Any]) -> None:
        self.embed_dim = package.embed_dim
        self._min_frames = package.patch_kernel_t
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings are about its own optimizer
        # A gateway has other work: waiting threads sleep instead of spinning.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        try:  # without its own fallback, which would print a line and compute elsewhere
            self._session = ort.InferenceSession(package.read_onnx(), options, providers=providers, enable_fallback=0)
        except RUNTIME_ERRORS as error:
            raise ArtifactError(
                f"{package.onnx_path}: ONNX Runtime cannot load it: {error}; export it again"
            ) from error
        inputs = sorted(node.name for node in self._session.get_inputs())
        outputs = [(node.name, node.shape[-1]) for node in self._session.get_outputs()]
        if inputs != ["bands", "position"] or outputs != [("cls", package.embed_dim)]:
            raise ArtifactError(
                f"{package.onnx_path}: takes {inputs} and gives {outputs}; needs ['bands', 'position'] and "
                f"[('cls', {package.embed_dim})]: export it with trainer.export"
            )

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """As ``Engine.run``."""
        check_input(bands, position)
        if bands.shape[-1] < self._min_frames:  # no patch at all: the file would answer the same whatever it hears
            raise ValueError(f"{bands.shape[-1]} frames: this model needs at least {self._min_frames}")
        tokens = bands.shape[-1] // SPEC.patch_frames + 1
        runs = -(-len(bands) * tokens // self.tokens_per_run)
        step = -(-len(bands) // max(1, runs))  # equal parts: a small rest would fetch all weights for one band
        out = np.empty((len(bands), self.embed_dim), np.float32)
        for start in range(0, len(bands), step):
            part = slice(start, start + step)
            try:
                out[part] = self._compute(bands[part], position[part])
            except RUNTIME_ERRORS as error:
                raise self._error(error) from error
        return check_output(out, self.name)

    def _compute(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        (cls,) = self._session.run(["cls"], {"bands": bands, "position": position})
        return cls  # type: ignore[no-any-return]

    def _error(self, error: Exception) -> EngineError:
        return EngineError(f"engine {self.name}: {error}")
