"""One data set, some encoders, one or both modes: from clips to results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.distributed import World
from trainer.siren import anomalies, faults
from trainer.siren.encoders.base import Encoder, Mode
from trainer.siren.engine import Features, embed_clips, key_of
from trainer.siren.errors import ScoringError, SirenError, TreeError, WeightsError
from trainer.siren.registry import Choice, encoder
from trainer.siren.results import Run
from trainer.siren.tasks.base import AnomalyClip, FaultClip, FaultTask, Listing, Task
from trainer.siren.tasks.dcase import Dcase

Step = Callable[[str, int, int], None]
"""Told which encoder and mode is at work, how many clips are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for."""

    words: Sequence[str]
    """Encoders, as ``registry.encoder`` takes them."""

    modes: Sequence[Mode]
    ks: Sequence[int]
    """Numbers of neighbours that vote on a fault, ascending."""

    out: Path
    cache: Path
    workers: int
    allow_pickle: bool = False


def evaluate(
    task: Task,
    listing: Listing,
    wanted: Wanted,
    here: World,
    keep: Callable[[Run], None] = lambda _: None,
    told: Step = lambda *_: None,
) -> Run:
    """Return all results; under several processes they are complete on the one that leads.

    Args:
        keep: given all results so far after each encoder and mode.

    Raises:
        SirenError: see ``errors``; an encoder that cannot be made is refused before the first one takes its hour.
    """
    made = Run(task.key, _digest(listing), complete=not listing.problems)
    made.remarks += listing.problems if "siren" in wanted.modes else []
    choice = Choice(here.device, wanted.allow_pickle)
    names = [encoder(word, wanted.modes[0], choice).name for word in wanted.words]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise WeightsError(f"{twice}: two encoders have this name, so that their results could not be told apart")
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SirenError(f"{wanted.out}: no folder for results can be made there: {error.strerror}") from error
    if not os.access(wanted.out, os.W_OK):
        raise SirenError(f"{wanted.out}: cannot be written to")
    failed = []
    for word in wanted.words:
        features, key = Features(), ""
        for mode in wanted.modes:
            one = encoder(word, mode, choice)

            def step(done: int, total: int, name: str = f"{one.name}, {mode}") -> None:
                told(name, done, total)

            if key != (key := key_of(one)):  # most encoders say the same in both modes
                features = embed_clips(
                    one, listing.clips, wanted.cache, here=here, workers=wanted.workers, progress=step
                )
            if here.leads:
                made.digests[f"{one.name}, {mode}"] = key
                try:
                    _note(listing, features, mode, made)
                    _score(task, listing, features, one, mode, wanted, made)
                except ScoringError as error:  # what ended one encoder is no reason to lose the others
                    failed.append(f"{one.name}, {mode}: {error}")
                keep(made)
    if failed:
        raise ScoringError("; ".join(failed))
    return made


def _digest(listing: Listing) -> str:
    """Return the SHA-256 of every clip's name and labels, wherever the folder lies."""
    described = (repr(clip).replace(repr(clip.path), "") for clip in listing.clips)
    return hashlib.sha256("\n".join(described).encode()).hexdigest()


def _note(listing: Listing, features: Features, mode: Mode, made: Run) -> None:
    """Note what the published code passes over; in strict mode refuse files of another rate than the data set's."""
    other = [
        f"{clip.path}: {features.rates[clip.name]} Hz, the data set is of {clip.rate_hz} Hz"
        for clip in listing.clips
        if features.rates.get(clip.name, clip.rate_hz) != clip.rate_hz
    ]
    if mode == "siren":
        made.remarks += [f"{each}: resampled" for each in other]
        made.remarks += [f"{why}: counted as all zeros" for why in features.failures.values()]
    elif other:
        raise TreeError(other[0] + (f" (and {len(other) - 1} more)" if len(other) > 1 else ""))


def _score(
    task: Task, listing: Listing, features: Features, one: Encoder, mode: Mode, wanted: Wanted, made: Run
) -> None:
    edges = one.band_edges(task.rate_hz)
    if isinstance(task, FaultTask):
        clips = [clip for clip in listing.clips if isinstance(clip, FaultClip)]
        made.results += faults.evaluate(task, clips, features, one.name, mode, wanted.ks, edges)
    elif isinstance(task, Dcase):
        tests = [clip for clip in listing.clips if isinstance(clip, AnomalyClip)]
        results, remarks, scores = anomalies.evaluate(task, tests, features, one.name, mode, edges)
        made.results += results
        made.remarks += remarks
        anomalies.write_scores(task, tests, scores, wanted.out / "scores" / one.name / mode)
