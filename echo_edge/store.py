"""Where the daemon keeps what must survive, and the lock that makes it the only writer."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echo_edge.errors import EchoEdgeError

log = logging.getLogger(__name__)
AS_SERVICE = "be its user: sudo -u echo-edge echo-edge ..."
"""The mend where only the service's own user may do something."""

CONFIGURATIONS = Path("/etc/echo-edge")
"""Where the services' configurations are; that of ``echo-edge@NAME`` is ``NAME.yaml``."""

MAX_SOCKET_PATH = 107
SERVICES_STATE = Path("/var/lib/echo-edge")
RESERVE, RESERVE_BYTES = "reserve", 1 << 20
UNFINISHED_S = 3600.0


class StoreError(EchoEdgeError):
    """The state folder cannot be used."""


class StoreBusyError(StoreError):
    """Another process of ours writes to this state folder."""


def may_use(folder: Path) -> bool:
    """Whether this user may read and change what lies in a state folder."""
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _of_systemd(variable: str) -> Path | None:
    """The folder that systemd made, the first where the unit names several."""
    named = os.environ.get(variable, "").partition(":")[0]
    return Path(named) if named else None


def state_path(gateway: str) -> Path:
    """``$STATE_DIRECTORY`` (systemd sets it), else a folder of this gateway in the XDG state folder; there or not."""
    xdg = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return _of_systemd("STATE_DIRECTORY") or xdg / "echo-edge" / gateway


def state_folder(gateway: str) -> Path:
    """``state_path``, made if it is absent."""
    folder = state_path(gateway)
    if os.access(control_socket(folder), os.W_OK) and not os.access(folder, os.X_OK):
        return folder  # the service's own; who may use its socket needs no more
    mend = _mend_of_a_service(folder) or "name another in $STATE_DIRECTORY"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made: {error.strerror}; {mend}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{folder}: cannot be written by this user; {mend}")
    return folder


def how_to_start(folder: Path) -> str:
    """The command that starts the daemon of a state folder."""
    return f"sudo systemctl start echo-edge@{folder.name}" if folder.parent == SERVICES_STATE else "echo-edge run"


def _mend_of_a_service(folder: Path) -> str:
    """What a user can do who may not use the folder of a service; empty where it is none's."""
    if folder.parent != SERVICES_STATE:
        return ""
    if not runtime_folder(folder).exists():
        return f"start its daemon with `{how_to_start(folder)}`, or be its user with `sudo -u echo-edge`"
    return "use sudo, or join the groups echo-edge and echo-edge-admin, who may give its daemon orders, and log in anew"


def cache_folder() -> Path:
    """``$CACHE_DIRECTORY`` (systemd sets it), else ours in the XDG cache folder. Made if absent; may be emptied.

    Raises:
        StoreError: it cannot be made.
    """
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = _of_systemd("CACHE_DIRECTORY") or xdg / "echo-edge"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made: {error.strerror}; name another in $CACHE_DIRECTORY") from error
    return folder


def database(folder: Path) -> Path:
    return folder / "state.db"


def outbox_file(folder: Path) -> Path:
    return folder / "outbox.db"


def runtime_folder(folder: Path) -> Path:
    """Where files live until the machine is switched off: ``$RUNTIME_DIRECTORY``, set by systemd, or the state's."""
    return _of_systemd("RUNTIME_DIRECTORY") or folder


def service_folders(config: Path) -> None:
    """Let a command use the folders of the service that this configuration, ``/etc/echo-edge/NAME.yaml``, belongs to.

    A configuration elsewhere belongs to nobody, and folders that are named already stay.
    """
    if config.parent.resolve() == CONFIGURATIONS and "STATE_DIRECTORY" not in os.environ:
        os.environ["STATE_DIRECTORY"] = str(SERVICES_STATE / config.stem)
        os.environ["RUNTIME_DIRECTORY"] = f"/run/echo-edge/{config.stem}"


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put a whole file in place: after a power cut there is the old one or the new one, never a part.

    Raises:
        OSError: the disk; the old file is as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, must survive
    finally:
        os.close(folder)


def spend_reserve(folder: Path) -> None:
    """On a disk without room, give up what ``keep_reserve`` put by: a database cannot be opened without a free byte."""
    if free_bytes(folder) < RESERVE_BYTES // 4 and (folder / RESERVE).exists():
        log.warning("%s: the disk is full; the room that was reserved for a start is used now", folder)
        (folder / RESERVE).unlink(missing_ok=True)


def keep_reserve(folder: Path) -> None:
    """Put room by for a start on a full disk, where there is enough of it."""
    reserve = folder / RESERVE
    with suppress(OSError):  # the disk; it is told elsewhere
        if not reserve.exists() and free_bytes(folder) > 4 * RESERVE_BYTES:
            write_durably(reserve, os.urandom(RESERVE_BYTES))  # what a file system cannot make smaller


def free_bytes(folder: Path) -> int:
    """Of its disk, for users who are not root.

    Raises:
        OSError: it cannot be asked.
    """
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


def history_folder(folder: Path) -> Path:
    return folder / "history"


def examples_folder(folder: Path) -> Path:
    return folder / "examples"


def control_socket(folder: Path) -> Path:
    """The Unix socket that the daemon takes orders on.

    Raises:
        StoreError: the path is longer than the kernel takes for a socket.
    """
    return _socket(runtime_folder(folder) / "control.sock")


def page_socket(folder: Path) -> Path:
    """The Unix socket that the page's service is served on: ``$ECHO_EDGE_PAGE_SOCKET``, or beside that for orders.

    Raises:
        StoreError: as ``control_socket``.
    """
    return _socket(Path(os.environ.get("ECHO_EDGE_PAGE_SOCKET") or runtime_folder(folder) / "page.sock"))


def _socket(path: Path) -> Path:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise StoreError(f"{path}: more than {MAX_SOCKET_PATH} bytes; name a shorter folder in $STATE_DIRECTORY")
    return path


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the right to write; the kernel takes it back when the process ends, however it ends.

    Raises:
        StoreBusyError: the daemon or another command holds it.
        StoreError: the folder is another user's.
    """
    if not os.access(folder, os.W_OK | os.X_OK) or (os.geteuid() == 0 and folder.stat().st_uid != 0):
        if control_socket(folder).exists():
            raise StoreBusyError(f"{folder}: the daemon is using this state folder")
        raise StoreError(f"{folder}: is the service's; {AS_SERVICE}")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreBusyError(f"{folder}: another echo-edge is using this state folder") from error
        sweep(folder)
        yield


def sweep(folder: Path) -> None:
    """Delete what a kill or a power cut left of files that ``write_durably`` had not put in place."""
    for pattern in (".*.????????", "*/.*.????????"):
        for left in folder.glob(pattern):
            with suppress(OSError):  # a younger one may still be written, by a command
                if time.time() - left.stat().st_mtime > UNFINISHED_S:
                    left.unlink()
