"""What one step learns from: a batch of bands, drawn from recordings and invented machines.

Batch ``k`` of a run depends on the seed, ``k`` and the manifests alone, not on how many workers or processes draw it:
so a run resumes in the middle of an epoch with the very batches it would have had, and ``k`` is all there is to store.

Shape suffixes: B = bands of a batch, T = time frames, F = frequency bins, W = 32 bins of a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from echo_edge.frontend import SPEC, frame_sizes
from trainer import frontend
from trainer.config import DataConfig
from trainer.data.augment import Augment, downsample
from trainer.data.decode import read_crop
from trainer.data.machines import RATES_HZ, machine_signal
from trainer.data.manifest import Manifest, ManifestError, Recording

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Bands of one step, on one process; they share their length, not their sampling rate."""

    bands: Tensor
    """Shape (B, 32, T), normalized log magnitude, T a multiple of 16."""

    position: Tensor
    """Shape (B,), centre of each band as a fraction of half its rate."""

    frames: int
    """Frames that are signal; behind them are zeros up to T."""

    clips: tuple[str, ...]
    """What was drawn, for messages: paths with their start, or the seed of a machine."""

    rates_hz: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """One crop to make: of a recording, or of a machine where that is None."""

    recording: Recording | None
    folder: int = 0  # which manifest


