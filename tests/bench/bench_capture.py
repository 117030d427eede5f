"""16 microphones of 48 kHz: how late capture is while the pipeline is saturated, and what windowing costs beside it.

Real PortAudio streams, each with a child process of its own as in the daemon; another process plays into them at the
true pace. Each sample carries its number, so lateness is the time from when a block's last sample was played until the
capture thread holds it, against the best of its stream.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from echo_edge.assembly import make_embedder
from echo_edge.capture import Capture, SensorStatus
from echo_edge.config import PointConfig
from echo_edge.mailbox import Mailbox
from sensors.alsa_microphone import AlsaMicrophone
from sensors.block import Block
from sensors.microphone import Microphone
from sensors.portaudio_child import DEVICE_BUFFER_S
from tests.world import make_config

STREAMS = 16
RATE_HZ = 48_000
WARM_UP_S = 5.0
NUMBERS = 1 << 15
TARGET_LATE_S = DEVICE_BUFFER_S / 10
TARGET_SHARE = 0.05
POINT = PointConfig.model_validate({"device": "mic", "window": {"length_s": 5, "hop_s": 5}})


class Counting:
    """Stands where a machine stands and plays samples that carry their own number, modulo 2**15."""

    rate_hz, channels = RATE_HZ, 1

    def __init__(self) -> None:
        self._next = 0

    def samples(self, frames: int) -> NDArray[np.float32]:
        """Return the next numbers."""
        numbers = np.arange(self._next, self._next + frames) % NUMBERS
        self._next += frames
        return (numbers / NUMBERS).astype(np.float32)[:, None]


class Timed(Microphone):
    """The driver, noting when it held the last sample of each block, and that sample's number."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._held: list[tuple[int, int]] = []
        heard[name] = self._held

    def read(self) -> Block | None:
        """As ever, with a look at the clock."""
        block = super().read()
        if block is not None and watching.is_set():
            self._held.append((time.monotonic_ns(), round(float(block.samples[-1, 0]) * NUMBERS)))
        return block


heard: dict[str, list[tuple[int, int]]] = {}
watching = threading.Event()


def lateness_s(held: list[tuple[int, int]]) -> NDArray[np.float64]:
    """How late each block was against the stream's best; blocks follow each other by far less than 2**15 samples."""
    at_ns, number = np.array(held).T
    played = np.concatenate(([0], np.cumsum(np.diff(number) % NUMBERS)))
    late = (at_ns - at_ns[0]) / 1e9 - played / RATE_HZ
    return np.asarray(late - late.min())


def feed() -> None:
    """The other process: play into as many devices as there are streams until our input closes."""
    with ExitStack() as stack:
        names = [f"counting{i}" for i in range(STREAMS)]
        devices = [stack.enter_context(AlsaMicrophone(Counting(), device=name)) for name in names]  # type: ignore[arg-type]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "asound.conf"
        config.write_text("".join(f"<{device.env['ALSA_CONFIG_PATH']}>\n" for device in devices))
        print(config, flush=True)
        sys.stdin.read()


@contextmanager
def played() -> Iterator[None]:
    """The devices, and the environment that shows them."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_capture", "--feed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as player:
        assert player.stdout is not None
        os.environ["ALSA_CONFIG_PATH"] = player.stdout.readline().strip()
        yield
        player.communicate("")


def measure(seconds: float, *, points: bool, saturate: bool) -> tuple[NDArray[np.float64], float, float]:
    """Return the lateness of every block, and the CPU time per second of the capture threads and of the children."""
    heard.clear()
    watching.clear()
    mailbox: Mailbox[SensorStatus] = Mailbox()
    captures = [
        Capture(
            f"mic{i}",
            lambda i=i: Timed(f"mic{i}", device=f"counting{i}", rate_hz=RATE_HZ),  # type: ignore[misc]
            {f"m/p{i}": POINT} if points else {},
            mailbox,
        )
        for i in range(STREAMS)
    ]
    with pipeline(mailbox, saturate=saturate):
        for capture in captures:
            capture.start()
        deadline_s = time.monotonic() + 60
        while any(capture.status.state != "ok" for capture in captures):
            if time.monotonic() > deadline_s:
                raise SystemExit(f"not every stream opened: {[c.status for c in captures]}")
            time.sleep(0.1)
        time.sleep(WARM_UP_S)
        watching.set()
        before, begun_s = (cpu_s(captures), children_cpu_s()), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - begun_s
        after = (cpu_s(captures), children_cpu_s())
        for capture in captures:
            capture.stop()
        for capture in captures:
            capture.join()
    late = np.concatenate([lateness_s(held) for held in heard.values()])
    return late, (after[0] - before[0]) / took_s, (after[1] - before[1]) / took_s


@contextmanager
def pipeline(mailbox: Mailbox[SensorStatus], *, saturate: bool) -> Iterator[None]:
    """A pipeline thread that takes the mail and, when it is to be saturated, embeds without ever pausing."""
    stop = threading.Event()
    embedder = make_embedder(make_config())

    def work() -> None:
        windows = []
        while not stop.is_set():
            windows = mailbox.take(0 if saturate and windows else 0.2).windows or windows
            if saturate and windows:
                embedder.embed(windows[:4])

    thread = threading.Thread(target=work, name="pipeline")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def cpu_s(captures: list[Capture]) -> float:
    """CPU time of the capture threads so far."""
    return (
        sum(int(Path(f"/proc/self/task/{capture.native_id}/schedstat").read_text().split()[0]) for capture in captures)
        / 1e9
    )


def children_cpu_s() -> float:
    """CPU time of the sound processes so far."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_text()
            if "portaudio_child" in command:
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch each run (default: 60)")
    parser.add_argument("--feed", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.feed:
        feed()
        return
    seconds = arguments.seconds
    with played():
        _, alone, children = measure(seconds, points=False, saturate=False)
        _, with_windows, _ = measure(seconds, points=True, saturate=False)
        late, _, _ = measure(seconds, points=True, saturate=True)
    p50_s, p999_s = np.quantile(late, [0.5, 0.999])
    share = with_windows - alone
    table = Table("figure", "measured", "target", title=f"capture, {STREAMS} microphones of {RATE_HZ} Hz")
    table.add_row("lateness, median, pipeline saturated", f"{p50_s * 1000:.1f} ms", "")
    table.add_row("lateness, p99.9, pipeline saturated", f"{p999_s * 1000:.1f} ms", f"< {TARGET_LATE_S * 1000:.0f} ms")
    table.add_row("drivers: capture threads", f"{alone:.1%} of one core", "")
    table.add_row("drivers: sound processes", f"{children:.1%} of one core", "")
    table.add_row("windowing and hand-over of all", f"{share:.1%} of one core", f"< {TARGET_SHARE:.0%}")
    Console().print(table)
    print(json.dumps({"capture": {"p999_s": float(p999_s), "share": share, "drivers": alone, "children": children}}))


if __name__ == "__main__":
    main()
