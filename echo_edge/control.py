"""Control: orders from the command line over a Unix socket, posted to the pipeline thread.

One JSON object per line each way: an order, then any number of ``{"progress": ...}``, then one answer with ``ok``.
The socket's permissions are the access check: the service's own user can connect, and who is in the group of its folder
where that is set-group-ID.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import select
import socket
import stat
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from echo_edge.capture import Capture, SensorStatus
from echo_edge.config import Config
from echo_edge.enroll_orders import EnrollOrder, EnrollWatch
from echo_edge.errors import EchoEdgeError, EngineError, OrderError, OrderRefusedError
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.order_types import Call
from echo_edge.orders import ORDER, AnyOrder, ListenOrder, ReadOrder, StateOrder, VerbOrder
from echo_edge.readings import MAX_FILE_BYTES, Readings
from echo_edge.tap import block_message, info_message

log = logging.getLogger(__name__)

CarryOut = Callable[[str, Mapping[str, Any], Call], dict[str, Any]]
MAX_ORDER_BYTES = 2 << 20  # a configuration of full size, quoted
MAX_IMPORT_BYTES = MAX_FILE_BYTES * 4 // 3 + 4096  # a file in base64
AN_IMPORT = re.compile(rb'\s*\{\s*"order":\s*"read",\s*"what":\s*"import"')
MAX_CLIENTS = 8
STOPPING = "the daemon is stopping; an enrollment that was not accepted is gone, and nothing was changed"
LISTEN_S = 0.5  # a listener hears at least this often that we are still there


class Control(threading.Thread):
    """Accepts clients; each order is served by a thread of its own, so that a slow client holds up nobody."""

    def __init__(
        self,
        path: Path,
        config: Config,
        mailbox: Mailbox[SensorStatus],
        monitor: Monitor,
        captures: Mapping[str, Capture],
        carry_out: CarryOut | None = None,
        readings: Readings | None = None,
    ) -> None:
        """Nobody is let in before ``start``.

        Args:
            carry_out: does what a verb says, in the pipeline's thread; absent, there are no verbs.
            readings: absent, nothing can be read.
        """
        super().__init__(name="control", daemon=True)
        self._carry_out = carry_out
        self._readings = readings
        self._config = config
        self._captures = captures
        self._mailbox = mailbox
        self._monitor = monitor
        self._stop_asked = threading.Event()
        self._clients: list[threading.Thread] = []
        self._path = path
        path.unlink(missing_ok=True)  # left by a killed process; the state folder's lock is ours, so nobody listens
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # systemd gives the folder a group of administrators, which a socket made in it inherits
        before = os.umask(0o117 if path.parent.stat().st_mode & stat.S_ISGID else 0o177)
        try:
            self._server.bind(str(path))
        finally:
            os.umask(before)
        self._server.listen(MAX_CLIENTS)
        self._server.settimeout(0.2)

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError as error:  # out of descriptors, most likely: clients wait, monitoring does not
                log.error("the control socket cannot accept: %s", error)
                self._stop_asked.wait(1)
                continue
            self._clients = [t for t in self._clients if t.is_alive()]
            if len(self._clients) == MAX_CLIENTS:
                with client, suppress(OSError):
                    client.sendall(_line({"ok": False, "code": 6, "error": "too many clients at once; try again"}))
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="control:client", daemon=True)
            self._clients.append(thread)
            thread.start()
        for thread in self._clients:
            thread.join(2)
        self._server.close()
        self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        self._stop_asked.set()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(5)
            try:
                order = ORDER.validate_json(_read_line(client))
                if isinstance(order, ListenOrder):
                    answers = self._samples(order)
                elif isinstance(order, EnrollWatch):
                    answers = self._progress(order, client)
                elif isinstance(order, StateOrder):
                    answers = self._state(order)
                elif isinstance(order, AnyOrder):
                    answers = self._any(order)
                elif isinstance(order, ReadOrder):
                    answers = self._read(order)
                elif isinstance(order, VerbOrder):
                    answers = self._verb(order)
                else:
                    answers = self._enrollment(order)
                with closing(answers):
                    for answer in answers:
                        client.sendall(_line(answer))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                client.sendall(_line({"ok": False, "code": 2, "error": f"{where}: {first['msg']}"}))
            except OSError as error:
                log.info("a control client went away: %s", error)

    def _enrollment(self, order: EnrollOrder) -> Generator[dict[str, Any], None, None]:
        yield from self._asked(lambda: self._monitor.sessions.handle(order))

    def _asked(self, work: Callable[[], dict[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """Have the pipeline thread do it, and wait for its answer."""
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put({"ok": True, "result": work()})
            except OrderError as error:
                answers.put({"ok": False, "code": error.exit_code, "error": str(error)})
            except EngineError:
                raise
            except EchoEdgeError as error:  # the disk: what was in force stays
                answers.put({"ok": False, "code": 1, "error": str(error)})
            except Exception as error:  # a defect that an order reaches must not end the monitoring
                log.exception("an order failed by a defect of its own")
                answers.put({"ok": False, "code": 1, "error": f"failed by a defect of echo-edge: {error}"})

        if not self._mailbox.order(answer):
            yield {"ok": False, "code": 6, "error": "the daemon is busy with other orders; try again in a minute"}
            return
        while self._runs:
            with suppress(queue.Empty):
                yield answers.get(timeout=0.2)
                return
        with suppress(queue.Empty):  # the order itself may have made the daemon begin anew
            yield answers.get_nowait()
            return
        yield {"ok": False, "code": 1, "error": STOPPING}

    def _any(self, order: AnyOrder) -> Generator[dict[str, Any], None, None]:
        call = Call(order.actor, "admin", "socket", order.dry_run, order.expect)
        carry_out = self._carry_out
        if carry_out is None:
            yield {"ok": False, "code": 6, "error": "no daemon runs here, only a command that uses its folder"}
            return
        yield from self._asked(lambda: carry_out(order.verb, order.args, call))

    def _read(self, order: ReadOrder) -> Generator[dict[str, Any], None, None]:
        """In this client's own thread."""
        try:
            if self._readings is None:
                raise OrderError("no daemon runs here, only a command that uses its folder", 6)
            yield {"ok": True, "result": self._readings.read(order.what, order.args, order.role)}
        except OrderRefusedError as error:
            where = {} if error.where is None else {"where": error.where}
            yield {"ok": False, "code": error.exit_code, "error": str(error), "kind": error.code, **where}
        except EchoEdgeError as error:
            yield {"ok": False, "code": error.exit_code if isinstance(error, OrderError) else 1, "error": str(error)}

    def _progress(self, order: EnrollWatch, client: socket.socket) -> Generator[dict[str, Any], None, None]:
        """Every change of a session until it is over; the client may go away and come back."""
        told: dict[str, Any] = {}
        while self._runs:
            now = self._monitor.sessions.progress.get(order.point)
            if now is None or now["session"] != order.session:
                yield {"ok": False, "code": 6, "error": f"{order.point}: there is no session {order.session}"}
                return
            if now is not told:
                told = now
                yield {"progress": told}
            if "code" in told:
                yield {"ok": True, "result": told}
                return
            if select.select([client], [], [], 0.2)[0] and not client.recv(1, socket.MSG_PEEK):
                return  # the terminal was closed; the session goes on
        yield {"ok": False, "code": 1, "error": STOPPING}

    @property
    def _runs(self) -> bool:
        return not self._stop_asked.is_set() and self._monitor.is_alive()

    def _samples(self, order: ListenOrder) -> Generator[dict[str, Any], None, None]:
        points = self._config.points()
        if order.point not in points:
            yield {"ok": False, "code": 2, "error": f"no point '{order.point}'; known are {', '.join(points)}"}
            return
        device = points[order.point].device
        if device not in self._captures:
            yield {"ok": False, "code": 3, "error": f"{order.point}: {device} is not open: another command runs alone"}
            return
        capture = self._captures[device]
        asked = f"{order.point}: a local client listens"
        if order.save_to is None:
            log.info("%s; nothing is stored", asked)
        else:
            log.warning("%s and STORES the samples in %r", asked, order.save_to)
        with capture.tapped() as tap:  # before the status is read: a device that is closed in between ends the tap
            status = capture.status
            if status.state != "ok" or status.info is None:
                why = f"its sensor {status.device} is {status.state}: {status.reason or 'try again'}"
                yield {"ok": False, "code": 3, "error": f"{order.point}: {why}"}
                return
            yield {"info": info_message(status.info)}
            while not self._stop_asked.is_set():
                block = tap.take(LISTEN_S)
                if block is not None:
                    yield {"block": block_message(block)}
                elif tap.ended:
                    why = f"its sensor {status.device} was closed: {capture.status.reason or 'it is opened again'}"
                    yield {"ok": False, "code": 3, "error": f"{order.point}: {why}"}
                    return
                else:
                    yield {"idle": True}
        yield {"ok": False, "code": 1, "error": "the daemon is stopping"}

    def _verb(self, order: VerbOrder) -> Generator[dict[str, Any], None, None]:
        work = self._monitor.run_verb if order.order == "baseline" else self._monitor.review
        return self._asked(lambda: work(order.verb, order.args))

    def _state(self, order: StateOrder) -> Generator[dict[str, Any], None, None]:
        until_ns = None if order.until is None else round(order.until.timestamp() * 1e3) * 1_000_000

        def work() -> dict[str, Any]:
            if order.do != "show":
                self._monitor.tell_state(order.point, order.name, until_ns)
            return self._monitor.state_of(order.point)

        if order.point not in self._config.points():
            known = ", ".join(self._config.points())
            yield {"ok": False, "code": 2, "error": f"no point '{order.point}'; known are {known}"}
            return
        yield from self._asked(work)


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _read_line(client: socket.socket) -> bytes:
    """One order; without its end when the client sends none of a sane size."""
    data = bytearray()
    most = MAX_ORDER_BYTES
    while not data.endswith(b"\n") and len(data) < most:
        part = client.recv(65536)
        if not part:
            break
        data += part
        if len(data) >= MAX_ORDER_BYTES and AN_IMPORT.match(data):
            most = MAX_IMPORT_BYTES
    return bytes(data)
