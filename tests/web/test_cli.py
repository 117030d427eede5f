"""The commands of the page: what they print, what they exit with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from echo_edge.web.accounts import Accounts
from echo_edge.web.cli import main


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    path = tmp_path / "web.yaml"
    path.write_text("gateway: gw-hall3\n")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["echo-edge-web", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_first_admin_gets_a_code_and_is_told_where_to_use_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "setup", config, "--name", "boss") == 0
    said = capsys.readouterr().out
    code = re.search(r"one-time code +(\S+)", said)
    assert code is not None
    assert Accounts(config.parent).check_code("boss", code[1])
    assert "open http://127.0.0.1:8443/first" in said
    assert "ssh -L 8443:127.0.0.1:8443" in said
    assert run(monkeypatch, "setup", config) == 2
    assert "there is an admin already" in capsys.readouterr().err


def test_people_are_let_in_changed_listed_and_removed(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "setup", config)
    assert run(monkeypatch, "user", "add", config, "m.lang", "--role", "viewer") == 0
    assert run(monkeypatch, "user", "role", config, "m.lang", "engineer") == 0
    assert run(monkeypatch, "user", "code", config, "m.lang") == 0
    capsys.readouterr()
    assert run(monkeypatch, "user", "list", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["admin", "admin", "code"], ["m.lang", "engineer", "code"]]
    assert run(monkeypatch, "user", "remove", config, "m.lang") == 0
    assert run(monkeypatch, "user", "remove", config, "m.lang") == 2
    assert "there is no 'm.lang'" in capsys.readouterr().err
    assert run(monkeypatch, "user", "remove", config, "admin") == 2
    assert "last admin" in capsys.readouterr().err
    assert run(monkeypatch, "user", "add", config, "x", "--role", "god") == 2
    assert "'god' is no role; there are viewer, technician, engineer, admin" in capsys.readouterr().err


def test_a_check_names_what_is_wrong_and_exits_with_78(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", config) == 0
    assert "fine. The page of gw-hall3 is at http://127.0.0.1:8443/" in capsys.readouterr().out
    config.write_text("gateway: gw-hall3\nhost: 0.0.0.0\n")
    assert run(monkeypatch, "check", config) == 78
    assert "web.yaml:1: names: is needed where host is 0.0.0.0" in capsys.readouterr().err


def test_damaged_accounts_are_for_a_person_to_mend(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "accounts.json").write_text("{")
    (config.parent / "accounts.json").chmod(0o600)
    assert run(monkeypatch, "user", "list", config) == 78
    assert "is damaged; put back a copy" in capsys.readouterr().err


def test_without_its_extra_it_says_how_to_install_it() -> None:
    script = "import sys; sys.modules['uvicorn'] = None\nfrom echo_edge.web.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "echo-edge-web needs the package uvicorn: pip install 'echo-edge[web]'\n"
