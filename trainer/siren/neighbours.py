"""Nearest neighbours, as published and as they should be: who votes on a clip, and how near the nearest normal is.

Shape suffixes: Q = queries, N = bank, C = channels, D = length of a vector, K = neighbours.
Source: github.com/yucongzh/SIREN@f9fa43e, ``core/memory_bank/``. Functions named ``siren_`` repeat it number by number,
its faults included; they stay in the number format of the features, as it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

PSEUDO_CHANNELS = 8  # what every published extractor declares, also where there is one channel
HEARD_CHANNELS = 7  # the eighth of MAFAULDA is a microphone; all others lose the end of their vector here
SELF_MATCH_FROM = 5000  # clips at a time: with more, nothing keeps a clip from voting on itself
DENSITY_NEIGHBOURS = 4

Array = NDArray[Any]


def pseudo_channels(features_ncd: Array) -> Array:
    """Cut one-channel vectors into eight where their length allows: (N, 1, D) -> (N, 8, D / 8), else as they are."""
    n, channels, width = features_ncd.shape
    if channels > 1 or width % PSEUDO_CHANNELS:
        return features_ncd
    return features_ncd.reshape(n, PSEUDO_CHANNELS, width // PSEUDO_CHANNELS)


def siren_distances(queries_qcd: Array, bank_ncd: Array) -> Array:
    """Return Euclidean distances channel by channel, shape (Q, N, C), by the published formula."""
    ours, theirs = np.sum(queries_qcd * queries_qcd, axis=2), np.sum(bank_ncd * bank_ncd, axis=2)
    cross = np.einsum("bcd,ncd->bnc", queries_qcd, bank_ncd)
    distance: Array = np.sqrt(np.maximum(ours[:, None, :] + theirs[None, :, :] - 2.0 * cross, 0.0))
    return distance


def siren_loocv(distances_nnc: Array, k: int) -> tuple[NDArray[np.intp], Array]:
    """Return each clip's neighbours among all others and how far they are, shapes (N, K).

    Distances are standardised over the bank channel by channel, the clip itself included, of the first seven channels.

    Args:
        distances_nnc: ``siren_distances`` of all clips to all.
    """
    fused = _siren_fused(distances_nnc)
    if len(fused) <= SELF_MATCH_FROM:
        np.fill_diagonal(fused, np.inf)
    return _siren_nearest(fused, k)


def siren_fold(distances_qnc: Array, k: int) -> NDArray[np.intp]:
    """Return the neighbours (Q, K) of one fold's clips among those learned."""
    return _siren_nearest(_siren_fused(distances_qnc), k)[0]


def siren_split(queries_qcd: Array, bank_ncd: Array, k: int) -> tuple[NDArray[np.intp], Array]:
    """Return the neighbours (Q, K) of a test set, one query at a time and of all channels, as that path does."""
    indices, distances = [], []
    for query_cd in queries_qcd:
        per = np.linalg.norm(bank_ncd - query_cd[None], axis=2)
        if per.shape[1] > 1:
            per = (per - per.mean(axis=0, keepdims=True)) / (per.std(axis=0, keepdims=True) + 1e-8)
        fused = per.mean(axis=1)
        nearest = np.argsort(fused)[:k]
        indices.append(nearest)
        distances.append(fused[nearest])
    return np.stack(indices), np.stack(distances)


def siren_channel_votes(distances_nnc: Array, k: int) -> NDArray[np.intp]:
    """Return each clip's neighbours among all others, channel by channel, shape (N, C, K)."""
    found = []
    for channel in range(distances_nnc.shape[2]):
        distance = distances_nnc[:, :, channel].copy()
        np.fill_diagonal(distance, np.inf)  # since 2025-09-15; before, every clip voted on itself here
        found.append(_siren_nearest(distance, k)[0])
    return np.stack(found, axis=1)


def _siren_fused(distances_qnc: Array) -> Array:
    per = distances_qnc[:, :, :HEARD_CHANNELS]
    if distances_qnc.shape[2] > 1:
        per = (per - per.mean(axis=1, keepdims=True)) / (per.std(axis=1, keepdims=True) + 1e-10)
    fused: Array = per.mean(axis=2)
    return fused


