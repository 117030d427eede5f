"""Orders through the local socket: the command line gives them, the pipeline's thread carries them out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from echo_edge.cli import app
from echo_edge.config_file import load_config
from echo_edge.control import Control
from echo_edge.control_answers import Answers
from echo_edge.doors import COMMAND_LINE
from echo_edge.errors import OrderError
from echo_edge.order_desk import Desk
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.store import control_socket
from echo_edge.verb_client import give_order
from tests.baselines import enroll, learned
from tests.benches import make_bench
from tests.world import POINT

CONFIG = """\
gateway: {id: gw}
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines: {pump: {points: {de: {device: acc, window: {length_s: 0.5, hop_s: 0.5}}}}}
"""


@pytest.fixture
def file(tmp_path: Path, state_folder: Path) -> Path:  # noqa: ARG001  the commands' state
    path = tmp_path / "line1.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def bench(file: Path, state_folder: Path) -> Iterator[Bench]:
    """Its pipeline's thread runs, and the socket is served."""
    config = load_config(file)
    bench = make_bench(state_folder, config)
    enroll(bench.store, learned())
    monitor, mailbox = bench.monitor, bench.monitor._mailbox
    answers = Answers(config, mailbox, monitor, {}, Desk(bench, VERBS, bench.store.note).carry_out)
    control = Control(control_socket(state_folder), COMMAND_LINE, answers)
    monitor.start()
    control.start()
    yield bench
    control.stop()
    control.join(5)
    mailbox.close()
    monitor.join(5)
    assert monitor.failure is None


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_without_a_daemon_orders_end_with_a_conflict(file: Path) -> None:
    with pytest.raises(OrderError, match="no daemon runs for gateway 'gw'") as caught:
        give_order(load_config(file).gateway.id, "ping", by="lang")
    assert caught.value.exit_code == 6


def test_the_command_line_shows_orders_and_alerts_through_the_running_daemon(file: Path, bench: Bench) -> None:
    told = json.loads(command("status", file, "--json").stdout)
    assert [(point["point"], point["baseline"]) for point in told["points"]] == [(POINT, "bl_0001")]
    shown = command("status", file).stdout
    assert "connected to 127.0.0.1:1883" in shown
    assert "pump/de" in shown

    done = command("threshold", file, POINT, "20", "--for", "2h", "--by", "lang")
    assert "20 false alarms a month, until" in done.stdout
    assert bench.points[POINT].target_per_month == 20
    command("threshold", file, POINT, "configured")
    assert bench.points[POINT].target_per_month == 1

    assert "pump is not monitored for 90min" in command("mute", file, "pump", "--for", "90min").stdout
    assert "pump is monitored again" in command("mute", file, "pump", "--end").stdout
    assert command("mute", file, "pump").exit_code == 2
    assert command("mute", file, "pump", "--for", "soon").exit_code == 2

    assert "no alert is open" in command("alert", "list", file).stdout
    answered = command("alert", "ack", file, "a" * 32, "--by", "lang", "--if-rev", "3")
    assert isinstance(answered.exception, OrderError)
    assert answered.exception.exit_code == 6


def test_any_order_can_be_given_by_its_name(file: Path, bench: Bench) -> None:
    args = json.dumps({"id": "bl_0001", "label": "spring"})
    rehearsed = command("order", file, "baseline.label", "--args", args, "--dry-run")
    assert json.loads(rehearsed.stdout)["would"] == "label bl_0001"
    command("order", file, "baseline.label", "--args", args, "--by", "lang")
    assert bench.store.list()[0].label == "spring"
    for given, code in (
        (("baseline.burn",), 2),
        (("baseline.label", "--args", '{"id": "bl_0001"}'), 2),
        (("baseline.label", "--args", "["), 2),
        (("baseline.rollback", "--args", '{"point": "pump/de"}', "--if", '{"baseline": "bl_0009"}'), 6),
    ):
        result = command("order", file, *given)
        failed = result.exception
        assert (failed.exit_code if isinstance(failed, OrderError) else result.exit_code) == code, given
