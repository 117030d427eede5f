"""What a release is made of: scripts of the package, container files, the wheel. The whole: deploy/test_deb.sh."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
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


def test_in_containers_the_page_shares_one_socket_with_the_daemon_and_no_device_secret_or_state() -> None:
    services = yaml.safe_load((ROOT / "deploy/container/compose.yaml").read_text("utf-8"))["services"]
    daemon, page = services["daemon"], services["page"]

    def places(service: dict[str, Any]) -> dict[str, str]:
        return dict(volume.split(":")[:2] for volume in service["volumes"])

    shared = places(daemon).items() & places(page).items()
    assert shared == {("page-socket", "/run/echo-edge-page")}
    assert daemon["environment"]["ECHO_EDGE_PAGE_SOCKET"] == page["environment"]["ECHO_EDGE_PAGE_SOCKET"]
    assert not {"devices", "group_add", "depends_on", "privileged"} & set(page)
    assert "depends_on" not in daemon
    for service in (daemon, page):
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    uid, _, gid = page["user"].partition(":")
    for name in ("Dockerfile", "Dockerfile.jetson"):
        image = (ROOT / "deploy/container" / name).read_text("utf-8")
        assert f"--uid {uid} " in image
        assert uid == gid
        assert "install -d -o echo-edge -g echo-edge-web -m 2750 /run/echo-edge-page" in image


def test_the_wheel_has_all_that_is_not_python_too() -> None:
    """By what it is told to take; building it costs seconds, and ``make dist`` does."""
    told = read_configuration(str(ROOT / "pyproject.toml"))["tool"]["setuptools"]
    packages = {ROOT / package.replace(".", "/") for package in told["packages"]}
    taken = {
        path
        for package, globs in told["package-data"].items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    for top in ("echo_edge", "sensors", "trainer"):
        for path in (ROOT / top).rglob("*"):
            if path.is_dir() or {"__pycache__", "firmware"} & set(path.parts):
                continue
            assert path.parent in packages if path.suffix == ".py" else path in taken, path


def test_the_pages_on_a_gateway_have_no_dead_links() -> None:
    (told,) = re.findall('^PAGES="(.*)"$', (ROOT / "scripts/dist.sh").read_text("utf-8"), re.MULTILINE)
    taken = [ROOT / page for page in told.split()]
    pages = [page for top in taken for page in ([top] if top.suffix == ".md" else top.rglob("*.md"))]
    assert len(pages) > 30
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            target = (page.parent / link).resolve()
            assert "://" in link or any(target.is_relative_to(top) for top in taken), f"{page}: {link}"


def put_in_force(folder: Path, version: str, restart: str = "true", process: str = "echo steady") -> tuple[int, str]:
    """Switch to a release where one instance runs. Return the status, and which is in force then.

    Args:
        restart: what the instance's restart does, in sh.
        process: tells its process, in sh.
    """
    script = f"""
        . {DEBIAN}/releases.sh
        RELEASES={folder} STAYS_UP_S=0
        systemd_runs() {{ true; }}
        running_instances() {{ echo echo-edge@line1.service; }}
        timeout() {{ shift; "$@"; }}
        systemctl() {{
            case $* in
                "try-restart echo-edge-web@*.service") release_of current >>{folder}/pages; return 1 ;;
                *) release_of current >>{folder}/restarted; {restart} ;;
            esac
        }}
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


def test_pages_follow_their_daemons_to_the_release_in_force_and_one_that_does_not_start_rolls_nothing_back(
    tmp_path: Path,
) -> None:
    assert put_in_force(tmp_path, "1") == (0, "1")
    assert put_in_force(tmp_path, "2", restart='[ "$(release_of current)" != 2 ]') == (1, "1")
    assert put_in_force(tmp_path, "3") == (0, "3")
    assert (tmp_path / "pages").read_text().split() == ["1", "1", "3"]


ROLLBACK = DEBIAN / "echo-edge-rollback"


@pytest.mark.parametrize(
    ("words", "status"), [(["--help"], 0), (["-h"], 0), (["--hlep"], 2), (["0.1.0"], 2), (["--force", "--help"], 2)]
)
def test_going_back_is_asked_for_with_no_word_or_one_that_is_known(words: list[str], status: int) -> None:
    done = subprocess.run(["sh", ROLLBACK, *words], check=False, capture_output=True, text=True)
    assert done.returncode == status
    assert "Usage: sudo echo-edge-rollback [--force]" in (done.stdout if status == 0 else done.stderr)


