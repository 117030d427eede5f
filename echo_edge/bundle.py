"""Support archive: what somebody who helps from afar needs, without sound, embeddings, secrets, keys or names."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from serial.tools import list_ports

from echo_edge.baseline_store import BaselineStore, open_store
from echo_edge.bundle_machine import journal, metrics_page, plugged_in, versions
from echo_edge.bundle_redaction import Redaction, readable
from echo_edge.config import Config
from echo_edge.config_file import load_config
from echo_edge.config_versions import last_working
from echo_edge.doctor_steps import ask, examine
from echo_edge.errors import BaselineError, ConfigError, EchoEdgeError, OrderError
from echo_edge.store import StoreError, database, may_use, state_path

MEMBER_BYTES = 900_000
"""Of each member at most; there are ten, or fewer, so that no archive is larger than 10 MB."""

MISSING = "missing.txt"
NOT_SEEN = ("not seeing messages from", "insufficient permissions")
"""What ``journalctl`` says of lines that are for others to see."""

FILES, BASELINES = 5000, 200
UNREAD = "It is no YAML that can be read, and nobody knows for sure what in it is a name: it was left out.\n"


def gather(path: Path, credentials_folder: str | None = None) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every member, cleaned and of bounded size. ``MISSING`` is last, where some are lacking.

    Args:
        path: of the configuration, which may be broken.
    """
    text = path.read_text("utf-8", "replace")
    config = _config(path)
    store = None if config is None else _store(config)
    serials = [port.serial_number for port in list_ports.comports() if port.serial_number]
    redaction = Redaction(text, path.parent, credentials_folder, _people(store), serials)
    yield "configuration.yaml", _bytes(redaction, text if readable(text) else UNREAD)
    yield "versions.json", _json(redaction, versions())
    yield "doctor.json", _json(redaction, [asdict(found) for found in examine(path, credentials_folder)])
    missing = []
    if config is None:
        missing.append("status, files, audit, baselines: the configuration cannot be used, nor can one that worked")
    else:
        folder = state_path(config.gateway.id)
        status = _status(config, folder)
        yield "status.json", _json(redaction, status)
        if folder.is_dir() and not may_use(folder):
            missing.append(f"files, audit, baselines: this user may not use {folder}; run it with sudo")
        if "problem" in status:
            missing.append(f"status: {status['problem']}")
        if config.metrics is not None:
            yield "metrics.txt", _bytes(redaction, metrics_page(config.metrics.host, config.metrics.port))
        yield "files.json", _json(redaction, _files(folder))
    if store is not None:
        yield "audit.json", _json(redaction, _audit(store))
        yield "baselines.json", _json(redaction, _baselines(store))
    yield "devices.json", _json(redaction, plugged_in())
    lines = journal(f"echo-edge@{path.stem}.service")
    yield "journal.txt", _bytes(redaction, _end(lines))
    if any(words in lines for words in NOT_SEEN):
        missing.append("journal: this user may not see the service's lines; run it with sudo")
    if missing:
        yield MISSING, _bytes(redaction, "".join(f"{one}\n" for one in missing))


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    """Write a ``.tar.gz`` that only its owner reads.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        pack(file, path.name, members)


def pack(file: IO[bytes], name: str, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members as ``NAME.tar.gz``, in a folder ``NAME``."""
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member_name, content in members:
            member = tarfile.TarInfo(f"{name.removesuffix('.tar.gz')}/{member_name}")
            member.size, member.mtime = len(content), int(time.time())
            archive.addfile(member, io.BytesIO(content))


def _bytes(redaction: Redaction, text: str) -> bytes:
    """Cleaned before it is cut: half a secret is one, too."""
    return redaction.clean(text).encode()[:MEMBER_BYTES]


def _json(redaction: Redaction, told: object) -> bytes:
    return (json.dumps(redaction.cleaned(told), indent=1, default=str) + "\n").encode()[:MEMBER_BYTES]


def _end(lines: str) -> str:
    """The newest whole lines."""
    end = lines[-MEMBER_BYTES // 2 :]
    return end if len(end) == len(lines) else end.partition("\n")[2]


def _config(path: Path) -> Config | None:
    try:
        return load_config(path)
    except ConfigError:  # the doctor tells what is wrong
        return last_working(path)


def _store(config: Config) -> BaselineStore | None:
    folder = state_path(config.gateway.id)
    if not may_use(folder) or not database(folder).exists():  # opening would make it
        return None
    with suppress(BaselineError):  # the doctor tells what is wrong
        return open_store(config, folder)
    return None


def _people(store: BaselineStore | None) -> set[str]:
    """Who stands in the audit log, and so perhaps in the log."""
    if store is None:
        return set()
    with suppress(BaselineError):
        return {entry.who for entry in store.audit()}
    return set()


def _status(config: Config, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():  # asking would make it
        return {"problem": "no daemon has run here yet"}
    try:
        return ask(config, "status")
    except (OrderError, StoreError) as error:
        return {"problem": str(error)}


def _files(folder: Path) -> list[dict[str, Any]]:
    """Names, sizes and times of what is kept; nothing of its contents."""
    found = []
    for path in sorted(folder.rglob("*"))[:FILES]:
        with suppress(OSError):
            about = path.lstat()
            changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(about.st_mtime))
            name = str(path.relative_to(folder))
            found.append({"file": name, "bytes": about.st_size, "changed": changed, "mode": oct(about.st_mode)})
    return found


def _audit(store: BaselineStore) -> dict[str, Any]:
    try:
        return asdict(store.verify_audit())
    except EchoEdgeError as error:
        return {"problem": str(error)}


def _baselines(store: BaselineStore) -> list[dict[str, Any]]:
    """Manifests of the newest, without vectors and without what persons wrote."""
    found = []
    for summary in list(store.list())[-BASELINES:]:
        told: dict[str, Any] = {"id": summary.id, "status": summary.status}
        try:
            told |= store.manifest(summary.id).model_dump(mode="json", exclude={"author", "note"})
        except BaselineError as error:
            told["problem"] = str(error)
        found.append(told)
    return found
