"""ONNX Runtime on an NVIDIA GPU: needs no build, and is slower than TensorRT.

Its provider for CUDA is in the package onnxruntime-gpu, which is installed in place of onnxruntime.

Shape suffixes: N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from echo_edge.engine.base import FloatArray
from echo_edge.engine.cuda import LOST, OUT_OF_MEMORY
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.errors import ArtifactError, EngineError

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {
    "device_id": "0",
    "arena_extend_strategy": "kSameAsRequested",  # else it doubles what it takes from a GPU that others use, too
    "use_tf32": "0",  # ten bits of a product: what is just within a threshold here would not be on the CPU
}
MAX_SHAPES = 8  # kept with their buffers
CODE = re.compile(r"(?:CUDA|CUDNN|CUBLAS) failure (\d+)")
NO_ROOM = "Failed to allocate memory"


class OnnxCudaEngine(OnnxEngine):
    """One session on the GPU, with buffers there for the shapes that come again."""

    name = "cuda"
    tokens_per_run = 20_000  # bounds the memory that is taken; sixteen windows of 10 s at 48 kHz

    def __init__(self, package: ModelPackage) -> None:
        """Load the model onto the GPU.

        Raises:
            EngineError: this ONNX Runtime has no CUDA, or does not use it here, or the GPU failed.
            ArtifactError: the model file was changed, or is not such a model.
        """
        if not provided():
            raise EngineError(
                f"engine cuda: this ONNX Runtime ({ort.__version__}) has no CUDA; install onnxruntime-gpu in place of "
                "onnxruntime"
            )
        try:
            self._open(package, 1, [(PROVIDER, OPTIONS)])
        except ArtifactError as error:
            if CODE.search(str(error)) or NO_ROOM in str(error):
                raise self._error(error) from error
            raise
        insist_on(self._session, PROVIDER)
        self._bound = BoundSession(self._session, self.embed_dim, "cuda")

    def close(self) -> None:
        """Give back what it holds on the GPU."""
        del self._bound, self._session

    def _compute(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        return self._bound.run(bands, position)

    def _error(self, error: Exception) -> EngineError:
        return gpu_error(str(error))


def provided() -> bool:
    """Whether this ONNX Runtime was built with CUDA."""
    return PROVIDER in ort.get_available_providers()


def gpu_error(text: str) -> EngineError:
    """Return what an error of the provider's means to us."""
    found = CODE.search(text)
    code = 0 if found is None else int(found[1])
    # the libraries above CUDA count otherwise, but theirs come with CUDA's own, which is told first
    out_of_memory = NO_ROOM in text or (code == OUT_OF_MEMORY and "CUDA failure" in text)
    lost = code in LOST and "CUDA failure" in text
    return EngineError(f"engine cuda: {text}", lost=lost, out_of_memory=out_of_memory)


def insist_on(session: Any, provider: str) -> None:
    """Raise EngineError unless a session computes with this provider first: silently on the CPU is never accepted."""
    used = session.get_providers()
    if used[:1] != [provider]:
        raise EngineError(
            f"engine cuda: ONNX Runtime {ort.__version__} would compute with {', '.join(used)} only, not with "
            f"{provider}: its CUDA or cuDNN libraries are missing or of other versions than it needs"
        )


class BoundSession:
    """Runs a session on buffers that stay where they are, one set for each shape."""

    def __init__(self, session: Any, embed_dim: int, device: str) -> None:
        self._session, self._embed_dim, self._device = session, embed_dim, device
        self._kept: dict[tuple[int, ...], tuple[Any, dict[str, Any]]] = {}  # the newest last

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """Return (N, D) for bands (N, 32, T) and position (N,)."""
        binding, buffers = kept = self._kept.pop(bands.shape, None) or self._bind(bands.shape)
        self._kept[bands.shape] = kept
        if len(self._kept) > MAX_SHAPES:
            del self._kept[next(iter(self._kept))]
        buffers["bands"].update_inplace(np.ascontiguousarray(bands))
        buffers["position"].update_inplace(np.ascontiguousarray(position))
        self._session.run_with_iobinding(binding)
        cls: FloatArray = buffers["cls"].numpy()
        return cls

    def _bind(self, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
        shapes = {"bands": shape, "position": shape[:1], "cls": (shape[0], self._embed_dim)}
        buffers = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(list(wanted), np.float32, self._device, 0)
            for name, wanted in shapes.items()
        }
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("bands", buffers["bands"])
        binding.bind_ortvalue_input("position", buffers["position"])
        binding.bind_ortvalue_output("cls", buffers["cls"])
        return binding, buffers
