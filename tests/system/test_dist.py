"""What a release is made of: scripts of the package, container files, the wheel. The whole: deploy/test_deb.sh."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import read_configuration

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "deploy" / "debian"
SH = [
    *(DEBIAN / name for name in ("preinst", "postinst", "prerm", "postrm", "releases.sh", "echo-edge-rollback")),
    ROOT / "deploy" / "install.sh",
    ROOT / "scripts" / "dist.sh",
]


def test_the_scripts_of_the_package_are_sound() -> None:
    for script in SH:
        subprocess.run(["sh", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck")
    scripts = [*SH, ROOT / "deploy" / "test_deb.sh"]
    subprocess.run([shellcheck, "--severity=warning", "--external-sources", *scripts], check=True, cwd=ROOT)


def test_the_container_files_are_sound() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("no hadolint for this machine")
    files = sorted((ROOT / "deploy" / "container").glob("Dockerfile*[!e]"))
    subprocess.run([hadolint, *files], check=True)


def test_the_wheel_has_all_that_is_not_python_too() -> None:
    """By what it is told to take; building it costs seconds, and ``make dist`` does."""
    told = read_configuration(str(ROOT / "pyproject.toml"))["tool"]["setuptools"]
    packages = {ROOT / package.replace(".", "/") for package in told["packages"]}
    taken = {
        path
        for package, globs in told["package-data"].items()
        for glob in globs
        for path in (ROOT / package).glob(glob)
    }
    for top in ("echo_edge", "sensors", "trainer"):
        for path in (ROOT / top).rglob("*"):
            if path.is_dir() or {"__pycache__", "firmware"} & set(path.parts):
                continue
            assert path.parent in packages if path.suffix == ".py" else path in taken, path


def put_in_force(folder: Path, version: str, restart: str = "true", process: str = "echo steady") -> tuple[int, str]:
    """Switch to a release where one instance runs. Return the status, and which is in force then.

    Args:
        restart: what the instance's restart does, in sh.
        process: tells its process, in sh.
    """
    script = f"""
        . {DEBIAN}/releases.sh
        RELEASES={folder} STAYS_UP_S=0
        running_instances() {{ echo echo-edge@line1.service; }}
        timeout() {{ shift; "$@"; }}
        systemctl() {{ release_of current >>{folder}/restarted; {restart}; }}
        processes() {{ {process}; }}
        put_in_force {version}
    """
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True)
    return done.returncode, (folder / "current").readlink().name


def test_a_release_whose_instances_do_not_start_or_stay_up_gives_way_to_the_one_before(tmp_path: Path) -> None:
    restarted = tmp_path / "restarted"
    assert put_in_force(tmp_path, "1") == (0, "1")
    assert put_in_force(tmp_path, "2") == (0, "2")
    restarted.unlink()
    assert put_in_force(tmp_path, "3", restart='[ "$(release_of current)" != 3 ]') == (1, "2")
    assert restarted.read_text().split() == ["3", "2"], "the one before was started again"
    restarted.unlink()
    assert put_in_force(tmp_path, "4", process=f"echo told >>{tmp_path}/told; wc -l <{tmp_path}/told") == (1, "2")
    assert restarted.read_text().split() == ["4", "2"]
    assert (tmp_path / "previous").readlink().name == "1"
