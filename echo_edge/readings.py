"""Readings: what a client may look at on the gateway beside the messages. In the client's thread, not the pipeline's.

A reading touches files, databases that it opens for reading itself, and what may be read from any thread. None changes
anything, but ``import``, which puts a file where ``baseline.import`` looks for it.
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import Field, ValidationError

from echo_edge import audit
from echo_edge.config import Config
from echo_edge.config_yaml import suggest
from echo_edge.envelope import Payload, timestamp
from echo_edge.errors import OrderRefusedError
from echo_edge.history_reader import HistoryReader
from echo_edge.order_answers import one_line
from echo_edge.order_bench import Moment, moment_ns
from echo_edge.order_envelope import refused_args
from echo_edge.order_types import ROLES, Role
from echo_edge.plain_files import plain_name, read_plainly
from echo_edge.readings_alerts import PICTURE, AlertReadings, opened_to_read
from echo_edge.readings_history import grid, history
from echo_edge.store import database, history_folder, write_durably
from echo_edge.verbs import Args

log = logging.getLogger(__name__)

MOST_DAYS = 90
MAX_BUCKETS = 600
PATIENCE_S = 60.0
MAX_PICTURE_BYTES = 4 << 20
MAX_FILE_BYTES = 32 << 20
"""Of a baseline that is exported or imported this way; a point in use has a few MB."""

KEPT_IMPORTS = 20
CAME = "web-"  # what the name of an imported file begins with: nobody's own file is replaced or removed
IMPORTS, EXPORTS = "imports", "exports"


class HistoryArgs(Args):
    """A stretch of time of a point, in so many pieces or fewer."""

    point: str
    from_: Moment = Field(alias="from")
    to: Moment
    buckets: int = Field(default=300, ge=60, le=MAX_BUCKETS)


class AlertsArgs(Args):
    """The newest, of a point or of all."""

    point: str | None = None
    limit: int = Field(default=50, ge=1, le=500)


class AlertArgs(Args):
    """One alert."""

    alert_id: str = Field(max_length=64)


class NameArgs(Args):
    """One file of the folder that the reading is about."""

    name: str = Field(min_length=1, max_length=81)


class AuditArgs(Args):
    """The newest rows before one of them, of a point or of all."""

    point: str | None = None
    limit: int = Field(default=50, ge=1, le=500)
    before: int | None = Field(default=None, ge=1, lt=2**63)


class ImportArgs(NameArgs):
    """A file and what is in it."""

    data: str = Field(max_length=MAX_FILE_BYTES * 4 // 3 + 4)
    """base64."""


A = TypeVar("A", bound=Args)


@dataclass(frozen=True, slots=True)
class Reading(Generic[A]):
    """Something that can be read."""

    role: Role
    """The least role that may."""

    args: type[A]
    work: Callable[[Readings, A], dict[str, Any]]


class Readings:
    """A closed table of readings, and who may what; any thread may use it.

    Args:
        folder: the state folder.
        standing: newest message of every alert that somebody has to know of; from any thread.
        path: of the configuration, for a support archive; None: there is no file.
        credentials_folder: where systemd put the secrets.
        patience_s: how long a reading waits for another of its kind.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        standing: Callable[[], Mapping[str, Payload]] = dict,
        path: Path | None = None,
        credentials_folder: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._patience_s = patience_s
        self.config, self.folder, self.path, self.credentials_folder = config, folder, path, credentials_folder
        self.evidence = folder / "evidence"
        self.history = HistoryReader(history_folder(folder))
        self.alerts = AlertReadings(self.evidence, database(folder), standing)
        self._locks = {what: threading.Lock() for what in ("history", "bundle", "import")}

    def read(self, what: str, args: Mapping[str, Any], role: Role) -> dict[str, Any]:
        """Return what is asked for, as JSON.

        Args:
            args: as JSON has them; nothing is converted, except texts into times.

        Raises:
            OrderRefusedError: ``unknown_verb``, ``forbidden``, ``bad_args`` (``where`` names the argument), ``busy``,
                ``refused``; ``failed`` by a defect of ours.
            EchoEdgeError: what is on disk cannot be read.
        """
        if what not in READINGS:
            raise OrderRefusedError("unknown_verb", f"'{one_line(what, 64)}' is no reading{suggest(what, READINGS)}")
        reading = READINGS[what]
        if ROLES.index(role) < ROLES.index(reading.role):
            raise OrderRefusedError("forbidden", f"{what} is for {reading.role}, this is {role}")
        try:
            given = reading.args.model_validate(args, strict=True)
        except ValidationError as error:
            raise refused_args(error, "args") from error
        try:
            return reading.work(self, given)
        except OSError as error:
            raise OrderRefusedError("failed", f"{what}: {error.strerror or error}; look at the disk") from error

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """One reading of a kind at a time; another waits a while."""
        if not self._locks[what].acquire(timeout=self._patience_s):
            raise OrderRefusedError("busy", f"somebody else's {what} takes long; try again in a minute")
        try:
            yield
        finally:
            self._locks[what].release()


