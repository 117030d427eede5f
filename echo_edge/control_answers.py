"""Answers: what becomes of an order that came over a local socket, told line by line in the thread of its client."""

from __future__ import annotations

import logging
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext, suppress
from typing import Any

from echo_edge.board import Board
from echo_edge.capture import Capture, SensorStatus
from echo_edge.config import Config
from echo_edge.doors import Door
from echo_edge.enroll_orders import EnrollOrder, EnrollWatch
from echo_edge.errors import EchoEdgeError, EngineError, OrderError, OrderRefusedError
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.order_answers import failure
from echo_edge.order_types import Call, Role
from echo_edge.orders import AnyOrder, ListenOrder, Order, ReadOrder, StateOrder, VerbOrder, WatchOrder
from echo_edge.tap import block_message, info_message

log = logging.getLogger(__name__)

CarryOut = Callable[[str, Mapping[str, Any], Call], dict[str, Any]]
Read = Callable[[str, Mapping[str, Any], Role], dict[str, Any]]
Told = Generator["dict[str, Any] | bytes", None, None]
"""Lines for a client, as values or as JSON that was made before."""

STOPPING = "the daemon is stopping; an enrollment that was not accepted is gone, and nothing was changed"
PAGE_TURNS = 4  # orders of the page that wait for the pipeline thread at once; all ways of ordering share its queue
LISTEN_S = 0.5  # a listener hears at least this often that we are still there
WATCH_S, LOOK_S = 5.0, 0.2  # so does who watches; and whether they are still there is looked at this often


