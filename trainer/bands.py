"""From the clips of a batch to the bands that a step learns from, on the device that trains.

At every sampling rate a bin is 40 Hz wide and a frame 10 ms long (nearly so where the rate does not divide), so that
clips of any rates are mixed bin by bin, as complex spectrograms: the background needs no resampling, and ends where its
own rate ends.

Shape suffixes: S = samples, R = clips, F = frequency bins, T = frames of a clip, B = rows (views of bands), W = bands
of clips, C = frames of a view, padded to whole patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from echo_edge.frontend import SPEC
from trainer import frontend
from trainer.data.augment import LEVEL_PER_DB
from trainer.data.dataset import Batch


@dataclass(frozen=True, slots=True)
class Bands:
    """What the student sees, and what it is asked for."""

    seen: Tensor
    """Shape (B, 32, C), normalized log magnitude; behind the signal zeros up to whole patches."""

    wanted: Tensor
    """Shape (B, 32, C): the same without the background; ``seen`` itself where there is none."""

    position: Tensor
    """Shape (B,), centre of each band as a fraction of half its rate."""

    whole: Tensor
    """Shape (W, 32, T): bands of clips from beginning to end, without background and gain."""

    of_whole: Tensor
    """Shape (B,), which of them each row is a view of."""

    offset: Tensor
    """Shape (B, 32): what gain and transfer path add to it."""

    real: Tensor
    """Shape (B, 32): 1 for rows that are bins, 0 for the empty ones before a partial band."""


def bands_of(batch: Batch, device: torch.device | str = "cpu") -> Bands:
    """Return the bands of a batch, on ``device``."""
    spectra = _spectra(batch, device)
    row = {key: value.to(device, non_blocking=True) for key, value in batch.rows.items()}
    columns = torch.arange(SPEC.band_width, device=device)
    real = (columns >= row["empty"][:, None]).float()
    bins = (row["start"][:, None] + columns).clamp_min(0)
    offset = row["transfer"] + real * row["gain_db"][:, None] * LEVEL_PER_DB
    within = torch.arange(batch.frames, device=device)

    def crop(clip: str, first: str) -> Tensor:
        frames = row[first][:, None] + within
        return spectra[row[clip][:, None, None], bins[:, :, None], frames[:, None, :]]

    def level(spectrum: Tensor) -> Tensor:
        shown = frontend.log_level(spectrum) * real[:, :, None] + offset[:, :, None]
        return functional.pad(shown, (0, -batch.frames % SPEC.patch_frames))

    clean = crop("clip", "first")
    wanted = seen = level(clean)
    if bool((batch.rows["noise"] >= 0).any()):
        row["noise_clip"] = row["noise"].clamp_min(0)
        seen = level(clean + _scale(batch, spectra, row)[:, None, None] * crop("noise_clip", "noise_first"))
    number = torch.arange(len(real), device=device)
    once = number[number % batch.views < batch.states]
    of_whole = number // batch.views * batch.states + number % batch.views % batch.states
    whole = frontend.log_level(spectra[row["clip"][once, None], bins[once]]) * real[once, :, None]
    return Bands(seen, wanted, row["position"], whole, of_whole, offset, real)


def _spectra(batch: Batch, device: torch.device | str) -> Tensor:
    """Return the complex spectrograms of all clips, shape (R, F, T); above half its rate a clip has zeros."""
    clips = torch.split(batch.samples.to(device, non_blocking=True), list(batch.lengths))
    of_rate: dict[int, list[int]] = {}
    for number, rate_hz in enumerate(batch.rates_hz):
        of_rate.setdefault(rate_hz, []).append(number)
    found: list[tuple[list[int], Tensor]] = []
    for rate_hz, numbers in of_rate.items():
        shortest = min(batch.lengths[number] for number in numbers)  # by a sample: resampling rounds
        found.append((numbers, frontend.spectrum(torch.stack([clips[n][:shortest] for n in numbers]), rate_hz)))
    n_bins = max(spectra.shape[1] for _, spectra in found)
    n_frames = min(spectra.shape[2] for _, spectra in found)
    together = found[0][1].new_zeros(len(batch.lengths), n_bins, n_frames)
    for numbers, spectra in found:
        together[torch.tensor(numbers, device=together.device), : spectra.shape[1]] = spectra[:, :, :n_frames]
    return together


def _scale(batch: Batch, spectra: Tensor, row: dict[str, Tensor]) -> Tensor:
    """Return the factor of each row's background, shape (B,): 0 where there is none, or nothing to set it against."""
    power = spectra.abs().square().mean(-1).cumsum(-1)  # (R, F): up to each bin
    n_bins = torch.tensor([rate_hz * 25 // 1000 // 2 for rate_hz in batch.rates_hz], device=spectra.device)
    top = n_bins[row["clip"]]
    own, other = power[row["clip"], top], power[row["noise_clip"], top]
    factor = (own / other.clamp_min(1e-12)).sqrt() * 10 ** (-row["snr_db"] / 20)
    return torch.where((row["noise"] >= 0) & (other > 1e-12), factor, 0.0)
