"""TensorRT on an NVIDIA GPU: one stream, buffers taken once, and CUDA graphs for shapes that come again.

Shape suffixes: N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echo_edge.engine.base import FloatArray, check_input, check_output
from echo_edge.engine.build import read_engine
from echo_edge.engine.cuda import Cuda
from echo_edge.engine.profiles import Profile
from echo_edge.engine.tensorrt_api import failure, load_tensorrt, make_log, start
from echo_edge.errors import EngineError
from echo_edge.frontend import SPEC

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

log = logging.getLogger(__name__)

_POISONED: list[TensorRTEngine] = []  # never freed: what frees itself on a lost device may end the process
MAX_GRAPHS = 16  # shapes; each has an execution context of its own: a few MB of host memory


class TensorRTEngine:
    """One engine on the first GPU; made in one thread and used in one, never in two at once."""

    name = "tensorrt"

    def __init__(self, package: ModelPackage, engine_file: Path, *, trt: Any = None, cuda: Cuda | None = None) -> None:
        """Load what ``build_engine`` made and take all memory it will ever need.

        Args:
            trt: TensorRT, or what has its interface.
            cuda: what to compute with; closed with the engine.
        Raises:
            EngineError: no GPU, no TensorRT, too little memory, or a file that is damaged or of another GPU.
        """
        self.embed_dim = package.embed_dim
        self._cuda = Cuda() if cuda is None else cuda  # first: TensorRT must not be called without a device
        self._contexts: dict[tuple[int, int] | None, Any] = {}
        self._graphs: dict[tuple[int, int], Any] = {}
        self._seen: set[tuple[int, int]] = set()
        self._max_graphs = MAX_GRAPHS
        self._lost = False
        try:
            plan = read_engine(engine_file)
            self._trt = load_tensorrt() if trt is None else trt
            self._said = make_log(self._trt)
            self._runtime = start(self._trt.Runtime, self._said)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise failure(f"{engine_file}: TensorRT does not load it", self._said.errors)
            self._ranges = self._read_ranges(engine_file)
            self._take_memory()
            self._context(None)
        except BaseException as error:
            try:
                self._look(error)
            finally:
                self.close()
            raise

    @property
    def graphs(self) -> int:
        """How many shapes are launched as a graph by now."""
        return len(self._graphs)

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """As ``Engine.run``. An error's ``lost`` says that this process cannot use the GPU any more."""
        check_input(bands, position)
        frames = bands.shape[-1]
        number = next((number for number, one in enumerate(self._ranges) if one.fits(frames)), None)
        if number is None:
            raise ValueError(f"{frames} frames: this model needs at least {self._ranges[-1].smallest[1]}")
        most = self._ranges[number].largest[0]
        step = -(-len(bands) // max(1, -(-len(bands) // most)))  # equal parts: shapes that come again
        out = np.empty((len(bands), self.embed_dim), np.float32)
        self._said.errors.clear()
        try:
            for first in range(0, len(bands), step):
                part = slice(first, min(first + step, len(bands)))
                self._run(number, bands[part], position[part], out[part])
        except EngineError as error:
            self._look(error)
            raise
        return check_output(out, self.name)

    def close(self) -> None:
        """Give everything back; of a lost device nothing."""
        if self._lost:
            _POISONED.append(self)
            return
        self._graphs.clear()
        self._contexts.clear()  # before the engine, and that before the memory that they compute in
        self._engine = self._runtime = None
        self._cuda.close()

    def _look(self, error: BaseException) -> None:
        """Raise what the device itself has to say after an error: TensorRT does not tell why a call of it failed."""
        self._lost = isinstance(error, EngineError) and error.lost
        if not self._lost:
            try:
                self._cuda.wait()
            except EngineError as told:
                self._lost = told.lost
                raise

    def _read_ranges(self, engine_file: Path) -> list[Profile]:
        names = sorted(self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors))
        if names != ["bands", "cls", "position"] or self._engine.get_tensor_shape("cls")[-1] != self.embed_dim:
            raise EngineError(f"{engine_file}: has {names}; needs bands, position and cls {self.embed_dim} wide")
        ranges = []
        for number in range(self._engine.num_optimization_profiles):
            shapes = [tuple(shape) for shape in self._engine.get_tensor_profile_shape("bands", number)]
            ranges.append(Profile(*((shape[0], shape[2]) for shape in shapes)))
        return ranges

    def _take_memory(self) -> None:
        n_bands = max(one.largest[0] for one in self._ranges)
        n_inputs = max(one.largest[0] * SPEC.band_width * one.largest[1] for one in self._ranges)
        self._bands, self._position = self._cuda.pinned(n_inputs), self._cuda.pinned(n_bands)
        self._cls = self._cuda.pinned(n_bands * self.embed_dim)
        self._addresses = {
            "bands": self._cuda.allocate(self._bands.nbytes),
            "position": self._cuda.allocate(self._position.nbytes),
            "cls": self._cuda.allocate(self._cls.nbytes),
        }
        self._workspace_size = int(self._engine.device_memory_size_v2)
        self._workspace = self._cuda.allocate(max(256, self._workspace_size))

    def _context(self, shape: tuple[int, int] | None) -> Any:
        """Return the execution context of a shape that has a graph, or of all others; made when first asked for.

        A graph is bound to its context, which must not change any more: NVIDIA's advice is one each, in shared memory.
        """
        if shape not in self._contexts:
            context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None:
                raise failure("TensorRT makes no execution context", self._said.errors)
            context.set_device_memory(self._workspace, self._workspace_size)
            self._contexts[shape] = context
        return self._contexts[shape]

    def _run(self, number: int, bands: FloatArray, position: FloatArray, out: FloatArray) -> None:
        shape = (len(bands), bands.shape[-1])
        inputs, places, cls = self._bands[: bands.size], self._position[: len(bands)], self._cls[: out.size]
        inputs[:] = bands.reshape(-1)
        places[:] = position
        if (graph := self._graphs.get(shape)) is not None:
            self._cuda.launch(graph)
        else:
            again = shape in self._seen and len(self._graphs) < self._max_graphs
            context = self._context(shape if again else None)
            self._shape(context, number, shape)

            def work() -> None:
                self._cuda.upload(inputs, self._addresses["bands"])
                self._cuda.upload(places, self._addresses["position"])
                if not context.execute_async_v3(self._cuda.stream):
                    raise failure(f"engine {self.name}: {shape[0]} bands of {shape[1]} frames", self._said.errors)
                self._cuda.download(self._addresses["cls"], cls)

            work()
            if again:  # after a first time, which does what a graph cannot hold: a new shape's preparations
                self._capture(shape, work)
            self._seen.add(shape)
        self._cuda.wait()
        out[:] = cls.reshape(out.shape)

    def _shape(self, context: Any, number: int, shape: tuple[int, int]) -> None:
        """Tell a context what comes next and where it lies."""
        told = context.active_optimization_profile == number or context.set_optimization_profile_async(
            number, self._cuda.stream
        )
        told = told and context.set_input_shape("bands", (shape[0], SPEC.band_width, shape[1]))
        told = told and context.set_input_shape("position", (shape[0],))
        told = told and all(context.set_tensor_address(name, address) for name, address in self._addresses.items())
        if not told:
            raise failure(f"engine {self.name}: {shape[0]} bands of {shape[1]} frames", self._said.errors)

    def _capture(self, shape: tuple[int, int], work: Any) -> None:
        try:
            self._graphs[shape] = self._cuda.capture(work)
        except EngineError as error:
            if error.lost:
                raise
            log.info("engine %s: goes on without CUDA graphs: %s", self.name, error)
            self._max_graphs = 0
