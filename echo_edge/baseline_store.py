"""Baselines of a gateway: every version, which one is active, and who decided so. In ``state.db``.

Only one process writes at a time: the daemon, or the command line while none runs (``store.exclusive``). Each change
is one transaction with its audit row; what is read is verified first, and whatever does not verify is refused.
"""

from __future__ import annotations

import copy
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from echo_edge import audit, audit_segments
from echo_edge.audit import AuditEntry, AuditReport
from echo_edge.baseline import Baseline, BaselineSummary, Import
from echo_edge.baseline_file import read_file, write_file
from echo_edge.baseline_history import History
from echo_edge.baseline_manifest import Manifest, pack
from echo_edge.baseline_rows import WHOLE, Rows, Signed, active_bytes, id_of, trust_bytes
from echo_edge.config import Config
from echo_edge.errors import BaselineError
from echo_edge.signing import KEY_FILE, PublicKey, Purpose, SigningKey, load_key, make_key
from echo_edge.state_db import StateDb
from echo_edge.store import database

log = logging.getLogger(__name__)

AUDIT_FOLDER = "audit"
MAX_NUMBER = 10**9


def open_store(config: Config, folder: Path) -> BaselineStore:
    """The store of a gateway in its state folder."""
    return BaselineStore(database(folder), config.gateway.id, config.two_person_points())


