"""How far TensorRT is with a build: its nested phases as one fraction that only grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEP = 0.005  # told at most 200 times


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0
    inside: float = 0.0
    """Of the step it is at: how much the phase within has done."""

    @property
    def fraction(self) -> float:
        return min(1.0, (self.done + self.inside) / max(1, self.steps))


class BuildProgress:
    """Phases by name, as TensorRT tells of them, from any of its threads."""

    def __init__(self, told: Callable[[str, float], None]) -> None:
        self._told = told
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._last = 0.0
        self.stopped: BaseException | None = None
        """What the callback raised: the build is to end."""

    def begin(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = _Phase(parent, steps)

    def step(self, name: str, step: int) -> bool:
        """Return whether to go on."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done, phase.inside = step + 1, 0.0
                self._rise(name)
        return self.stopped is None

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def _rise(self, name: str) -> None:
        phase = self._phases[name]
        while phase.parent in self._phases:
            outer = self._phases[phase.parent]
            outer.inside = min(1.0, max(outer.inside, phase.fraction))
            phase = outer
        fraction = 0.99 * phase.fraction  # the file must be written, too
        if self.stopped is None and fraction >= self._last + STEP:
            self._last = fraction
            try:
                self._told(name, fraction)
            except BaseException as error:  # noqa: BLE001  within TensorRT it would end the process: raised behind it
                self.stopped = error


def make_monitor(trt: Any, told: Callable[[str, float], None]) -> Any:
    """Return the monitor that TensorRT calls; ``stopped`` is what ``told`` raised, which ends the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # known only once TensorRT is loaded
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._progress = BuildProgress(told)

        @property
        def stopped(self) -> BaseException | None:
            return self._progress.stopped

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._progress.begin(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._progress.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._progress.step(phase_name, step)

    return Monitor()
