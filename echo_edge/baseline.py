"""Baseline: one enrolled, versioned set of normal states of a point, and where it is kept (SQLite).

Vectors are stored as an uncompressed ``.npz`` without pickle, under a SHA-256 of everything that a verdict depends on;
the FAISS indexes are rebuilt in memory, because a damaged index file can load without a word.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from echo_edge.errors import BaselineError
from echo_edge.normal import NormalState
from sensors import FULL_SCALE

UNNAMED_UNIT = "unit"  # what a recording gets that was scaled by hand, with nobody saying in which unit


def same_unit(one: str, other: str) -> bool:
    """True when samples can be compared; a scale given by hand is taken for any physical unit."""
    return one == other or (UNNAMED_UNIT in {one, other} and FULL_SCALE not in {one, other})


def moved_settings(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What a sensor's level depends on and that differs, in words; what only one side tells of is no difference."""
    moved = [f"{k} was {v}, is {now[k]}" for k, v in before.items() if now.get(k, v) != v]
    return "; ".join(moved) or None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a baseline was made with; a window of any other origin cannot be judged by it."""

    model_name: str
    model_sha256: str
    rate_hz: int
    channels: tuple[int, ...]
    length_s: float
    unit: str
    """Of the samples; the level matters to the encoder. see ``same_unit``."""

    def difference(self, now: Origin) -> str | None:
        """The first thing that differs, in words; None when nothing does."""
        if self.model_sha256 != now.model_sha256:
            return (
                f"model {self.model_name} ({self.model_sha256[:12]}), "
                f"the model now is {now.model_name} ({now.model_sha256[:12]})"
            )
        for name, unit in (("rate_hz", " Hz"), ("channels", ""), ("length_s", " s")):
            then, today = getattr(self, name), getattr(now, name)
            if then != today:
                return f"{name} {then}{unit}, the point now has {today}{unit}"
        if not same_unit(self.unit, now.unit):
            return f"samples in {self.unit}, the point's are now in {now.unit}"
        return None


@dataclass(frozen=True, slots=True)
class Baseline:
    """Normal states of one point; never changed, only followed by the next version."""

    point: str
    origin: Origin
    identity: str
    """Which physical sensor (or which recordings) it was learned from."""

    states: tuple[NormalState, ...]
    excluded: dict[str, int] = field(default_factory=dict)
    """Windows left out while learning the newest state, by reason."""

    settings: dict[str, str] = field(default_factory=dict)
    """What the sensor's level depended on (gain, range, mixer), as ``SourceInfo.settings``; empty when unknown."""

    parent: str | None = None
    id: str = ""
    """``bl_0001``; given when it is stored."""

    created_ns: int = 0

    def check(self, now: Origin) -> None:
        """Insist that windows of this origin can be judged.

        Raises:
            BaselineError: made with another model, sampling rate, channels or window length.
        """
        if difference := self.origin.difference(now):
            raise BaselineError(f"{self.point}: baseline {self.id} was made with {difference}; enroll again")

    def followed_by(self, next_one: Baseline) -> Baseline:
        """The next version: ``next_one`` with those states of this one that it does not replace."""
        names = {state.name for state in next_one.states}
        kept = tuple(s for s in self.states if s.name not in names)
        return replace(next_one, states=(*kept, *next_one.states), parent=self.id)

    def difference(self, next_one: Baseline) -> str | None:
        """Why the states of this one do not fit the next version, in words; None when they do."""
        moved = moved_settings(self.settings, next_one.settings)
        return self.origin.difference(next_one.origin) or (f"another gain: {moved}" if moved else None)


class BaselineStore:
    """Every baseline ever made, in ``state.db``; the newest of a point is the active one.

    Only one process writes at a time: the daemon, or the command line while none runs (``store.exclusive``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connect() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS baseline(id INTEGER PRIMARY KEY AUTOINCREMENT, point TEXT NOT NULL,"
                " manifest TEXT NOT NULL, vectors BLOB NOT NULL, sha256 TEXT NOT NULL)"
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """One transaction.

        Raises:
            BaselineError: the database is locked, damaged, full or not to be written; nothing was changed.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=2)) as db:
                db.execute("PRAGMA synchronous=FULL")
                with db:
                    yield db
        except sqlite3.Error as error:
            raise BaselineError(
                f"{self._path}: {error}; look at the disk, or move the file away to begin anew"
            ) from error

    def add(self, baseline: Baseline) -> Baseline:
        """Store a new version; it is the active one from here on. Returns it with its id and time."""
        baseline = replace(baseline, created_ns=time.time_ns())
        manifest = json.dumps(
            {
                "origin": asdict(baseline.origin),
                "identity": baseline.identity,
                "states": [s.name for s in baseline.states],
                "excluded": baseline.excluded,
                "settings": baseline.settings,
                "parent": baseline.parent,
                "created_ns": baseline.created_ns,
            },
            sort_keys=True,
        )
        vectors = _pack(baseline.states)
        with self._connect() as db:
            row = db.execute(
                "INSERT INTO baseline(point, manifest, vectors, sha256) VALUES (?, ?, ?, ?)",
                (baseline.point, manifest, vectors, _digest(baseline.point, manifest, vectors)),
            )
            return replace(baseline, id=f"bl_{row.lastrowid:04d}")

    def active(self, point: str) -> Baseline | None:
        """The newest baseline of a point; None when it was never enrolled.

        Raises:
            BaselineError: the stored row is damaged; it is left as it is, for a person to look at.
        """
        with self._connect() as db:
            row = db.execute(
                "SELECT id, point, manifest, vectors, sha256 FROM baseline WHERE point = ? ORDER BY id DESC LIMIT 1",
                (point,),
            ).fetchone()
        return None if row is None else _read(*row)

    def load(self, id_: str) -> Baseline:
        """Any version.

        Raises:
            BaselineError: there is none of this id, or it is damaged.
        """
        number = id_.removeprefix("bl_")
        with self._connect() as db:
            row = db.execute(
                "SELECT id, point, manifest, vectors, sha256 FROM baseline WHERE id = ?",
                (int(number) if number.isdecimal() else -1,),
            ).fetchone()
        if row is None:
            raise BaselineError(f"there is no baseline {id_}")
        return _read(*row)


def _read(number: int, point: str, manifest: str, vectors: bytes, sha256: str) -> Baseline:
    name = f"bl_{number:04d}"
    if _digest(point, manifest, vectors) != sha256:
        raise BaselineError(f"{point}: baseline {name} is damaged (its SHA-256 does not match); enroll again")
    data = json.loads(manifest)
    origin = Origin(**{**data["origin"], "channels": tuple(data["origin"]["channels"])})
    return Baseline(
        point,
        origin,
        data["identity"],
        _unpack(data["states"], vectors),
        data["excluded"],
        data.get("settings", {}),  # absent in what 0.1 stored
        data["parent"],
        name,
        data["created_ns"],
    )


def _digest(point: str, manifest: str, vectors: bytes) -> str:
    digest = hashlib.sha256()
    for part in (point.encode(), manifest.encode(), vectors):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _pack(states: tuple[NormalState, ...]) -> bytes:
    arrays = {f"{i}_{key}": array for i, state in enumerate(states) for key, array in state.arrays().items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as allow_pickle
    return buffer.getvalue()


def _unpack(names: list[str], data: bytes) -> tuple[NormalState, ...]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise BaselineError(f"the stored vectors cannot be read: {error}") from error
    return tuple(
        NormalState.from_arrays(
            name, {key.partition("_")[2]: array for key, array in arrays.items() if key.startswith(f"{i}_")}
        )
        for i, name in enumerate(names)
    )
