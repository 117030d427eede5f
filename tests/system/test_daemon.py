"""The real daemon, a real broker, and everything that goes wrong around them."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echo_edge.demo_broker import HOST, free_port
from echo_edge.publisher import Timing
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.metrics_page import of, scrape
from tests.system.daemon import START_S, Daemon, MosquittoSub, command

pytestmark = needs_mosquitto

WINDOW = "window: {length_s: 0.5, hop_s: 0.5}"
SIMULATED = "{kind: simulator, rate_hz: 16000, seed: 5}"


def config(port: int, devices: dict[str, str], extra_mqtt: str = "") -> str:
    """One machine ``m`` with one point per device, of the device's name."""
    lines = [
        "gateway: {id: gw, outbox: {max_mb: 4}}",
        f"mqtt: {{port: {port}, state_interval_s: 0.2{extra_mqtt}}}",
        "devices:",
    ]
    lines += [f"  {name}: {device}" for name, device in devices.items()]
    lines += ["machines:", "  m:", "    points:"]
    lines += [f"      {name}: {{device: {name}, {WINDOW}}}" for name in devices]
    return "\n".join(lines) + "\n"


def write_bad_recordings(folder: Path) -> dict[str, Path]:
    """One file of each kind of badness; the key says which."""
    rate_hz = 16_000
    noise = np.random.default_rng(0).standard_normal(rate_hz).astype(np.float32) * 0.1
    files = {name: folder / f"{name}.wav" for name in ("empty", "truncated", "text", "no-samples", "nan", "tiny")}
    files["empty"].touch()
    soundfile.write(files["truncated"], noise, rate_hz)
    files["truncated"].write_bytes(files["truncated"].read_bytes()[:1000])
    files["text"].write_text("this is no recording\n" * 100)
    soundfile.write(files["no-samples"], noise[:0], rate_hz)
    soundfile.write(files["nan"], np.where(np.arange(rate_hz) == 500, np.nan, noise), rate_hz, subtype="FLOAT")
    soundfile.write(files["tiny"], noise[:200], rate_hz)
    return files


@pytest.mark.timeout(120)
def test_bad_recordings_are_named_and_the_healthy_stream_beside_them_carries_on(tmp_path: Path) -> None:
    bad = write_bad_recordings(tmp_path)
    devices = {name: f"{{kind: wavfile, files: [{{path: {path}}}]}}" for name, path in bad.items()}
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        metrics = f"metrics: {{port: {(port := free_port())}}}\n"
        daemon = Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED, **devices}) + metrics)
        with daemon:
            heard.wait_level("m/good", "not_monitored", daemon)
            daemon.enroll("m/good", "--minutes", "0.15")
            for name in bad:
                wait_for(lambda n=name: len(heard.last(f"/p/{n}/quality").get("reasons", [])) == 2, name)  # type: ignore[misc]
                quality = heard.last(f"/p/{name}/quality")
                assert (quality["state"], quality["reasons"][0]) == ("lost", "sensor_lost")
                assert bad[name].name in quality["reasons"][1]
                assert heard.last(f"/p/{name}/state")["level"] == "not_monitored"
                assert "score" not in heard.last(f"/p/{name}/state")
            heard.wait_level("m/good", "normal", daemon)
            assert heard.last("/p/good/quality")["state"] == "ok"
            page = scrape(port)
            assert of(page, "point_score", point="m/good") < of(page, "point_threshold", point="m/good")
            assert of(page, "mqtt_connected") == of(page, "outbox_durable") == of(page, "mqtt_connects_total") == 1
            assert {of(page, "sensor_state", device=name, state="ok") for name in bad} == {0}
            assert of(page, "disk_free_bytes") > 0
            assert daemon.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=5)
    assert {m.payload["kind"] for m in heard.on("/alert")} <= {"sensor"}  # never the machine's


