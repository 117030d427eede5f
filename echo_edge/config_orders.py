"""Configuration of orders over MQTT: whether any are taken, and from whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator, model_validator

from echo_edge.config_model import Id, Model, existing
from echo_edge.errors import ConfigError
from echo_edge.operator_keys import PrivateKey, Verifier, parse_public, read_credential, read_key
from echo_edge.order_types import Role

UNSIGNED = "unsigned"
"""What those are called who did not sign; no operator's name."""


class OperatorConfig(Model):
    """Somebody who may give signed orders, and one key of theirs: one for each device that they use."""

    role: Role
    """What they may: ``viewer`` reads, ``technician`` enrolls and answers alerts, ``engineer`` changes baselines,
    thresholds and configuration, ``admin`` all. Each may do what those before it may."""

    person: Id | None = None
    """Who this is, where somebody has several keys: the name in the audit log, and the one that counts where two
    persons are asked for. Absent: the operator's own name."""

    key_file: Path | None = None
    """File with the secret that they share with this gateway (``echo-edge operator key``); readable by the service's
    user only."""

    key_credential: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    """Name of a systemd credential with that secret (``LoadCredential=``)."""

    public_key: str | None = None
    """In place of a secret: the Ed25519 public key of the operator, in base64url (``echo-edge operator key
    --ed25519``). This gateway can then check orders, and not make any."""

    @field_validator("key_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else existing(value, info)

    @field_validator("public_key")
    @classmethod
    def _is_one(cls, value: str | None) -> str | None:
        if value is not None:
            parse_public(value)
        return value

    @model_validator(mode="after")
    def _one_key(self) -> OperatorConfig:
        if sum(key is not None for key in (self.key_file, self.key_credential, self.public_key)) != 1:
            raise ValueError("give one of 'key_file', 'key_credential' and 'public_key'")
        return self


class OrdersConfig(Model):
    """Orders over MQTT. The local socket, which only the service's own user reaches, takes them in any case."""

    mqtt: bool = False
    """Take orders from the broker. Its access list must guard the topics, too."""

    operators: dict[Id, OperatorConfig] = Field(default={}, max_length=100)
    """Who may sign orders, by the name that goes into the audit log."""

    unsigned_role: Role | None = None
    """What orders without a signature may do: for clients that cannot sign, such as buttons of Home Assistant. Whoever
    the broker lets publish on ``cmd/`` may then do this; nothing but its access list is in between. Absent: nothing."""

    @field_validator("operators")
    @classmethod
    def _no_reserved_name(cls, value: dict[str, OperatorConfig]) -> dict[str, OperatorConfig]:
        if UNSIGNED in value:
            raise ValueError(f"'{UNSIGNED}' stands for those who do not sign; choose another name")
        return value

    @model_validator(mode="after")
    def _somebody_may(self) -> OrdersConfig:
        if self.mqtt and not self.operators and self.unsigned_role is None:
            raise ValueError(
                "'mqtt: true' and nobody who may: add 'operators' (echo-edge operator key NAME makes a key)"
            )
        return self

    def with_keys_at_hand(self) -> OrdersConfig:
        """Without those operators whose keys only systemd can give."""
        there = {name: told for name, told in self.operators.items() if told.key_credential is None}
        return self.model_copy(update={"operators": there})


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody whose signature counts."""

    name: str
    """Of the key."""

    person: str
    role: Role
    key: Verifier


def read_operators(orders: OrdersConfig, credentials_folder: str | None) -> dict[str, Operator]:
    """Load every operator's key; the names are the ``kid`` of what they sign.

    Raises:
        ConfigError: a key cannot be read, is none, others could read it, or two operators have the same.
    """
    operators: dict[str, Operator] = {}
    owners: dict[str, str] = {}
    problems: list[str] = []
    for name, told in orders.operators.items():
        where = f"orders.operators.{name}"
        try:
            key = _key(told, credentials_folder, where)
        except ConfigError as error:
            problems += error.problems
            continue
        if (other := owners.setdefault(key.id, name)) != name:
            problems.append(f"{where}: has the key of '{other}'; make one for each, else neither can be told apart")
        operators[name] = Operator(name, told.person or name, told.role, key)
    if problems:
        raise ConfigError(problems)
    return operators


def _key(told: OperatorConfig, credentials_folder: str | None, where: str) -> Verifier:
    if told.public_key is not None:
        return parse_public(told.public_key)
    if told.key_file is not None:
        key, source = read_key(told.key_file), f"{where}.key_file"
    else:
        assert told.key_credential is not None
        source = f"{where}.key_credential"
        key = read_credential(credentials_folder, told.key_credential, source)
    if isinstance(key, PrivateKey):
        raise ConfigError(
            [f"{source}: holds a private key, which belongs to the operator alone; give 'public_key' instead"]
        )
    return key
