"""Rows about baselines in ``state.db``, verified as they are read: hash, signature, and that they are in place."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from echo_edge import audit
from echo_edge.audit import AuditReport
from echo_edge.baseline import Baseline
from echo_edge.baseline_history import MADE_ACTIVE, History
from echo_edge.baseline_manifest import Manifest
from echo_edge.errors import BaselineError
from echo_edge.signing import KEY_FILE, PublicKey, Purpose
from echo_edge.state_db import TABLES, has_unsigned

WHOLE = 20  # versions of a point that are kept with their vectors, the newest
GENERATIONS = 10  # and so many that were active before, as rollbacks lead to them: whoever proposes takes none away
ID = re.compile(r"^bl_(\d{4,18})$")


def id_of(number: int) -> str:
    """``bl_0007``."""
    return f"bl_{number:04d}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A manifest that verified."""

    manifest: Manifest
    data: bytes
    """The bytes that were signed."""

    signature: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Rows:
    """What one transaction sees."""

    db: sqlite3.Connection
    gateway: str
    key: PublicKey | None
    """The gateway's own; None when it has none, or no longer."""

    def signed(self, id_: str) -> Signed:
        """The manifest of a version.

        Raises:
            BaselineError: there is no such row, or it does not verify.
        """
        number = int(found[1]) if (found := ID.match(id_)) else 0
        row = self.db.execute("SELECT point, manifest, signature FROM baseline WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise BaselineError(f"there is no baseline '{id_}'; look at the list")
        point, data, signature = row
        if self.key is None:
            raise BaselineError(
                f"{point}: {KEY_FILE}, which baseline {id_} was signed with, is missing from the state folder; "
                "put it back from a backup, or enroll again"
            )
        if not isinstance(data, bytes) or not isinstance(signature, bytes):
            raise BaselineError(f"{point}: baseline {id_} is damaged; enroll again")
        if not self.key.signed(Purpose.MANIFEST, data, signature):
            raise BaselineError(f"{point}: baseline {id_} {self._why_not_ours(data)}")
        manifest = Manifest.read(data, f"{point}: baseline {id_}")
        if (manifest.id, manifest.point) != (id_, point):
            raise BaselineError(
                f"{point}: the row of baseline {id_} is a copy of {manifest.id} of {manifest.point}; enroll again"
            )
        if manifest.gateway != self.gateway:
            raise BaselineError(
                f"{point}: baseline {id_} was made on gateway '{manifest.gateway}', this is '{self.gateway}'; "
                "export it there and import it here, or enroll again"
            )
        return Signed(manifest, data, signature)

    def _why_not_ours(self, data: bytes) -> str:
        """What to say of a manifest that our key did not sign."""
        try:
            claimed = json.loads(data)
            signer, gateway = claimed["key_id"], claimed["gateway"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "is damaged; enroll again"
        if self.key is None or signer == self.key.id:
            return "is damaged (its signature does not verify); enroll again"
        return (
            f"was signed with key {signer} on gateway '{gateway}', the key here is {self.key.id}: {KEY_FILE} was "
            "replaced, or the row is another gateway's; put the old file back, or enroll again"
        )

    def vectors(self, manifest: Manifest) -> bytes:
        """The packed vectors of a version.

        Raises:
            BaselineError: they are not those that were signed.
        """
        number = int(manifest.id.removeprefix("bl_"))
        (vectors,) = self.db.execute("SELECT vectors FROM baseline WHERE number = ?", (number,)).fetchone()
        if vectors == b"":
            raise BaselineError(
                f"{manifest.point}: the vectors of baseline {manifest.id} were given up for room, as of all but the "
                f"newest {WHOLE}; import an export of it, or enroll again"
            )
        if not isinstance(vectors, bytes) or hashlib.sha256(vectors).hexdigest() != manifest.vectors_sha256:
            raise BaselineError(
                f"{manifest.point}: baseline {manifest.id} is damaged (its vectors do not have the SHA-256 that was "
                "signed); enroll again"
            )
        return vectors

    def baseline(self, id_: str) -> Baseline:
        """A whole version.

        Raises:
            BaselineError: there is no such row, or it does not verify.
        """
        manifest = self.signed(id_).manifest
        return manifest.baseline(self.vectors(manifest))

    def thin(self, point: str) -> list[str]:
        """Give up the vectors of a point's old versions, in a transaction; returns their ids.

        Those stay that are active, that so many rollbacks lead to, and whose thresholds are in force with one of these.
        Where the table does not verify all stay, for a person to look at.
        """
        rows = self.db.execute(
            "SELECT number FROM baseline WHERE point = ? AND length(vectors) > 0 ORDER BY number DESC", (point,)
        )
        story = History(audit.entries(self.db, point=point))
        try:
            in_turn = story.in_turn[: 1 + GENERATIONS]
            needed = {*in_turn, *map(self._ancestor, in_turn)}
        except BaselineError:
            return []
        old = [number for (number,) in rows.fetchall()[WHOLE:] if id_of(number) not in needed]
        if old:
            self.db.execute("DROP TRIGGER baseline_keeps_text")
            self.db.executemany("UPDATE baseline SET vectors = x'' WHERE number = ?", [(number,) for number in old])
            self.db.execute(next(sql for sql in TABLES if "baseline_keeps_text" in sql))
        return [id_of(number) for number in old]

    def _ancestor(self, id_: str | None) -> str | None:
        """The version whose thresholds are in force where this one is active."""
        while id_ is not None and (manifest := self.signed(id_).manifest).added_windows:
            id_ = manifest.parent
        return id_

    def active_id(self, point: str) -> str | None:
        """Which version is active; None when none ever was.

        Raises:
            BaselineError: the row that says so is damaged, lost or of another time than the audit log's last word.
        """
        mend = "activate the one that you want, or enroll again"
        row = self.db.execute(
            "SELECT baseline, since_ns, manifest_sha256, audit_seq, signature FROM active WHERE point = ?", (point,)
        ).fetchone()
        last = audit.last_of(self.db, point, MADE_ACTIVE)
        if row is None:
            if last is not None:
                raise BaselineError(f"{point}: the note of which baseline is active was lost; {mend}")
            if has_unsigned(self.db, point):
                raise BaselineError(f"{point}: its baseline was made by an older version; enroll again")
            return None
        id_, since_ns, sha256, seq, signature = row
        damaged = BaselineError(f"{point}: the note of which baseline is active is damaged; {mend}")
        if not isinstance(id_, str):
            raise damaged
        signed = self.signed(id_)
        told = active_bytes(self.gateway, point, id_, since_ns, sha256, seq)
        if self.key is None or not isinstance(signature, bytes):
            raise damaged
        if not self.key.signed(Purpose.ACTIVE, told, signature) or signed.sha256 != sha256:
            raise damaged
        if last is None or (last.seq, last.object) != (seq, id_):
            raise BaselineError(f"{point}: the audit log tells of another active baseline than {id_}; {mend}")
        return id_

    def trusted(self) -> dict[str, PublicKey]:
        """Keys of other gateways, by id, whose exports may be imported; rows that do not verify are not trusted."""
        keys = {}
        for key_id, raw, added_ns, signature in self.db.execute("SELECT * FROM trusted_key"):
            if not isinstance(raw, bytes) or not isinstance(signature, bytes) or PublicKey(raw).id != key_id:
                continue
            if self.key is not None and self.key.signed(Purpose.TRUST, trust_bytes(raw, added_ns), signature):
                keys[key_id] = PublicKey(raw)
        return keys

    def verify(self) -> AuditReport:
        """Follow the audit log to its end, and compare what it tells with the other tables."""
        report = audit.verify(self.db, self.key)
        stories = self.stories()
        there = {id_of(number) for (number,) in self.db.execute("SELECT number FROM baseline")}
        made = {id_: entry for story in stories.values() for id_, entry in story.made.items()}
        report.problems.extend(f"baseline {id_} is in no entry of the log" for id_ in sorted(there - set(made)))
        for id_, entry in made.items():
            try:
                if self.signed(id_).sha256 != entry.sha256:
                    report.problems.append(f"baseline {id_} is not the one that entry {entry.seq} tells of")
            except BaselineError as error:
                report.problems.append(str(error))
        active = {str(point) for (point,) in self.db.execute("SELECT point FROM active")}
        for point in sorted(active | {point for point, story in stories.items() if story.active}):
            try:
                self.active_id(point)
            except BaselineError as error:
                report.problems.append(str(error))
        keys = {str(key_id) for (key_id,) in self.db.execute("SELECT key_id FROM trusted_key")}
        keys |= {entry.object for entry in audit.entries(self.db) if entry.what == "trust"}
        report.problems.extend(
            f"trusted key {key_id} does not verify; it is not trusted until it is given again"
            for key_id in sorted(keys - set(self.trusted()))
        )
        return report

    def stories(self) -> dict[str, History]:
        """What the audit log tells of each point."""
        stories: dict[str, History] = {}
        for entry in audit.entries(self.db):
            stories.setdefault(entry.point, History()).read(entry)
        return stories


def active_bytes(gateway: str, point: str, id_: str, since_ns: object, sha256: object, seq: object) -> bytes:
    """What is signed of the note of which baseline is active."""
    return _bytes([gateway, point, id_, since_ns, sha256, seq])


def trust_bytes(raw: bytes, added_ns: object) -> bytes:
    """What is signed of a trusted key."""
    return _bytes([raw.hex(), added_ns])


def _bytes(values: list[Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), default=repr).encode()
