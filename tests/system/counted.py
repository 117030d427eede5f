"""The daemon that counts itself: ``python -m tests.system.counted run CONFIG`` says what is left of those before it.

At each beginning it writes one line: ``left of 2 before:`` and the parts of the old daemons that still live.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

from echo_edge import daemon
from echo_edge.assembly import Parts
from echo_edge.cli import main

before: list[weakref.ref[object]] = []
as_always: Callable[..., Parts] = daemon.wire
begun = 0


def wire(*arguments: object, **options: object) -> Parts:
    """``assembly.wire``, after a look at what it made before."""
    global begun  # noqa: PLW0603
    left = [type(part).__name__ for one in before if (part := one()) is not None]
    print(f"left of {begun} before:", *left, file=sys.stderr, flush=True)
    parts = as_always(*arguments, **options)
    begun += 1
    before.extend(map(weakref.ref, (parts.monitor, parts.publisher, parts.outbox, parts.embedder, parts.mailbox)))
    return parts


if __name__ == "__main__":
    daemon.wire = wire  # it cannot be passed in through the command
    main()
