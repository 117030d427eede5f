"""Everything that can be found out about a gateway, one after the other. Nothing is changed, nothing secret is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from echo_edge import doctor_broker, doctor_files, doctor_machine, doctor_model
from echo_edge.config import Config
from echo_edge.config_file import load_config, read_password
from echo_edge.config_orders import read_operators
from echo_edge.config_versions import last_working
from echo_edge.doctor_found import Found, Patient, bad, service_user
from echo_edge.errors import ConfigError, OrderError
from echo_edge.redact import redact
from echo_edge.store import StoreError, state_path
from echo_edge.verb_client import give_order

HIDDEN = ", except those that systemd shows to the daemon alone"
ANSWER_S = 10.0
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
        credentials_folder: of ``credentials_of``; without it systemd's are not looked at.
    """
    for found in _all(path, credentials_folder):
        yield replace(found, what=redact(found.what), mend=redact(found.mend))


def _all(path: Path, credentials_folder: str | None) -> Iterator[Found]:
    try:
        config = load_config(path)
    except ConfigError as error:
        yield from (Found("config", "broken", problem, "edit it as it says") for problem in error.problems)
        if (worked := last_working(path)) is None:
            yield from doctor_machine.clock()
            yield Found(
                "config", "warning", "the rest was not looked at: it needs the configuration", "mend that first"
            )
            return
        config = worked
        yield Found("config", "ok", "from here on the last configuration that worked is looked at")
    else:
        points = ", ".join(config.points())
        yield Found("config", "ok", f"{path}: {len(config.devices)} devices, points {points}")
    patient = Patient(path, config, state_path(config.gateway.id), credentials_folder, reader=service_user(path))
    yield from _secrets(patient)
    steps = list(STEPS)
    try:
        patient = _asked(patient)
    except (OrderError, StoreError) as error:  # it may have its devices open: leave them alone
        hangs = isinstance(error, OrderError) and not isinstance(error.__cause__, PermissionError)
        mend = (
            "wait a minute: systemd ends and restarts a daemon that hangs" if hangs else doctor_files.as_service(path)
        )
        yield bad("daemon", str(error), mend, broken=hangs)
        patient = replace(patient, daemon={"well": True, "findings": []})
        steps = [step for step in STEPS if step not in {doctor_machine.daemon, doctor_machine.devices}]
    for step in steps:
        yield from step(patient)


def _secrets(patient: Patient) -> Iterator[Found]:
    """Whether the password and the operators' keys can be read; those of systemd only where it shows them."""
    mqtt, orders, folder = patient.config.mqtt, patient.config.orders, patient.credentials_folder
    problems = []
    for read in (
        lambda: None if patient.hidden_credentials else read_password(mqtt, folder),
        lambda: read_operators(orders if folder else orders.with_keys_at_hand(), folder),
    ):
        try:
            read()
        except ConfigError as error:
            problems += error.problems
    for problem in problems:
        what, _, mend = problem.partition("; ")
        yield Found("secrets", "broken", what, mend or "give it, in a file that only the service reads")
    if not problems:
        yield Found("secrets", "ok", "passwords and keys can be read" + (HIDDEN if patient.hidden_credentials else ""))


def ask(config: Config, verb: str) -> dict[str, Any]:
    """What the running daemon answers, unless it hangs; raises as ``give_order``."""
    return give_order(config, verb, by="doctor", timeout_s=ANSWER_S)


def _asked(patient: Patient) -> Patient:
    """With what the running daemon says; as it was when none runs."""
    if not patient.folder.is_dir():  # asking would make it
        return patient
    try:
        daemon, status = (ask(patient.config, verb) for verb in ("doctor", "status"))
    except OrderError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return patient
        raise
    return replace(patient, daemon=daemon, status=status)
