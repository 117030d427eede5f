"""The CPU serves while a GPU engine is made, and when it fails; the GPU is tried again, and told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from echo_edge.embedder import Embedder
from echo_edge.engine.base import FloatArray, check_output
from echo_edge.engine.fake import FakeEngine, fake_package
from echo_edge.engine.retries import DELAYS_S, WELL_AFTER_S, Retries
from echo_edge.engine.standby import Progress, StandbyEngine, Wanted
from echo_edge.errors import EngineError
from tests.world import machine_windows

PATIENCE_S = 20.0


class FakeGpu(FakeEngine):
    """As exact as half precision; fails where it is told to."""

    name = "gpu"

    def __init__(self, fails: dict[int, EngineError | float] | None = None) -> None:
        super().__init__()
        self.fails, self.calls, self.closed = fails or {}, 0, False

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        self.calls += 1
        failure = self.fails.get(self.calls)
        if isinstance(failure, EngineError):
            raise failure
        out = super().run(bands, position).astype(np.float16).astype(np.float32)
        return check_output(out if failure is None else np.full_like(out, failure), self.name)

    def close(self) -> None:
        self.closed = True


class World:
    """A standby engine, the engines that it is given one after the other, and a clock to turn."""

    def __init__(self, *gpus: FakeGpu | Exception | Callable[[Progress], FakeGpu], file: Path | None = None) -> None:
        self.now_s = 1e9
        self.gpus, self.tries, self.file = list(gpus), 0, file
        self.engine = self.begin()

    def begin(self) -> StandbyEngine:
        """As at the start of a process."""
        self.engine = StandbyEngine(
            FakeEngine(),
            lambda: Wanted("gpu", self.prepare, Retries(self.file, lambda: self.now_s)),
            "auto",
            look_every_s=0.005,
            now_s=lambda: self.now_s,
        )
        self.embedder = Embedder(fake_package(FakeEngine()), self.engine)
        return self.engine

    def prepare(self, progress: Progress) -> FakeGpu:
        self.tries += 1
        progress(0.5)
        gpu = self.gpus.pop(0)
        if isinstance(gpu, Exception):
            raise gpu
        return gpu if isinstance(gpu, FakeGpu) else gpu(progress)

    def serve(self, count: int = 1) -> list[FloatArray]:
        """Embeddings of so many windows; every one must come."""
        return [self.embedder.embed([window])[0].bands for window in machine_windows(count)]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline_s, self.engine.status
            time.sleep(0.002)

    def on_gpu(self) -> bool:
        return self.engine.status.serving == "gpu"

    def tried(self, times: int) -> Callable[[], bool]:
        return lambda: self.tries == times and self.engine.status.building is None


@pytest.fixture
def worlds() -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(*gpus: FakeGpu | Exception | Callable[[Progress], FakeGpu], file: Path | None = None) -> World:
        made.append(World(*gpus, file=file))
        made[-1].engine.start()
        return made[-1]

    yield make
    for world in made:
        world.engine.close()


def lost() -> EngineError:
    return EngineError("cudaStreamSynchronize: cudaErrorIllegalAddress (700)", lost=True)


def test_the_cpu_serves_from_the_first_window_and_the_gpu_takes_over_between_two_calls(worlds) -> None:
    go = threading.Event()
    gpu = FakeGpu()

    def slow(_: Progress) -> FakeGpu:
        go.wait(PATIENCE_S)
        return gpu

    world = worlds(slow)
    world.until(lambda: world.engine.status.building == 0.5)
    world.serve(3)
    status = world.engine.status
    assert (status.serving, status.wanted, status.problem, gpu.calls) == ("fake", "gpu", None, 0)
    go.set()
    world.until(world.on_gpu)
    world.serve(2)
    assert (gpu.calls, world.engine.status.building, world.embedder.engine_name) == (2, None, "gpu")


@pytest.mark.parametrize("failure", [EngineError("out of memory", out_of_memory=True), lost(), np.nan])
def test_the_call_that_the_gpu_fails_is_answered_by_the_cpu(worlds, failure: EngineError | float) -> None:
    world = worlds(FakeGpu({3: failure}))
    world.until(world.on_gpu)
    found = world.serve(5)
    exact = [Embedder(fake_package(FakeEngine()), FakeEngine()).embed([w])[0].bands for w in machine_windows(5)]
    assert [np.array_equal(a, b) for a, b in zip(found, exact, strict=True)] == [False, False, True, True, True]
    status = world.engine.status
    assert (status.serving, status.fallbacks) == ("fake", 1)
    assert status.problem is not None
    assert status.problem.startswith("the CPU serves instead of the GPU: ")


def test_so_is_one_that_fails_with_an_error_that_is_none_of_ours(worlds) -> None:
    class OddGpu(FakeGpu):
        def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:  # noqa: ARG002  the base's signature
            raise RuntimeError("a library's own words")

    world = worlds(OddGpu())
    world.until(world.on_gpu)
    assert len(world.serve()) == 1
    status = world.engine.status
    assert (status.serving, status.fallbacks) == ("fake", 1)
    assert "RuntimeError: a library's own words" in str(status.problem)


def test_a_gpu_that_fails_again_and_again_is_tried_after_1_5_15_and_60_minutes(worlds) -> None:
    world = worlds(*[EngineError("out of memory")] * 5, FakeGpu())
    for tries, delay_s in enumerate((*DELAYS_S, DELAYS_S[-1]), start=1):
        world.until(world.tried(tries))
        world.now_s += delay_s - 1
        time.sleep(0.03)
        assert world.tries == tries, "too early"
        assert world.engine.status.problem is not None
        world.now_s += 1
    world.until(world.on_gpu)
    assert world.engine.status.problem is None


def test_it_serves_again_after_the_gpu_came_back_and_the_old_engine_is_freed(worlds) -> None:
    first, second = FakeGpu({1: EngineError("out of memory")}), FakeGpu()
    world = worlds(first, second)
    world.until(world.on_gpu)
    world.serve()
    world.until(lambda: first.closed)
    world.now_s += DELAYS_S[0]
    world.until(world.on_gpu)
    world.serve()
    assert (second.calls, world.engine.status.problem, world.engine.status.fallbacks) == (1, None, 1)


def test_a_poisoned_context_asks_for_a_new_process_when_the_next_try_is_due(worlds) -> None:
    gpu = FakeGpu({1: lost()})
    world = worlds(gpu, FakeGpu())
    world.until(world.on_gpu)
    world.serve()
    world.until(lambda: "engine" not in {thread.name for thread in threading.enumerate()})  # nothing to try any more
    assert not world.engine.status.needs_new_process
    world.now_s += DELAYS_S[0]
    assert world.engine.status.needs_new_process
    assert (world.tries, gpu.closed) == (1, False)


def test_the_times_hold_over_restarts(worlds, tmp_path: Path) -> None:
    file = tmp_path / "retries.json"
    world = worlds(lost(), lost(), FakeGpu(), file=file)
    for tries, delay_s in enumerate(DELAYS_S[:2], start=1):
        world.until(world.tried(tries))
        world.engine.close()
        world.now_s += delay_s / 2  # somebody restarts it in between
        world.begin().start()
        world.until(lambda: "cudaErrorIllegalAddress" in str(world.engine.status.problem))
        time.sleep(0.03)
        assert (world.tries, world.engine.status.needs_new_process) == (tries, False)
        world.now_s += delay_s / 2
        world.until(lambda tries=tries: world.tries == tries + 1)  # type: ignore[misc]
    world.until(world.on_gpu)
    assert world.engine.status.problem is None


def test_a_gpu_that_takes_the_process_with_it_twice_is_left_alone_for_a_minute(tmp_path: Path) -> None:
    file, now_s = tmp_path / "retries.json", [1e9]
    for wait_s in (0.0, 0.0, DELAYS_S[0]):
        retries = Retries(file, lambda: now_s[0])
        assert retries.wait_s == wait_s
        retries.begin()  # and no word after that
        now_s[0] += 10
    assert Retries(file, lambda: now_s[0]).wait_s > 0
    file.unlink()
    for _ in range(5):  # a daemon that is stopped in order blames nobody, nor does the power once a day
        for end in (Retries.ended, lambda _: None):
            retries = Retries(file, lambda: now_s[0])
            assert (retries.wait_s, retries.why) == (0.0, None)
            retries.begin()
            end(retries)
            now_s[0] += WELL_AFTER_S


def test_an_engine_that_served_for_an_hour_has_no_past_and_a_clock_set_back_delays_nothing_for_long() -> None:
    now_s = [1e9]
    retries = Retries(None, lambda: now_s[0])
    for _ in range(3):
        retries.failed("out of memory", served_s=10)
    assert retries.wait_s == DELAYS_S[2]
    retries.failed("out of memory", served_s=WELL_AFTER_S)
    assert retries.wait_s == DELAYS_S[0]
    now_s[0] = 0.0
    assert retries.wait_s == DELAYS_S[0]
    now_s[0] = DELAYS_S[0]
    assert retries.wait_s == 0


def test_a_damaged_or_unwritable_file_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "retries.json"
    file.write_text('{"failures": -1}')
    assert Retries(file).wait_s == 0
    Retries(tmp_path / "nowhere" / "retries.json").failed("out of memory")
    assert Retries(None).why is None


def test_a_preparation_that_hangs_is_told_and_needs_a_new_process_and_the_cpu_goes_on(worlds, tmp_path: Path) -> None:
    go = threading.Event()

    def hang(progress: Progress) -> FakeGpu:
        go.wait(PATIENCE_S)
        progress(0.6)
        return FakeGpu()

    file = tmp_path / "retries.json"
    world = worlds(hang, FakeGpu(), file=file)
    world.until(lambda: world.engine.status.building == 0.5)
    world.now_s += 1801
    world.serve(2)
    assert world.engine.status.problem == "the CPU serves instead of the GPU: no progress in preparing it for 30 min"
    assert not world.engine.status.needs_new_process
    world.now_s += DELAYS_S[0]
    assert world.engine.status.needs_new_process
    go.set()  # else its thread would be left behind
    world.until(lambda: world.engine.status.building != 0.5)


def test_stopping_ends_a_preparation_at_its_next_step_and_blames_nobody(tmp_path: Path) -> None:
    def steps(progress: Progress) -> FakeGpu:
        while True:
            progress(0.7)
            time.sleep(0.001)

    world = World(steps, file=tmp_path / "retries.json")
    world.engine.start()
    world.until(lambda: world.engine.status.building == 0.7)
    world.engine.close()
    assert Retries(world.file).wait_s == 0
    assert world.engine.status.problem is None


def test_a_call_that_does_not_come_back_counts_as_a_failure_for_the_next_process(tmp_path: Path) -> None:
    go, called = threading.Event(), threading.Event()

    class Hanging(FakeGpu):
        def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
            called.set()
            go.wait(PATIENCE_S)
            return super().run(bands, position)

    gpu = Hanging()
    world = World(gpu, file=tmp_path / "retries.json")
    world.engine.start()
    world.until(world.on_gpu)
    pipeline = threading.Thread(target=world.serve)
    pipeline.start()
    assert called.wait(PATIENCE_S)
    world.engine.close()
    assert not gpu.closed
    assert Retries(world.file, lambda: world.now_s).why == "a call did not come back"
    go.set()
    pipeline.join(PATIENCE_S)


def test_a_machine_without_a_gpu_wants_the_cpu() -> None:
    engine = StandbyEngine(FakeEngine(), lambda: None, "auto")
    assert engine.status.wanted == "auto"
    engine.start()
    engine.close()
    status = engine.status
    assert (status.serving, status.wanted, status.problem, status.building) == ("fake", "fake", None, None)


def test_without_a_wanted_engine_there_is_no_thread_and_nothing_to_tell() -> None:
    engine = StandbyEngine(FakeEngine())
    engine.start()
    status = engine.status
    assert (status.serving, status.wanted, status.problem, status.building) == ("fake", "fake", None, None)
    engine.close()