@pytest.mark.timeout(90)
def test_garbage_on_a_serial_port_is_a_lost_sensor_and_nothing_else(tmp_path: Path) -> None:
    from sensors import Machine, PtyAccelerometer  # noqa: PLC0415

    with (
        PtyAccelerometer(Machine(1, 8000, 3)) as good,
        PtyAccelerometer(Machine(2, 8000, 3)) as bad,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        ports = {name: f"{{kind: accelerometer, port: {pty.port}}}" for name, pty in (("good", good), ("bad", bad))}
        daemon = Daemon(tmp_path / "daemon", config(broker.port, ports))
        with daemon:
            wait_for(lambda: heard.hears("bad") and heard.hears("good"), "both sensors", 30)
            quiet_from = len(heard.on("/p/good/quality")) - 1
            gaps, lost = heard.gaps("bad")
            bad.lose(400)
            wait_for(lambda: heard.gaps("bad") >= (gaps + 1, lost + 400), "the jump in sequence to be told")
            assert heard.last("/p/bad/quality")["reasons"] == ["gap"]
            gaps, _ = heard.gaps("bad")
            bad.break_crc()
            wait_for(lambda: heard.gaps("bad")[0] > gaps, "the lost frame to be told")
            bad.silent.set()
            for _ in range(8):
                bad.send(b"\x55\xaa" * 500)
                time.sleep(0.5)
            wait_for(lambda: heard.last("/p/bad/quality")["state"] == "lost", "the garbage to be told", 10)
            bad.silent.clear()
            wait_for(lambda: heard.last("/p/bad/quality")["state"] != "lost", "the sensor to come back", 20)
            # a busy machine may cost the good one a frame, which is then told as a gap; it is never lost
            assert not [m.payload for m in heard.on("/p/good/quality")[quiet_from:] if m.payload["state"] == "lost"]


@pytest.mark.timeout(60)
def test_a_stream_without_one_whole_window_is_not_monitored_and_says_why(tmp_path: Path) -> None:
    from sensors import Machine, PtyAccelerometer  # noqa: PLC0415

    with (
        PtyAccelerometer(Machine(1, 8000, 3)) as sensor,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        device = f"{{kind: accelerometer, port: {sensor.port}}}"
        with Daemon(tmp_path / "daemon", config(broker.port, {"de": device})):
            wait_for(lambda: heard.last("/p/de/state").get("reason") == "not enrolled yet", "the first window", 30)
            deadline_s = time.monotonic() + 20
            while time.monotonic() < deadline_s and "whole window" not in heard.last("/p/de/state")["reason"]:
                sensor.lose(80)
                time.sleep(0.3)
            assert heard.last("/p/de/state")["level"] == "not_monitored"
            assert heard.last("/p/de/state")["reason"].startswith("no whole window comes")
            wait_for(lambda: heard.last("/p/de/state")["reason"] == "not enrolled yet", "whole windows again", 20)


# The back-off is drawn evenly from 0 to its ceiling, and a short connection does not start it afresh: by simulation one
# reconnection in seven takes more than 30 s.
RECONNECTED_S = Timing().backoff_cap_s + START_S


@pytest.mark.timeout(240)
def test_a_broker_may_come_late_and_die_and_the_daemon_goes_on(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    daemon = Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED}))
    with daemon:
        wait_for(lambda: "connection refused; trying again" in daemon.log, "the daemon to start", 30)
        with broker:
            daemon.enroll("m/good", "--minutes", "0.15")
            with MosquittoSub(broker.port) as heard:
                heard.wait_level("m/good", "normal", daemon, RECONNECTED_S)
            broker.kill()
            time.sleep(1)
            broker.start()
            with MosquittoSub(broker.port) as heard:
                state = heard.wait_level("m/good", "normal", daemon, RECONNECTED_S)
                assert state["operating_state"] == {"name": "run", "source": "auto"}
                wait_for(lambda: bool(heard.on("/alert/active")), "everything retained to be there again")
                assert heard.on("/status")[0].payload["state"] == "online"
                assert heard.on("/info")[0].payload["model"]["name"] == "echo-tiny"
                assert heard.last("/alert/active")["alert"] is None
                wait_for(lambda: bool(heard.last("/health")), "the gateway's health")
                assert heard.last("/health")["pipeline"]["windows_dropped"] == 0
        assert daemon.stop() == 0


@pytest.mark.timeout(60)
def test_a_wrong_password_is_said_without_the_password(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-horse\n")
    secret.chmod(0o600)
    with Mosquitto(tmp_path / "broker", passwords={"gw": "right"}) as broker:
        extra = f", username: gw, password_file: {secret}"
        with Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED}, extra)) as daemon:
            wait_for(
                lambda: "not authorised" in daemon.log.lower().replace("authorized", "authorised"), "the refusal", 30
            )
            assert daemon.stop() == 0
    assert str(secret) in daemon.log
    assert "wrong-horse" not in daemon.log


