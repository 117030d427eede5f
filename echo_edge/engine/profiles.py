"""Which shapes an engine is built for: those of the configured windows, and a wide range for everything else.

Shape suffixes: N = bands, T = time frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo_edge import frontend
from echo_edge.config_devices import DeviceConfig
from echo_edge.frontend import SPEC

if TYPE_CHECKING:
    from echo_edge.config import Config

UNKNOWN_RATE_HZ = 48_000  # where the device decides: what most microphones do
OTHER_BANDS = 64  # per call, of windows whose length nobody announced: a second of 16 channels at 8 kHz


@dataclass(frozen=True, order=True)
class WindowShape:
    """What all windows of one length, one of every stream, are to the engine."""

    frames: int
    """T, a multiple of 16."""

    bands: int
    """N of all of them together: what one call may have to bear."""


@dataclass(frozen=True)
class Profile:
    """The range of shapes (N, T) that an engine may be asked for, and the one that it is made fast for."""

    smallest: tuple[int, int]
    best: tuple[int, int]
    largest: tuple[int, int]

    def fits(self, frames: int) -> bool:
        return self.smallest[1] <= frames <= self.largest[1]


def window_shapes(config: Config) -> list[WindowShape]:
    """Return the shapes of the configured windows, shortest first.

    A point whose device is too slow for the model has none.
    """
    bands: defaultdict[int, int] = defaultdict(int)
    for point in config.points().values():
        rate_hz = _rate_hz(config.devices[point.device])
        if rate_hz < SPEC.min_rate_hz:
            continue
        n_frames = frontend.frame_count(round(point.window.length_s * rate_hz), rate_hz)
        padded = min(-(-n_frames // SPEC.patch_frames) * SPEC.patch_frames, SPEC.max_frames)
        bands[padded] += len(point.channels) * len(frontend.band_bins(rate_hz))
    return [WindowShape(frames, bands[frames]) for frames in sorted(bands)]


def profiles(shapes: Sequence[WindowShape], min_frames: int) -> list[Profile]:
    """Return one profile per length of window, and last the one for any other length.

    With the length fixed, TensorRT knows all sizes but the number of bands. It is tuned for all streams at once: that
    is when time is short.

    Args:
        shapes: see ``window_shapes``; lengths below ``min_frames`` are left out.
        min_frames: the fewest the model takes.
    """
    own = [
        Profile((1, shape.frames), (shape.bands, shape.frames), (shape.bands, shape.frames))
        for shape in sorted(shapes)
        if shape.frames >= min_frames
    ]
    middle = SPEC.max_frames // 2 // SPEC.patch_frames * SPEC.patch_frames
    return [*own, Profile((1, min_frames), (OTHER_BANDS, middle), (OTHER_BANDS, SPEC.max_frames))]


def _rate_hz(device: DeviceConfig) -> int:
    rate_hz = getattr(device, "rate_hz", None)
    return UNKNOWN_RATE_HZ if rate_hz is None else round(rate_hz)