class BaselineStore:
    """Every baseline ever made: proposed, active, retired or rejected.

    Args:
        path: the database; the gateway's key lies beside it.
        gateway: whose baselines these are; those of another are refused.
        two_person: points whose baselines somebody else than their author must activate.
        clock: tells when a version is made, in nanoseconds since 1970.
        closes_after: entries of the audit log that are closed into a file together.

    Every method raises BaselineError also when the database is locked, damaged, full or not to be written; nothing
    was changed then.
    """

    def __init__(
        self,
        path: Path,
        gateway: str,
        two_person: Collection[str] = (),
        clock: Callable[[], int] = time.time_ns,
        closes_after: int = audit_segments.ENTRIES,
    ) -> None:
        self.path = path
        self._folder = path.parent
        self._gateway = gateway
        self._two_person = two_person
        self._clock = clock
        self._closes_after = closes_after
        self._state_db = StateDb(path)
        self.tell: Callable[[AuditEntry], None] = lambda _: None
        """Called with every row that was added to the audit log, once it is on disk; it must neither wait nor fail."""
        self._keeps = True

    def rehearsal(self) -> BaselineStore:
        """The same store, where every change is checked whole and then undone."""
        rehearsing = copy.copy(self)
        rehearsing._keeps = False
        return rehearsing

    def needs_another_person(self, point: str) -> bool:
        """True when authors must not activate what they proposed."""
        return point in self._two_person

    # changes: each is one transaction

    def propose(self, baseline: Baseline, author: str, note: str = "") -> Baseline:
        """Store a new version, not active yet; returns it with its id, author, note and time."""
        with self._change() as rows:
            return self._add(rows, baseline, "propose", author, note)

    def import_(
        self,
        path: Path,
        point: str,
        actor: str,
        trust_key: bytes | None = None,
        note: str = "",
        *,
        follow: bool = True,
    ) -> Baseline:
        """Propose for ``point`` what another gateway, or this one, exported.

        Args:
            trust_key: PEM of the other gateway's public key; it is trusted from now on.
            follow: False: a symbolic link is refused.

        Raises:
            BaselineError: damaged, changed since it was signed, or signed by somebody unknown.
        """
        found = read_file(path, follow=follow)
        given = None if trust_key is None else PublicKey.from_pem(trust_key, "the key to be trusted")
        if given is not None and given != found.signer:
            raise BaselineError(f"{path}: is signed with key {found.signer.id}, the key given is {given.id}")
        with self._change() as rows:
            if found.signer not in {given, rows.key, *rows.trusted().values()}:
                raise BaselineError(
                    f"{path}: is signed with key {found.signer.id} of gateway '{found.manifest.gateway}', which is not "
                    "trusted here; bring its signing.pub by a way that you trust, and give it as the key"
                )
            baseline = found.manifest.baseline(found.vectors)
            if given is not None and given not in {rows.key, *rows.trusted().values()}:
                self._trust(rows, given, actor)
            origin = Import(
                *(found.manifest.id, found.manifest.point, found.manifest.gateway, found.signer.id),
                *(found.signature.hex(), found.manifest_sha256),
            )
            learned = {name: replace(one, how="import", added_windows=0) for name, one in baseline.learned.items()}
            proposal = replace(baseline, point=point, parent=None, imported_from=origin, learned=learned)
            return self._add(rows, proposal, "import", actor, note)

    def activate(self, point: str, id_: str, actor: str, why: str = "") -> Baseline:
        """Judge the point by this version from here on.

        Raises:
            BaselineError: it does not verify, is another point's, was rejected, is active already, or another person
                must activate it.
        """
        with self._change() as rows:
            baseline = rows.baseline(id_)
            if baseline.point != point:
                raise BaselineError(f"{id_} is a baseline of {baseline.point}, not of {point}")
            if self.needs_another_person(point) and baseline.author.casefold() == actor.casefold():
                raise BaselineError(f"{id_} was proposed by {actor}: 'approval' asks that another person activates it")
            if id_ in History(audit.entries(rows.db, point=point)).rejected:
                raise BaselineError(f"{id_} was rejected; enroll again")
            if id_ == _active_if_whole(rows, point):
                raise BaselineError(f"{id_} is active already")
            self._make_active(rows, rows.signed(id_), actor, "activate", why)
            return baseline

    def rollback(self, point: str, actor: str, why: str = "") -> Baseline:
        """Judge the point by the version that was active before the present one; the next rollback goes further back.

        Raises:
            BaselineError: there is none, it does not verify, or the audit log, which tells which it was, is damaged.
        """
        with self._change() as rows:
            if problems := audit.verify(rows.db, rows.key).problems:
                raise BaselineError(
                    f"{point}: the audit log cannot tell what was active before ({problems[0]}); look at the list and "
                    "activate the one that you want"
                )
            before = History(audit.entries(rows.db, point=point)).before_active
            if before is None:
                raise BaselineError(f"{point}: no baseline was active before the present one")
            baseline = rows.baseline(before)
            self._make_active(rows, rows.signed(before), actor, "rollback", why)
            return baseline

    def reject(self, id_: str, actor: str, why: str = "") -> None:
        """Never let this version be activated.

        Raises:
            BaselineError: it is active, or rejected already.
        """
        with self._change() as rows:
            signed = rows.signed(id_)
            point = signed.manifest.point
            history = History(audit.entries(rows.db, point=point))
            if id_ == history.active:
                raise BaselineError(f"{id_} is active: roll back, or activate another, first")
            if id_ in history.rejected:
                raise BaselineError(f"{id_} is rejected already")
            audit.append(rows.db, self._own_key(), actor, "reject", why, point, id_, signed.sha256)

    def label(self, id_: str, actor: str, text: str) -> None:
        """Give a version a name, or a note, for people; the newest one counts, an empty one takes it away.

        Raises:
            BaselineError: there is no such version.
        """
        with self._change() as rows:
            signed = rows.signed(id_)
            key = self._own_key()
            audit.append(rows.db, key, actor, "label", text, signed.manifest.point, id_, signed.sha256)

    def note(self, who: str, what: str, why: str = "", point: str = "", object_: str = "") -> AuditEntry:
        """Add a row to the audit log about what is no baseline."""
        with self._change() as rows:
            return audit.append(rows.db, self._own_key(), who, what, why, point, object_)

    # what there is

    def active(self, point: str) -> Baseline | None:
        """The version that the point is judged by; None when none ever was.

        Raises:
            BaselineError: it does not verify; it is left as it is, for a person to look at.
        """
        with self._read() as rows:
            id_ = rows.active_id(point)
            return None if id_ is None else rows.baseline(id_)

    def load(self, id_: str) -> Baseline:
        """Any version.

        Raises:
            BaselineError: there is none of this id, or it does not verify.
        """
        with self._read() as rows:
            return rows.baseline(id_)

    def manifest(self, id_: str) -> Manifest:
        """What is known of a version, without its vectors; raises as ``load``."""
        return self.signed(id_).manifest

    def signed(self, id_: str) -> Signed:
        """The same with its signature; raises as ``load``."""
        with self._read() as rows:
            return rows.signed(id_)

    def list(self, point: str | None = None) -> Sequence[BaselineSummary]:
        """Every version of a point, or of all points, oldest first; vectors are not read."""
        found = []
        with self._read() as rows:
            stories = rows.stories()
            there = {id_of(number): str(of) for number, of in rows.db.execute("SELECT number, point FROM baseline")}
            made = {id_: entry.point for story in stories.values() for id_, entry in story.made.items()}
            since = dict(rows.db.execute("SELECT point, since_ns FROM active"))
            for id_, of in sorted({**there, **made}.items(), key=lambda item: (len(item[0]), item[0])):
                if point not in {None, of}:
                    continue
                try:
                    manifest = rows.signed(id_).manifest
                except BaselineError as error:
                    found.append(BaselineSummary(id_, of, "damaged", str(error)))
                    continue
                story = stories.get(of, History())
                status = story.status(id_)
                summary = manifest.summary(status, since.get(of) if status == "active" else None)
                found.append(replace(summary, label=story.labels.get(id_, "")))
        return found

    def trusted_keys(self) -> Sequence[PublicKey]:
        """Keys of other gateways whose exports may be imported."""
        with self._read() as rows:
            return list(rows.trusted().values())

    def audit(self, limit: int | None = None, point: str | None = None) -> Sequence[AuditEntry]:
        """The newest rows of the audit log, in order of time."""
        with self._read() as rows:
            return audit.entries(rows.db, limit, point)

    def verify_audit(self) -> AuditReport:
        """Follow the audit log to its signed end and compare what it tells with all that is stored, vectors apart;
        then back through its closed parts."""
        with self._read() as rows:
            report = rows.verify()
            report.problems.extend(audit_segments.verify(self._folder / AUDIT_FOLDER, audit.last_closed(rows.db)))
            return report

    def export(self, id_: str, path: Path) -> PublicKey:
        """Write a version to a file of its own; returns the key that it is signed with.

        Raises:
            BaselineError: it does not verify, or the file cannot be written or is there already.
        """
        with self._read() as rows:
            signed = rows.signed(id_)
            vectors = rows.vectors(signed.manifest)
        key = self._own_key().public
        write_file(path, signed.data, signed.signature, vectors, key)
        return key

    # below: inside a transaction

    @contextmanager
    def _read(self) -> Iterator[Rows]:
        with self._state_db.read() as db:
            yield self._rows(db)

    @contextmanager
    def _change(self) -> Iterator[Rows]:
        with self._state_db.change(keep=self._keeps) as db:
            before = audit.last_seq(db)
            yield self._rows(db)
            self._close_old(db)
            added = audit.entries_after(db, before)
        if self._keeps:
            for entry in added:
                self.tell(entry)

    def _close_old(self, db: sqlite3.Connection) -> None:
        key = load_key(self._folder)
        if key is None or not self._keeps:
            return
        try:
            audit_segments.close_old(db, key, self._folder / AUDIT_FOLDER, self._closes_after)
        except OSError as error:  # tried again with the next entry
            log.error("%s: old entries stay in the table: %s", self._folder / AUDIT_FOLDER, error.strerror)

    def _rows(self, db: sqlite3.Connection) -> Rows:
        key = load_key(self._folder)
        return Rows(db, self._gateway, None if key is None else key.public)

    def _own_key(self) -> SigningKey:
        key = load_key(self._folder)
        if key is None:
            if not self._keeps:
                return SigningKey.new()
            key = make_key(self._folder)
            log.info("%s: made, key %s; keep a copy in a safe place", self._folder / KEY_FILE, key.public.id)
        return key

    def _add(self, rows: Rows, baseline: Baseline, what: str, author: str, note: str) -> Baseline:
        key = self._own_key()
        found = rows.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'baseline'").fetchone()
        number = 1 + (0 if found is None else int(found[0]))
        if not 0 < number < MAX_NUMBER:
            raise BaselineError(f"the number of the last baseline is damaged ({number - 1}); move state.db away")
        made = replace(baseline, id=id_of(number), author=author, note=note, created_ns=self._clock())
        vectors = pack(made.states)
        manifest = Manifest.of(made, self._gateway, key.public.id, vectors)
        signed = Signed(manifest, manifest.canonical(), key.sign(Purpose.MANIFEST, manifest.canonical()))
        rows.db.execute(
            "INSERT INTO baseline(number, point, manifest, signature, vectors) VALUES (?, ?, ?, ?, ?)",
            (number, made.point, signed.data, signed.signature, vectors),
        )
        audit.append(rows.db, key, author, what, note, made.point, made.id, signed.sha256)
        for old in rows.thin(made.point):
            why = f"of the versions before the newest {WHOLE} the vectors are given up"
            audit.append(rows.db, key, "echo-edge", "thin", why, made.point, old)
        return made

    def _make_active(self, rows: Rows, signed: Signed, actor: str, what: str, why: str) -> None:
        key, manifest = self._own_key(), signed.manifest
        entry = audit.append(rows.db, key, actor, what, why, manifest.point, manifest.id, signed.sha256)
        told = (manifest.point, manifest.id, entry.time_ns, signed.sha256, entry.seq)
        signature = key.sign(Purpose.ACTIVE, active_bytes(self._gateway, *told))
        rows.db.execute("INSERT OR REPLACE INTO active VALUES (?, ?, ?, ?, ?, ?)", (*told, signature))

    def _trust(self, rows: Rows, given: PublicKey, actor: str) -> None:
        key, now_ns = self._own_key(), time.time_ns()
        audit.append(rows.db, key, actor, "trust", "", "", given.id)
        signature = key.sign(Purpose.TRUST, trust_bytes(given.raw, now_ns))
        rows.db.execute(
            "INSERT OR REPLACE INTO trusted_key VALUES (?, ?, ?, ?)", (given.id, given.raw, now_ns, signature)
        )


def _active_if_whole(rows: Rows, point: str) -> str | None:
    try:
        return rows.active_id(point)
    except BaselineError:  # it is to be replaced
        return None
