"""Block: a stretch of samples as a driver hands it over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of one device, free of splices inside."""

    samples: NDArray[np.float32]
    """Shape (frames, channels), in the unit that ``SourceInfo.unit`` names."""

    time_ns: int
    """Capture time of the first sample, nanoseconds since 1970 UTC; follows every step of the system clock."""

    after_gap: bool = False
    """True when this block does not continue the one before it: no window may span the seam."""

    lost_frames: int = 0
    """Frames known to be missing before this block; 0 when the gap's length is not known."""

    index: int = 0
    """Running number of the first sample since the device was opened, lost ones included as far as they are known."""

    monotonic_ns: int = 0
    """Capture time of the first sample on the monotonic clock, which no step of the system clock moves."""
