"""Standby: the CPU serves from the first window on, and whenever the GPU engine that is wanted is not there or fails.

A call that the GPU engine fails is answered by the CPU's, so no window is lost. A call that never comes back cannot be
answered: the supervisor sees that the pipeline hangs and ends the process, and the next one waits before it tries the
GPU again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from echo_edge.engine.base import Engine, FloatArray
from echo_edge.engine.retries import Retries
from echo_edge.errors import EchoEdgeError, EngineError

log = logging.getLogger(__name__)

PATIENCE_S = 1800.0  # without any progress; one step of building for a small board takes minutes
LOOK_EVERY_S = 1.0
CLOSE_WITHIN_S = 5.0

Progress = Callable[[float], None]
"""Takes how far it is, 0 to 1; raises EngineError when nobody waits for the engine any more."""


class GpuEngine(Engine, Protocol):
    """Made in one thread and used in another, but never in both at once."""

    def close(self) -> None:
        """Give back what it holds on the GPU."""


class Wanted(NamedTuple):
    """An engine to prepare."""

    name: str
    prepare: Callable[[Progress], GpuEngine]
    """Builds, loads and verifies it. What it raises is told and tried again; EngineError.lost: by another process."""

    retries: Retries


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Which engine serves, and why not another."""

    serving: str
    wanted: str
    """``auto`` until the machine was asked for a GPU."""

    problem: str | None = None
    """Why another engine than the wanted one serves; None while that is prepared for the first time."""

    building: float | None = None
    """How far the wanted one is, 0 to 1; None when it is not being prepared."""

    needs_new_process: bool = False
    """The wanted one may be tried again, and cannot be in this process."""

    fallbacks: int = 0
    """Times that the CPU took over since the start."""


class StandbyEngine:
    """An engine for the pipeline's thread; prepares the wanted one in a thread of its own."""

    def __init__(
        self,
        serving: Engine,
        find: Callable[[], Wanted | None] | None = None,
        wanted: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        look_every_s: float = LOOK_EVERY_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve with what is there; nothing runs until ``start``.

        Args:
            serving: the CPU's engine.
            find: says which engine is wanted, or None for the CPU's; asked in a thread of its own, since a GPU's
                driver may hang. None: there is nothing to ask.
            wanted: what to call the wanted one until then.
            patience_s: a preparation without progress for so long hangs.
            look_every_s: how often to see whether the next try is due.
        """
        self.embed_dim = serving.embed_dim
        self._cpu = self._serving = serving
        self._find = find
        self._wanted = wanted or serving.name
        self._retries = Retries()
        self._patience_s, self._look_every_s, self._now_s = patience_s, look_every_s, now_s
        self._problem: str | None = None
        self._building: float | None = None
        self._progressed_s = 0.0
        self._fallbacks = 0
        self._calling = False
        self._lost = False
        self._poisoned: Engine | None = None  # kept: what frees itself in a poisoned context may end the process
        self._failures: queue.SimpleQueue[EngineError | None] = queue.SimpleQueue()  # None: the end
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    @property
    def name(self) -> str:
        """Of the engine that serves now."""
        return self._serving.name

    @property
    def status(self) -> EngineStatus:
        """From any thread."""
        problem, due = self._problem, self._lost and not self._retries.wait_s
        if (hung_s := self._hung_s()) is not None:
            problem = problem or f"no progress in preparing it for {self._patience_s / 60:.0f} min"
            due = hung_s >= self._retries.next_delay_s
        told = None if problem is None else f"the CPU serves instead of the GPU: {problem}"
        return EngineStatus(self.name, self._wanted, told, self._building, due, self._fallbacks)

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """As ``Engine.run``; raises EngineError only when the CPU fails."""
        self._calling = True  # before we look which: ``close`` must not take it away in between
        engine = self._serving
        if engine is self._cpu:
            self._calling = False
            return engine.run(bands, position)
        try:
            return engine.run(bands, position)
        except EngineError as error:
            failure = error
        except Exception as error:  # whatever a GPU's libraries come up with, the window is judged
            log.exception("%s failed in a way of its own", self._wanted)
            failure = EngineError(f"{type(error).__name__}: {error}")
        finally:
            self._calling = False
        self._problem, self._serving = str(failure), self._cpu
        self._fallbacks += 1
        self._failures.put(failure)
        return self._cpu.run(bands, position)

    def start(self) -> None:
        """Begin to prepare the wanted engine."""
        if self._find is not None:
            self._thread.start()

    def close(self) -> None:
        """Stop preparing and give back the GPU; when nobody calls any more, or a call hangs."""
        self._closed.set()
        self._failures.put(None)
        if self._thread.ident is None:
            return
        self._thread.join(CLOSE_WITHIN_S)
        if self._calling:
            self._retries.failed("a call did not come back")
        elif self._hung_s() is None:
            self._retries.ended()

    def _work(self) -> None:
        assert self._find is not None
        try:
            wanted = self._find()
            self._wanted = self._cpu.name if wanted is None else wanted.name
            if wanted is not None:
                self._retries, self._problem = wanted.retries, wanted.retries.why
                self._tend(wanted)
        except Exception as error:  # the thread's outermost line: the CPU goes on
            log.exception("the engine's thread failed")
            self._problem, self._serving = f"{type(error).__name__}: {error}", self._cpu

    def _tend(self, wanted: Wanted) -> None:
        """Have it serve, again and again, until we are closed or the GPU is lost."""
        while not self._lost and not self._closed.wait(min(self._retries.wait_s, self._look_every_s)):
            if not self._retries.wait_s and (engine := self._prepared(wanted)) is not None:
                self._serve(engine)

    def _prepared(self, wanted: Wanted) -> GpuEngine | None:
        """Try once; None when that failed, and was noted."""
        self._retries.begin()
        self._progressed_s, self._building = self._now_s(), 0.0
        began_s = self._now_s()
        try:
            engine = wanted.prepare(self._progress)
        except EchoEdgeError as error:
            if not self._closed.is_set():
                log.error("%s could not be prepared: %s", self._wanted, error)
                self._note(error)
            return None
        except Exception as error:  # whatever a GPU's libraries come up with, the machine is monitored
            log.exception("%s could not be prepared", self._wanted)
            self._note(error)
            return None
        finally:
            self._building = None
        log.info("%s is ready after %.0f s and serves from now on", self._wanted, self._now_s() - began_s)
        return engine

    def _serve(self, engine: GpuEngine) -> None:
        """Let it serve until it fails or we are closed."""
        self._retries.serves(self._wanted)
        since_s = self._now_s()
        self._problem, self._serving = None, engine
        error = self._failures.get()
        if error is not None:
            log.error("%s failed, %s serves: %s", self._wanted, self._cpu.name, error)
            self._note(error, self._now_s() - since_s)
        if self._lost:
            self._poisoned = engine
        elif not self._calling:
            self._serving = self._cpu
            engine.close()

    def _note(self, error: Exception, served_s: float = 0.0) -> None:
        self._problem = str(error)
        self._retries.failed(self._problem, served_s)
        self._lost = isinstance(error, EngineError) and error.lost

    def _progress(self, share: float) -> None:
        if self._closed.is_set():
            raise EngineError("nobody waits for it any more")
        self._progressed_s, self._building = self._now_s(), share

    def _hung_s(self) -> float | None:
        """For how long a preparation counts as hung; None when none does."""
        if self._building is None:
            return None
        hung_s = self._now_s() - self._progressed_s - self._patience_s
        return hung_s if hung_s >= 0 else None
