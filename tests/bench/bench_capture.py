"""16 microphones of 48 kHz: how late capture is while the pipeline is saturated, and what windowing costs beside it.

Real PortAudio streams over a PulseAudio null sink, each in its own child process as in the daemon. Lateness is the time
from when a block's last sample was due, by the device's own clock, until the capture thread holds the block.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from echo_edge.capture import Capture, SensorStatus
from echo_edge.config import PointConfig
from echo_edge.daemon import make_embedder
from echo_edge.mailbox import Mailbox
from sensors.block import Block
from sensors.microphone import Microphone
from sensors.portaudio_child import DEVICE_BUFFER_S
from sensors.pulse_microphone import PulseMicrophone
from tests.world import make_config

STREAMS = 16
RATE_HZ = 48_000
WARM_UP_S = 5.0
TARGET_LATE_S = DEVICE_BUFFER_S / 10
TARGET_SHARE = 0.05
POINT = PointConfig.model_validate({"device": "mic", "window": {"length_s": 5, "hop_s": 5}})


class Timed(Microphone):
    """The driver, noting how late each block comes out of it."""

    late_s: list[float]
    watching = threading.Event()

    def read(self) -> Block | None:
        """As ever, with a look at the clock."""
        block = super().read()
        if block is not None and self.watching.is_set():
            # the driver holds each block until the next one vouches for it: that one's length is no lateness
            due_ns = block.monotonic_ns + 2 * len(block.samples) * 1_000_000_000 // RATE_HZ
            self.late_s.append((time.monotonic_ns() - due_ns) / 1e9)
        return block


def measure(seconds: float, *, points: bool, saturate: bool) -> tuple[list[float], float, float]:
    """Return the lateness of every block, and the CPU time per second of the capture threads and of the children."""
    late: list[float] = []
    Timed.late_s = late
    Timed.watching.clear()
    mailbox: Mailbox[SensorStatus] = Mailbox()
    captures = [
        Capture(
            f"mic{i}",
            lambda i=i: Timed(f"mic{i}", device="default", rate_hz=RATE_HZ),  # type: ignore[misc]
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
        Timed.watching.set()
        before, begun_s = (cpu_s(captures), children_cpu_s()), time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - begun_s
        after = (cpu_s(captures), children_cpu_s())
        for capture in captures:
            capture.stop()
        for capture in captures:
            capture.join()
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
    return sum(
        int(Path(f"/proc/self/task/{capture.native_id}/schedstat").read_text().split()[0]) for capture in captures
    ) / 1e9


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
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch each of the two runs (default: 60)")
    seconds = parser.parse_args().seconds
    with PulseMicrophone(RATE_HZ) as pulse:
        os.environ.update(pulse.env)
        noise = np.random.default_rng(0).standard_normal(round((3 * seconds + 90) * RATE_HZ)) * 0.1
        pulse.play(noise.astype(np.float32))
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
