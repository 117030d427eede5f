"""What must not leave the gateway with a support archive: known secrets wherever they stand, names, serial numbers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from echo_edge.audit import MAX_TEXT
from echo_edge.config_file import MAX_PASSWORD
from echo_edge.config_orders import UNSIGNED
from echo_edge.config_yaml import NO_VALUE
from echo_edge.credentials import credential_file
from echo_edge.redact import HIDDEN, redact

SECRET_FILES = {"password_file", "key_file", "client_key_file"}
SECRET_CREDENTIALS = {"password_credential", "key_credential"}
NAMES = {"username", "person"}
OUR_OWN = {"echo-edge", UNSIGNED}
LONG = 6  # characters of a secret that does not turn up by chance
USERNAME = re.compile(r"""(\busername\s*:\s*)("[^"\n]*"|'[^'\n]*'|[^\s,}]+)""")
HOME = re.compile(r"(/home/)[^/\s\"']+")
PAIR = re.compile(r"""(\w+)\s*:\s*["']?([^\s,}"'#]+)""")
OPERATOR = re.compile(r"([\w-]+)\s*:\s*\{?\s*(?:role|person|key_file|key_credential|public_key)\s*:")
SERIALS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(\busb:[0-9a-f]{4}:[0-9a-f]{4}:[^\s\"',}@]{2})[^\s\"',}@]+",
        r"(by-id/[^\s\"',}]*_[^\s\"',}_]{2})[^\s\"',}_]+(?=-(?:if|port)\d)",
        r"(/dev/echo-edge/[0-9a-f]{4}-[0-9a-f]{4}-\w{2})\w+(?=-\d)",  # our udev rules
        r"(\b(?:ee1|picoquake|digiducer):\w{2})\w+",
        r"((?i:\bserial(?: number)?)[ :=]+\w{2})\w+",
    )
)
"""How our drivers, and the kernel, write serial numbers; what is kept tells two apart."""


class Redaction:
    """Cleans every text of an archive.

    Args:
        configuration: the text of the file; where it can be read, what it names is known.
        folder: that relative paths in it start from.
        people: more names, such as the audit log's.
        serials: serial numbers of what is plugged in.
    """

    def __init__(
        self,
        configuration: str,
        folder: Path,
        credentials_folder: str | None,
        people: Iterable[str] = (),
        serials: Iterable[str] = (),
    ) -> None:
        told = _read(configuration)
        pairs = list(_pairs(told) if readable(configuration) else _pairs_of_text(configuration))
        secrets = {
            form
            for secret in _secrets(pairs, folder, credentials_folder)
            for form in (
                secret,
                json.dumps(secret)[1:-1],
                quote(secret, safe=""),
                base64.b64encode(secret.encode()).decode(),
            )
        }
        gateways = {value["id"] for key, value in pairs if key == "gateway" and _has_id(value)}
        names = sorted({*_names(pairs), *people} - OUR_OWN - gateways - {""})
        self._hidden = _any_of(secrets)
        self._people = {name: f"person-{number}" for number, name in enumerate(names, start=1)}
        self._names = _any_of(names, whole=True)
        self._serials = _any_of({serial for serial in serials if len(serial) > 4})

    def clean(self, text: str) -> str:
        """The text without secrets, with ``person-1`` for names, and with serial numbers cut short."""
        text = redact(self._hidden.sub(HIDDEN, text))
        text = USERNAME.sub(rf"\1{HIDDEN}", text)  # it may be the gateway's id, which is no secret elsewhere
        text = self._names.sub(lambda found: self._people[found[0]], text)
        text = self._serials.sub(lambda found: f"{found[0][:2]}...", text)
        text = HOME.sub(r"\1person", text)
        for pattern in SERIALS:
            text = pattern.sub(r"\1...", text)
        return text

    def cleaned(self, told: Any) -> Any:
        """The same of every text within lists and objects: JSON would write some characters otherwise."""
        if isinstance(told, str):
            return self.clean(told)
        if isinstance(told, dict):
            return {self.clean(str(key)): self.cleaned(value) for key, value in told.items()}
        return [self.cleaned(value) for value in told] if isinstance(told, list | tuple) else told


def readable(configuration: str) -> bool:
    """Whether names and secrets can be known of it."""
    return isinstance(_read(configuration), dict)


def _read(configuration: str) -> Any:
    with suppress(*NO_VALUE):
        return yaml.safe_load(configuration)
    return None


def _pairs(told: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(told, dict):
        for key, value in told.items():
            yield str(key), value
            yield from _pairs(value)
    elif isinstance(told, list):
        for value in told:
            yield from _pairs(value)


def _pairs_of_text(configuration: str) -> Iterator[tuple[str, Any]]:
    """The same of what is no YAML, as far as it looks like it."""
    yield from PAIR.findall(configuration)
    yield "operators", dict.fromkeys(OPERATOR.findall(configuration))


def _secrets(pairs: Iterable[tuple[str, Any]], folder: Path, credentials_folder: str | None) -> Iterator[str]:
    for key, value in pairs:
        if key in SECRET_FILES and isinstance(value, str):
            path = folder / value
        elif key in SECRET_CREDENTIALS and isinstance(value, str) and credentials_folder is not None:
            path = credential_file(credentials_folder, value)
        else:
            continue
        with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
            for line in file.read(MAX_PASSWORD).splitlines():
                yield from {line.strip(), line.strip().rpartition(" ")[2]} - {"", "-"}


def _has_id(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _names(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for key, value in pairs:
        if key in NAMES and isinstance(value, str):
            yield value
        elif key == "operators" and isinstance(value, dict):
            yield from map(str, value)


def _any_of(words: Iterable[str], *, whole: bool = False) -> re.Pattern[str]:
    """Matches any of these, the longest first; short ones, and names, only as whole words."""
    parts = [
        rf"(?<![\w-]){re.escape(word)}(?![\w-])" if whole or len(word) < LONG else re.escape(word)
        for word in sorted(words, key=len, reverse=True)
        if len(word) <= max(MAX_PASSWORD * 3, MAX_TEXT)
    ]
    return re.compile("|".join(parts) or r"(?!)")