@pytest.mark.timeout(120)
def test_a_fault_is_told_once_though_the_daemon_is_killed_and_a_late_subscriber_sees_it(tmp_path: Path) -> None:
    from sensors import Machine, PtyAccelerometer  # noqa: PLC0415

    machine = Machine(1, 16_000, 3)
    with (
        PtyAccelerometer(machine) as sensor,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        daemon = Daemon(
            tmp_path / "daemon", config(broker.port, {"de": f"{{kind: accelerometer, port: {sensor.port}}}"})
        )
        with daemon:
            heard.wait_level("m/de", "not_monitored", daemon)
            wait_for(lambda: heard.hears("de"), "the sensor", 20)
            daemon.enroll("m/de", "--minutes", "0.3")
            heard.wait_level("m/de", "normal", daemon)
            machine.set_fault("inner_race")
            wait_for(lambda: len(heard.alerts("m/de", "open")) == 1, "the alert", 20)
            with MosquittoSub(broker.port) as late:
                wait_for(lambda: bool(late.last("/alert/active").get("alert")), "the open alert, retained")
                assert late.last("/alert/active")["alert"] == heard.alerts("m/de")[-1].payload
            daemon.process.kill()
            daemon.process.wait(5)
            wait_for(lambda: heard.last("/status")["state"] == "offline", "the last will")
            machine.set_fault(None)
            daemon.start()
            wait_for(lambda: len(heard.alerts("m/de", "clear")) == 1, "the end of it", 40)
            wait_for(lambda: heard.last("/alert/active")["alert"] is None, "nothing active")
    alerts = [message.payload for message in heard.alerts("m/de")]
    assert len({alert["alert_id"] for alert in alerts}) == 1
    steps = {alert["rev"]: alert["type"] for alert in alerts}
    assert (steps[1], steps[max(steps)]) == ("open", "clear")
    assert len({alert["id"].rpartition(":")[0] for alert in alerts}) == 1, "one outbox, before and after"


@pytest.mark.timeout(60)
def test_ctrl_c_and_sigterm_end_the_daemon_politely(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        for number, name in ((signal.SIGINT, "a"), (signal.SIGTERM, "b")):
            with Daemon(tmp_path / name, config(broker.port, {"good": SIMULATED})) as daemon:
                heard.wait_level("m/good", "not_monitored", daemon)
                wait_for(lambda: heard.last("/status").get("state") == "online", "online")
                daemon.process.send_signal(number)
                assert daemon.process.wait(15) == 0
            wait_for(lambda: heard.last("/status")["state"] == "offline", "the farewell")
            assert not (daemon.state / "at-work").exists(), "else the next one would call it a crash"


def test_only_one_daemon_uses_a_state_folder(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, config(1883, {"good": SIMULATED}))
    with daemon:
        wait_for(lambda: "1 points" in daemon.log, "the daemon to start", 30)
        second = command("run", daemon.config, env=daemon.env)
        assert second.returncode == 6
        assert "another echo-edge is using this state folder" in second.stderr


def test_an_enrollment_of_a_sensor_that_ends_is_told_so_and_not_left_waiting(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "short.wav", noise, 16_000)
    device = f"{{kind: wavfile, loop: false, files: [{{path: {tmp_path / 'short.wav'}, play_s: 12}}]}}"
    daemon = Daemon(tmp_path / "daemon", config(1883, {"short": device}))
    with daemon:
        wait_for(lambda: "short: ok" in daemon.log, "the daemon to start", 30)
        done = command("enroll", "start", daemon.config, "m/short", "--minutes", "5", env=daemon.env)
    assert done.returncode == 3, done.stderr
    assert "m/short" in done.stderr


def test_a_broken_configuration_ends_with_78_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(config(1883, {"good": SIMULATED}).replace("hop_s", "hops_s"))
    for verb in ("run", "check"):
        done = command(verb, path, env={"STATE_DIRECTORY": str(tmp_path)})
        assert done.returncode == 78
        assert f"{path}:8: machines.m.points.good.window.hops_s: unknown key; did you mean 'hop_s'?" in done.stderr


def test_a_model_package_that_was_changed_ends_with_78(tmp_path: Path) -> None:
    from echo_edge.artifact import load_package  # noqa: PLC0415

    package = load_package("echo-tiny")
    data = bytearray(package.onnx_path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "echo-tiny.onnx").write_bytes(data)
    (tmp_path / "echo-tiny.json").write_text(package.onnx_path.with_suffix(".json").read_text())
    path = tmp_path / "line1.yaml"
    path.write_text(config(1883, {"good": SIMULATED}) + f"model: {tmp_path / 'echo-tiny.onnx'}\n")
    for verb in ("run", "check"):
        done = command(verb, path, env={"STATE_DIRECTORY": str(tmp_path)})
        assert done.returncode == 78, done.stderr
        assert "echo-tiny.onnx" in done.stderr


def test_enrolling_alone_teaches_what_the_daemon_then_uses(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        daemon = Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED}))
        result = daemon.enroll("m/good", "--minutes", "0.15")
        assert result["baseline"] == "bl_0001"
        assert result["model"] == "echo-tiny"
        with daemon:
            assert heard.wait_level("m/good", "normal", daemon)["baseline"] == "bl_0001"


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "no-samples", "nan", "tiny"])
def test_an_enrollment_from_a_bad_recording_is_refused_and_names_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(config(1883, {"good": SIMULATED}))
    file = write_bad_recordings(tmp_path)[kind]
    done = command("enroll", "start", path, "m/good", "--from", file, env={"STATE_DIRECTORY": str(tmp_path)})
    assert done.returncode == 4, done.stderr
    assert file.name in done.stderr
    assert "Traceback" not in done.stderr
