"""Reload: run the daemon again with a configuration that an order put in place, and go back to the old one if it fails.

A new configuration is on trial until the daemon has run with it for half a minute and, if it had a broker before, has
reached one. It fails when the daemon does not come up with it, or its engine fails within that time, or no broker is
reached for three minutes, or a second process in a row ends without telling.

A file that a person broke is left as it is: the daemon goes on, or begins, with the last configuration that worked.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.config_file import load_config
from echo_edge.config_versions import ConfigVersions, Trial, gateway_named
from echo_edge.errors import ArtifactError, ConfigError, EchoEdgeError, EngineError
from echo_edge.store import StoreBusyError, StoreError, state_folder

log = logging.getLogger(__name__)

RELOAD = -1
"""What the daemon returns when it is to be run again; no exit code of a process."""

EXIT_OK, EXIT_ENGINE = 0, 70
TRIAL_S = 30.0
MORE_TRIES = 1  # by another process, where the first one ended
LOCK_WITHIN_S, LOCK_EVERY_S = 10.0, 0.2  # a command may hold the state folder for a moment while the daemon is between
RunDaemon = Callable[[Config, ConfigVersions | None], int]


def run_reloading(
    path: Path, run: RunDaemon, credentials_folder: str | None = None, *, trial_s: float = TRIAL_S
) -> int:
    """Run the daemon with what is in this file, again and again while it asks for that; return its exit code.

    Args:
        run: the daemon; raises what ``daemon.run`` raises.

    Raises:
        ConfigError, ArtifactError, StoreError, EngineError: as ``run``, with nothing to go back to.
    """
    again_s: float | None = None  # when the daemon before this one ended, monotonic
    unusable: EchoEdgeError | None = None  # what became of the daemon with what is in the file
    while True:
        versions = _versions(path, credentials_folder)
        trial = None if versions is None else _trial(versions, first=again_s is None)
        try:
            with _proven(versions, trial, trial_s):
                code = run(load_config(path) if versions is None else _configuration(versions, unusable), versions)
            unusable = None
            failed = "its engine failed at once; see the log" if code == EXIT_ENGINE else None
        except (ConfigError, ArtifactError, StoreError, EngineError) as error:
            if isinstance(error, StoreBusyError):
                if again_s is None or time.monotonic() - again_s > LOCK_WITHIN_S:
                    raise
                time.sleep(LOCK_EVERY_S)
                continue
            if trial is None or versions is None or versions.trial() is None:
                if versions is None or unusable is not None:  # what worked before does not either
                    raise
                unusable, again_s = error, time.monotonic()
                continue
            code, failed = EXIT_ENGINE, str(error)
        if failed and versions is not None and (trial := versions.trial()) is not None:
            _go_back(versions, trial, failed)
        elif code != RELOAD:
            if versions is not None and code == EXIT_OK:
                versions.settled()  # it came up, and somebody stopped it
            return code
        else:
            log.warning("beginning anew with %s", path)
        del versions  # it asks the old publisher whether the broker is reached, and so knows every part
        _let_go()
        again_s = time.monotonic()


def _let_go() -> None:
    """Give back what the old daemon held: its parts know each other (40 MB), and left holes in the heap (10 MB)."""
    gc.collect()
    with suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def _trial(versions: ConfigVersions, *, first: bool) -> Trial | None:
    """The trial that goes on, or nothing. ``first``: its process ended before it did, whoever was to blame."""
    trial = versions.trial()
    if trial is None or not first:
        return trial
    if trial.tries >= MORE_TRIES:
        _go_back(versions, trial, "the daemon ended with it twice without a word")
        return None
    versions.count_try(trial)
    return trial


def _configuration(versions: ConfigVersions, unusable: EchoEdgeError | None) -> Config:
    """What to run with: what is in the file, unless that has just failed."""
    config = versions.load()
    return config if unusable is None or versions.refused else versions.fall_back(unusable)


@contextmanager
def _proven(versions: ConfigVersions | None, trial: Trial | None, trial_s: float) -> Iterator[None]:
    """End the trial once the daemon has run for so long, and has reached the broker if there was one."""
    if versions is None or trial is None:
        yield
        return
    over = threading.Event()

    def settle() -> None:
        wait_s = trial_s
        while not over.wait(wait_s):
            if not trial.linked or versions.reached():
                versions.settled()
                log.info("the new configuration holds: the daemon has run with it for %g s", trial_s)
                return
            wait_s = 0.2

    thread = threading.Thread(target=settle, name="trial", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _go_back(versions: ConfigVersions, trial: Trial, why: str) -> None:
    """Put the configuration before in place; raises ConfigError when that is not possible."""
    first_line = why.splitlines()[0] if why else "no reason told"
    versions.restore(trial)
    log.error("the configuration that %s applied is taken back: %s", trial.by, why)
    try:
        config = load_config(versions.path)
        folder = state_folder(config.gateway.id)
        told = f"what {trial.by} applied ({trial.sha256[:12]}) did not come up: {first_line}"
        open_store(config, folder).note("echo-edge", "config.restore", told[:500], "", trial.previous)
    except EchoEdgeError as error:
        log.error("that is not in the audit log: %s", error)


def _versions(path: Path, credentials_folder: str | None) -> ConfigVersions | None:
    """The versions of this file, in the state folder; None where that goes by the gateway, and the file names none."""
    gateway = gateway_named(path)
    if gateway is None and not os.environ.get("STATE_DIRECTORY"):
        return None  # whoever loads it says what is wrong
    return ConfigVersions(path, state_folder(gateway or ""), credentials_folder)
