"""Orders that are allowed and meant badly: what they cost stays small."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from echo_edge.config_check import check
from echo_edge.errors import ConfigError, EchoEdgeError
from echo_edge.log_lines import OneLine
from echo_edge.order_desk import REFUSED, Desk
from echo_edge.order_types import Call, Verb
from echo_edge.verbs import Args
from tests.benches import begun, give, make_bench

MACHINES = "machines: {m: {points: {p: {device: acc}}}}\n"
SMALL = "gateway: {id: gw}\ndevices: {acc: {kind: simulator, rate_hz: 16000}}\n"


def test_a_few_lines_that_stand_for_millions_are_refused_at_once(tmp_path: Path) -> None:
    points = ", ".join(f"p{i}: *p" for i in range(50))
    machines = "\n".join(f"  m{i}: *m" for i in range(50))
    text = SMALL + f"machines:\n  a: &m {{points: {{p: &p {{device: nothing}}, {points}}}}}\n{machines}\n"
    begun_s = time.monotonic()
    with pytest.raises(ConfigError, match="aliases"):
        check(tmp_path / "line1.yaml", text)
    assert time.monotonic() - begun_s < 2


def test_a_path_to_a_device_or_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe")):
        for section in (f"mqtt: {{username: gw, password_file: {path}}}", f"mqtt: {{tls: {{ca_file: {path}}}}}"):
            with pytest.raises(ConfigError, match="neither a file nor a folder"):
                check(tmp_path / "line1.yaml", f"{SMALL}{section}\n{MACHINES}")


def test_a_password_that_is_no_text_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_bytes(b"\xff\xfe\n")
    text = f"{SMALL}mqtt: {{username: gw, password_file: password}}\n{MACHINES}"
    with pytest.raises(ConfigError, match="holds no password"):
        check(tmp_path / "line1.yaml", text)


def test_the_same_refusal_is_written_down_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows: list[tuple[str, ...]] = []
    verbs: dict[str, Verb[None, Any]] = {"config.apply": Verb("admin", Args, lambda *_: {}, "Applies.")}
    desk = Desk(None, verbs, lambda *row: rows.append(row))
    for actor in ("m-lang", "t-berg"):
        for _ in range(50):
            with pytest.raises(EchoEdgeError):
                desk.carry_out("config.apply", {}, Call(actor, "technician", "mqtt"))
    assert [(row[0], row[1]) for row in rows] == [("m-lang", REFUSED), ("t-berg", REFUSED)]


@pytest.mark.parametrize("rev", [None, True, "1", 0])
def test_a_condition_that_says_nothing_is_refused(tmp_path: Path, rev: Any) -> None:
    bench = begun(make_bench(tmp_path / "state"))
    with pytest.raises(EchoEdgeError, match=r"if\.rev"):
        give(bench, "alert.ack", expect={"rev": rev}, alert_id="a" * 32)


def test_what_somebody_sends_makes_no_line_of_its_own_in_the_log() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "point %s", ("x\nERROR forged\x1b[31m",), None)
    line = OneLine().format(record)
    assert line == "INFO a: point x\\nERROR forged\\x1b[31m"
