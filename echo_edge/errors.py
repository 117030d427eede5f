"""What can go wrong in the daemon, and who acts.

EchoEdgeError
 +-- ConfigError     a person must edit a file        exit 78, systemd does not retry
 +-- ArtifactError   a person must fix the model      exit 78
 +-- EngineError     the inference engine is suspect  exit 70, systemd restarts us
 +-- BaselineError   one point's normal states cannot be used: only that point is not monitored
 +-- OrderError      an order was refused; its exit code says why
 |    +-- EnrollError     an enrollment was refused: the active baseline is untouched
 |    +-- OrderRefusedError   the same with a code for a program, and the place that is wrong
 +-- HistoryError    what a point remembers, or was told of it, cannot be read or written: monitoring goes on
 +-- RecordingError  a recording cannot be used: it is named
 +-- ClipError       a clip of sound cannot be recorded or opened  exit 1
 +-- ListenError     a point cannot be listened to   exit 3
 +-- SimulateError   a stand-in cannot be made       exit 1
"""

from __future__ import annotations

from typing import Literal


class EchoEdgeError(Exception):
    """Base of every error of ours outside the drivers."""


class ConfigError(EchoEdgeError):
    """The configuration cannot be used; ``problems`` has one line each: file, line, key, what is wrong and the mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ArtifactError(EchoEdgeError):
    """A model package is missing, damaged or does not reproduce its own test vectors."""


class EngineError(EchoEdgeError):
    """Inference failed or returned numbers that are not finite.

    ``lost``: the GPU or this process' hold on it is gone, and only a new process can have it back. ``out_of_memory``:
    the GPU had too little to give, and may have more later.
    """

    def __init__(self, message: str, *, lost: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.lost = lost
        self.out_of_memory = out_of_memory


class BaselineError(EchoEdgeError):
    """A baseline is damaged, foreign, or made with another model, rate or channel count; or a change is not allowed."""


class OrderError(EchoEdgeError):
    """The daemon, or who does its work while none runs, refused an order; ``exit_code`` is the command's."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class EnrollError(OrderError):
    """The collected windows cannot teach a normal state; ``exit_code`` follows the enrollment specification."""

    def __init__(self, message: str, exit_code: int = 4) -> None:
        super().__init__(message, exit_code)


Code = Literal[
    "bad_json",
    "bad_args",
    "unknown_verb",
    "forbidden",
    "bad_signature",
    "replayed",
    "expired",
    "retained",
    "conflict",
    "busy",
    "refused",
    "failed",
]
"""Why an order was not carried out, for a program."""


class OrderRefusedError(OrderError):
    """An order was refused, and nothing was changed; ``failed`` alone leaves that open."""

    def __init__(self, code: Code, message: str, where: str | None = None) -> None:
        super().__init__(message if where is None else f"{where}: {message}", _EXIT_CODES.get(code, 1))
        self.code: Code = code
        self.message = message
        self.where = where
        """What part of the order is wrong: ``args.minutes``."""


_EXIT_CODES: dict[Code, int] = {"bad_json": 2, "bad_args": 2, "unknown_verb": 2, "conflict": 6, "busy": 6}


class HistoryError(EchoEdgeError):
    """What is remembered of a point, or was said of its alerts, cannot be read or written."""


class RecordingError(EchoEdgeError):
    """A recording is empty, too short, not audio or holds samples that are not numbers."""


class ClipError(EchoEdgeError):
    """A clip cannot be recorded, or does not open."""


class ListenError(EchoEdgeError):
    """A sensor that somebody wants to listen to cannot be opened, failed, or its daemon went away."""


class SimulateError(EchoEdgeError):
    """A stand-in for a sensor cannot be made here, or not as it was asked for."""
