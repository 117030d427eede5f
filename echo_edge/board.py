"""Board: the newest message of every topic, for who watches at this gateway; whoever puts up never waits for them.

What is retained at the broker stays up. What is told live (scores, windows) is made and kept only while somebody
watches: without a watcher it would cost something, and be old when the next one comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from echo_edge.envelope import Topics

UNSHOWN = ("cmd/", "rsp/")  # below the gateway's topics; between it and its operators


@dataclass(frozen=True, slots=True)
class News:
    """The newest message of one topic."""

    topic: str
    """Below the gateway's own (``echo-edge/v1/GATEWAY/``)."""

    payload: bytes
    """JSON; empty where the topic holds nothing any more."""

    number: int
    """Rises with everything that is put up."""

    live: bool


class Board:
    """One message per topic, in the order in which they came."""

    def __init__(self, topics: Topics) -> None:
        self._root = f"{topics.root}/"
        self._changed = threading.Condition()
        self._newest: dict[str, News] = {}  # the latest change last
        self._number = 0
        self.watchers = 0
        """How many watch now; without any, nothing live needs to be made."""

    def put(self, topic: str, payload: bytes) -> None:
        """Put up what is retained at the broker as well; an empty payload: the topic holds nothing any more."""
        self._put(topic, payload, live=False)

    def live(self, topic: str, payload: bytes) -> None:
        """Put up what is of use while somebody watches."""
        self._put(topic, payload, live=True)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """All that is up, then every change."""
        with self._changed:
            self.watchers += 1
            watch = Watch(self, self._number)
        try:
            yield watch
        finally:
            with self._changed:
                self.watchers -= 1
                if not self.watchers:
                    self._newest = {topic: news for topic, news in self._newest.items() if not news.live}

    def _put(self, topic: str, payload: bytes, *, live: bool) -> None:
        below = topic.removeprefix(self._root)
        if below == topic or below.startswith(UNSHOWN):
            return
        with self._changed:
            if live and not self.watchers:
                return
            self._number += 1
            self._newest.pop(below, None)  # to the end
            self._newest[below] = News(below, payload, self._number, live)
            self._changed.notify_all()

    def after(self, number: int, timeout_s: float) -> News | None:
        """Wait for the oldest change after this number; None when there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest_number > number, timeout_s)
            oldest = None
            for news in reversed(self._newest.values()):
                if news.number <= number:
                    break
                oldest = news
            return oldest

    @property
    def _newest_number(self) -> int:
        return next((news.number for news in reversed(self._newest.values())), 0)


class Watch:
    """How far one watcher is. Used by its thread alone."""

    def __init__(self, board: Board, known: int) -> None:
        self._board, self._known = board, known
        self._seen = 0

    def take(self, timeout_s: float) -> News | None:
        """Wait for a change that was not taken yet; None when there is none in time.

        Who is slow gets the newest of each topic: what was replaced meanwhile is not waited for.
        """
        news = self._board.after(self._seen, timeout_s)
        if news is not None:
            self._seen = news.number
        return news

    def is_fresh(self, news: News | None) -> bool:
        """Whether this came up after the watch began; then everything that was known has been taken."""
        return news is None or news.number > self._known
