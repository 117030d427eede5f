"""A configuration that an order put in place is on trial: the daemon comes up with it, or the one before returns."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.config_file import load_config
from echo_edge.config_versions import ConfigVersions
from echo_edge.errors import ArtifactError, ConfigError
from echo_edge.reload import RELOAD, run_reloading
from echo_edge.store import StoreBusyError

OLD = """\
gateway: {id: gw}
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines: {pump: {points: {de: {device: acc}}}}
"""
NEW = OLD.replace("16000", "8000")
FAILED = 70


class Daemon:
    """Stands in for the daemon: each run does the next of these things; notes the rate it was configured with."""

    def __init__(self, *runs: Callable[[Config, ConfigVersions], int]) -> None:
        self._runs = list(runs)
        self.rates: list[int] = []

    def __call__(self, config: Config, versions: ConfigVersions | None) -> int:
        assert versions is not None
        self.rates.append(config.devices["acc"].rate_hz)  # type: ignore[union-attr]
        return self._runs.pop(0)(config, versions)


def applies(config: Config, versions: ConfigVersions) -> int:
    versions.apply(NEW, config, "lang")
    return RELOAD


def ends(_config: Config, _versions: ConfigVersions) -> int:
    return 0


def no_model(_config: Config, _versions: ConfigVersions) -> int:
    raise ArtifactError("the model is damaged")


def busy(_config: Config, _versions: ConfigVersions) -> int:
    raise StoreBusyError("another echo-edge is using it")


def engine_fails(_config: Config, _versions: ConfigVersions) -> int:
    return FAILED


@pytest.fixture
def file(tmp_path: Path, state_folder: Path) -> Path:  # noqa: ARG001  the commands' state
    path = tmp_path / "line1.yaml"
    path.write_text(OLD)
    return path


def restored(path: Path, folder: Path) -> list[str]:
    return [row.why for row in open_store(load_config(path), folder).audit() if row.what == "config.restore"]


def test_a_new_configuration_is_run_at_once_and_proves_itself(file: Path, state_folder: Path) -> None:
    def works(_config: Config, versions: ConfigVersions) -> int:
        assert versions.trial() is not None
        deadline_s = time.monotonic() + 5
        while versions.trial() is not None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return FAILED  # later than the trial lasts: that is the engine's own doing

    daemon = Daemon(applies, works)
    assert run_reloading(file, daemon, trial_s=0.05) == FAILED
    assert daemon.rates == [16000, 8000]
    assert file.read_text() == NEW
    assert restored(file, state_folder) == []


@pytest.mark.parametrize("fails", [no_model, engine_fails])
def test_one_that_does_not_come_up_is_taken_back_and_that_is_written_down(
    file: Path, state_folder: Path, fails: Callable[[Config, ConfigVersions], int]
) -> None:
    daemon = Daemon(applies, fails, ends)
    assert run_reloading(file, daemon) == 0
    assert daemon.rates == [16000, 8000, 16000]
    assert file.read_text() == OLD
    (why,) = restored(file, state_folder)
    assert why.startswith("what lang applied (")


def test_one_that_loses_the_broker_is_not_settled_and_is_taken_back(file: Path, state_folder: Path) -> None:
    def applies_linked(config: Config, versions: ConfigVersions) -> int:
        versions.reached = lambda: True
        return applies(config, versions)

    def cut_off(_config: Config, versions: ConfigVersions) -> int:
        time.sleep(0.5)  # many times what would settle it
        assert versions.trial() is not None
        raise ConfigError(["no broker was reached for 180 s: connection refused"])

    assert run_reloading(file, Daemon(applies_linked, cut_off, ends), trial_s=0.05) == 0
    assert file.read_text() == OLD
    (why,) = restored(file, state_folder)
    assert "no broker was reached" in why


def test_without_a_trial_what_fails_fails(file: Path) -> None:
    with pytest.raises(ArtifactError):
        run_reloading(file, Daemon(no_model))
    with pytest.raises(StoreBusyError):
        run_reloading(file, Daemon(busy))
    assert run_reloading(file, Daemon(engine_fails)) == FAILED
    file.write_text("gateway: {}")
    with pytest.raises(ConfigError):
        run_reloading(file, Daemon())


def test_a_command_that_holds_the_folder_while_the_daemon_is_between_is_waited_for(file: Path) -> None:
    daemon = Daemon(applies, busy, busy, ends)
    assert run_reloading(file, daemon) == 0
    for _ in range(3):  # who stops it politely within its trial proves nothing against it
        assert run_reloading(file, Daemon(ends)) == 0
    assert file.read_text() == NEW


def test_a_process_that_ends_on_trial_is_followed_by_one_more_try_and_then_by_the_old_one(
    file: Path, state_folder: Path
) -> None:
    def killed(_config: Config, _versions: ConfigVersions) -> int:
        raise KeyboardInterrupt

    for first in (Daemon(applies, killed), Daemon(killed)):
        with pytest.raises(KeyboardInterrupt):
            run_reloading(file, first)
        assert file.read_text() == NEW
    assert run_reloading(file, Daemon(ends)) == 0
    assert file.read_text() == OLD
    assert len(restored(file, state_folder)) == 1


def test_a_second_daemon_by_mistake_takes_nothing_back(file: Path) -> None:
    def another(config: Config, versions: ConfigVersions) -> int:
        with pytest.raises(StoreBusyError):
            run_reloading(file, Daemon(busy))
        return ends(config, versions)

    assert run_reloading(file, Daemon(applies, another)) == 0
    assert file.read_text() == NEW


def test_what_a_person_edits_meanwhile_is_not_on_trial(file: Path, state_folder: Path) -> None:
    edited = OLD + "model: echo-tiny\n"

    def edits(_config: Config, _versions: ConfigVersions) -> int:
        file.write_text(edited)
        return FAILED

    assert run_reloading(file, Daemon(applies, edits)) == FAILED
    assert file.read_text() == edited
    assert restored(file, state_folder) == []


def test_only_the_newest_versions_are_kept(file: Path, state_folder: Path) -> None:
    versions, config = ConfigVersions(file, state_folder), load_config(file)
    for n in range(25):
        versions.apply(OLD + f"# {n}\n", config, "lang")
        versions.settled()
    assert len(versions.names()) == 20


def comes_up(_config: Config, versions: ConfigVersions) -> int:
    versions.works()
    return 0


BROKEN = OLD.replace("gateway: {id: gw}", "gateway: {id: gw, nonsense: 1}")


def test_a_broken_file_at_the_start_leaves_the_last_configuration_that_worked(file: Path) -> None:
    assert run_reloading(file, Daemon(comes_up)) == 0
    file.write_text(BROKEN)

    def refused(_config: Config, versions: ConfigVersions) -> int:
        assert "nonsense" in versions.refused
        versions.works()  # what is in force is not what is in the file
        return 0

    daemon = Daemon(refused, comes_up)
    assert run_reloading(file, daemon) == 0
    assert file.read_text() == BROKEN, "a person's file is left as it is"
    file.write_text(NEW)
    assert run_reloading(file, daemon) == 0
    assert daemon.rates == [16000, 8000]


@pytest.mark.parametrize("text", ["gateway: {id: gw\n", "gateway: {id: gw}\nx: 2026-13-45\n", "", None])
def test_no_break_is_too_bad_for_that(text: str | None, file: Path) -> None:
    assert run_reloading(file, Daemon(comes_up)) == 0
    file.unlink()
    if text is not None:
        file.write_text(text)
    daemon = Daemon(comes_up)
    assert run_reloading(file, daemon) == 0
    assert daemon.rates == [16000]


def test_a_broken_file_is_an_error_where_nothing_ever_worked(file: Path) -> None:
    file.write_text(BROKEN)
    with pytest.raises(ConfigError, match="nonsense"):
        run_reloading(file, Daemon())


def test_a_configuration_that_the_daemon_cannot_come_up_with_leaves_the_last_that_worked(file: Path) -> None:
    assert run_reloading(file, Daemon(comes_up)) == 0
    file.write_text(NEW)
    daemon = Daemon(no_model, comes_up)
    assert run_reloading(file, daemon) == 0
    assert daemon.rates == [8000, 16000]
    with pytest.raises(ArtifactError):  # and where that one does not work any more either, somebody must know
        run_reloading(file, Daemon(no_model, no_model))


def test_nothing_of_the_daemon_before_is_left_when_the_next_one_begins(file: Path) -> None:
    class Part:
        """Knows itself, as the daemon's parts know each other."""

        def __init__(self) -> None:
            self.other = self

    left: list[weakref.ref[Part]] = []

    def reloads(_config: Config, versions: ConfigVersions) -> int:
        part = Part()
        versions.reached = lambda: part.other is part  # as the daemon's publisher is asked
        left.append(weakref.ref(part))
        return RELOAD

    def looks(_config: Config, _versions: ConfigVersions) -> int:
        assert left[0]() is None
        return 0

    gc.disable()
    try:
        assert run_reloading(file, Daemon(reloads, looks)) == 0
    finally:
        gc.enable()
