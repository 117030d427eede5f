"""Lines of the log: what others call themselves, or send, must not make lines of its own or steer a terminal."""

from __future__ import annotations

import logging

PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Those of syslog(3)."""


class OneLine(logging.Formatter):
    """A message is one line of printable characters; a traceback below it is ours."""

    def __init__(self, *, journal: bool = False) -> None:
        """``journal``: each line begins with its priority, as sd-daemon(3) says, in place of the level's name."""
        super().__init__("%(name)s: %(message)s" if journal else "%(levelname)s %(name)s: %(message)s")
        self._journal = journal

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
