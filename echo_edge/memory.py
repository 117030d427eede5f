"""Memory: what is remembered of one window, and as which bytes. No sound; facts apart from vectors.

The facts of a window (verdict, level, indicators) are some hundred bytes, its vectors and picture some ten thousand:
two files, so that a month of facts can be kept where a month of vectors cannot.

Shape suffixes: R = records, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.baseline import Origin
from echo_edge.errors import HistoryError
from echo_edge.record_file import Records, record_dtype, seal
from echo_edge.records import Embedding

FORMAT = 1
LEVELS = ("normal", "warning", "alarm", "not_monitored", "unjudged", "resting")
"""``not_monitored``: sensor or gain were not as they should be. ``unjudged``: there was no baseline to judge by.
``resting``: the machine was off, or settled after a change."""

NO_STATE = 255


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What many windows have in common; written once, in the header of a file."""

    origin: Origin
    identity: str
    """Which sensor."""

    settings: dict[str, str]
    """What its level depends on, as ``SourceInfo.settings``."""

    baseline: str
    """What the windows were judged by; empty without one."""

    states: tuple[str, ...]
    indicators: tuple[str, ...] = ()
    """Names of the K indicators; empty where they are not known."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of the arrays of one window, by their names in ``Embedding``; empty for windows that have no embedding."""

    def header(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of_header(cls, about: Mapping[str, Any]) -> Circumstances:
        """Read back what ``header`` gave.

        Raises:
            HistoryError: of another version, or something is missing.
        """
        try:
            if about["format"] != FORMAT:
                raise HistoryError(f"history of format {about['format']} is not known; update echo-edge")
            origin = about["origin"]
            return cls(
                Origin(**{**origin, "channels": tuple(origin["channels"])}),
                about["identity"],
                about["settings"],
                about["baseline"],
                tuple(about["states"]),
                tuple(about["indicators"]),
                {name: tuple(shape) for name, shape in about["shapes"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise HistoryError(f"a header of the history lacks something: {error}") from error

    @property
    def facts_dtype(self) -> np.dtype[np.void]:
        fields: list[tuple[str, str, tuple[int, ...]]] = [
            ("start_ns", "<i8", ()),
            ("end_ns", "<i8", ()),
            ("value", "<f4", ()),  # not a number where there was no score
            ("ratio", "<f4", ()),
            ("level", "u1", ()),
            ("state", "u1", ()),
            ("finding", "u1", ()),  # 1: the signal's checks found something
            ("alert", "<u8", (2,)),  # the bytes of its id; zeros for none
        ]
        measured = [(name, "<f4", self.shapes[name]) for name in ("level_db", "indicators") if name in self.shapes]
        return record_dtype([*fields, *measured])

    @property
    def vectors_dtype(self) -> np.dtype[np.void]:
        kinds = {"bands": "<f2", "spectrum": "<f2", "picture": "u1"}
        return record_dtype([("start_ns", "<i8", ()), *((name, kinds[name], self.shapes[name]) for name in kinds)])

    def state_number(self, name: str) -> int:
        return self.states.index(name) if name in self.states else NO_STATE


@dataclass(frozen=True, slots=True)
class Memory:
    """One window and what was said of it."""

    circumstances: Circumstances
    start_ns: int
    end_ns: int
    level: str
    """One of ``LEVELS``."""

    value: float | None = None
    ratio: float | None = None
    """Score / threshold."""

    state: str = ""
    finding: bool = False
    alert_id: str = ""
    """The alert that was open, or that this window closed; 32 hexadecimal digits."""

    embedding: Embedding | None = None
    """None: its samples said nothing of the machine, only that it was so is remembered."""

    def facts(self) -> Records:
        """Shape (1,), sealed."""
        record = np.zeros(1, self.circumstances.facts_dtype)
        one = record[0]
        one["start_ns"], one["end_ns"] = self.start_ns, self.end_ns
        one["value"] = np.nan if self.value is None else self.value
        one["ratio"] = np.nan if self.ratio is None else self.ratio
        one["level"] = LEVELS.index(self.level)
        one["state"] = self.circumstances.state_number(self.state)
        one["finding"] = self.finding
        one["alert"] = alert_number(self.alert_id)
        if self.embedding is not None:
            one["level_db"], one["indicators"] = self.embedding.level_db, self.embedding.indicators
        return seal(record)

    def vectors(self) -> Records:
        """Shape (1,), sealed; none without an embedding."""
        if self.embedding is None:
            return np.zeros(0, np.dtype([("crc", "<u4")]))
        record = np.zeros(1, self.circumstances.vectors_dtype)
        one = record[0]
        one["start_ns"] = self.start_ns
        for name in ("bands", "spectrum", "picture"):
            one[name] = getattr(self.embedding, name)
        return seal(record)


def shapes_of(embedding: Embedding) -> dict[str, tuple[int, ...]]:
    names = ("bands", "spectrum", "picture", "level_db", "indicators")
    return {name: tuple(getattr(embedding, name).shape) for name in names}


def alert_number(alert_id: str) -> NDArray[np.uint64]:
    """Shape (2,): the id's bytes; zeros for no alert."""
    return np.frombuffer(bytes.fromhex(alert_id or 32 * "0"), "<u8")
