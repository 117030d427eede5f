"""Everything that can be found out about a gateway, one after the other. Nothing is changed, nothing secret is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from echo_edge import doctor_broker, doctor_files, doctor_machine, doctor_model
from echo_edge.config_file import load_config, read_password
from echo_edge.config_orders import read_operators
from echo_edge.doctor_found import Found, Patient
from echo_edge.errors import ConfigError, OrderError
from echo_edge.redact import redact
from echo_edge.store import state_path
from echo_edge.verb_client import give_order

STEPS = (
    doctor_files.rights,
    lambda _: doctor_machine.clock(),
    doctor_files.disk,
    doctor_files.databases,
    doctor_machine.daemon,
    doctor_machine.devices,
    doctor_broker.broker,
    doctor_model.model,
)


def examine(path: Path, credentials_folder: str | None = None) -> Iterator[Found]:
    """Look at everything that the gateway with this configuration needs, and tell each finding as it is made.

    Args:
        credentials_folder: where systemd keeps its credentials; without it they are not looked at.
    """
    for found in _all(path, credentials_folder):
        yield replace(found, what=redact(found.what), mend=redact(found.mend))


def _all(path: Path, credentials_folder: str | None) -> Iterator[Found]:
    try:
        config = load_config(path)
    except ConfigError as error:
        yield from (Found("config", "broken", problem, "edit it as it says") for problem in error.problems)
        yield from doctor_machine.clock()
        yield Found("config", "warning", "the rest was not looked at: it needs the configuration", "mend that first")
        return
    points = ", ".join(config.points())
    yield Found("config", "ok", f"{path}: {len(config.devices)} devices, points {points}")
    for read in (
        lambda: read_password(config.mqtt, credentials_folder),
        lambda: read_operators(
            config.orders if credentials_folder else config.orders.with_keys_at_hand(), credentials_folder
        ),
    ):
        try:
            read()
        except ConfigError as error:
            yield from (Found("secrets", "broken", problem, "see `docs/orders.md`") for problem in error.problems)
    patient = Patient(path, config, state_path(config.gateway.id), credentials_folder)
    try:
        patient = replace(patient, daemon=_daemon(patient))
    except OrderError as error:
        yield Found("daemon", "broken", str(error), "run this as the service's user; if it hangs, systemd restarts it")
    for step in STEPS:
        yield from step(patient)


def _daemon(patient: Patient) -> dict[str, object] | None:
    """What the running daemon finds itself; None when none runs."""
    if not patient.folder.is_dir():  # asking would make it
        return None
    try:
        return give_order(patient.config, "doctor", by="doctor")
    except OrderError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return None
        raise