def _siren_nearest(distance_qn: Array, k: int) -> tuple[NDArray[np.intp], Array]:
    k = min(k, distance_qn.shape[1])
    rows = np.arange(len(distance_qn))[:, None]
    some = np.argpartition(distance_qn, kth=k - 1, axis=1)[:, :k]  # which of several equals is kept, it decides
    order = some[rows, np.argsort(distance_qn[rows, some], axis=1)]
    return order, distance_qn[rows, order]


def siren_scores(bank_nd: Array, queries_qd: Array) -> Array:
    """Return 1 - the largest cosine to the bank, shape (Q,): how strange each query is."""
    bank = bank_nd / (np.linalg.norm(bank_nd, axis=1, keepdims=True) + 1e-10)
    queries = queries_qd / (np.linalg.norm(queries_qd, axis=1, keepdims=True) + 1e-10)
    scores: Array = 1.0 - np.max(queries @ bank.T, axis=1)
    return scores


def majority(labels: Sequence[str], neighbours: Sequence[int]) -> str:
    """Return the label most neighbours have; of equals the one seen first, that is of the nearest."""
    return Counter(labels[i] for i in neighbours).most_common(1)[0][0]


def vote(labels: Sequence[str], neighbours_qk: NDArray[np.intp]) -> list[str]:
    """Return the majority of each row of neighbours (Q, K)."""
    return [majority(labels, row) for row in neighbours_qk.tolist()]


def distances(
    features_ncd: Array, barred_nn: NDArray[np.bool_], edges: Sequence[int] | None = None, *, by_density: bool = False
) -> Array:
    """Return how far every clip is from every other, shape (N, N), infinite where the column may not vote on the row.

    With several channels, or with bands, the distances of each are standardised over those that may vote, and averaged.

    Args:
        features_ncd: shape (N, C, D).
        barred_nn: shape (N, N).
        edges: where each band begins in a vector, and D at the end; None: vectors are compared whole.
        by_density: count a distance in units of the usual one around the clip it leads to.
    """
    x = np.asarray(features_ncd, np.float64)
    x = x - x.mean(axis=0)  # distances are small beside the vectors: centring keeps their digits
    ends = list(edges or (0, x.shape[2]))
    parts = [x[:, c, a:b] for c in range(x.shape[1]) for a, b in pairwise(ends)]
    total = np.zeros(barred_nn.shape)
    for part in parts:
        norms = np.square(part).sum(axis=1)
        distance = np.sqrt(np.maximum(norms[:, None] + norms[None] - 2 * part @ part.T, 0.0))
        if by_density:
            distance /= _usual(distance, barred_nn)[None, :]
        total += _standardised(distance, barred_nn) if len(parts) > 1 else distance
    return np.where(barred_nn, np.inf, total / len(parts))


def _usual(distance_nn: Array, barred_nn: NDArray[np.bool_]) -> Array:
    """Return the mean distance of each clip to the nearest few that may vote on it, shape (N,)."""
    nearest = np.sort(np.where(barred_nn, np.inf, distance_nn), axis=1)[:, :DENSITY_NEIGHBOURS]
    there = np.isfinite(nearest)
    usual = np.where(there, nearest, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    floor = 1e-3 * np.median(usual) + 1e-12  # doubles have no distance at all
    at_least: Array = np.maximum(usual, floor)
    return at_least


def nearest(distance_qn: Array, k: int) -> list[list[int]]:
    """Return up to ``k`` neighbours of each row, nearest first, only such as are at a finite distance."""
    order = np.argsort(distance_qn, axis=1, kind="stable")[:, :k]
    return [[j for j in row.tolist() if np.isfinite(distance_qn[i, j])] for i, row in enumerate(order)]


def _standardised(distance: Array, barred: NDArray[np.bool_]) -> Array:
    allowed = ~barred
    count = np.maximum(allowed.sum(axis=1, keepdims=True), 1)
    mean = np.where(allowed, distance, 0.0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt(np.where(allowed, np.square(distance - mean), 0.0).sum(axis=1, keepdims=True) / count)
    standard: Array = (distance - mean) / np.maximum(spread, 1e-12)
    return standard
