"""Release test: can this version do here what the one before did? Asked before an update is put in force.

It opens no device and changes nothing: databases are looked at as copies.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from echo_edge import outbox_db
from echo_edge.artifact import MODELS_DIR, load_package, verify
from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.config_check import check
from echo_edge.engine import create_engine
from echo_edge.errors import ConfigError, EchoEdgeError
from echo_edge.signing import KEY_FILE
from echo_edge.state_db import StateDb
from echo_edge.store import database, outbox_file

USER_VERSION_AT = 60  # in the header of an SQLite file, big-endian, 4 bytes (sqlite.org/fileformat2.html)


@dataclass(frozen=True)
class Result:
    """What was looked at."""

    what: str
    problem: str | None
    """Why it cannot be used; None: it can."""
    idle: bool = False
    """It belongs to an instance that no service runs: a problem of it stops no release."""


def release_test(configs: Path, states: Path, idle: Collection[str] = ()) -> Iterator[Result]:
    """Look at the models, the configurations and the state of every instance, one after the other.

    Args:
        configs: folder of ``INSTANCE.yaml``.
        states: folder of state folders, each named as its instance.
        idle: names of instances that no service runs.
    """
    read: dict[str, Config] = {}
    unneeded = {str(path.with_suffix("")): False for path in MODELS_DIR.glob("*.json")}
    for path in sorted(configs.glob("*.yaml")):
        try:
            read[path.stem] = check(path)
            model = _model(read[path.stem].model)
            unneeded[model] = unneeded.get(model, True) and path.stem in idle
        except ConfigError as error:
            yield Result(str(path), "; ".join(error.problems), path.stem in idle)
        else:
            yield Result(str(path), None)
    for model in sorted(unneeded):
        yield Result(f"model {Path(model).name}", _reason(model), unneeded[model])
    for folder in sorted(path for path in states.glob("*") if path.is_dir()):
        yield Result(str(folder), _unreadable(folder, read.get(folder.name)), folder.name in idle)


def _model(name: str) -> str:
    """One name for a model, however the configuration writes it."""
    return str(load_package(name).onnx_path.with_suffix(""))


def _reason(model: str) -> str | None:
    """Why a model does not work on this machine."""
    try:
        package = load_package(model)
        verify(package, create_engine("onnx", package))
    except EchoEdgeError as error:
        return str(error)
    return None


def _unreadable(folder: Path, config: Config | None) -> str | None:
    """Why this version cannot go on with what an instance has stored."""
    try:
        with tempfile.TemporaryDirectory(prefix="echo-edge-self-test-") as scratch:
            _read_state(folder, Path(scratch), config)
        return _outbox_of_another_version(outbox_file(folder))
    except (EchoEdgeError, OSError) as error:
        return str(error)
    except sqlite3.Error as error:
        return f"{database(folder)}: {error}; look at the disk"


def _read_state(folder: Path, scratch: Path, config: Config | None) -> None:
    if not database(folder).exists():
        return
    _copy_database(database(folder), database(scratch))
    if config is None:
        StateDb(database(scratch))
        return
    if (folder / KEY_FILE).exists():
        shutil.copy(folder / KEY_FILE, scratch)
    store = open_store(config, scratch)
    for point in config.points():
        store.active(point)


def _copy_database(source: Path, target: Path) -> None:
    """As of one moment, while a daemon may be writing."""
    with closing(sqlite3.connect(source, timeout=10)) as db, closing(sqlite3.connect(target)) as copy:
        db.execute("PRAGMA query_only=ON")
        db.backup(copy)


def _outbox_of_another_version(path: Path) -> str | None:
    """By its header: a running daemon lets nobody else open it."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        header = file.read(USER_VERSION_AT + 4)
    version = int.from_bytes(header[USER_VERSION_AT:], "big")
    if version != outbox_db.VERSION:
        return f"{path}: written by another version of echo-edge ({version}); this one would set it aside"
    return None
