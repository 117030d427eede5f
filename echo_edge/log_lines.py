"""Lines of the log: what others call themselves, or send, must not make lines of its own or steer a terminal."""

from __future__ import annotations

import logging


class OneLine(logging.Formatter):
    """A message is one line of printable characters; a traceback below it is ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