class Batches(Dataset[Batch]):
    """Batch ``k`` is ``self[k]``; every rank sees its own share of the clips of it."""

    def __init__(
        self, config: DataConfig, manifests: Sequence[Manifest], *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self._config, self._seed, self._rank, self._world = config, seed, rank, world
        self._folders = [manifest.path.parent for manifest in manifests]
        shortest_s, longest_s = config.crop_s
        self._recordings = [
            (folder, recording)
            for folder, manifest in enumerate(manifests)
            for recording in manifest.recordings
            if recording.duration_s >= shortest_s
        ]
        if manifests and not self._recordings:
            names = ", ".join(str(manifest.path) for manifest in manifests)
            raise ManifestError(f"{names}: no recording left of split, licences and {shortest_s:g} s or longer")
        lengths_s = np.array([recording.duration_s for _, recording in self._recordings])
        self._segments = np.repeat(np.arange(len(lengths_s)), np.maximum(1, lengths_s // longest_s).astype(np.int64))
        self._lengths_s = np.minimum(lengths_s, longest_s)[self._segments]
        share = config.machines_share if self._recordings else 1.0
        self._recorded = round(config.clips_per_batch * (1 - share))
        self._epoch: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def batches_per_epoch(self) -> int:
        """Batches until every segment of every recording was drawn once; 1 when there are only machines."""
        return max(1, -(-len(self._segments) // self._recorded)) if self._recorded else 1

    def __len__(self) -> int:
        return 2**62  # a run ends by its number of steps

    def __getitem__(self, index: int) -> Batch:
        """Draw batch ``index``.

        Raises:
            DecodeError: a recording cannot be read any more; it names the file.
        """
        config = self._config
        clips, crop_s = self._plan(index)
        drawn, names, rates = [], [], []
        counts = _share_bands(self._random(index, 1), len(clips), config.bands_per_clip, config.bands_per_batch)
        frames = max(SPEC.patch_frames, int((crop_s - 0.025) / 0.010))  # a frame is 25 ms, a hop 10
        if self._random(index, 3).random() < 0.5:  # half of all batches end within a patch, as at inference
            frames -= frames % SPEC.patch_frames
        for number in range(self._rank, len(clips), self._world):
            random = self._random(index, 2, number)
            samples, rate_hz, name = self._samples(clips[number], frames, random)
            drawn.append(self._bands(samples, rate_hz, frames, counts[number], random))
            names.append(name)
            rates.append(rate_hz)
        return Batch(
            torch.cat([bands for bands, _ in drawn]),
            torch.cat([position for _, position in drawn]),
            frames,
            tuple(names),
            tuple(rates),
        )

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *key))

    def _plan(self, index: int) -> tuple[list[Clip], float]:
        """Return the clips of batch ``index`` and their common length."""
        clips = [Clip(None)] * (self._config.clips_per_batch - self._recorded)
        shortest_s, longest_s = self._config.crop_s
        if self._recorded:
            chosen = self._epoch_batches(index // self.batches_per_epoch)[index % self.batches_per_epoch]
            clips += [Clip(self._recordings[at][1], self._recordings[at][0]) for at in self._segments[chosen]]
            longest_s = float(self._lengths_s[chosen].min())
        return clips, float(self._random(index, 0).uniform(shortest_s, longest_s))

    def _epoch_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return which segments each batch of an epoch has: of similar length, in random order, none left out."""
        if self._epoch[0] != epoch:
            random = np.random.default_rng((self._seed, epoch))
            order = random.permutation(len(self._segments))
            order = order[np.argsort(np.round(2 * np.log2(self._lengths_s[order])), kind="stable")]
            order = np.resize(order, self.batches_per_epoch * self._recorded)  # the last batch is filled from the first
            batches = list(order.reshape(-1, self._recorded))
            self._epoch = (epoch, [batches[at] for at in random.permutation(len(batches))])
        return self._epoch[1]

    def _samples(self, clip: Clip, frames: int, random: np.random.Generator) -> tuple[Array, int, str]:
        """Return just enough samples for ``frames``, their rate after a possible resampling, and a name."""
        if clip.recording is None:
            rate_hz = int(random.choice(RATES_HZ))
            return machine_signal(random, rate_hz, _needed(rate_hz, frames)), rate_hz, "a simulated machine"
        recording = clip.recording
        lower = [rate for rate in self._config.resample_hz if rate < recording.rate_hz]
        target_hz = recording.rate_hz
        if lower and random.random() < self._config.resample_share:
            target_hz = int(random.choice(lower))
        # A hair more than needed: the resampled length is rounded.
        needed = -(-_needed(target_hz, frames) * recording.rate_hz // target_hz) + 1
        first = round(recording.offset_s * recording.rate_hz)
        end = min(first + round(recording.duration_s * recording.rate_hz), recording.frames)  # seconds are rounded
        start = first + int(random.integers(0, max(0, end - first - needed) + 1))
        available = min(needed, end - start)
        samples = read_crop(
            self._folders[clip.folder], recording, start, available, int(random.integers(recording.channels))
        )
        if target_hz != recording.rate_hz:
            samples = downsample(samples, recording.rate_hz, target_hz)
        return samples, target_hz, f"{recording.path} from {start / recording.rate_hz:.2f} s"

    def _bands(
        self, samples: Array, rate_hz: int, frames: int, count: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return ``count`` bands of one clip and their positions."""
        augment = Augment.draw(self._config.augment, random)
        level_ft = frontend.log_spectrogram(torch.from_numpy(augment.gained(samples)), rate_hz)[:, :frames]
        level_ft = level_ft + torch.from_numpy(augment.transfer(len(level_ft)))[:, None]
        if random.random() < self._config.aligned_share or len(level_ft) <= SPEC.band_width:
            bands, position = frontend.split_bands(level_ft), frontend.positions(rate_hz)
            chosen = torch.from_numpy(random.choice(len(bands), count, replace=len(bands) < count))
            return bands[chosen], position[chosen]
        level_ft = functional.pad(level_ft, (0, -frames % SPEC.patch_frames))
        starts = random.integers(0, len(level_ft) - SPEC.band_width + 1, count)
        bands = torch.stack([level_ft[start : start + SPEC.band_width] for start in starts])
        centres = (2 * starts + SPEC.band_width - 1) / frame_sizes(rate_hz)[0]
        return bands, torch.from_numpy(centres.astype(np.float32))


def _needed(rate_hz: int, frames: int) -> int:
    win, hop = frame_sizes(rate_hz)
    return win + (frames - 1) * hop


def _share_bands(random: np.random.Generator, n_clips: int, limits: tuple[int, int], total: int) -> list[int]:
    """Draw how many bands each clip gives, within ``limits``, so that every batch has ``total``."""
    low, high = limits
    counts = [low] * n_clips
    spare = random.permutation(np.repeat(np.arange(n_clips), high - low))[: total - low * n_clips]
    for clip in spare:
        counts[clip] += 1
    return counts