class Answers:
    """Serves the clients of all sockets; what changes something is posted to the pipeline thread."""

    def __init__(
        self,
        config: Config,
        mailbox: Mailbox[SensorStatus],
        monitor: Monitor,
        captures: Mapping[str, Capture],
        carry_out: CarryOut | None = None,
        *,
        board: Board | None = None,
        read: Read | None = None,
    ) -> None:
        """What is absent cannot be had: a command that uses the daemon's folder alone has no verbs and no board.

        Args:
            carry_out: does what a verb says, in the pipeline's thread.
            read: looks something up, in the client's thread.
        """
        self._config = config
        self._captures = captures
        self._mailbox = mailbox
        self._monitor = monitor
        self._carry_out, self._board, self._look_up = carry_out, board, read
        self._page_turns = threading.Semaphore(PAGE_TURNS)
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Let everybody go who waits for something."""
        self._stop_asked.set()

    @property
    def _runs(self) -> bool:
        return not self._stop_asked.is_set() and self._monitor.is_alive()

    def to(self, order: Order, door: Door, client: socket.socket) -> Told:
        """What to tell a client, the last with ``ok``; who asked to be told for ever may get no last one."""
        if isinstance(order, ListenOrder):
            told = self._samples(order)
        elif isinstance(order, EnrollWatch):
            told = self._progress(order, client)
        elif isinstance(order, WatchOrder):
            told = self._news(client)
        elif isinstance(order, StateOrder):
            told = self._state(order)
        elif isinstance(order, AnyOrder):
            told = self._any(order, door)
        elif isinstance(order, ReadOrder):
            told = self._read(order, door)
        elif isinstance(order, VerbOrder):
            told = self._verb(order)
        else:
            told = self._enrollment(order)
        return told

    def _enrollment(self, order: EnrollOrder) -> Told:
        return self._asked(lambda: self._monitor.sessions.handle(order))

    def _asked(self, work: Callable[[], dict[str, Any]]) -> Told:
        """Have the pipeline thread do it, and wait for its answer."""
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        if not self._mailbox.order(lambda: answers.put(_outcome(work))):
            yield refused(OrderRefusedError("busy", "the daemon is busy with other orders; try again in a minute"))
            return
        while self._runs:
            with suppress(queue.Empty):
                yield answers.get(timeout=0.2)
                return
        with suppress(queue.Empty):  # the order itself may have made the daemon begin anew
            yield answers.get_nowait()
            return
        yield refused(OrderError(STOPPING))

    def _any(self, order: AnyOrder, door: Door) -> Told:
        call = Call(order.actor, door.role(order.role), door.channel, order.dry_run, order.expect)
        carry_out = self._carry_out
        if carry_out is None:
            yield refused(OrderError("no daemon runs here, only a command that uses its folder", 6))
            return
        with self._page_turns if door.channel == "web" else nullcontext():
            (answer,) = self._asked(lambda: carry_out(order.verb, order.args, call))
        yield answer

    def _read(self, order: ReadOrder, door: Door) -> Told:
        look_up = self._look_up
        if look_up is None:
            yield refused(OrderError("no daemon runs here, only a command that uses its folder", 6))
            return
        yield _outcome(lambda: look_up(order.what, order.args, door.role(order.role)))

    def _news(self, client: socket.socket) -> Told:
        """Everything on the board, then every change, until the client goes away."""
        if self._board is None:
            yield refused(OrderError("no daemon runs here, only a command that uses its folder", 6))
            return
        with self._board.watch() as watch:
            complete, told_s = False, time.monotonic()
            while self._runs:
                gone, room = _looked_at(client, LOOK_S, writing=True)
                if gone:
                    return
                if not room:  # it reads slowly: what to tell it is decided when there is room for it
                    continue
                news = watch.take(LOOK_S if complete else 0)
                if not complete and watch.is_fresh(news):
                    complete = True
                    yield {"progress": {"complete": True}}
                if news is not None:
                    topic, message = news.topic.encode(), news.payload or b"{}"
                    yield b'{"progress":{"topic":"' + topic + b'","message":' + message + b"}}"
                elif time.monotonic() - told_s > WATCH_S:
                    yield {"progress": {"idle": True}}
                else:
                    continue
                told_s = time.monotonic()
        yield refused(OrderError("the daemon is stopping"))

    def _progress(self, order: EnrollWatch, client: socket.socket) -> Told:
        """Every change of a session until it is over; the client may go away and come back."""
        told: dict[str, Any] = {}
        while self._runs:
            now = self._monitor.sessions.progress.get(order.point)
            if now is None or now["session"] != order.session:
                yield refused(OrderError(f"{order.point}: there is no session {order.session}", 6))
                return
            if now is not told:
                told = now
                yield {"progress": told}
            if "code" in told:
                yield {"ok": True, "result": told}
                return
            if _looked_at(client, LOOK_S)[0]:
                return  # the terminal was closed; the session goes on
        yield refused(OrderError(STOPPING))

    def _samples(self, order: ListenOrder) -> Told:
        points = self._config.points()
        if order.point not in points:
            yield refused(self._unknown(order.point))
            return
        device = points[order.point].device
        if device not in self._captures:
            yield refused(OrderError(f"{order.point}: {device} is not open: another command runs alone", 3))
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
                yield refused(OrderError(f"{order.point}: {why}", 3))
                return
            yield {"info": info_message(status.info)}
            while not self._stop_asked.is_set():
                block = tap.take(LISTEN_S)
                if block is not None:
                    yield {"block": block_message(block)}
                elif tap.ended:
                    why = f"its sensor {status.device} was closed: {capture.status.reason or 'it is opened again'}"
                    yield refused(OrderError(f"{order.point}: {why}", 3))
                    return
                else:
                    yield {"idle": True}
        yield refused(OrderError("the daemon is stopping"))

    def _verb(self, order: VerbOrder) -> Told:
        work = self._monitor.run_verb if order.order == "baseline" else self._monitor.review
        return self._asked(lambda: work(order.verb, order.args))

    def _state(self, order: StateOrder) -> Told:
        until_ns = None if order.until is None else round(order.until.timestamp() * 1e3) * 1_000_000

        def work() -> dict[str, Any]:
            if order.do != "show":
                self._monitor.tell_state(order.point, order.name, until_ns)
            return self._monitor.state_of(order.point)

        if order.point not in self._config.points():
            yield refused(self._unknown(order.point))
            return
        yield from self._asked(work)

    def _unknown(self, point: str) -> OrderError:
        return OrderError(f"no point '{point}'; known are {', '.join(self._config.points())}", 2)


def refused(error: EchoEdgeError) -> dict[str, Any]:
    """The answer to an order that was not carried out: in words, as an exit code, and for a program."""
    told = failure(error)["error"]
    where = {"where": told["where"].removeprefix("args.")} if "where" in told else {}
    code = error.exit_code if isinstance(error, OrderError) else 1
    return {"ok": False, "code": code, "error": str(error), "kind": told["code"], **where}


def _outcome(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do it, and return the answer. Raises EngineError: the process must end."""
    try:
        return {"ok": True, "result": work()}
    except EngineError:
        raise
    except EchoEdgeError as error:  # refused, or the disk: what was in force stays
        return refused(error)
    except Exception:  # a defect that an order or a reading reaches must not end the monitoring
        log.exception("an order failed by a defect of its own")
        return refused(OrderRefusedError("failed", "failed by a defect of echo-edge; its log says more"))


def _looked_at(client: socket.socket, within_s: float, *, writing: bool = False) -> tuple[bool, bool]:
    """Whether a client closed its end, or says more than its one order; and whether it has room for an answer.

    By poll, since select takes no descriptor from 1024 on.
    """
    poll = select.poll()
    poll.register(client, select.POLLIN | (select.POLLOUT if writing else 0))
    seen = sum(mask for _, mask in poll.poll(within_s * 1000))
    return bool(seen & ~select.POLLOUT), bool(seen & select.POLLOUT)
