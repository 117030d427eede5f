"""The service as it is shipped, under a real systemd: it comes up, says how it is, is restarted, and is held back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.broker import needs_mosquitto, wait_for
from tests.system.box import CHECKOUT, INSTALLED, PYTHON, Box, booted, install

pytestmark = [
    needs_mosquitto,
    pytest.mark.timeout(120),
]

UNIT = "echo-edge@hall3"
HARDENING = CHECKOUT / "deploy" / "mosquitto" / "hardening.conf"
PAGE = "echo-edge-web@hall3"
PAGE_SOCKET = "/run/echo-edge-page/hall3.sock"
PASSWORD = "loom-7"
LAN = "192.168.77.1"
SENSOR = "/dev/echo-edge/acc"
CONFIG = f"""
gateway: {{id: hall3}}
mqtt: {{username: hall3, password_credential: mqtt-password, state_interval_s: 0.2}}
devices: {{acc: {{kind: accelerometer, port: {SENSOR}}}}}
machines: {{m: {{points: {{de: {{device: acc, window: {{length_s: 0.5, hop_s: 0.5}}}}}}}}}}
"""
HUNG = """
gateway: {id: hung}
devices: {acc: {kind: simulator, rate_hz: 8000}}
machines: {m: {points: {de: {device: acc, window: {length_s: 0.5, hop_s: 0.5}}}}}
"""
# The shipped unit, in less time; and the interpreter of this checkout may keep its library elsewhere.
LIBRARY = f"LD_LIBRARY_PATH={INSTALLED}/python/lib"
IMPATIENT = f"""
[Service]
RestartSec=0
TimeoutAbortSec=1
Environment={LIBRARY}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A gateway: the service runs, is connected to a broker that asks for a password, and hears a serial sensor."""
    with booted(tmp_path_factory.mktemp("box")) as box:
        install(box)
        for unit in ("echo-edge@", "echo-edge-web@"):
            box.write(f"/etc/systemd/system/{unit}.service.d/box.conf", IMPATIENT)
        box.write("/etc/systemd/system/echo-edge@hung.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n")
        _begin_broker(box)
        box.run("mkdir", "/dev/echo-edge")
        box.service("sensor", PYTHON, "-I", "-m", "echo_edge", "simulate", "ee1", "--link", SENSOR)
        for name in ("hall3", "bare"):
            box.write(f"/etc/echo-edge/{name}.yaml", CONFIG.replace("hall3", name), 0o640, "root:echo-edge")
        box.write("/etc/echo-edge/secrets/hall3/mqtt-password", f"{PASSWORD}\n", 0o400)
        box.run("systemctl", "daemon-reload")
        wait_for((box.root / SENSOR[1:]).is_symlink, "the sensor", 30)
        box.run("sh", "-c", f"chgrp dialout $(realpath {SENSOR}) && chmod 660 $(realpath {SENSOR})")  # as udev does
        box.write("/etc/echo-edge/hung.yaml", HUNG, 0o640, "root:echo-edge")
        box.write("/etc/echo-edge-web/hall3.yaml", "gateway: hall3\n", 0o640, "root:echo-edge-web")
        box.run("systemctl", "start", "--no-block", "echo-edge@bare", "echo-edge@hung", PAGE)
        box.start(UNIT)  # returns at READY
        yield box


def _begin_broker(box: Box) -> None:
    """Debian's own service, held back as ``deploy/mosquitto`` says; without TLS, which other tests have."""
    box.write("/etc/systemd/system/mosquitto.service.d/hardening.conf", HARDENING.read_text("utf-8"))
    passwords = "/etc/mosquitto/echo-edge.passwords"
    box.write(passwords, "")
    for user in ("hall3", "listener"):
        box.run("mosquitto_passwd", "-b", passwords, user, PASSWORD)
    box.run("chown", "root:mosquitto", passwords)
    box.run("chmod", "640", passwords)
    lines = ["listener 1883 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
    box.write("/etc/mosquitto/conf.d/box.conf", "\n".join(lines) + "\n")
    box.run("systemctl", "daemon-reload")
    box.start("mosquitto")


def heard(box: Box, topic: str) -> dict[str, Any]:
    """The next message on a topic, retained ones included."""
    listener = ["mosquitto_sub", "-V", "5", "-u", "listener", "-P", PASSWORD, "-C", "1", "-W", "30"]
    answer: dict[str, Any] = json.loads(box.run(*listener, "-t", f"echo-edge/v1/hall3/{topic}"))
    return answer


def hears(box: Box) -> bool:
    """The sensor delivers; on a busy machine it may have lost a frame already."""
    return heard(box, "m/m/p/de/quality")["state"] in {"ok", "degraded"}


def status_text(box: Box) -> str:
    return box.show(UNIT, "StatusText")["StatusText"]


def test_it_is_ready_with_a_stream_that_flows_through_the_sandbox_and_a_password_from_systemd(box: Box) -> None:
    wait_for(lambda: "connected to the broker" in status_text(box).replace("NOT connected", ""), "the broker", 30)
    wait_for(lambda: hears(box), "the sensor", 30)
    wait_for(lambda: heard(box, "m/m/p/de/state")["reason"] == "not enrolled yet", "a window to be judged", 30)
    assert status_text(box).startswith("points: 1 not monitored; connected to the broker; engine ")
    logged = box.run("journalctl", "--no-pager")
    assert PASSWORD not in logged
    assert "telemetry" not in logged  # of onnxruntime, which complains where it cannot keep its own


def test_who_is_in_the_groups_may_give_orders_and_nobody_else_gets_near(box: Box) -> None:
    def tried(*command: str, groups: str) -> str:
        return box.run("setpriv", "--reuid=nobody", "--regid=nogroup", f"--groups={groups}", *command, check=False)

    status = [str(PYTHON), "-I", "-m", "echo_edge", "status", "/etc/echo-edge/hall3.yaml"]
    assert "connected to 127.0.0.1:1883" in tried(*status, groups="echo-edge,echo-edge-admin")
    assert "Permission denied" in tried("ls", "/run/echo-edge/hall3", groups="echo-edge")
    assert "Permission denied" in tried("ls", "/etc/echo-edge", groups="audio,dialout")
    modes = box.run("stat", "--format=%A %U %G", "/run/echo-edge/hall3", "/run/echo-edge/hall3/control.sock")
    assert modes.splitlines() == ["drwxr-s--- echo-edge echo-edge-admin", "srw-rw---- echo-edge echo-edge-admin"]


def test_a_reload_with_a_broken_file_fails_with_the_reason_and_the_daemon_goes_on(box: Box) -> None:
    before = box.show(UNIT, "MainPID", "NRestarts", "ActiveState")
    box.write("/etc/echo-edge/hall3.yaml", CONFIG.replace("hop_s", "hopp_s"), 0o640, "root:echo-edge")
    assert "Job for echo-edge@hall3.service failed" in box.run("systemctl", "reload", UNIT, check=False)
    lines = box.run("journalctl", "--no-pager", "--output=cat", "--identifier=echo-edge@hall3").splitlines()
    (reason,) = [line for line in lines if "hopp_s: unknown key; did you mean 'hop_s'?" in line]
    assert reason.startswith("/etc/echo-edge/hall3.yaml:")
    assert any("ready" in line for line in lines)
    assert not [line for line in lines if line.startswith("<")]  # the journal took the priorities off
    assert box.show(UNIT, "MainPID", "NRestarts", "ActiveState") == before
    assert "refused" not in status_text(box)
    assert hears(box)
    box.write("/etc/echo-edge/hall3.yaml", CONFIG, 0o640, "root:echo-edge")
    box.run("systemctl", "reload", UNIT)
    wait_for(lambda: "reading /etc/echo-edge/hall3.yaml again" in box.journal(UNIT), "the mended file to be read", 20)
    wait_for(lambda: box.show(UNIT, "MainPID", "NRestarts", "ActiveState") == before, "the end of the reload", 20)


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(box: Box) -> None:
    wait_for(lambda: box.show("echo-edge@hung", "ActiveState") == {"ActiveState": "active"}, "READY", 50)
    before = box.show("echo-edge@hung", "MainPID", "NRestarts")
    box.run("kill", "-STOP", before["MainPID"])
    wait_for(lambda: box.show("echo-edge@hung", "NRestarts")["NRestarts"] > before["NRestarts"], "a restart", 50)
    assert "Watchdog timeout" in box.journal("echo-edge@hung")
    wait_for(lambda: box.show("echo-edge@hung", "ActiveState") == {"ActiveState": "active"}, "READY again", 50)
    assert box.show("echo-edge@hung", "MainPID")["MainPID"] != before["MainPID"]


def test_a_secret_that_is_missing_is_named_and_not_tried_again(box: Box) -> None:
    wait_for(lambda: box.show("echo-edge@bare", "ActiveState") == {"ActiveState": "failed"}, "the end", 50)
    told = box.show("echo-edge@bare", "ExecMainStatus", "NRestarts", "Result")
    assert told == {"ExecMainStatus": "78", "NRestarts": "0", "Result": "exit-code"}
    assert "mqtt.password_credential: systemd was given no credential 'mqtt-password'" in box.journal("echo-edge@bare")


# What tests/system/sandbox_probe.py must find in the daemon's place.
HELD_BACK: dict[str, object] = {
    "own folders": ["done"] * 4,
    "page socket": "done",
    "temporary file": "done",
    "serial port": "done",
    "other device": "EPERM",
    "own configuration": "EROFS",
    "own code": "EROFS",
    "home": "EACCES",
    "secrets": "EACCES",
    "credentials": ["mqtt-client.key", "mqtt-password", "operators", "operators_anna"],
    "run what it wrote": "EACCES",
    "writable and executable": [],
    "write and execute memory": "EPERM",
    "namespace": "EPERM",
    "netlink": "EAFNOSUPPORT",
    "inet": "done",
    "other processes": False,
    "cpuinfo": True,
}


@pytest.mark.parametrize(("dropin", "allowed"), [(None, {}), ("config-orders", {"own configuration": "done"})])
def test_the_sandbox_holds_back_what_is_not_needed(box: Box, dropin: str | None, allowed: dict[str, str]) -> None:
    config, code = "/etc/echo-edge/probe.yaml", f"{INSTALLED}/own"
    # rights by mode, so that it is the sandbox that refuses; the folder as dropins/config-orders.conf says
    box.run("chmod", "1770", "/etc/echo-edge")
    box.write(config, CONFIG, 0o600, "echo-edge:echo-edge")
    box.write(code, "", 0o600, "echo-edge:echo-edge")
    box.write("/etc/echo-edge/secrets/probe/operators/anna", "key\n", 0o400)
    box.write(f"{INSTALLED}/probe.py", (CHECKOUT / "tests/system/sandbox_probe.py").read_text("utf-8"))
    box.run("sh", "-c", "rm -f /dev/tun; mknod -m 666 /dev/tun c 10 200")  # for everybody, but not for the unit
    command = f"Type=oneshot\nRestart=no\nExecStart=\nExecStart={PYTHON} -I {INSTALLED}/probe.py {config} {code}\n"
    folder = box.root / "etc/systemd/system/echo-edge@probe.service.d"
    box.write("/etc/systemd/system/echo-edge@probe.service.d/probe.conf", f"[Service]\n{command}")
    if dropin is not None:
        box.write(
            f"/etc/systemd/system/echo-edge@probe.service.d/{dropin}.conf",
            (CHECKOUT / "deploy/systemd/dropins" / f"{dropin}.conf").read_text("utf-8"),
        )
    box.run("systemctl", "daemon-reload")
    box.start("echo-edge@probe")
    shutil.rmtree(folder)
    printed = [line for line in box.journal("echo-edge@probe").splitlines() if line.startswith("{")]
    assert json.loads(printed[-1]) == {**HELD_BACK, **allowed}


def answers(box: Box, path: str, *options: str) -> tuple[int, str]:
    """The page's status and text, as a browser on the gateway gets them; 0 where nobody listens."""
    said = box.run("curl", "-sm", "20", "-w", "\\n%{http_code}", *options, f"http://127.0.0.1:8443{path}", check=False)
    text, _, status = said.rpartition("\n")
    return int(status), text


def process(box: Box, unit: str) -> dict[str, str]:
    return box.show(unit, "MainPID", "NRestarts", "ActiveState")


def test_the_page_asks_who_is_there_and_a_code_from_the_console_is_in_no_log(box: Box) -> None:
    wait_for(lambda: box.show(PAGE, "ActiveState")["ActiveState"] == "active", "the page", 50)
    assert box.show(PAGE, "StatusText")["StatusText"].endswith("http://127.0.0.1:8443/")
    status, text = answers(box, "/login")
    assert status == 200
    assert "<input" in text
    assert answers(box, "/", "-H", "Accept: text/html")[0] == 303, "nobody sees a machine without having logged in"
    assert answers(box, "/login", "-H", "Host: evil.example")[0] == 421
    as_page = ["setpriv", "--reuid=echo-edge-web", "--regid=echo-edge-web", "--clear-groups", "env", LIBRARY]
    said = box.run(*as_page, str(PYTHON), "-I", "-m", "echo_edge.web", "setup", "/etc/echo-edge-web/hall3.yaml")
    (code,) = re.findall(r"code +(\S+)", said)
    assert code not in box.run("journalctl", "--no-pager")
    kept = box.run(
        "stat", "--format=%A %U", "/var/lib/echo-edge-web/hall3", "/var/lib/echo-edge-web/hall3/accounts.json"
    )
    assert kept.splitlines() == ["drwx------ echo-edge-web", "-rw------- echo-edge-web"]


def test_other_machines_reach_it_over_tls_once_the_drop_in_lets_them_in(box: Box) -> None:
    unit, config, secrets = "echo-edge-web@lan", "/etc/echo-edge-web/lan.yaml", "/etc/echo-edge-web/secrets/lan"
    folder = "/etc/systemd/system/echo-edge-web@lan.service.d"
    box.run("ip", "address", "add", f"{LAN}/32", "dev", "lo")
    box.run("install", "-d", "-m", "700", secrets)
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lan -keyout {secrets}/new"
    box.run(*make.split(), "-out", "/etc/echo-edge-web/lan.crt", "-addext", f"subjectAltName=IP:{LAN}")
    box.run("chmod", "644", "/etc/echo-edge-web/lan.crt")
    tls = "{certificate_file: /etc/echo-edge-web/lan.crt, key_credential: page.key}"
    box.write(config, f"gateway: hall3\nhost: 0.0.0.0\nport: 8444\nnames: [{LAN}]\ntls: {tls}\n")
    box.write(f"{folder}/port.conf", "[Service]\nSocketBindAllow=tcp:8444\n")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", unit, check=False)
    wait_for(lambda: box.show(unit, "ActiveState") == {"ActiveState": "failed"}, "a page without its key to end", 20)
    assert box.show(unit, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": "78", "NRestarts": "0"}
    assert "/etc/echo-edge-web/secrets/NAME/page.key" in box.journal(unit)

    box.run("mv", f"{secrets}/new", f"{secrets}/page.key")
    box.start(unit)
    asked = ["curl", "-so", "/dev/null", "--cacert", "/etc/echo-edge-web/lan.crt", "-w", "%{http_code}"]
    asked.append(f"https://{LAN}:8444/login")
    assert box.run(*asked, "-m", "1", check=False) == "000"
    lan = (CHECKOUT / "deploy/systemd/dropins/page-lan.conf").read_text("utf-8")
    box.write(f"{folder}/page-lan.conf", lan)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", unit)
    assert box.run(*asked, "-m", "20", check=False) == "200"
    box.run("systemctl", "stop", unit)


# What tests/system/page_probe.py must find in the page's place.
PAGE_HELD_BACK: dict[str, object] = {
    "own state": "done",
    "own configuration": "EROFS",
    "own code": "EROFS",
    "own secrets": "EACCES",
    "credentials": ["page.key"],
    "page socket": "done",
    "a socket beside it": "EACCES",
    "control socket": "EACCES",
    "daemon's configuration": "EACCES",
    "daemon's state": "EACCES",
    "sensor": "ENOENT",
    "sound cards": False,
    "home": "EACCES",
    "groups": [],
    "run what it wrote": "EACCES",
    "other processes": False,
}


def test_the_page_reaches_its_own_socket_and_nothing_else_of_the_daemon(box: Box) -> None:
    code = f"{INSTALLED}/page-own"
    modes = box.run("stat", "--format=%A %U %G", "/run/echo-edge-page", PAGE_SOCKET)
    assert modes.splitlines() == ["drwxr-s--- echo-edge echo-edge-web", "srw-rw---- echo-edge echo-edge-web"]
    box.write("/etc/echo-edge-web/probe.yaml", "", 0o600, "echo-edge-web:echo-edge-web")
    box.write(code, "", 0o600, "echo-edge-web:echo-edge-web")
    box.write(f"{INSTALLED}/page_probe.py", (CHECKOUT / "tests/system/page_probe.py").read_text("utf-8"))
    folder = "/etc/systemd/system/echo-edge-web@probe.service.d"
    probe = f"{PYTHON} -I {INSTALLED}/page_probe.py probe hall3 {code}"
    box.write(f"{folder}/probe.conf", f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={probe}\n")
    box.run("systemctl", "daemon-reload")
    box.start("echo-edge-web@probe")
    shutil.rmtree(box.root / folder.lstrip("/"))
    printed = [line for line in box.journal("echo-edge-web@probe").splitlines() if line.startswith("{")]
    assert json.loads(printed[-1]) == PAGE_HELD_BACK


def test_whatever_becomes_of_the_page_the_daemon_goes_on_and_the_page_outlives_the_daemon(box: Box) -> None:
    wait_for(lambda: hears(box), "the sensor", 30)
    daemon = process(box, UNIT)

    def still_judged() -> None:
        since = heard(box, "m/m/p/de/state")["seq"]
        wait_for(lambda: heard(box, "m/m/p/de/state")["seq"] > since, "another window", 20)
        assert process(box, UNIT) == daemon

    wait_for(lambda: box.show(PAGE, "ActiveState")["ActiveState"] == "active", "the page", 50)
    begun = process(box, PAGE)
    box.run("kill", "-KILL", begun["MainPID"])
    wait_for(lambda: process(box, PAGE)["NRestarts"] > begun["NRestarts"], "another page", 20)
    still_judged()
    wait_for(lambda: answers(box, "/login")[0] == 200, "the page", 50)
    flood = ["curl", "-sZm", "40", "--no-progress-meter", "--parallel-immediate", "--parallel-max", "100"]
    flood += ["-w", "%{http_code}\n", "-o", "/dev/null", "-o", "/dev/null"]
    said = box.run(*flood, *(f"http://127.0.0.1:8443/{path}?[1-50]" for path in ("login", "static/page.css")))
    assert said.split() == ["200"] * 100
    page = process(box, PAGE)
    about = box.run("cat", f"/proc/{page['MainPID']}/status")  # the box has no cgroup that holds it to its ceilings
    (threads,), (memory_kb,) = (re.findall(rf"^{key}:\s+(\d+)", about, re.MULTILINE) for key in ("Threads", "VmHWM"))
    assert int(threads) < int(box.show(PAGE, "TasksMax")["TasksMax"])
    assert int(memory_kb) * 1024 < int(box.show(PAGE, "MemoryMax")["MemoryMax"]) / 2
    box.run("systemctl", "restart", PAGE)
    still_judged()
    page = process(box, PAGE)
    box.run("systemctl", "stop", UNIT)  # for good: the last test
    assert process(box, PAGE) == page
    assert answers(box, "/login")[0] == 200
