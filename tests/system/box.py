"""A machine to try a service on: a real systemd, booted in a throw-away copy of this one, this checkout installed.

The copy is an overlay over ``/`` in memory: what happens in the box stays there. It has devices, processes and a
network of its own (loopback only), and is gone when this process ends, however it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.broker import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = Path("/opt/echo-edge")
PYTHON = INSTALLED / "current/venv/bin/python"
BOOT_S = 50.0

# setpriv: the outermost process dies with this one. unshare: what is in its process namespace dies with it.
APART = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation=private", "--pid", "--fork"]
APART += ["--kill-child=KILL", "--mount-proc"]
NSPAWN = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
# bpf: by it the box's systemd holds devices back, as long as it has cgroups of version 2.
NSPAWN += ["--console=pipe", "--capability=CAP_BPF", "--system-call-filter=bpf"]
CGROUPS_2 = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}

# Of / in memory, in $1.
OVERLAY = """
mount -t tmpfs tmpfs $1
mkdir $1/upper $1/work $1/root
mount -t overlay overlay -o lowerdir=/,upperdir=$1/upper,workdir=$1/work $1/root
"""
# In a mount namespace of its own, so that no mount is left; and in cgroups of its own, which two boxes must not share.
# $1: an empty folder. The rest: how to go on.
BOOT = f"""
set -e
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e $tree/cgroup.procs ]; then mkdir -p $tree/$(basename $1); echo $$ > $tree/$(basename $1)/cgroup.procs; fi
done
{OVERLAY}
rm -f $1/root/etc/machine-id $1/root/etc/systemd/system/*.wants/*
touch $1/root/etc/machine-id
mkdir -p $1/root{INSTALLED}
shift
exec "$@"
"""


class Box:
    """One booted box. ``root`` is its file system, as seen from outside."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", "-t", str(leader), "-m", "-p", "-u", "-i", "-n", "-C", "--"]
        self.root = Path(f"/proc/{leader}/root")

    @property
    def has_booted(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}

    def run(self, *command: str, check: bool = True, timeout_s: float = 50) -> str:
        """Run a command in the box, as root; returns what it printed, errors included."""
        done = subprocess.run(
            [*self._enter, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}: {done.stdout}"
        return done.stdout

    def write(self, path: str | Path, text: str, mode: int = 0o644, owner: str | None = None) -> None:
        """Put a file into the box, with its folders; ``owner`` is ``USER:GROUP`` there."""
        there = self.root / str(path).lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, "utf-8")
        there.chmod(mode)
        if owner is not None:
            self.run("chown", owner, str(path))

    def service(self, name: str, *command: str | Path) -> None:
        """Begin something that goes on in the box while the test does."""
        self.run("systemd-run", "--quiet", f"--unit={name}", *map(str, command))

    def start(self, unit: str) -> None:
        """Start a unit, and wait until it is up; what it logged is told where it is not."""
        try:
            self.run("systemctl", "start", unit)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal(unit)}") from None

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What systemd says of a unit."""
        printed = self.run("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in printed.splitlines())

    def journal(self, unit: str, *options: str) -> str:
        """What a unit logged and what systemd said of it, oldest first."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", *options)


@contextmanager
def booted(folder: Path) -> Iterator[Box]:
    """Boot a box in an empty folder of its own; skips the test where this machine has not what it takes."""
    if (reason := _missing(folder)) is not None:
        pytest.skip(f"a systemd of its own: {reason}")
    name = f"echo-edge-box-{os.getpid()}"
    base = folder / name
    base.mkdir()
    script = base.with_suffix(".sh")
    script.write_text(BOOT)
    log = folder / "boot.log"
    command = [*APART, "sh", str(script), str(base)]
    command += [*NSPAWN, f"--directory={base}/root", *_binds(), "--boot", "systemd.unit=basic.target"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **CGROUPS_2},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Box(_leader(process, log))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        _remove_cgroups(name)


def _missing(folder: Path) -> str | None:
    """What a box needs and this machine has not; None when nothing is known to be missing. ``folder`` is empty."""
    if os.geteuid() != 0:
        return "needs root"
    tools = ("systemd-nspawn", "unshare", "setpriv", "nsenter")
    if absent := [tool for tool in tools if shutil.which(tool) is None]:
        return f"{', '.join(absent)} not installed"
    command = [*APART, "sh", "-ec", OVERLAY, "sh", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return f"no overlay can be mounted here: {done.stderr.partition(chr(10))[0]}" if done.returncode else None


def _binds() -> list[str]:
    """What lies elsewhere here, to where a package would put it: nothing of it may lie in somebody's home."""
    packages = INSTALLED / "packages"
    binds = {CHECKOUT: INSTALLED / "checkout", Path(sysconfig.get_paths()["purelib"]): packages}
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        binds[Path(sys.base_prefix)] = INSTALLED / "python"
    return [f"--bind-ro={source}:{target}" for source, target in binds.items()]


def install(box: Box) -> None:
    """Do by hand what a package does: the environment, the units, the users, the folders."""
    home = Path(sys.base_prefix if Path(sys.base_prefix).is_relative_to("/usr") else INSTALLED / "python") / "bin"
    version = f"python3.{sys.version_info.minor}"
    venv = PYTHON.parents[1]
    box.write(venv / "pyvenv.cfg", f"home = {home}\ninclude-system-site-packages = false\n")
    box.write(venv / "lib" / version / "site-packages/box.pth", f"{INSTALLED}/checkout\n{INSTALLED}/packages\n")
    (box.root / str(PYTHON.parent).lstrip("/")).mkdir()
    (box.root / str(PYTHON).lstrip("/")).symlink_to(home / version)
    deployed = CHECKOUT / "deploy" / "systemd"
    for name, target in (
        ("echo-edge@.service", "systemd/system/echo-edge@.service"),
        ("echo-edge-web@.service", "systemd/system/echo-edge-web@.service"),
        ("sysusers.conf", "sysusers.d/echo-edge.conf"),
        ("tmpfiles.conf", "tmpfiles.d/echo-edge.conf"),
        ("tmpfiles-web.conf", "tmpfiles.d/echo-edge-web.conf"),
    ):
        box.write(f"/usr/lib/{target}", (deployed / name).read_text("utf-8"))
    box.run("systemd-sysusers", "echo-edge.conf")
    box.run("systemd-tmpfiles", "--create", "echo-edge.conf", "echo-edge-web.conf")
    box.run("systemctl", "daemon-reload")


def _leader(process: subprocess.Popen[bytes], log: Path) -> int:
    """The process id, here, of the box's first process, once it has booted."""

    def said() -> str:
        return log.read_text(errors="replace")[-2000:]

    deadline_s = time.monotonic() + BOOT_S
    while time.monotonic() < deadline_s:
        if (code := process.poll()) is not None:
            raise AssertionError(f"the box ended ({code}): {said()}")
        leader = _grandchild(process.pid)
        if leader is not None and Box(leader).has_booted:
            return leader
        time.sleep(0.05)
    raise AssertionError(f"the box did not boot within {BOOT_S:.0f} s: {said()}")


def _grandchild(pid: int) -> int | None:
    """unshare -> systemd-nspawn -> the box's systemd."""
    for _ in range(2):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        if not children:
            return None
        pid = int(children[0])
    return pid


def _remove_cgroups(name: str) -> None:
    for tree in ("", "systemd", "unified"):
        top = Path("/sys/fs/cgroup") / tree / name
        if not top.is_dir():
            continue

        def gone(top: Path = top) -> bool:
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):  # a process in it is still dying
                    Path(folder).rmdir()
            return not top.exists()

        wait_for(gone, f"{top} to be empty")