@pytest.fixture
def gateway(tmp_path: Path) -> str:
    """A gateway where line1 is enabled, line2 runs, and two configurations are drafts; sh, to begin a script with."""
    for name in ("line1.yaml", "line2.yaml", "example.yaml", "my draft.yaml", "state/line1/", "state/old/"):
        path = tmp_path / name
        path.mkdir(parents=True) if name.endswith("/") else path.touch()
    for version in "12":
        command = tmp_path / "releases" / version / "venv/bin/echo-edge"
        command.parent.mkdir(parents=True)
        command.write_text(f"""#!/bin/sh
            echo "$@" >{tmp_path}/asked
            [ -e {tmp_path}/broken ] || exit 0
            echo "warning: not in service: draft.yaml: b"; echo "bad: {tmp_path}/line1.yaml: mqt: unknown key"; exit 78
        """)
        command.chmod(0o755)
    (tmp_path / "current").symlink_to("releases/2")
    (tmp_path / "previous").symlink_to("releases/1")
    return f"""
        . {DEBIAN}/releases.sh
        RELEASES={tmp_path} CONFIGS={tmp_path} PAGES={tmp_path} STATES={tmp_path}/state STAYS_UP_S=0
        as_daemon() {{ "$@"; }}
        timeout() {{ shift; "$@"; }}
        processes() {{ :; }}
        id() {{ echo 0; }}
        running_instances() {{ echo echo-edge@line2.service; }}
        systemctl() {{
            case $* in
                "is-enabled --quiet echo-edge@line1.service" | "is-enabled --quiet echo-edge-web@line1.service") ;;
                daemon-reload) ;;
                restart* | start* | try-restart*) echo "$@" >>{tmp_path}/started ;;
                *) return 1 ;;
            esac
        }}
    """


def in_sh(gateway: str, script: str) -> tuple[int, str]:
    """Run a script on this gateway; return its status, and all that it said."""
    done = subprocess.run(
        ["sh", "-c", gateway + script.replace(". /usr/lib/echo-edge/releases.sh", "")],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_only_what_is_enabled_or_runs_can_stop_a_release(gateway: str, tmp_path: Path) -> None:
    assert in_sh(gateway, f"fits_here {tmp_path}/releases/2") == (0, "\n")
    asked = (tmp_path / "asked").read_text()
    assert asked == "self-test --idle=example --idle=my draft --idle=old\n"


def test_what_stops_a_way_back_is_named_with_the_mend_and_force_goes_back_all_the_same(
    gateway: str, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    status, said = in_sh(gateway, ROLLBACK.read_text())
    assert status == 1
    assert f"1 cannot go on here: {tmp_path}/line1.yaml: mqt: unknown key\n" in said
    assert said.endswith("2 stays in force. Mend that, or go back all the same: sudo echo-edge-rollback --force\n")
    status, said = in_sh(f"set -- --force\n{gateway}", ROLLBACK.read_text())
    assert status == 0, said
    assert said.endswith("1 is in force; the next update of the package ends that\n")
    assert (tmp_path / "current").readlink().name == "1"


def configured(gateway: str, folder: Path, version: str) -> tuple[int, str]:
    """What the package's script does and says with this version unpacked; with stand-ins for systemd and udev."""
    script = (DEBIAN / "postinst").read_text().replace("/usr/lib/echo-edge/release\n", f"{folder}/unpacked\n")
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("systemd-sysusers", "systemd-tmpfiles", "udevadm", "dpkg-query"):
        (folder / "bin" / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / "bin" / name).chmod(0o755)
    shutil.rmtree(folder / "unpacked", ignore_errors=True)
    shutil.copytree(folder / "releases/1", folder / "unpacked")
    stand_ins = f'PATH="{folder}/bin:$PATH"; running_instances() {{ :; }}; systemd_runs() {{ :; }}\n'
    return in_sh(f"set -- configure\n{gateway}\n{stand_ins}", script)


def test_a_refused_update_says_what_is_in_force_and_a_release_installed_anew_does_not_contradict_itself(
    gateway: str, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    status, said = configured(gateway, tmp_path, "3")
    assert status == 1
    assert f"RELEASE 3 WAS REFUSED: {tmp_path}/line1.yaml: mqt: unknown key\n" in said
    assert "RELEASE 2 IS IN FORCE" in said
    status, said = configured(gateway, tmp_path, "2")
    assert status == 1
    assert f"RELEASE 2 CANNOT GO ON HERE: {tmp_path}/line1.yaml: mqt: unknown key\n" in said
    assert "REFUSED" not in said


def test_what_is_still_enabled_is_started_when_the_package_comes_back(gateway: str, tmp_path: Path) -> None:
    (tmp_path / "current").unlink()
    status, said = configured(gateway, tmp_path, "3")
    assert status == 0, said
    assert "starting what is enabled: echo-edge@line1.service\n" in said
    started = (tmp_path / "started").read_text().splitlines()
    assert [line for line in started if line.startswith("start ")] == [
        "start echo-edge@line1.service",
        "start echo-edge-web@line1.service",
    ]


@pytest.mark.parametrize("before", ["2", None])
def test_the_installer_gives_a_beginner_advice_and_says_after_an_update_what_runs(
    before: str | None, gateway: str, tmp_path: Path
) -> None:
    script = (ROOT / "deploy/install.sh").read_text().replace("/opt/echo-edge", str(tmp_path))
    if before is None:
        (tmp_path / "current").unlink()
        gateway += "running_instances() { :; }\n"
    stand_ins = f"""
        cd() {{ command cd {tmp_path}; }}
        sha256sum() {{ :; }}
        dpkg() {{ echo amd64; }}
        ls() {{ echo package.deb; }}
        get() {{ rm -f {tmp_path}/current; ln -s releases/3 {tmp_path}/current; }}
    """
    status, said = in_sh(gateway + stand_ins, script.replace("apt-get install -y", "get"))
    assert status == 0, said
    if before is None:
        assert "sudo cp -n /etc/echo-edge/example.yaml /etc/echo-edge/line1.yaml" in said
    else:
        assert said.startswith("echo-edge 3 is in force (before: 2). Running: echo-edge@line2.service\n")
        assert "line1.yaml" not in said
