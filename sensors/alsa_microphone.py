"""A microphone that does not exist, for real PortAudio: ALSA's file plugin reads an invented machine from a named pipe.

It needs no sound hardware, sound server, kernel module or root, and its ALSA configuration is complete in itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
import termios
import threading
from pathlib import Path
from types import TracebackType

import numpy as np

from sensors.machine import Machine
from sensors.pacing import Pacer
from sensors.source import BLOCK_S

QUEUED_CHUNKS = 4
PIPE_BYTES = 1 << 20

CONFIG = """\
pcm.{device} {{
  type file
  slave.pcm {{ type null }}
  file "/dev/null"
  infile "{fifo}"
  format "raw"
}}
pcm.!default {{ type plug slave.pcm "{device}" }}
"""


class AlsaMicrophone:
    """Plays a machine into a private ALSA device; a context manager.

    Put ``env`` into the environment of the process that records, ``device`` and ``rate_hz`` into its configuration.
    The rate has to be named there: the device would accept any other and play it at the wrong pitch.
    Read it with the microphone driver only: it must be read in blocks of ``BLOCK_S``, because ALSA's file plugin fills
    up what a read of the pipe leaves short with whatever its buffer held before.
    """

    def __init__(self, machine: Machine, *, device: str = "machine") -> None:
        self.machine = machine
        self.device = device
        self.rate_hz = machine.rate_hz
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.stalled = threading.Event()
        """While set, no sample comes, as from a device that hangs."""

    def __enter__(self) -> AlsaMicrophone:
        """Make the device and start to play."""
        self._folder = Path(tempfile.mkdtemp(prefix="echo-edge-alsa-"))
        fifo = self._folder / "pipe"
        os.mkfifo(fifo)
        config = self._folder / "asound.conf"
        config.write_text(CONFIG.format(device=self.device, fifo=fifo))
        self.env = {"ALSA_CONFIG_PATH": str(config)}
        self._pipe = os.open(fifo, os.O_RDWR)  # also reading: it has no end when the recording process goes
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._play, name="alsa-microphone", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop playing and take the device away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        os.close(self._pipe)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _play(self) -> None:
        frames = max(1, round(BLOCK_S * self.rate_hz))  # the driver's own block: each read finds whole ones
        chunk_bytes = frames * self.machine.channels * 4
        pacer = Pacer(self.rate_hz)
        while not self._stop.is_set():
            pacer.wait(frames, self._stop)
            # Only whole chunks ever lie in the pipe, so a write that would not fit must wait for the reader.
            while self.stalled.is_set() or self._queued() > (QUEUED_CHUNKS - 1) * chunk_bytes:
                if self._stop.wait(0.01):
                    return
            samples = np.ascontiguousarray(self.machine.samples(frames), dtype="<f4")
            os.write(self._pipe, samples.data)

    def _queued(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, b"\0" * 4))
        return int(count)
