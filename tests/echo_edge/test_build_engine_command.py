"""``echo-edge build-engine``, as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import has_gpu

CONFIG = """
gateway: {id: gw}
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines: {pump: {points: {de: {device: acc}}}}
"""


def test_without_a_gpu_the_command_says_so_in_one_line_and_exits_70(tmp_path: Path) -> None:
    if has_gpu():
        pytest.skip("this machine has a GPU")
    (tmp_path / "line1.yaml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "echo_edge", "build-engine", tmp_path / "line1.yaml"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CACHE_DIRECTORY": str(tmp_path / "cache")},
    )
    assert done.returncode == 70
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.engine"))
