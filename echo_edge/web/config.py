"""The configuration of the page: where it listens, by which names it is asked for, and its certificate."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from echo_edge.config_model import Id, Model, existing
from echo_edge.config_yaml import problem, read_mapping, read_text
from echo_edge.credentials import UNSET
from echo_edge.errors import ConfigError

SERVICES = Path("/etc/echo-edge-web")
AS_SERVICE = "be the page's own user: sudo -u echo-edge-web echo-edge-web ..."
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
HOST_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*|\[[0-9a-f:.]+\]")
USUAL_PORTS = {"http": 80, "https": 443}  # which browsers leave out


class WebTlsConfig(Model):
    """The certificate that browsers are shown (TLS 1.2 or newer). Both files are read again when they change."""

    certificate_file: Path
    """The certificate, and those of the authorities between it and the one that browsers trust (PEM)."""

    key_file: Path | None = None
    """Its private key (PEM, without a password), readable by its owner alone."""

    key_credential: str | None = None
    """Instead of ``key_file``: the name by which systemd hands the key over; in the unit shipped, ``page.key``."""

    @field_validator("certificate_file", "key_file")
    @classmethod
    def _exists(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else existing(value, info)

    @field_validator("key_file")
    @classmethod
    def _private(cls, value: Path | None) -> Path | None:
        if value is not None and value.stat().st_mode & 0o077:
            raise ValueError(f"{value} can be read by others; chmod 600 {value}")
        return value

    @model_validator(mode="after")
    def _one_key(self) -> WebTlsConfig:
        if (self.key_file is None) == (self.key_credential is None):
            raise ValueError("key_file: give either key_file or key_credential")
        return self

    def key(self) -> Path:
        """The file of the private key.

        Raises:
            ConfigError: systemd handed none over.
        """
        if self.key_file is not None:
            return self.key_file
        folder, name = os.environ.get("CREDENTIALS_DIRECTORY"), str(self.key_credential)
        path = None if folder is None else Path(folder) / name
        if path is None or not path.is_file() or path.read_bytes().strip() == UNSET.encode():
            mend = f"put it into {SERVICES}/secrets/NAME/{name}, root's alone, then restart the service"
            raise ConfigError([f"tls.key_credential: systemd handed no '{name}' over; {mend}"])
        return path


class WebConfig(Model):
    """One page for one gateway."""

    gateway: Id
    """The id of the gateway whose daemon is shown, as in the daemon's own configuration."""

    host: str = "127.0.0.1"
    """The address it listens on: 127.0.0.1 is this machine alone, 0.0.0.0 all IPv4 networks, ``::`` IPv6 as well."""

    port: int = Field(default=8443, ge=1, le=65535)
    """TCP port."""

    names: list[str] = Field(default_factory=list)
    """What browsers call this machine, ``gw-hall3.plant.example`` or an address; a request for another name is refused.

    With ``:port`` where that is not ``port``, as behind a tunnel. Needed where ``host`` is not loopback."""

    tls: WebTlsConfig | None = None
    """Needed where ``host`` is not loopback, unless ``allow_plaintext`` is set."""

    allow_plaintext: bool = False
    """Serve other machines without TLS: whoever is on the network can read passwords and take over logins."""

    language: Literal["en", "de"] = "en"
    """Of who has not chosen one, and whose browser asks for none that there is."""

    @field_validator("host")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError as error:
            mend = "127.0.0.1 is this machine alone, 0.0.0.0 all its networks"
            raise ValueError(f"'{value}' is not an IP address; {mend}") from error

    @field_validator("names")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        names = [name.lower() for name in value]
        for name in names:
            host, port = _split(name)
            if not HOST_NAME.fullmatch(host) or (port and not 0 < int(port) < 65536):
                mend = "a name or an address as browsers show it, without https:// and path; IPv6 within [ ]"
                raise ValueError(f"'{name}' is not a host name; use {mend}")
        return names

    @model_validator(mode="after")
    def _is_safe(self) -> WebConfig:
        if self.is_loopback:
            return self
        if not self.names:
            raise ValueError(f"names: is needed where host is {self.host}; list what browsers call this machine")
        if local := [name for name in self.names if _split(name)[0] in LOOPBACK_NAMES]:
            raise ValueError(f"names: '{local[0]}' is for a page on loopback only; leave it out, or host")
        if self.tls is None and not self.allow_plaintext:
            mend = "give certificate_file and key_file, or leave host out and use a tunnel"
            raise ValueError(f"tls: is needed where host is {self.host}, for passwords go over the network; {mend}")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def scheme(self) -> Literal["http", "https"]:
        return "http" if self.tls is None else "https"

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Every value of the header ``Host`` that is answered."""
        names = [*self.names, *(LOOPBACK_NAMES if self.is_loopback else ())]
        full = {name if _split(name)[1] else f"{name}:{self.port}" for name in names}
        usual = f":{USUAL_PORTS[self.scheme]}"
        return frozenset(full | {name.removesuffix(usual) for name in full if name.endswith(usual)})

    @property
    def address(self) -> str:
        """Where a browser opens it."""
        name = self.names[0] if self.names else "127.0.0.1" if self.host == "127.0.0.1" else f"[{self.host}]"
        return f"{self.scheme}://{name if _split(name)[1] else f'{name}:{self.port}'}/"


def _split(name: str) -> tuple[str, str]:
    """A host and its port, empty where there is none."""
    host, colon, port = name.rpartition(":")
    return (host, port) if colon and port.isdecimal() and not host.endswith(":") else (name, "")


def load_web_config(path: Path) -> WebConfig:
    """Read and check the configuration of the page.

    Raises:
        ConfigError: every problem in one go, each as ``file:line: key: what is wrong; what mends it``.
    """
    root, told, problems = read_mapping(read_text(path), path, "'gateway: ...'", ordered=False)
    try:
        config = WebConfig.model_validate(told, context={"folder": path.parent})
    except ValidationError as error:
        problems += [_problem(path, root, details) for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    return config


def _problem(path: Path, root: Any, details: Any) -> str:
    loc = details["loc"]
    section = WebTlsConfig if loc[:1] == ("tls",) else WebConfig
    if named := re.match(r"Value error, (\w+): ", details["msg"]):  # a check across keys names the one that is wrong
        details = {**details, "loc": (*loc, named[1]), "msg": details["msg"][named.end() :]}
    return problem(path, root, details, section.model_fields)


def service_folders(path: Path) -> None:
    """Let a command use the folder of the service that this configuration, ``/etc/echo-edge-web/NAME.yaml``, is of."""
    if path.parent.resolve() == SERVICES and "STATE_DIRECTORY" not in os.environ:
        os.environ["STATE_DIRECTORY"] = f"/var/lib/echo-edge-web/{path.stem}"


def state_folder(gateway: str) -> Path:
    """``$STATE_DIRECTORY`` (systemd sets it), else a folder of this page in the XDG state folder; made if absent.

    Raises:
        ConfigError: it cannot be made or written, or is another user's.
    """
    named = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    xdg = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    folder = Path(named) if named else xdg / "echo-edge-web" / gateway
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be made: {error.strerror}; {AS_SERVICE}"]) from error
    if folder.stat().st_uid != os.geteuid() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"{folder}: is another user's, who could not read what you write; {AS_SERVICE}"])
    return folder
