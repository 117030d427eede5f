"""Sound cards that do not exist, for real PortAudio: plugged in, pulled out, numbered anew, busy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sensors import AlsaMicrophone

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (apt install gcc libc6-dev)")


class AlsaCards:
    """A folder of cards and the library that shows them to one process.

    Put ``env`` into the environment of the process that records, beside one ``AlsaMicrophone``'s for each card.
    """

    def __init__(self, folder: Path) -> None:
        self._cards = folder / "cards"
        self._cards.mkdir()
        library = folder / "alsa_cards.so"
        source = Path(__file__).with_suffix(".c")
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,--no-as-needed"]
        subprocess.run(["cc", *flags, "-o", library, source, "-l:libasound.so.2", "-ldl"], check=True)
        self.env = {"LD_PRELOAD": str(library), "FAKE_CARDS": str(self._cards)}

    def plug(self, number: int, name: str, microphone: AlsaMicrophone) -> None:
        """Make ``microphone`` the card of that number and name."""
        new = self._cards / f"{number}.new"
        new.write_text(f"{name}\n{microphone.device}\n")
        new.rename(self._cards / str(number))

    def pull(self, number: int) -> None:
        """Take the card away; what records from it fails."""
        (self._cards / str(number)).unlink()

    def occupy(self, number: int, busy: bool = True) -> None:
        """Let another program hold the card, or let go of it."""
        mark = self._cards / f"{number}.busy"
        mark.touch() if busy else mark.unlink()


def both(first: AlsaMicrophone, second: AlsaMicrophone, folder: Path) -> dict[str, str]:
    """An environment that shows the devices of two microphones."""
    config = folder / "both.conf"
    config.write_text("".join(f"<{microphone.env['ALSA_CONFIG_PATH']}>\n" for microphone in (first, second)))
    return {"ALSA_CONFIG_PATH": str(config)}
