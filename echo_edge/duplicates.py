"""Which windows say the same thing again? Repeated recordings and looped files must not outvote the rest. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_SHARE = 0.05  # of the usual distance between neighbours in time
AT_A_TIME = 256  # windows that are compared with all others in one matrix product
ROUNDING = 1e-5  # of a squared length, in float32: what is nearer is looked at again, one by one


def duplicates(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which windows repeat an earlier one so closely that they should share its vote.

    Near is what is nearer than 5 % of the usual (median) distance between neighbours in time. The first of each group
    is False, the others are True. The work grows with the square of the number of windows.

    Args:
        vectors: shape (W, ...), in order of time, such as ``Material.bands``; finite.
    Returns:
        Shape (W,).
    """
    count = len(vectors)
    repeats = np.zeros(count, dtype=np.bool_)
    if count < 2:
        return repeats
    flat = vectors.reshape(count, -1).astype(np.float32)
    flat -= flat.mean(axis=0)  # what all share would drown small distances in rounding
    near = SAME_SHARE * float(np.median(np.linalg.norm(np.diff(flat, axis=0), axis=1)))
    length2 = np.einsum("ij,ij->i", flat, flat)
    for start in range(0, count, AT_A_TIME):
        stop = min(start + AT_A_TIME, count)
        distance2 = length2[start:stop, None] + length2[:stop] - 2 * (flat[start:stop] @ flat[:stop].T)
        maybe = distance2 <= near**2 + ROUNDING * np.maximum(length2[start:stop, None], length2[:stop])
        for at in range(start, stop):
            kept = np.flatnonzero(maybe[at - start, :at] & ~repeats[:at])
            repeats[at] = bool((np.linalg.norm(flat[kept] - flat[at], axis=1) <= near).any())
    return repeats
