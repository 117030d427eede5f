"""Examples: alerts that were faults, kept whole, so that a new threshold can be asked whether it would find them.

``FOLDER/ALERT_ID/`` holds ``about.json`` and the windows as the history had them; it outlives the history.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echo_edge.errors import BaselineError, HistoryError
from echo_edge.history_reader import HistoryReader
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.operation import Episode
from echo_edge.record_file import append, intact, read_header, read_records
from echo_edge.review import episode_parts
from echo_edge.tail import persistent

log = logging.getLogger(__name__)

MAX_BYTES = 500_000_000  # of all examples
MAX_WINDOWS = 256  # of one alert: how it began
FOREVER_NS = 2**62


@dataclass(frozen=True, slots=True)
class Example:
    """A fault that a person confirmed, as the point heard it."""

    alert_id: str
    cause: str
    rate_hz: int
    material: Material


@dataclass(frozen=True, slots=True)
class Found:
    """Whether a normal alarms at an example."""

    alert_id: str
    cause: str
    found: bool
    ratio: float
    """The highest score / threshold that lasted as long as an alert needs; above 1 it is found."""


def found_faults(normal: Normal, examples: Sequence[Example], point: str) -> list[Found]:
    """Say which labelled faults this normal's thresholds would have found.

    Raises:
        BaselineError: an example has another shape than the baseline; ``examples_of`` gives only those of its origin.
    """
    found = []
    for example in examples:
        scores = [normal.score(one) for one in example.material.embeddings(point, example.rate_hz)]
        ratios = np.array([score.value / score.threshold for score in scores])
        starts, ends = example.material.start_ns, example.material.end_ns
        run_starts = np.concatenate([[True], starts[1:] - ends[:-1] > (ends - starts)[1:] // 10])
        highest = float(persistent(ratios, run_starts, normal.persistence).max())
        found.append(Found(example.alert_id, example.cause, highest > 1, highest))
    return found


def keep_example(folder: Path, history: HistoryReader, episode: Episode, cause: str, max_bytes: int = MAX_BYTES) -> int:
    """Copy an alert's windows out of the history, at most ``MAX_WINDOWS``, and forget the oldest examples where all
    together are too much. Returns how many windows.

    Raises:
        HistoryError: nothing is remembered of it any more, or the disk.
    """
    picked = episode_parts(history, episode)
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in folder.glob(".making-*"):  # a power cut left it
            shutil.rmtree(unfinished)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        try:
            (making / episode.point).mkdir(parents=True)
            for part, mask in picked:
                if count == MAX_WINDOWS:  # an alert of weeks has hundreds of files, and the daemon waits for us
                    break
                facts = part.facts[mask][: MAX_WINDOWS - count]
                count += len(facts)
                about, _ = read_header(part.path)
                append(making / episode.point / part.path.name, about, facts)
                vectors = part.path.with_suffix(".vectors")
                _, offset = read_header(vectors)
                for records in read_records(vectors, offset, part.circumstances.vectors_dtype):
                    wanted = np.isin(records["start_ns"], facts["start_ns"]) & intact(records)
                    append(making / episode.point / vectors.name, about, records[wanted])
            (making / "about.json").write_text(json.dumps({"point": episode.point, "cause": cause}))
            shutil.rmtree(folder / episode.alert_id, ignore_errors=True)
            making.rename(folder / episode.alert_id)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        _forget_oldest(folder, max_bytes)
    except OSError as error:
        raise HistoryError(f"alert {episode.alert_id} cannot be kept as an example: {error}") from error
    return count


def oldest(folder: Path) -> list[tuple[Path, int]]:
    """Every example and its bytes, the one that was made first before others."""
    made = sorted(folder.glob("*/about.json"), key=lambda about: about.stat().st_mtime_ns)
    sizes = (sum(file.stat().st_size for file in about.parent.rglob("*") if file.is_file()) for about in made)
    return [(about.parent, size) for about, size in zip(made, sizes, strict=True)]


def _forget_oldest(folder: Path, max_bytes: int) -> None:
    kept = oldest(folder)
    size = sum(size for _, size in kept)
    for example, its_size in kept[:-1]:  # the newest stays, however large
        if size <= max_bytes:
            break
        log.warning("%s: this example is forgotten, newer ones take its place", example.name)
        shutil.rmtree(example)
        size -= its_size


def examples_of(folder: Path, point: str, model_sha256: str) -> list[Example]:
    """All examples of a point that this model embedded; one that cannot be read is left out and logged."""
    found = []
    for about in sorted(folder.glob("*/about.json")):
        try:
            told = json.loads(about.read_text())
            if told["point"] != point:
                continue
            reader = HistoryReader(about.parent)
            parts, _ = reader.parts(point, 0, FOREVER_NS)
            own = [part for part in parts if part.circumstances.origin.model_sha256 == model_sha256]
            material, _ = reader.material([(part, np.ones(len(part.facts), np.bool_)) for part in own])
        except (OSError, ValueError, KeyError, HistoryError, BaselineError) as error:
            log.warning("%s: this example cannot be read: %s", about.parent, error)
            continue
        if material is not None:
            found.append(Example(about.parent.name, told["cause"], own[0].circumstances.origin.rate_hz, material))
    return found
