"""What the daemon loads, seen from a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCK_TORCH = """
import sys
from pathlib import Path

import pytest
class NoTorch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
sys.meta_path.insert(0, NoTorch())
"""
DAEMON = "import echo_edge.cli, echo_edge.daemon, echo_edge.replay, echo_edge.evaluate, echo_edge.enroll_command\n"


def fresh(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_daemon_runs_where_torch_cannot_be_imported() -> None:
    script = """
from pathlib import Path
from echo_edge.config import Config
from echo_edge.assembly import make_embedder
from echo_edge.records import Window
import numpy as np
config = Config.model_validate({"gateway": {"id": "g"}, "devices": {"a": {"kind": "simulator"}},
    "machines": {"m": {"points": {"p": {"device": "a"}}}}}, context={"folder": Path()})
noise = np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32)
(embedding,) = make_embedder(config).embed([Window("m/p", noise, 16000, 0)])
print(embedding.bands.shape)
"""
    assert fresh(BLOCK_TORCH + DAEMON + script) == "(1, 7, 192)"


def test_the_daemon_loads_no_driver_and_no_engine_before_the_configuration_names_it() -> None:
    heavy = "('torch', 'trainer', 'sounddevice', 'serial', 'soundfile', 'onnxruntime', 'tensorrt', 'cuda', 'sklearn')"
    assert fresh(DAEMON + f"import sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_a_command_that_only_looks_loads_neither_index_nor_engine() -> None:
    heavy = "('faiss', 'onnxruntime', 'torch', 'sklearn')"
    assert fresh(f"import echo_edge.cli, sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_page_loads_neither_numbers_nor_sensors_and_of_the_daemon_only_what_every_client_has() -> None:
    script = "import echo_edge.web.cli, echo_edge.web.server, echo_edge.web.service, sys\nprint(*sys.modules)"
    loaded = {module for module in fresh(script).split() if not module.startswith("echo_edge.web")}
    assert not loaded & {"numpy", "faiss", "onnxruntime", "scipy", "sensors", "paho", "sounddevice", "serial"}
    shared = {
        "config_model",
        "config_yaml",
        "control_client",
        "credentials",
        "envelope",
        "errors",
        "log_lines",
        "store",
    }
    shared |= {"systemd", "order_types", "verbs"}  # of these two, the roles
    assert {m.partition(".")[2] for m in loaded if m.startswith("echo_edge.")} <= shared


def test_the_runtime_gathers_nothing_for_its_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our word onnxruntime 1.32 makes a database and an id of the device below ~/.cache, and calls home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    fresh("""
from echo_edge.artifact import load_package
from echo_edge.engine import create_engine
import time
create_engine("onnx", load_package("echo-tiny"))
time.sleep(0.5)
""")
    assert list(tmp_path.rglob("*")) == []