def _history(readings: Readings, args: HistoryArgs) -> dict[str, Any]:
    point = _known(readings, args.point)
    from_ns, to_ns = moment_ns(args.from_, "from") or 0, moment_ns(args.to, "to") or 0
    if not from_ns < to_ns:
        raise OrderRefusedError("bad_args", "is after 'from'", "args.to")
    if to_ns - from_ns > MOST_DAYS * 86_400 * 10**9:
        raise OrderRefusedError("bad_args", f"at most {MOST_DAYS} days are read at once; begin later", "args.from")
    configured = readings.config.points()[point]
    span = grid(from_ns, to_ns, args.buckets, configured.window.hop_s)
    with readings.alone("history"):
        return history(readings.history, point, span, configured.channel_labels)


def _alerts(readings: Readings, args: AlertsArgs) -> dict[str, Any]:
    return readings.alerts.alerts(args.point, args.limit)


def _alert(readings: Readings, args: AlertArgs) -> dict[str, Any]:
    return readings.alerts.alert(args.alert_id)


def _picture(readings: Readings, args: NameArgs) -> dict[str, Any]:
    if not PICTURE.fullmatch(args.name):
        raise OrderRefusedError("bad_args", "is no name of an alert's picture", "args.name")
    return {"png": _base64(_file(readings.evidence / args.name, MAX_PICTURE_BYTES))}


def _audit(readings: Readings, args: AuditArgs) -> dict[str, Any]:
    with opened_to_read(database(readings.folder)) as db:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        rows = audit.entries(db, args.limit, args.point, args.before)
    return {
        "rows": [
            {
                "id": row.seq,
                "ts": timestamp(row.time_ns) if row.time_ns >= 0 else None,
                "who": row.who,
                "what": row.what,
                "why": row.why,
                "point": row.point or None,
                "object": row.object,
            }
            for row in reversed(rows)
        ]
    }


def _bundle(readings: Readings, _: Args) -> dict[str, Any]:
    from echo_edge.bundle import gather, pack  # noqa: PLC0415  seconds of imports that nothing else needs

    if readings.path is None:
        raise OrderRefusedError("refused", "the daemon runs without a file of its configuration")
    name = f"echo-edge-{readings.path.stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz"
    with readings.alone("bundle"):
        archive = io.BytesIO()
        pack(archive, name, gather(readings.path, readings.credentials_folder))
    return {"name": name, "tar_gz": _base64(archive.getvalue())}


def _export(readings: Readings, args: NameArgs) -> dict[str, Any]:
    data = _file(readings.folder / EXPORTS / _plain(args.name), MAX_FILE_BYTES)
    return {"name": args.name, "data": _base64(data)}


def _import(readings: Readings, args: ImportArgs) -> dict[str, Any]:
    name = _plain(args.name)
    name = _plain(name if name.startswith(CAME) else CAME + name)
    try:
        data = base64.b64decode(args.data, validate=True)
    except binascii.Error as error:
        raise OrderRefusedError("bad_args", f"is no base64: {error}", "args.data") from error
    if not data:
        raise OrderRefusedError("bad_args", "is empty", "args.data")
    folder = readings.folder / IMPORTS
    with readings.alone("import"):
        folder.mkdir(exist_ok=True, mode=0o700)
        write_durably(folder / name, data)  # takes the place of a link, too, and does not follow it
        for old in sorted(folder.glob(f"{CAME}*"), key=_written_ns)[:-KEPT_IMPORTS]:
            old.unlink(missing_ok=True)
            log.info("%s: removed, newer imports take its place", old.name)
    log.info("%s: %d bytes were put into %s", name, len(data), IMPORTS)
    return {"file": name}


READINGS: Mapping[str, Reading[Any]] = {
    "history": Reading("viewer", HistoryArgs, _history),
    "alerts": Reading("viewer", AlertsArgs, _alerts),
    "alert": Reading("viewer", AlertArgs, _alert),
    "picture": Reading("viewer", NameArgs, _picture),
    "audit": Reading("viewer", AuditArgs, _audit),
    "bundle": Reading("engineer", Args, _bundle),
    "export": Reading("engineer", NameArgs, _export),
    "import": Reading("engineer", ImportArgs, _import),
}


def _known(readings: Readings, point: str) -> str:
    points = readings.config.points()
    if point not in points:
        raise OrderRefusedError(
            "bad_args", f"no point '{one_line(point, 64)}'; known are {', '.join(points)}", "args.point"
        )
    return point


def _plain(name: str) -> str:
    try:
        return plain_name(name)
    except ValueError as error:
        raise OrderRefusedError("bad_args", str(error), "args.name") from error


def _file(path: Path, max_bytes: int) -> bytes:
    try:
        return read_plainly(path, max_bytes)
    except FileNotFoundError as error:
        raise OrderRefusedError("refused", f"there is no file '{path.name}' (any more)", "args.name") from error
    except (ValueError, OSError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise OrderRefusedError("refused", f"{path.name}: cannot be read: {told}", "args.name") from error


def _written_ns(path: Path) -> int:
    return path.lstat().st_mtime_ns


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
