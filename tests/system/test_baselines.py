"""Baselines through the running daemon: what a command makes active judges at once, without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echo_edge.baseline_command import ask as ask_echo_edge
from echo_edge.config_file import load_config
from echo_edge.errors import OrderError
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub
from tests.system.test_daemon import SIMULATED, config

pytestmark = [needs_mosquitto, pytest.mark.timeout(120)]


def test_versions_are_activated_rolled_back_and_brought_in_while_the_daemon_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(verb: str, **args: Any) -> dict[str, Any]:
        return ask_echo_edge(load_config(daemon.config), verb, args)

    def judged_by(point: str, baseline: str) -> None:
        wait_for(lambda: heard.last(f"/p/{point}/state").get("baseline") == baseline, f"{point} by {baseline}", 20)

    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        daemon = Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED, "twin": SIMULATED}))
        monkeypatch.setenv("STATE_DIRECTORY", str(daemon.state))
        daemon.config.write_text(config(broker.port, {"good": SIMULATED, "twin": SIMULATED}))
        daemon.enroll("m/good", "--minutes", "0.1", "--by", "lang")
        daemon.enroll("m/good", "--minutes", "0.1", "--by", "lang")
        with daemon:
            judged_by("good", "bl_0002")
            assert ask("rollback", point="m/good", by="vogt")["active"] == "bl_0001"
            judged_by("good", "bl_0001")
            ask("activate", point="m/good", id="bl_0002", by="vogt")
            judged_by("good", "bl_0002")

            file = str(tmp_path / "good.eebl")
            ask("export", id="bl_0002", file=file)
            assert ask("import", point="m/twin", file=file, by="lang")["proposed"] == "bl_0003"
            assert heard.last("/p/twin/state")["reason"] == "not enrolled yet"
            ask("activate", point="m/twin", id="bl_0003", by="lang")
            judged_by("twin", "bl_0003")

            for verb, args, code, message in (
                ("activate", {"point": "m/twin", "id": "bl_0001", "by": "x"}, 1, "bl_0001 is a baseline of m/good"),
                ("activate", {"point": "m/twin", "by": "x"}, 2, "id: Field required"),
            ):
                with pytest.raises(OrderError, match=message) as caught:
                    ask(verb, **args)
                assert caught.value.exit_code == code
            assert ask("audit", verify=True) == {"entries": 8, "problems": [], "notes": []}
            assert [row["who"] for row in ask("audit", point="m/good")["entries"]] == ["lang"] * 4 + ["vogt"] * 2
            assert daemon.stop() == 0


def test_with_two_persons_an_enrollment_is_only_proposed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        text = config(broker.port, {"good": SIMULATED}).replace("    points:", "    approval: two_person\n    points:")
        with Daemon(tmp_path / "daemon", text) as daemon:
            heard.wait_level("m/good", "not_monitored", daemon)
            result = daemon.enroll("m/good", "--minutes", "0.1", "--by", "lang")
            assert (result["baseline"], result["active"]) == ("bl_0001", False)
            assert heard.last("/p/good/state")["level"] == "not_monitored"
            (line,) = [line for line in daemon.log.splitlines() if "bl_0001" in line]
            assert "another person" in line
