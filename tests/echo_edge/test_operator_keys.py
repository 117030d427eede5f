"""Keys of operators: made by a command, read from files that nobody else can read, and told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from echo_edge.cli import app
from echo_edge.config_orders import OrdersConfig, read_operators
from echo_edge.errors import ConfigError
from echo_edge.operator_keys import PrivateKey, SharedKey, b64u, make_key, read_key, write_key

PUBLIC = b64u(PrivateKey(bytes(32)).public.raw)


def orders(folder: Path, **operators: Any) -> OrdersConfig:
    return OrdersConfig.model_validate({"mqtt": True, "operators": operators}, context={"folder": folder})


def made(folder: Path, *arguments: str) -> dict[str, Any]:
    """The configuration that ``operator key`` prints, as it is read."""
    done = CliRunner().invoke(app, ["operator", "key", *arguments, "--folder", str(folder)])
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = yaml.safe_load(done.output)["orders"]
    return told


@pytest.mark.parametrize("options", [(), ("--ed25519",)], ids=["hmac", "ed25519"])
def test_what_the_command_makes_signs_and_what_it_prints_checks(tmp_path: Path, options: tuple[str, ...]) -> None:
    told = made(tmp_path, "m-lang", "--role", "engineer", *options)
    config = OrdersConfig.model_validate(told, context={"folder": tmp_path})
    operator = read_operators(config, None)["m-lang"]
    file = tmp_path / "m-lang.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert operator.role == "engineer"
    assert operator.key.verify(b"x", read_key(file).sign(b"x"))
    assert not operator.key.verify(b"y", read_key(file).sign(b"x"))


def test_a_key_is_not_overwritten(tmp_path: Path) -> None:
    made(tmp_path, "m-lang")
    before = (tmp_path / "m-lang.key").read_bytes()
    again = CliRunner().invoke(app, ["operator", "key", "m-lang", "--folder", str(tmp_path)])
    assert again.exit_code == 1
    assert (tmp_path / "m-lang.key").read_bytes() == before


@pytest.mark.parametrize("arguments", [("M Lang",), ("../m",), ("unsigned",), ("m-lang", "--role", "boss")])
def test_the_command_refuses_what_no_configuration_takes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["operator", "key", *arguments, "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_the_secret_shows_in_no_representation() -> None:
    for key in (make_key(ed25519=False), make_key(ed25519=True)):
        assert key.line().removeprefix("ed25519 ") not in repr(key) + str(key)
        secret = key.secret if isinstance(key, SharedKey) else key.seed
        assert repr(secret) not in repr(key)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.key"
    write_key(path, make_key(ed25519=False))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_operators(orders(tmp_path, m={"role": "viewer", "key_file": "m.key"}), None)


@pytest.mark.parametrize("text", ["", "secret\n", "A" * 42, "A" * 44, "A" * 43 + "=", "\xff", "ed25519 AAAA"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.key"
    path.touch(mode=0o600)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"m\.key"):
        read_operators(orders(tmp_path, m={"role": "viewer", "key_file": "m.key"}), None)


def test_the_gateway_takes_no_private_key(tmp_path: Path) -> None:
    write_key(tmp_path / "m.key", make_key(ed25519=True))
    with pytest.raises(ConfigError, match="give 'public_key' instead"):
        read_operators(orders(tmp_path, m={"role": "viewer", "key_file": "m.key"}), None)


def test_a_key_can_come_from_systemd(tmp_path: Path) -> None:
    key = SharedKey(bytes(range(32)))
    (tmp_path / "order-key").write_text(key.line() + "\n")
    config = orders(tmp_path, m={"role": "viewer", "key_credential": "order-key"})
    assert read_operators(config, str(tmp_path))["m"].key == key
    with pytest.raises(ConfigError, match="LoadCredential"):
        read_operators(config, None)
    assert read_operators(config.with_keys_at_hand(), None) == {}


def test_two_operators_with_one_key_are_refused(tmp_path: Path) -> None:
    one = {"role": "viewer", "public_key": PUBLIC}
    with pytest.raises(ConfigError, match="has the key of 'a'"):
        read_operators(orders(tmp_path, a=one, b=one), None)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"operators": {"m": {"role": "viewer"}}}, "give one of"),
        ({"operators": {"m": {"role": "viewer", "public_key": PUBLIC, "key_credential": "c"}}}, "give one of"),
        ({"operators": {"m": {"role": "boss", "public_key": PUBLIC}}}, "viewer"),
        ({"operators": {"m": {"role": "viewer", "public_key": PUBLIC[:-1]}}}, "base64url|bytes"),
        ({"operators": {"m": {"role": "viewer", "key_file": "nowhere"}}}, "no such file"),
        ({"operators": {"m": {"role": "viewer", "key_credential": "../x"}}}, "pattern"),
        ({"operators": {"M Lang": {"role": "viewer", "public_key": PUBLIC}}}, "pattern"),
        ({"operators": {"unsigned": {"role": "viewer", "public_key": PUBLIC}}}, "another name"),
        ({"mqtt": True}, "nobody who may"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, told: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        OrdersConfig.model_validate(told, context={"folder": tmp_path})


def test_orders_are_off_unless_somebody_turns_them_on() -> None:
    config = OrdersConfig()
    assert not config.mqtt
    assert config.unsigned_role is None
