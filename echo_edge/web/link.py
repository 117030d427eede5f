"""Link: the page's way to the daemon. One connection hears everything for all viewers; an order has its own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from echo_edge.web.mirror import Mirror
from echo_edge.web.person import Person

log = logging.getLogger(__name__)

SILENT_S = 20.0  # the daemon says something every 5 s
AGAIN_S = (0.2, 0.5, 1.0, 2.0)
ANSWER_S = 60.0
READINGS, ORDERS = 4, 4  # at once; the daemon takes 16 clients, and one of them watches
MAX_LINE = 64 << 20  # an archive or a baseline comes as one line


class NotRunningError(Exception):
    """The daemon does not answer."""


class RefusedError(Exception):
    """The daemon said no, and nothing was changed."""

    def __init__(self, text: str, code: int = 1, kind: str = "refused", where: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        """The exit code that a command would have."""

        self.kind = kind
        """For a program: ``forbidden``, ``bad_args``, ``conflict`` ..."""

        self.where = where
        """The argument that is wrong, for the field beside which it is shown; empty where it is none."""


class Link:
    """To the daemon that listens on a Unix socket; it may come and go."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.mirror = Mirror()
        # apart: however much is looked up, and however long that takes, an alert can be acknowledged
        self._readings, self._orders = asyncio.Semaphore(READINGS), asyncio.Semaphore(ORDERS)

    async def run(self) -> None:
        """Keep the mirror true, until cancelled."""
        failures = 0
        while True:
            try:
                await self._watch()
            except (OSError, ValueError) as error:
                log.debug("the daemon does not answer on %s: %s", self._socket, error)
            except Exception:  # the outermost line of the task: without it, old numbers would stay for good
                log.exception("what the daemon says cannot be taken")
            if self.mirror.running:
                failures = 0
                log.warning("the daemon went away")
                self.mirror.lose(datetime.now(timezone.utc))
            elif failures == 0 and self.mirror.lost_since is None:
                self.mirror.lose(None)
            await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1

    async def _watch(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_LINE)
        try:
            writer.write(_line({"order": "watch"}))
            await writer.drain()
            heard: dict[str, dict[str, Any]] = {}
            while line := await asyncio.wait_for(reader.readline(), SILENT_S):
                told = json.loads(line).get("progress")
                if told is None:  # refused, or the daemon is stopping
                    return
                if "topic" in told and not self.mirror.running:
                    heard[told["topic"]] = told["message"]
                elif "topic" in told:
                    self.mirror.take(told["topic"], told["message"])
                elif told.get("complete"):  # all or nothing: a page never shows half of what is known
                    self.mirror.begin()
                    for topic, message in heard.items():
                        self.mirror.take(topic, message)
        except asyncio.TimeoutError as error:
            raise TimeoutError(f"silent for {SILENT_S:.0f} s") from error
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def order(
        self,
        verb: str,
        args: Mapping[str, Any],
        person: Person,
        expect: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Have the daemon do what a verb says, in a person's name and with their rights.

        Args:
            expect: what must still be so (``if`` of the order).

        Raises:
            RefusedError: nothing was changed.
            NotRunningError: nobody answers; it may have been done.
        """
        given = {"order": "verb", "verb": verb, "args": dict(args), "actor": person.name, "role": person.role}
        return await self._ask({**given, "dry_run": dry_run, "if": dict(expect or {})}, self._orders)

    async def read(self, what: str, args: Mapping[str, Any], person: Person) -> dict[str, Any]:
        """Have the daemon read something up; raises as ``order``."""
        asked = {"order": "read", "what": what, "args": dict(args), "role": person.role}
        return await self._ask(asked, self._readings)

    async def _ask(self, order: dict[str, Any], at_once: asyncio.Semaphore) -> dict[str, Any]:
        async with at_once:
            try:
                answer = await asyncio.wait_for(self._answer(order), ANSWER_S)
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                raise NotRunningError(f"no answer from the daemon: {error}") from error
        if not answer["ok"]:
            text, kind = answer["error"], answer.get("kind") or "refused"
            where = (answer.get("where") or "").removeprefix("args.")
            raise RefusedError(text, answer.get("code", 1), kind, where)
        result: dict[str, Any] = answer["result"]
        return result

    async def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_LINE)
        try:
            writer.write(_line(order))
            await writer.drain()
            while line := await reader.readline():
                answer: dict[str, Any] = json.loads(line)
                if "ok" in answer:
                    return answer
            raise ConnectionResetError("it went away before it answered; look whether it was done")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _line(order: dict[str, Any]) -> bytes:
    return json.dumps(order).encode() + b"\n"
