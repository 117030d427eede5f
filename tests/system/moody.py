"""The daemon with an encoder of moods: ``python -m tests.system.moody run CONFIG`` does what the file ``$MOOD`` says.

``hang``: it never comes back. ``slow SECONDS``: each batch takes so much longer. Without the file it is as always.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from echo_edge.cli import main
from echo_edge.embedder import Embedder
from echo_edge.records import Embedding, Window

MOOD = Path(os.environ["MOOD"])
as_always = Embedder.embed


def embed(self: Embedder, windows: Sequence[Window]) -> list[Embedding]:
    """``Embedder.embed``, after what the mood says."""
    mood, _, seconds = MOOD.read_text("ascii").partition(" ") if MOOD.exists() else ("", "", "")
    if mood == "hang":
        time.sleep(3600)
    elif mood == "slow" and windows:
        time.sleep(float(seconds))
    return as_always(self, windows)


if __name__ == "__main__":
    Embedder.embed = embed  # type: ignore[method-assign]  # it cannot be passed in through the command
    main()
