"""The page's own socket: what is told to it, what it may order, and what it can never use up or reach."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from echo_edge.board import Board
from echo_edge.control import Control, local_sockets
from echo_edge.control_answers import PAGE_TURNS, Answers
from echo_edge.control_client import send_order
from echo_edge.doors import PAGE
from echo_edge.errors import OrderRefusedError
from echo_edge.mailbox import ORDERS
from echo_edge.order_desk import Desk
from echo_edge.order_types import Role
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.store import MAX_SOCKET_PATH, StoreError, control_socket, page_socket
from tests.baselines import enroll, learned
from tests.benches import make_bench
from tests.broker import wait_for
from tests.world import POINT

PATIENCE_S = 30.0


@dataclass
class Gateway:
    """A bench whose sockets are served."""

    bench: Bench
    board: Board
    folder: Path

    def ask(self, **order: Any) -> dict[str, Any]:
        """What the page is answered."""
        return self._ask(page_socket(self.folder), order)

    def ask_as_command(self, **order: Any) -> dict[str, Any]:
        return self._ask(control_socket(self.folder), order)

    def order(self, verb: str, role: str, **args: Any) -> dict[str, Any]:
        """A verb by the page."""
        return self.ask(order="verb", verb=verb, args=args, actor="m.lang", role=role)

    def watch(self) -> Any:
        return closing(send_order(page_socket(self.folder), {"order": "watch"}, PATIENCE_S))

    @staticmethod
    def _ask(path: Path, order: dict[str, Any]) -> dict[str, Any]:
        (answer,) = send_order(path, order, PATIENCE_S)
        return answer


def read(what: str, _args: Any, role: Role) -> dict[str, Any]:
    if what == "secret":
        raise OrderRefusedError("forbidden", "no", "args.name")
    return {"what": what, "role": role, "by": threading.current_thread().name}


@contextmanager
def served(*controls: Control) -> Iterator[None]:
    for control in controls:
        control.start()
    try:
        yield
    finally:
        for control in controls:
            control.stop()
        for control in controls:
            control.join(10)


@pytest.fixture
def gateway(state_folder: Path) -> Iterator[Gateway]:
    bench = make_bench(state_folder)
    enroll(bench.store, learned())
    monitor, mailbox, board = bench.monitor, bench.monitor._mailbox, Board(bench.topics)
    desk = Desk(bench, VERBS, bench.store.note)
    answers = Answers(bench.config, mailbox, monitor, {}, desk.carry_out, board=board, read=read)
    monitor.start()
    try:
        with served(*local_sockets(state_folder, answers, page=True)):
            yield Gateway(bench, board, state_folder)
    finally:
        mailbox.close()
        monitor.join(5)
    assert monitor.failure is None


def test_a_watch_tells_what_is_known_then_that_it_is_complete_then_every_change(gateway: Gateway) -> None:
    topics = gateway.bench.topics
    gateway.board.put(topics.info, b'{"version":"1"}')
    gateway.board.put(topics.state(POINT), '{"reason":"Prüfung"}'.encode())
    with gateway.watch() as told:
        assert [next(told)["progress"] for _ in range(3)] == [
            {"topic": "info", "message": {"version": "1"}},
            {"topic": "m/pump/p/de/state", "message": {"reason": "Prüfung"}},
            {"complete": True},
        ]
        gateway.board.live(topics.score(POINT), b'{"raw":1.5}')
        assert next(told)["progress"] == {"topic": "m/pump/p/de/score", "message": {"raw": 1.5}}
        gateway.board.put(topics.state(POINT), b"")
        assert next(told)["progress"] == {"topic": "m/pump/p/de/state", "message": {}}


def test_silence_is_told_too(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echo_edge.control_answers.WATCH_S", 0.2)
    with gateway.watch() as told:
        assert [next(told)["progress"] for _ in range(3)] == [{"complete": True}, {"idle": True}, {"idle": True}]


def test_a_watcher_that_reads_nothing_for_a_while_then_gets_the_newest(gateway: Gateway) -> None:
    health = gateway.bench.topics.health
    filling = b'"' + b"x" * 10_000 + b'"'
    with gateway.watch() as told:
        assert next(told) == {"progress": {"complete": True}}
        for number in range(500):  # 5 MB: far more than the kernel holds for it
            gateway.board.put(health, b'{"number":%d,"filling":%s}' % (number, filling))
        numbers = []
        while not numbers or numbers[-1] != 499:
            numbers.append(next(told)["progress"]["message"]["number"])
    assert len(numbers) < 100
    assert numbers == sorted(numbers)


def test_a_watcher_that_went_away_is_noticed_in_silence_and_its_thread_ends(gateway: Gateway) -> None:
    with gateway.watch() as told:
        next(told)
        assert gateway.board.watchers == 1
    wait_for(lambda: gateway.board.watchers == 0, "the watch to end")
    wait_for(lambda: "page:client" not in [t.name for t in threading.enumerate()], "its thread to end")


def test_a_watch_ends_when_the_daemon_stops(gateway: Gateway, state_folder: Path) -> None:
    monitor, mailbox = gateway.bench.monitor, gateway.bench.monitor._mailbox
    again = Answers(gateway.bench.config, mailbox, monitor, {}, board=gateway.board)
    path = state_folder / "again.sock"
    for _ in range(2):  # as a reload does: the old one ends, and a new one listens on the same path
        with ExitStack() as stack:
            stack.enter_context(served(Control(path, PAGE, again)))
            told = send_order(path, {"order": "watch"}, PATIENCE_S)
            assert next(told) == {"progress": {"complete": True}}
        last = list(told)[-1]
        assert (last["ok"], last["error"]) == (False, "the daemon is stopping")
        again = Answers(gateway.bench.config, mailbox, monitor, {}, board=gateway.board)
    assert not path.exists()


def test_what_a_person_may_goes_by_the_role_that_the_page_says(gateway: Gateway) -> None:
    ack = {"alert_id": "a" * 32}
    told = gateway.order("alert.ack", "viewer", **ack)
    assert (told["kind"], told["code"]) == ("forbidden", 1)
    assert "alert.ack is for technician, m.lang is viewer" in told["error"]
    assert gateway.order("alert.ack", "technician", **ack)["kind"] == "conflict"  # let in: there is no such alert
    done = gateway.order("threshold.set", "engineer", point=POINT, target_false_alarms_per_month=20)
    assert done["ok"], done
    assert gateway.order("ping", "viewer")["ok"]


def test_whoever_claims_to_be_an_administrator_is_an_engineer_to_the_page(gateway: Gateway) -> None:
    admin = [name for name, verb in VERBS.items() if verb.role == "admin"]
    assert admin
    for verb in admin:
        told = gateway.order(verb, "admin")
        assert (told["kind"], "m.lang is engineer" in told["error"]) == ("forbidden", True), told


def test_without_a_role_the_page_is_a_viewer_and_the_command_line_an_administrator(gateway: Gateway) -> None:
    label: dict[str, Any] = {"order": "verb", "verb": "baseline.label", "args": {"id": "bl_0001", "label": "spring"}}
    assert gateway.ask(**label)["kind"] == "forbidden"
    assert gateway.ask_as_command(**label)["ok"]
    assert gateway.ask_as_command(**label, role="viewer")["kind"] == "forbidden"


def test_the_audit_log_says_that_it_came_by_the_page(gateway: Gateway) -> None:
    gateway.order("baseline.label", "engineer", id="bl_0001", label="spring")
    newest = gateway.bench.store.audit()[-1]
    assert (newest.who, newest.what, newest.why) == ("m.lang", "order", "engineer by web")


def test_the_page_gets_no_sound_and_none_of_the_orders_without_a_role(gateway: Gateway) -> None:
    for order in (
        {"order": "listen", "point": POINT},
        {"order": "enroll.start", "point": POINT},
        {"order": "enroll.reject", "point": POINT, "session": "1"},
        {"order": "enroll.watch", "point": POINT, "session": "1"},
        {"order": "state", "do": "set", "point": POINT, "name": "run"},
        {"order": "baseline", "verb": "rollback", "args": {"point": POINT}},
        {"order": "review", "verb": "accept", "args": {}},
    ):
        told = gateway.ask(**order)
        assert (told["ok"], told["kind"]) == (False, "forbidden"), told
    told = gateway.order("enroll.start", "engineer", point=POINT, minutes=1.0, files=["/etc/passwd"], healthy=True)
    assert "only the command line names files" in told["error"]


def test_errors_name_their_kind_and_the_argument(gateway: Gateway) -> None:
    told = gateway.order("threshold.set", "engineer", point=POINT, target_false_alarms_per_month="few")
    assert (told["kind"], told["where"], told["code"]) == ("bad_args", "target_false_alarms_per_month", 2)
    told = gateway.order("alert.ak", "technician")
    assert (told["kind"], told.get("where")) == ("unknown_verb", None)
    assert gateway.ask(order="verb", verb="ping", role="king")["kind"] == "bad_args"
    assert gateway.ask(order="nonsense")["kind"] == "bad_args"


def test_reading_is_done_beside_the_pipeline_within_a_role(gateway: Gateway) -> None:
    told = gateway.ask(order="read", what="history", role="admin")
    assert told == {"ok": True, "result": {"what": "history", "role": "engineer", "by": "page:client"}}
    told = gateway.ask(order="read", what="secret")
    assert (told["kind"], told["where"]) == ("forbidden", "name")


def test_a_page_with_all_its_clients_leaves_the_command_line_its_own(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(PAGE.clients):
            watching = stack.enter_context(gateway.watch())
            next(watching)
        told = gateway.ask(order="watch")
        assert (told["kind"], told["code"]) == ("busy", 6)
        assert gateway.ask_as_command(order="verb", verb="ping")["ok"]
    wait_for(lambda: gateway.board.watchers == 0, "all to leave")
    assert gateway.order("ping", "viewer")["ok"]


def test_a_thread_that_cannot_be_started_costs_one_client_and_not_the_socket(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(page_socket(gateway.folder)))
            assert client.recv(1) == b""
    assert gateway.ask(order="read", what="x", role="viewer")["ok"]


def test_a_page_with_many_orders_leaves_room_for_those_of_others(gateway: Gateway) -> None:
    mailbox, held, begun = gateway.bench.monitor._mailbox, threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        held.wait(PATIENCE_S)

    assert mailbox.order(hold)
    assert begun.wait(PATIENCE_S)
    told: list[bool] = []
    pages = [
        threading.Thread(target=lambda: told.append(gateway.order("ping", "viewer")["ok"])) for _ in range(PAGE.clients)
    ]
    for page in pages:
        page.start()
    wait_for(lambda: len(mailbox._orders) == PAGE_TURNS, "the first of them to wait for the pipeline")
    assert all(mailbox.order(lambda: None) for _ in range(ORDERS - PAGE_TURNS))
    held.set()
    for page in pages:
        page.join(PATIENCE_S)
    assert told == [True] * PAGE.clients


def test_the_socket_is_the_users_alone_and_where_its_folder_says_so_the_groups(
    gateway: Gateway, tmp_path: Path
) -> None:
    assert stat.S_IMODE(page_socket(gateway.folder).stat().st_mode) == 0o600
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    control = Control(shared / "hall3.sock", PAGE, Answers(gateway.bench.config, None, gateway.bench.monitor, {}))  # type: ignore[arg-type]
    assert stat.S_IMODE((shared / "hall3.sock").stat().st_mode) == 0o660
    control.stop()
    control.run()


def test_it_lies_where_the_unit_says_else_beside_that_for_orders(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page_socket(state_folder) == state_folder / "page.sock"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/echo-edge/hall3")
    assert page_socket(state_folder) == Path("/run/echo-edge/hall3/page.sock")
    monkeypatch.setenv("ECHO_EDGE_PAGE_SOCKET", "/run/echo-edge-page/hall3.sock")
    assert page_socket(state_folder) == Path("/run/echo-edge-page/hall3.sock")
    monkeypatch.setenv("ECHO_EDGE_PAGE_SOCKET", "/run/" + "x" * MAX_SOCKET_PATH)
    with pytest.raises(StoreError, match="more than"):
        page_socket(state_folder)


def test_without_a_folder_for_it_there_is_no_page_and_the_command_line_is_served(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ECHO_EDGE_PAGE_SOCKET", str(state_folder / "absent" / "hall3.sock"))
    (only,) = local_sockets(state_folder, Answers(None, None, None, {}), page=True)  # type: ignore[arg-type]
    assert control_socket(state_folder).exists()
    assert [record.message for record in caplog.records] == [
        "the page cannot reach this daemon: no socket for it: [Errno 2] No such file or directory: "
        f"'{state_folder / 'absent'}'"
    ]
    only.stop()
    only.run()


def test_nonsense_and_silence_cost_a_place_and_nothing_more(gateway: Gateway) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(page_socket(gateway.folder)))
        client.sendall(b"\x00\xff{{{\n")
        assert json.loads(client.makefile("rb").readline())["ok"] is False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(page_socket(gateway.folder)))
        assert gateway.order("ping", "viewer")["ok"]


def test_a_watcher_that_says_more_than_its_order_is_let_go(gateway: Gateway) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(page_socket(gateway.folder)))
        with client.makefile("rb") as lines:
            client.sendall(b'{"order":"watch"}\n')
            assert json.loads(lines.readline()) == {"progress": {"complete": True}}
            client.sendall(b"and more")
            with suppress(ConnectionResetError):
                assert lines.readline() == b""
    wait_for(lambda: gateway.board.watchers == 0, "the watch to end")


def test_an_order_is_short_and_a_file_that_is_imported_is_one_at_a_time(gateway: Gateway) -> None:
    told = gateway.order("ping", "viewer", filling="x" * (1 << 20))
    assert (told["kind"], told["error"]) == ("bad_args", f"an order has at most {PAGE.order_bytes} bytes")
    file: dict[str, Any] = {"order": "read", "what": "import", "args": {"data": "A" * (5 << 20)}}
    assert gateway.ask(**file)["ok"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as half, half.makefile("rb") as lines:
        half.settimeout(PATIENCE_S)
        half.connect(str(page_socket(gateway.folder)))
        begun, rest = json.dumps(file).encode()[:-1], b"}\n"
        half.sendall(begun)
        assert "another file" in gateway.ask(**file)["error"]
        half.sendall(rest)
        assert json.loads(lines.readline())["ok"]
    bomb: dict[str, Any] = {"order": "read", "what": "import", "args": {"data": [[]] * 50_000}}
    assert "one file and nothing else" in gateway.ask(**bomb)["error"]
    assert gateway.ask(**file)["ok"]
