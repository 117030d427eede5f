"""What holds for every test: no thread is left behind, and state goes to a folder of the test's own."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.pop("COLUMNS", None)  # workers get one; a console that finds it when it is made asks no more
PATIENCE_S = 3.0  # a thread that was asked to stop may need a moment
LIBM = ctypes.util.find_library("m")


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline_s = time.monotonic() + PATIENCE_S
    while (left := [t for t in threading.enumerate() if t not in before]) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not left, f"threads left behind: {[t.name for t in left]}"


@pytest.fixture(autouse=True)
def numbers_are_ieee() -> None:
    """ONNX Runtime leaves a thread that made a session with subnormal numbers as zeros; hypothesis needs them."""
    if LIBM is not None:
        ctypes.CDLL(LIBM).fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that every command of this test uses."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder
