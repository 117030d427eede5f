"""How many bytes per second each serial parser takes on one core, against what its device and the fastest one send."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from sensors.framing import encode_data, encode_info
from sensors.protocol import Protocol
from sensors.protocols import make_protocol
from tests.sensors.formats import FIRST, FORMATS, Format

TARGET = 20
FASTEST_BYTE_RATE = 314_400  # EE1, four channels of 24 bit at 25.6 kHz in frames of 128 samples
# Bytes per second of each device at its fastest: EE1 as above; PicoQuake at 4 kHz; WitMotion at 200 Hz with
# acceleration, rotation and angle; lines of 28 bytes at 1 kHz
DEVICE_BYTE_RATES = {"ee1": FASTEST_BYTE_RATE, "picoquake": 144_000, "witmotion": 6_600, "csv": 28_000}
PIECES = (1_600, 16_384)  # bytes: what a read brings of the fastest device after 5 ms, and what a late reader finds
STREAM_BYTES = 2_000_000


def fastest_ee1(frames: int) -> tuple[Protocol, bytes]:
    """Return a protocol that knows its sensor, and frames of the fastest one."""
    protocol = make_protocol("ee1")
    protocol.push(encode_info({"serial": "A", "rate_num": 25_600, "unit": "g", "scale": [1.0] * 4}))
    noise = np.random.default_rng(0).integers(-(1 << 22), 1 << 22, (frames, 128, 4)).astype(np.int32)
    return protocol, b"".join(encode_data(n, fmt="i24", index=i * 128, sequence=i) for i, n in enumerate(noise))


def prepared(form: Format) -> tuple[Protocol, bytes]:
    """Return a protocol that knows its sensor, and about ``STREAM_BYTES`` of its frames."""
    if form.name == "ee1":
        return fastest_ee1(STREAM_BYTES // 1_572)
    return form.introduced(), form.stream(FIRST, STREAM_BYTES // len(form.frame(FIRST)))


def bytes_per_second(form: Format, piece: int, turns: int) -> float:
    """Return the best of some turns; every sample must come through, none behind a gap."""
    best = 0.0
    for _ in range(turns):
        protocol, data = prepared(form)
        runs = []
        begun_s = time.perf_counter()
        for at in range(0, len(data), piece):
            runs += protocol.push(data[at : at + piece])
        best = max(best, len(data) / (time.perf_counter() - begun_s))
        assert not any(run.gap for run in runs)
        assert sum(len(run.values) for run in runs) > 0
    return best


def main() -> None:
    turns = 2 if "--quick" in sys.argv[1:] else 5
    table = Table("parser", "bytes a read", "MB/s", "x its device", "x the fastest device", f"target {TARGET}")
    table.title = "serial parsers, one core"
    rows = []
    for form in FORMATS.values():
        for piece in PIECES:
            speed = bytes_per_second(form, piece, turns)
            own, fastest = speed / DEVICE_BYTE_RATES[form.name], speed / FASTEST_BYTE_RATE
            rows.append({"parser": form.name, "piece": piece, "bytes_s": speed, "x_device": own, "x_fastest": fastest})
            met = "met" if min(own, fastest) >= TARGET else "MISSED"
            table.add_row(form.name, f"{piece:,}", f"{speed / 1e6:.1f}", f"{own:.0f}", f"{fastest:.0f}", met)
    Console().print(table)
    print(json.dumps({"parsers": rows}))


if __name__ == "__main__":
    main()
