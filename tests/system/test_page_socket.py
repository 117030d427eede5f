"""The real daemon as the page sees it: states, scores and pictures, without a broker and over a reload."""

from __future__ import annotations

import base64
import io
import json
import signal
import tarfile
from collections.abc import Generator
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from echo_edge.control_client import send_order
from echo_edge.demo_broker import free_port
from tests.broker import wait_for
from tests.system.daemon import START_S, Daemon
from tests.system.test_daemon import SIMULATED, config

Told = Generator[dict[str, Any], None, None]


def watching(path: Path) -> Told:
    """A watch, once the daemon lets somebody in."""

    def answers() -> bool:
        with suppress(OSError):
            return next(send_order(path, {"order": "verb", "verb": "ping"}, START_S))["ok"] is True
        return False

    wait_for(answers, "the daemon to answer", START_S)
    return send_order(path, {"order": "watch"}, START_S)


def message(told: Told, topic: str, **fields: Any) -> dict[str, Any]:
    """The next one on a topic that has these fields."""
    for line in told:
        said = line["progress"]
        if said.get("topic") == topic and all(said["message"].get(name) == is_ for name, is_ in fields.items()):
            found: dict[str, Any] = said["message"]
            return found
    raise AssertionError(f"the watch ended before {topic} with {fields}")


def read(path: Path, what: str, role: str = "viewer", **args: Any) -> dict[str, Any]:
    (answer,) = send_order(path, {"order": "read", "what": what, "args": args, "role": role}, START_S)
    assert answer["ok"], answer
    result: dict[str, Any] = answer["result"]
    return result


def reads_back(path: Path) -> None:
    """What the daemon kept of the run before, and an archive of itself, made while it runs."""
    begun = datetime.now(timezone.utc) - timedelta(minutes=9)

    def levels() -> set[str | None]:
        stretch = {"from": begun.isoformat(), "to": datetime.now(timezone.utc).isoformat()}
        return set(read(path, "history", point="m/de", **stretch, buckets=600)["level"])

    wait_for(lambda: {"unjudged", "normal", None} <= levels(), "windows of before it was taught, since, and gaps", 30)
    assert [row["object"] for row in read(path, "audit", point="m/de")["rows"]][-2:] == ["bl_0001", "bl_0001"]
    assert "problems" not in read(path, "alerts")
    archive = read(path, "bundle", "engineer")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive["tar_gz"]))) as members:
        files = {member.name.rpartition("/")[2]: members.extractfile(member) for member in members}
        status = files["status.json"]
        assert status is not None
        assert json.load(status)["points"][0]["point"] == "m/de"


@pytest.mark.timeout(120)
def test_the_page_sees_states_scores_and_windows_without_a_broker_and_again_after_a_reload(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    path = pages / "line1.sock"
    text = config(free_port(), {"de": SIMULATED})
    with Daemon(tmp_path / "daemon", text, {"ECHO_EDGE_PAGE_SOCKET": str(path)}) as daemon:
        with closing(watching(path)) as told:
            assert message(told, "status")["state"] == "degraded"
            daemon.enroll("m/de", "--minutes", "0.05")
            window = message(told, "m/m/p/de/window")
            assert (window["length_s"], window["rate_hz"], window["rows"]) == (0.5, 16_000, 64)
            state = message(told, "m/m/p/de/state", level="normal")
            score = message(told, "m/m/p/de/score", level="normal")  # no `mqtt.score_stream`
            assert score["threshold"] == state["score"]["threshold"]

            daemon.process.send_signal(signal.SIGHUP)
            last = [line for line in told if "ok" in line]
            assert [line["ok"] for line in last] in ([], [False])
        with closing(watching(path)) as told:
            message(told, "m/m/p/de/score", level="normal")
        reads_back(path)
        assert daemon.stop() == 0
    assert not path.exists()
