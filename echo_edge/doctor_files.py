"""Doctor's look at files: who else may read or write them, whether the disk takes more, whether databases are whole."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from echo_edge import outbox_db, state_db
from echo_edge.database_trouble import DAMAGED, trouble
from echo_edge.doctor import LEAST_FREE_BYTES, LEAST_FREE_SHARE
from echo_edge.doctor_found import Found, Patient, bad
from echo_edge.outbox_file import kind_of
from echo_edge.signing import KEY_FILE
from echo_edge.store import database, outbox_file
from echo_edge.supervision import LEAST_FREE_FILES

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def as_service(configuration: Path) -> str:
    """The mend where this user may not look."""
    return f"run this as root or as the service's user: sudo -u echo-edge echo-edge doctor {configuration}"


def rights(patient: Patient) -> Iterator[Found]:
    """Whether others may change what the daemon reads, or read what is secret."""
    wrong = [*_others_write(patient), *_others_read(patient), *_closed(patient)]
    yield from wrong or [Found("rights", "ok", "nobody else writes the configuration or reads a secret")]


def _others_write(patient: Patient) -> Iterator[Found]:
    for path in (patient.path.absolute(), patient.path.absolute().parent, patient.folder):
        if not path.exists():
            continue
        mode = path.stat().st_mode
        if mode & stat.S_ISVTX:  # as /tmp: there nobody replaces what is another's
            continue
        if mode & stat.S_IWOTH:
            yield Found("rights", "broken", f"{path}: everybody may change it", f"chmod o-w {path}")
        elif mode & stat.S_IWGRP:
            yield Found("rights", "warning", f"{path}: its group may change it", f"chmod g-w {path}")


def _others_read(patient: Patient) -> Iterator[Found]:
    for path in (*secret_files(patient), *([patient.folder / KEY_FILE] if patient.may_look else [])):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Found("rights", "warning", f"{path}: cannot be looked at: {error.strerror}", "run this as root")
            continue
        if mode & OTHERS:
            yield Found("rights", "broken", f"{path}: holds a secret, and others may use it", f"chmod 600 {path}")
    folder = patient.folder
    if folder.is_dir() and folder.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH):
        yield Found(
            "rights", "warning", f"{folder}: everybody may read what is kept of the past", f"chmod 700 {folder}"
        )


def _closed(patient: Patient) -> Iterator[Found]:
    """What the daemon must read, and its user cannot: root, who looks, can."""
    if (reader := patient.reader) is None:
        return
    for path in (patient.path, *secret_files(patient)):
        try:
            closed = reader.stopped_at(path)
        except OSError:
            continue  # told with the secrets
        what = f"{path}: the service's user {reader.name} cannot read it"
        if closed is None:
            continue
        if closed in (patient.path, *patient.path.absolute().parents):  # root's, for the service to use
            mend = f"chgrp {reader.name} {closed} && chmod g+{'r' if closed == path else 'x'} {closed}"
        else:
            mend = f"chown {reader.name} {path}" if closed == path else f"move it to {patient.path.parent}"
        yield Found("rights", "broken", what if closed == path else f"{what}: {closed} is closed to it", mend)


def secret_files(patient: Patient) -> list[Path]:
    """Files with a password or a key that the configuration names; credentials are systemd's to guard."""
    mqtt, operators = patient.config.mqtt, patient.config.orders.operators.values()
    named = [mqtt.password_file, mqtt.tls.client_key_file if mqtt.tls else None, *(told.key_file for told in operators)]
    return [path for path in named if path is not None]


def disk(patient: Patient) -> Iterator[Found]:
    """Whether the state folder takes more."""
    folder = patient.folder
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there != folder:
        yield Found("disk", "ok", f"{folder}: is not there yet; the daemon makes it at its first start")
    about = os.statvfs(there)
    if about.f_flag & os.ST_RDONLY:
        yield Found("disk", "broken", f"{there}: its disk is read-only", "mount it for writing, or replace it")
        return
    free, total = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    told = f"{free / 1e6:.0f} MB free, {free / max(total, 1):.0%}"
    if free < LEAST_FREE_BYTES or free < LEAST_FREE_SHARE * total:
        yield bad("disk", f"{there}: {told}", "free space, or a smaller `gateway.history.max_mb`", broken=free == 0)
    else:
        yield Found("disk", "ok", f"{there}: {told}")
    if about.f_files and about.f_favail < LEAST_FREE_FILES:  # some file systems have as many as they want, and say 0
        what = f"{there}: room for {about.f_favail} files (inodes) only"
        yield bad("disk", what, "delete small files on that disk", broken=about.f_favail == 0)
    if patient.may_look:
        yield _write_test(folder)
    elif there == folder:
        ours = folder.stat().st_uid == os.geteuid()
        yield bad("disk", f"{folder}: this user may not use what lies there", as_service(patient.path), broken=ours)


def _write_test(folder: Path) -> Found:
    """Write, sync and forget a file that has no name."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        full = kind_of(error) == "disk_full"
        mend = "free space on this disk" if full else "look at the disk's health"
        return Found("disk", "broken", f"{folder}: cannot be written: {error.strerror}", mend)
    return Found("disk", "ok", f"{folder}: can be written")


def databases(patient: Patient) -> Iterator[Found]:
    """Whether what is kept is whole, and of this version."""
    if patient.folder.is_dir() and not patient.may_look:
        return  # told with the disk
    yield _database(database(patient.folder), state_db.VERSION)
    if not patient.runs:  # the daemon alone uses its outbox, and tells what is wrong with it
        yield _outbox(outbox_file(patient.folder))
    for path in sorted(patient.folder.glob("*.corrupt-*")):
        yield Found("state", "warning", f"{path}: was damaged and set aside", "look at the disk; keep it or delete it")


def _outbox(path: Path) -> Found:
    """Check it, and leave no file behind: the daemon has done without this one, for a disk that is full."""
    index = path.with_name(f"{path.name}-shm")
    was_there = index.exists()
    try:
        return _database(path, outbox_db.VERSION)
    finally:
        if not was_there:
            index.unlink(missing_ok=True)


def _database(path: Path, version: int) -> Found:
    if not path.exists():
        return Found("state", "ok", f"{path}: is not there yet")
    # without a log nobody has it open, and SQLite need not make one to read it
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=2)) as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found > version:
                mend = "install that version again, or put a backup back"
                return Found("state", "broken", f"{path}: written by a newer version of echo-edge ({found})", mend)
            (whole,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        what, mend = trouble(error, path)
        return Found("state", "broken", f"{path}: {what}", mend)
    if whole != "ok":
        return Found("state", "broken", f"{path}: is damaged: {whole}", f"look at the disk's health, then {DAMAGED}")
    return Found("state", "ok", f"{path}: whole, version {found}")
