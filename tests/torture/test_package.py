"""The Debian package, built, in a clean root and under a real systemd: a bad release gives way within two minutes.

Minutes long, and as root: with ECHO_EDGE_TORTURE=1 only.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import wait_for
from tests.system.box import CHECKOUT, Box, booted

pytestmark = [
    pytest.mark.skipif(os.environ.get("ECHO_EDGE_TORTURE") != "1", reason="minutes long: make torture"),
    pytest.mark.timeout(1800),
]

UNIT = "echo-edge@line1"
PAGE = "echo-edge-web@line1"
CONFIG = """
gateway: {id: line1}
devices: {acc: {kind: simulator, rate_hz: 8000}}
machines: {m: {points: {de: {device: acc, window: {length_s: 0.5, hop_s: 0.5}}}}}
"""
WATCH_S = 120  # a bad release must be gone within
IN_RUN = "def run(config: ConfigPath) -> None:"


@pytest.fixture(scope="module")
def package() -> Path:
    """The package of this commit."""
    subprocess.run([CHECKOUT / "scripts/dist.sh"], check=True)
    (package,) = (CHECKOUT / "dist").glob("*.deb")
    return package


@pytest.fixture(scope="module")
def box(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A gateway on which the package is installed and one instance runs, with its page."""
    with booted(tmp_path_factory.mktemp("box")) as box:
        assert install(box, package) == 0
        box.write("/etc/echo-edge/line1.yaml", CONFIG, 0o640, "root:echo-edge")
        box.write("/etc/echo-edge-web/line1.yaml", "gateway: line1\n", 0o640, "root:echo-edge-web")
        box.run("systemctl", "enable", "--now", UNIT, PAGE, timeout_s=200)
        yield box


def install(box: Box, package: Path) -> int:
    """As apt does it; returns the exit status and shows what was said."""
    there = box.root / "root" / package.name
    there.write_bytes(package.read_bytes())
    said = box.run("sh", "-c", f"dpkg -i /root/{package.name}; echo status $?", timeout_s=400)
    there.unlink()
    print(said)
    return int(said.split()[-1])


def variant(package: Path, folder: Path, version: str, change: str = "") -> Path:
    subprocess.run([CHECKOUT / "deploy/deb_variant.sh", package, version, folder, change], check=True)
    (made,) = folder.glob(f"*_{version}_*.deb")
    return made


def in_force(box: Box) -> tuple[str, str]:
    """The release that ``current`` leads to, and how the instance is."""
    current = box.run("readlink", "/opt/echo-edge/current").strip()
    return current.rpartition("/")[2], box.show(UNIT, "ActiveState")["ActiveState"]


def test_in_a_clean_root_it_installs_updates_refuses_goes_back_and_leaves_nothing(
    package: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert package.exists()
    subprocess.run([CHECKOUT / "deploy/test_deb.sh", tmp_path_factory.mktemp("clean")], check=True)


def test_a_page_that_does_not_start_is_said_and_stops_no_update(box: Box, package: Path, tmp_path: Path) -> None:
    assert box.show(PAGE, "ActiveState")["ActiveState"] == "active"
    change = "echo 'raise SystemExit(70)' >web/__main__.py; rm web/__pycache__/__main__.*"
    assert install(box, variant(package, tmp_path, "0.9.0", change)) == 0
    assert in_force(box) == ("0.9.0", "active")
    assert box.show(PAGE, "ActiveState")["ActiveState"] != "active"


def test_an_update_restarts_what_runs_and_takes_over(box: Box, package: Path, tmp_path: Path) -> None:
    before = box.show(UNIT, "MainPID")
    assert install(box, variant(package, tmp_path, "0.9.1")) == 0
    assert in_force(box) == ("0.9.1", "active")
    assert box.show(UNIT, "MainPID") != before
    wait_for(lambda: box.show(PAGE, "ActiveState")["ActiveState"] == "active", "the page, by the mended release", 60)


@pytest.mark.parametrize(
    ("version", "sickness"),
    [("0.9.2", "raise SystemExit(70)"), ("0.9.3", "import threading; threading.Timer(15, os._exit, (70,)).start()")],
    ids=["never ready", "ready, then dead"],
)
def test_a_release_that_does_not_stay_up_gives_way_to_the_one_before(
    box: Box, package: Path, tmp_path: Path, version: str, sickness: str
) -> None:
    change = f"""sed -i 's/^{IN_RUN}$/&\\n    {sickness}/' cli.py; grep -q '{sickness}' cli.py"""
    bad = variant(package, tmp_path, version, change)
    began_s = time.monotonic()
    assert install(box, bad) == 1
    took_s = time.monotonic() - began_s
    print(f"back after {took_s:.0f} s")
    assert in_force(box) == ("0.9.1", "active")
    assert took_s < WATCH_S
    process = box.show(UNIT, "MainPID")
    assert "refused" in box.run("sh", "-c", "dpkg --configure echo-edge 2>&1", check=False).lower()
    assert box.show(UNIT, "MainPID") == process, "a second try would interrupt the monitoring"


def test_rollback_by_hand_and_removal_stop_and_start_what_they_must(box: Box, package: Path, tmp_path: Path) -> None:
    before, page = in_force(box), box.show(PAGE, "MainPID")
    assert install(box, variant(package, tmp_path, "0.9.4")) == 0
    assert box.show(PAGE, "MainPID") != page
    box.run("echo-edge-rollback", timeout_s=200)
    assert in_force(box) == before
    box.run("dpkg", "--remove", "echo-edge")
    assert {box.show(unit, "ActiveState")["ActiveState"] for unit in (UNIT, PAGE)} == {"inactive"}
    assert install(box, package) == 0
    assert in_force(box)[1] == "active", "it is enabled still"
    assert box.show(PAGE, "ActiveState")["ActiveState"] == "active"
