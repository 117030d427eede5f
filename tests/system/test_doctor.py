"""Doctor and bundle beside the real daemon; and a secret of whatever kind is in nothing that any of them tells."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echo_edge.cli import app
from echo_edge.demo_broker import free_port
from echo_edge.operator_keys import SharedKey, write_key
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, wait_for
from tests.system.daemon import START_S, Daemon
from tests.system.test_daemon import SIMULATED, config

pytestmark = needs_mosquitto
USER, PASSWORD = "gw", "canary-password-7f3a"
KEY = SharedKey(b"canary-canary-canary-canary-1234")
ACL = f"user {USER}\ntopic readwrite echo-edge/v1/gw/#\n"


def everything_in(archive: Path) -> bytes:
    with tarfile.open(archive) as opened:
        files = [opened.extractfile(member) for member in opened.getmembers()]
        return b"".join(file.read() for file in files if file is not None)


@pytest.mark.timeout(90)
def test_beside_a_running_daemon_nothing_is_disturbed_and_no_secret_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    write_key(folder / "m-lang.key", KEY)
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    text = config(0, {"acc": SIMULATED}, f", username: {USER}, password_file: password")
    text += "orders: {mqtt: true, operators: {m-lang: {role: technician, key_file: m-lang.key}}}\n"
    text += f"metrics: {{port: {free_port()}}}\n"
    with (
        Mosquitto(tmp_path / "broker", passwords={USER: PASSWORD}, acl=ACL) as broker,
        Subscriber(broker.port, "echo-edge/v1/gw/#", user=(USER, PASSWORD)) as heard,
        Daemon(folder, text.replace("port: 0", f"port: {broker.port}")) as daemon,
    ):
        heard.wait("/cmd/nonce", timeout_s=START_S)
        for name, value in daemon.env.items():
            monkeypatch.setenv(name, value)
        wait_for(lambda: "connected to" in daemon.log, "the daemon", START_S)
        done = CliRunner().invoke(app, ["doctor", str(daemon.config), "--json"])
        told = {(one["where"], one["how"]): one["what"] for one in json.loads(done.stdout)["findings"]}
        assert told["device acc", "ok"] == "the daemon has it open"
        assert told["broker", "ok"].startswith("orders arrive")
        assert {where for where, how in told if how == "broken"} <= {"rights"}, done.stdout

        archive = tmp_path / "out.tar.gz"
        bundled = CliRunner().invoke(app, ["bundle", str(daemon.config), "--output", str(archive)])
        assert bundled.exit_code == 0, bundled.output
        process = Path(f"/proc/{daemon.process.pid}")
        seen = "".join((process / name).read_text(errors="replace") for name in ("cmdline", "environ"))
        assert daemon.stop() == 0
    packed = everything_in(archive)
    assert b'"connected": true' in packed
    assert b"echo_edge_" in packed  # the page for Prometheus
    texts = (done.output, bundled.output, daemon.log, seen, packed.decode())
    assert [word for word in (PASSWORD, KEY.line(), "canary") for text in texts if word in text] == []
    assert "bad_signature" not in daemon.log
    assert [m for m in heard.messages if "/rsp/" in m.topic and m.payload] == []  # nothing was taken for an order
