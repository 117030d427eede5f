"""What one step learns from: a batch of bands, drawn from recordings and invented machines.

Batch ``k`` of a run depends on the seed, ``k`` and the manifests alone, not on how many workers draw it, and on the
number of processes only in which clip is in whose background: so a run resumes in the middle of an epoch with the very
batches it would have had, and ``k`` is all there is to store.

Shape suffixes: S = samples of all clips, B = rows, views of bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from echo_edge.frontend import SPEC, frame_sizes
from trainer.config import DataConfig
from trainer.data.augment import downsample, transfer_path
from trainer.data.decode import read_crop
from trainer.data.machines import RATES_HZ, machine_states
from trainer.data.manifest import Manifest, ManifestError, Recording

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step hears, on one process: clips, and which bands of them are seen when, how loud and in what noise.

    ``trainer.bands.bands_of`` makes bands of it, on the device that trains.
    """

    samples: Tensor
    """All clips one after the other, shape (S,)."""

    lengths: tuple[int, ...]
    """Samples of each clip."""

    rates_hz: tuple[int, ...]
    """Of each clip."""

    frames: int
    """Frames of a view."""

    views: int
    """So many rows, one after the other, are views of the same band of the same machine or recording."""

    states: int
    """Its states take turns in these views; a recording has but one."""

    rows: dict[str, Tensor]
    """What is seen, each of shape (B,): ``clip``, its number; ``start``, the first of 32 bins; ``empty``, how many of
    them are none; ``position``; ``first``, the first frame; ``gain_db``; ``noise``, the number of the clip in the
    background, or -1; ``noise_first``; ``snr_db``. And ``transfer`` (B, 32), added to the bins' levels."""

    clips: tuple[str, ...]
    """What was drawn, for messages: paths with their start, or that it is a machine."""

    def pin_memory(self) -> Batch:
        """Return the batch where a GPU fetches it fastest; torch's ``DataLoader`` asks for this by its name."""
        rows = {key: value.pin_memory() for key, value in self.rows.items()}
        return replace(self, samples=self.samples.pin_memory(), rows=rows)


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
        plan, crop_s, clip_s = self._plan(index)
        counts = _share_bands(self._random(index, 1), len(plan), config.bands_per_clip, config.bands_per_batch)
        frames = max(SPEC.patch_frames, _frames(crop_s))
        if self._random(index, 3).random() < 0.5:  # half of all batches end within a patch, as at inference
            frames -= frames % SPEC.patch_frames
        heard = max(frames, _frames(clip_s)) if config.clip_s else frames
        samples: list[Array] = []
        recorded: list[int] = []
        rows: list[dict[str, NDArray[Any]]] = []
        names, rates = [], []
        for number in range(self._rank, len(plan), self._world):
            random = self._random(index, 2, number)
            drawn, rate_hz, name = self._samples(plan[number], heard, random)
            rows.append(self._rows(len(samples), len(drawn), rate_hz, heard - frames, counts[number], random))
            if plan[number].recording is not None:
                recorded.append(len(samples))
            samples += drawn
            rates += [rate_hz] * len(drawn)
            names.append(name)
        # A machine in the noise of another would leave open which of the two is meant.
        backgrounds = np.array(recorded if self._recorded else range(len(samples)), dtype=np.int64)
        for row in rows if config.augment.background_share else ():
            random = self._random(index, 4, self._rank, int(row["clip"][0]))
            self._add_background(row, backgrounds, heard - frames, random)
        return Batch(
            torch.from_numpy(np.concatenate(samples)),
            tuple(map(len, samples)),
            tuple(rates),
            frames,
            config.states * config.views,
            config.states,
            {key: torch.from_numpy(np.concatenate([row[key] for row in rows])) for key in rows[0]},
            tuple(names),
        )

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *key))

    def _plan(self, index: int) -> tuple[list[Clip], float, float]:
        """Return the clips of batch ``index``, the common length of views, and that of clips."""
        clips = [Clip(None)] * (self._config.clips_per_batch - self._recorded)
        shortest_s, longest_s = self._config.crop_s
        if self._recorded:
            chosen = self._epoch_batches(index // self.batches_per_epoch)[index % self.batches_per_epoch]
            clips += [Clip(self._recordings[at][1], self._recordings[at][0]) for at in self._segments[chosen]]
            longest_s = float(self._lengths_s[chosen].min())
        # Log-uniform: short windows are the hard ones, and cost least.
        crop_s = float(shortest_s * (longest_s / shortest_s) ** self._random(index, 0).random())
        return clips, crop_s, max(crop_s, min(self._config.clip_s, longest_s))

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

    def _samples(self, clip: Clip, frames: int, random: np.random.Generator) -> tuple[list[Array], int, str]:
        """Return just enough samples for ``frames``, of every state, their rate after a resampling, and a name."""
        if clip.recording is None:
            rate_hz = int(random.choice(RATES_HZ))
            states = machine_states(random, rate_hz, _needed(rate_hz, frames), self._config.states)
            return states, rate_hz, "a simulated machine"
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
        return [samples], target_hz, f"{recording.path} from {start / recording.rate_hz:.2f} s"

    def _rows(
        self, clip: int, states: int, rate_hz: int, spare: int, count: int, random: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Return what is seen of ``count`` bands of one machine or recording: every view of a band, then the next.

        ``spare`` is how many frames a clip is longer than a view.
        """
        config, width = self._config, SPEC.band_width
        n_bins = frame_sizes(rate_hz)[0] // 2 + 1
        if random.random() < config.aligned_share or n_bins <= width:
            whole = -(-n_bins // width)
            chosen = random.choice(whole, count, replace=whole < count)
            start = np.minimum(chosen * width, n_bins - width)  # the zeros of a partial band stand before its bins
            empty = chosen * width - start
        else:
            start = random.integers(0, n_bins - width + 1, count)
            empty = np.zeros(count, np.int64)
        position = ((2 * start + empty + width - 1) / frame_sizes(rate_hz)[0]).astype(np.float32)
        path = np.pad(transfer_path(config.augment, n_bins, random), (width, 0))
        transfer = path[start[:, None] + np.arange(width) + width]
        transfer *= np.arange(width) >= empty[:, None]
        views = config.states * config.views
        each: dict[str, NDArray[Any]] = {
            "clip": clip + np.arange(views) % states,
            "first": random.integers(0, spare + 1, views),
            "gain_db": (random.uniform(-1, 1, views) * config.augment.gain_db).astype(np.float32),
            "noise": np.full(views, -1),
            "noise_first": np.zeros(views, np.int64),
            "snr_db": np.zeros(views, np.float32),
        }
        bands = {"start": start, "empty": empty, "position": position, "transfer": transfer}
        return {key: np.repeat(value, views, axis=0) for key, value in bands.items()} | {
            key: np.tile(value, count) for key, value in each.items()
        }

    def _add_background(
        self, rows: dict[str, NDArray[Any]], backgrounds: NDArray[np.int64], spare: int, random: np.random.Generator
    ) -> None:
        """Put a part of the views into the noise of another clip, the same for all bands of a view."""
        config, views = self._config.augment, self._config.states * self._config.views
        count, others = len(rows["clip"]) // views, np.setdiff1d(backgrounds, rows["clip"])
        if not len(others):
            return
        noisy = random.random(views) < config.background_share
        rows["noise"] = np.tile(np.where(noisy, random.choice(others, views), -1), count)
        rows["noise_first"] = np.tile(random.integers(0, spare + 1, views), count)
        rows["snr_db"] = np.tile(random.uniform(*config.background_snr_db, views).astype(np.float32), count)


def _frames(length_s: float) -> int:
    return int((length_s - 0.025) / 0.010)  # a frame is 25 ms, a hop 10


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
