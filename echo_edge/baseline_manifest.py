"""Manifest: what is signed of a baseline, as canonical JSON; and its states' arrays, packed without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tokenize
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from echo_edge.baseline import Baseline, BaselineSummary, FalseAlarms, Import, Learned, Origin, Status, added_windows
from echo_edge.errors import BaselineError
from echo_edge.normal_state import NormalState
from echo_edge.stored_zip import stored_members

FORMAT = 1
MAX_VECTORS_BYTES = 512 * 1024 * 1024  # SQLite takes no blob above 1e9 bytes; a point in use has a few MB
PLAIN = "biuf"  # kinds of numpy types: truth, whole numbers, floats; objects would be pickled
MEMBER = re.compile(r"^(\d{1,4})_([a-z0-9_.]{1,64})\.npy$")


class StateManifest(BaseModel):
    """One state, without its vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    name: str
    learned: Learned | None
    about: dict[str, Any]
    """What the state tells of itself: ``windows`` kept, ``learned_s`` and more."""

    @field_validator("about")
    @classmethod
    def _says_how_much(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not all(isinstance(value.get(name), int | float) for name in ("windows", "learned_s")):
            raise ValueError("a state must tell its windows and learned_s")
        return value


class Manifest(BaseModel):
    """All that is known of a baseline, except the vectors, of which there is the hash."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    format: int
    id: str = Field(pattern=r"^bl_\d{4,18}$")
    point: str
    parent: str | None
    gateway: str
    key_id: str
    """Of the key that signs it."""

    origin: Origin
    identity: str
    settings: dict[str, str]
    states: tuple[StateManifest, ...] = Field(min_length=1)
    false_alarms: tuple[FalseAlarms, ...]
    imported_from: Import | None
    author: str
    note: str
    created_ns: int
    vectors_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def added_windows(self) -> dict[str, int]:
        """Windows that adaptation added with this version, by state; none when a person made it."""
        return added_windows({state.name: state.learned for state in self.states})

    @classmethod
    def of(cls, baseline: Baseline, gateway: str, key_id: str, vectors: bytes) -> Manifest:
        """Describe a baseline that has its id, author and time, and these packed vectors.

        Raises:
            BaselineError: what is told of it could not be read again (an infinite number, for example).
        """
        made = cls(
            format=FORMAT,
            gateway=gateway,
            key_id=key_id,
            states=tuple(
                StateManifest(name=s.name, learned=baseline.learned.get(s.name), about=s.about())
                for s in baseline.states
            ),
            vectors_sha256=hashlib.sha256(vectors).hexdigest(),
            **{
                name: getattr(baseline, name)
                for name in (
                    *("id", "point", "parent", "origin", "identity", "settings"),
                    *("false_alarms", "imported_from", "author", "note", "created_ns"),
                )
            },
        )
        where = f"{baseline.point}: the new baseline"
        try:
            return cls.read(made.canonical(), where)
        except ValueError as error:
            raise BaselineError(f"{where}: its manifest cannot be written: {error}") from error

    @classmethod
    def read(cls, data: bytes, where: str) -> Manifest:
        """Read canonical bytes; ``where`` names them in the error.

        Raises:
            BaselineError: of another format version, or not a manifest.
        """
        try:
            known = json.loads(data)
            if isinstance(known, dict) and known.get("format") != FORMAT:
                raise BaselineError(f"{where}: manifest format {known.get('format')!r} is not known; update echo-edge")
            return cls.model_validate_json(data)
        except (ValueError, RecursionError) as error:  # ValidationError and JSONDecodeError are ValueErrors
            first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise BaselineError(f"{where}: its manifest cannot be read: {first}") from error

    def canonical(self) -> bytes:
        """The bytes that are signed: sorted keys, no spaces, ASCII."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False).encode(
            "ascii"
        )

    def summary(self, status: Status, active_since_ns: int | None) -> BaselineSummary:
        """One line of a list."""
        return BaselineSummary(
            id=self.id,
            point=self.point,
            status=status,
            parent=self.parent,
            states=tuple(state.name for state in self.states),
            learned_s=sum(float(state.about["learned_s"]) for state in self.states),
            author=self.author,
            note=self.note,
            created_ns=self.created_ns,
            active_since_ns=active_since_ns,
            imported_from=None if self.imported_from is None else self.imported_from.gateway,
        )

    def baseline(self, vectors: bytes) -> Baseline:
        """Rebuild what was stored; the vectors' hash must have been compared before.

        Raises:
            BaselineError: the vectors are not what the states need.
        """
        made = Baseline(
            point=self.point,
            origin=self.origin,
            identity=self.identity,
            states=unpack([state.name for state in self.states], vectors),
            learned={state.name: state.learned for state in self.states if state.learned is not None},
        )
        names = ("settings", "false_alarms", "parent", "imported_from", "id", "author", "note", "created_ns")
        return replace(made, **{name: getattr(self, name) for name in names})


def pack(states: Sequence[NormalState]) -> bytes:
    """Every array of every state as ``{index of the state}_{key}`` in an uncompressed ``.npz``.

    Raises:
        BaselineError: more than can be stored.
    """
    arrays = {
        f"{i}_{key}": np.asarray(array, order="C")
        for i, state in enumerate(states)
        for key, array in state.arrays().items()
    }
    if odd := [key for key, array in arrays.items() if array.dtype.kind not in PLAIN]:
        raise BaselineError(f"{', '.join(odd)}: no plain numbers, cannot be stored")
    if (size := sum(array.nbytes for array in arrays.values())) > MAX_VECTORS_BYTES:
        raise BaselineError(f"{size / 2**20:.0f} MiB of vectors; at most {MAX_VECTORS_BYTES >> 20} can be stored")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as allow_pickle
    return buffer.getvalue()


def unpack(names: Sequence[str], data: bytes) -> tuple[NormalState, ...]:
    """The states of these names from what ``pack`` made.

    Raises:
        BaselineError: not an ``.npz`` of plain numbers, or not these states' arrays.
    """
    arrays: list[dict[str, NDArray[Any]]] = [{} for _ in names]
    for member, content in stored_members(data, "the stored vectors").items():
        found = MEMBER.match(member)
        if found is None or int(found[1]) >= len(names):
            raise BaselineError(f"the stored vectors have a member that belongs to no state: {member!r}")
        arrays[int(found[1])][found[2]] = _array(content, member)
    return tuple(NormalState.from_arrays(name, given) for name, given in zip(names, arrays, strict=True))


def _array(content: bytes, member: str) -> NDArray[Any]:
    """One ``.npy``; its header must account for every byte, so that a false shape cannot ask for memory."""
    stream = io.BytesIO(content)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("another version of the format")
        shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise BaselineError(f"the stored vectors cannot be read: {member}: {error}") from error
    start = stream.tell()
    size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    plain = dtype.kind in PLAIN and dtype.itemsize > 0 and dtype.isnative and not fortran_order
    if not plain or min(shape, default=1) < 0 or size != len(content) - start:
        raise BaselineError(f"the stored vectors cannot be read: {member} is no plain array of its own size")
    # a copy: a view would lie at odd addresses, and keep the whole file in memory
    return np.ndarray(shape, dtype, buffer=content, offset=start).copy()
