"""Tap: copies of a device's blocks for a local listener, and how they travel over the control socket."""

from __future__ import annotations

import base64
import queue
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from sensors import Block, SourceInfo

INFO = TypeAdapter(SourceInfo)
WAITING_BLOCKS = 100  # some 10 s: a listener that is further behind misses blocks, and is told so by a gap


class Tap:
    """What one listener has not taken yet; never holds up the capture thread."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[Block] = queue.Queue(WAITING_BLOCKS)
        self._missed = False
        self.ended = False
        """True once the device was closed: what it is after the next opening is for another tap."""

    def offer(self, block: Block) -> None:
        """Take a block if there is room; called in the capture thread alone."""
        if self.ended:
            return
        try:
            self._blocks.put_nowait(replace(block, after_gap=True) if self._missed else block)
            self._missed = False
        except queue.Full:
            self._missed = True

    def take(self, timeout_s: float) -> Block | None:
        """Return the next block, None when none came in time or none will come; called in the listener's thread."""
        try:
            return self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            return None


def info_message(info: SourceInfo) -> dict[str, Any]:
    """What the device is, for JSON."""
    return asdict(info)


def read_info(message: Mapping[str, Any]) -> SourceInfo:
    """The other way."""
    return INFO.validate_python(message)


def block_message(block: Block) -> dict[str, Any]:
    """A block for JSON: its samples are float32, little endian, in base64."""
    samples = base64.b64encode(block.samples.astype("<f4").tobytes()).decode()
    rest = ("time_ns", "after_gap", "lost_frames", "index", "monotonic_ns")
    return {"shape": block.samples.shape, "samples": samples, **{name: getattr(block, name) for name in rest}}


def read_block(message: Mapping[str, Any]) -> Block:
    """The other way."""
    fields = dict(message)
    flat = np.frombuffer(base64.b64decode(fields.pop("samples")), dtype="<f4")
    return Block(flat.reshape(fields.pop("shape")), **fields)
