"""Retries: when a GPU engine that failed may be tried again, over restarts of the daemon too."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from echo_edge.store import write_durably

log = logging.getLogger(__name__)

DELAYS_S = (60.0, 300.0, 900.0, 3600.0)
"""Before the second try, the third and so on; the last one for all that follow."""

WELL_AFTER_S = 3600.0
"""An engine that served for so long has no past: the next failure is a first one."""

NO_WORD = "the daemon ended twice without a word while it was tried or served"


class _Kept(BaseModel):
    """The file: small, and of no worth but for the times in it."""

    failures: int = Field(default=0, ge=0)
    failed_s: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """When it last failed, seconds since 1970."""

    why: str | None = None
    """None once it served again."""

    served: str | None = None
    """The engine that served last: a GPU that is gone must not pass for one that never was."""

    begun: int = Field(default=0, ge=0)
    """Times in a row that it was tried and the daemon did not live to tell how that ended."""

    begun_s: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class Retries:
    """Counts failures; owned by the thread that tries, except that any thread may look."""

    def __init__(self, file: Path | None = None, now_s: Callable[[], float] = time.time) -> None:
        """Read what an earlier daemon left; a file that is missing or damaged means that nothing ever failed.

        Args:
            file: None for memory alone.
        """
        self._file, self._now_s = file, now_s
        self._kept = self._read()
        if self._kept.begun > 1:  # once may have been the power; twice within an hour was not
            self.failed(NO_WORD)

    @property
    def why(self) -> str | None:
        """Why it failed last; None when it never did, or served since."""
        return self._kept.why

    @property
    def next_delay_s(self) -> float:
        """How long to wait if it failed now."""
        return DELAYS_S[min(self._kept.failures, len(DELAYS_S) - 1)]

    @property
    def wait_s(self) -> float:
        """Until it may be tried; 0 is now."""
        if not self._kept.failures:
            return 0.0
        passed_s = self._now_s() - self._kept.failed_s
        if passed_s < 0:  # the clock was set back: count from now, or it would never be due
            self._kept.failed_s, passed_s = self._now_s(), 0.0
        return max(0.0, DELAYS_S[min(self._kept.failures, len(DELAYS_S)) - 1] - passed_s)

    def begin(self) -> None:
        """It is about to be tried; whatever it does to this process, the next one shall know."""
        again = abs(self._now_s() - self._kept.begun_s) < WELL_AFTER_S
        self._kept.begun = self._kept.begun + 1 if again else 1
        self._kept.begun_s = self._now_s()
        self._write()

    def failed(self, why: str, served_s: float = 0.0) -> None:
        """It failed, after it had served for so long."""
        before = 0 if served_s >= WELL_AFTER_S else self._kept.failures
        self._kept = _Kept(failures=before + 1, failed_s=self._now_s(), why=why, served=self._kept.served)
        self._write()

    @property
    def served(self) -> str | None:
        """Which engine served last; None when none ever did here."""
        return self._kept.served

    def serves(self, name: str) -> None:
        """It serves; how often it failed before is forgotten later, if it goes on serving."""
        if self._kept.why is not None or self._kept.served != name:
            self._kept.why, self._kept.served = None, name
            self._write()

    def ended(self) -> None:
        """The daemon ends, and is not to blame it."""
        if self._kept.begun:
            self._kept.begun = 0
            self._write()

    def _read(self) -> _Kept:
        try:
            return _Kept() if self._file is None else _Kept.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return _Kept()
        except (OSError, ValidationError) as error:
            log.warning("%s: not read, begun anew: %s", self._file, str(error).splitlines()[0])
            return _Kept()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_durably(self._file, self._kept.model_dump_json().encode())
        except OSError as error:
            log.warning("%s: not written: %s; a restart forgets that the GPU engine failed", self._file, error.strerror)
