"""Reviews, drift and the promise from the command line: what only reads is read at once, changes go through the daemon
while one runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from echo_edge.baseline_store import BaselineStore, open_store
from echo_edge.config import Config
from echo_edge.control_client import carry_out
from echo_edge.drift import Trend, trends
from echo_edge.errors import BaselineError
from echo_edge.history_reader import HistoryReader
from echo_edge.lineage import ancestor
from echo_edge.normal import Normal
from echo_edge.operation import OperationLog
from echo_edge.promise import Operation, in_words, name_of
from echo_edge.review_orders import CHANGES, Desk, run_verb
from echo_edge.settings import Settings, Target
from echo_edge.store import database, examples_folder, history_folder, state_folder

DAY_NS = 24 * 3600 * 10**9


def ask(config: Config, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Have a verb of ``review_orders`` carried out and return its result.

    Raises:
        OrderError, HistoryError, BaselineError: refused; nothing was changed.
    """
    folder = state_folder(config.gateway.id)

    def alone() -> dict[str, Any]:
        path = database(folder)
        store = open_store(config, folder)
        desk = Desk(OperationLog(path), HistoryReader(history_folder(folder)), examples_folder(folder), store)
        return run_verb(desk, verb, args)

    return carry_out(folder, {"order": "review", "verb": verb, "args": args}, alone) if verb in CHANGES else alone()


def drift_of(config: Config, point: str, days: float) -> list[Trend]:
    """The trends of a point's last days.

    Raises:
        HistoryError: the disk.
    """
    now_ns = time.time_ns()
    reader = HistoryReader(history_folder(state_folder(config.gateway.id)))
    return trends(reader.parts(point, now_ns - int(days * DAY_NS), now_ns)[0])


def promises(config: Config) -> list[dict[str, Any]]:
    """What every point promised, and what became of it so far.

    Raises:
        HistoryError, BaselineError: the database.
    """
    folder = state_folder(config.gateway.id)
    log, store = OperationLog(database(folder)), open_store(config, folder)
    ordered = Settings(database(folder)).targets(time.time_ns())
    return [_promise(config, name, log, store, ordered.get(name)) for name in config.points()]


def _promise(
    config: Config, name: str, log: OperationLog, store: BaselineStore, ordered: Target | None
) -> dict[str, Any]:
    configured = config.target_per_month(name)
    told: dict[str, Any] = {"point": name, "target": configured if ordered is None else ordered.per_month}
    try:
        baseline = store.active(name)
        promised_by = None if baseline is None else ancestor(store, baseline)
    except BaselineError as error:
        return {**told, "verdict": str(error)}
    if baseline is None or promised_by is None:
        return {**told, "verdict": "not enrolled"}
    settings = config.points()[name]
    normal = Normal(baseline.id, baseline.states, told["target"], settings.window.hop_s, settings.alert)
    operation: Operation = log.of(name, name_of(promised_by, told["target"], configured))
    rate = normal.false_alarm_rate(operation.monitored_s, operation.false_alerts)
    return {
        **told,
        "baseline": baseline.id,
        "estimated": rate.estimated,
        "demonstrated_upper_95": rate.demonstrated_upper_95,
        **asdict(operation),
        "kept": operation.kept(rate.target),
        "verdict": in_words(operation, rate, normal.learned_s),
    }
