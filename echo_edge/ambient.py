"""Is the machine louder than its surroundings, where the sensor sits? Pure.

Shape suffixes: W = windows, C = channels, N = bands of R = 32 rows, L = levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echo_edge.levels import levels_db
from echo_edge.signal_checks import Finding

HEARD_DB, BARELY_DB = 6.0, 2.0  # above its surroundings: well heard; hardly told from them


def check_ambient(running_wcnr: NDArray[np.floating], off_wcnr: NDArray[np.floating], rate_hz: int) -> Finding | None:
    """Compare the machine running with the machine off; return a finding when no range is more than 6 dB louder.

    Args:
        running_wcnr: shape (W, C, N, 32), as ``Embedding.spectrum`` of each window.
        off_wcnr: the same of the same sensor while the machine was off; any number of windows.
        rate_hz: of both.
    """
    running_wl, ranges = levels_db(running_wcnr, rate_hz)
    off_wl, _ = levels_db(off_wcnr, rate_hz)
    above_l = np.median(running_wl, axis=0) - np.median(off_wl, axis=0)
    most = int(above_l.argmax())
    if above_l[most] > HEARD_DB:
        return None
    where = f" in channel {ranges[most].channel}" if running_wcnr.shape[1] > 1 else ""
    return Finding(
        "ambient",
        bool(above_l[most] < BARELY_DB),
        f"running, the machine is at most {above_l[most]:.1f} dB louder than off ({ranges[most]}{where})",
        "move the sensor closer to the machine, or silence what is near",
    )
