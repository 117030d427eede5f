"""Texts: every word that the page says, by key and language. A second language is one more folder of files.

``texts/en.d/*.yaml`` and ``texts/de.d/*.yaml`` hold flat ``key: text``; ``{name}`` in a text is filled in. A pair
``key.one`` and ``key.other`` is for counts. English is whole; what another language lacks is said in English.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

SOURCE = "en"
UNKNOWN = "\N{EN DASH}"
STEPS_S = ((60.0, "second", 1.0), (3600.0, "minute", 60.0), (86400.0, "hour", 3600.0), (float("inf"), "day", 86400.0))


class Translator:
    """The texts of one language: ``t("overview.title")``, ``t("overview.rest", n=3)``."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key with its values filled in; raises KeyError when no language has it."""
        return self._texts[key].format(**values)

    def has(self, key: str) -> bool:
        return key in self._texts

    def or_else(self, key: str, other: str) -> str:
        """The text of a key, or what the daemon said itself where there is none."""
        return self._texts.get(key, other)

    def count(self, key: str, n: int, **values: Any) -> str:
        """``key.one`` or ``key.other``, with ``n`` filled in."""
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=n, **values)

    def level(self, level: str | None) -> str:
        """A level in words."""
        return self(f"level.{level}") if f"level.{level}" in self._texts else str(level or "")

    def number(self, value: float | None, digits: int = 1) -> str:
        """A number as people of this language write it; a dash for one that is not known."""
        if value is None:
            return UNKNOWN
        text = f"{value:,.{digits}f}"
        if self.language == "de":
            return text.replace(",", "\N{NO-BREAK SPACE}").replace(".", ",")
        return text

    def when(self, time: str | datetime | None) -> str:
        """Date and time of day at the gateway, of RFC 3339 or a datetime."""
        moment = as_datetime(time)
        return UNKNOWN if moment is None else moment.astimezone().strftime(self("time.when"))

    def clock(self, time: str | datetime | None) -> str:
        """Time of day at the gateway."""
        moment = as_datetime(time)
        return UNKNOWN if moment is None else moment.astimezone().strftime("%H:%M:%S")

    def ago(self, time: str | datetime | None, now: datetime | None = None) -> str:
        """How long it is since then: ``3 minutes ago``; what lies ahead, by a clock that differs, is ``just now``."""
        moment = as_datetime(time)
        if moment is None:
            return UNKNOWN
        seconds = ((now or datetime.now(timezone.utc)) - moment).total_seconds()
        return self("time.now") if seconds < 10 else self("time.ago", span=self.span(seconds))

    def span(self, seconds: float) -> str:
        """A length of time in its largest unit: ``3 minutes``."""
        name, each_s = next((name, each_s) for limit_s, name, each_s in STEPS_S if seconds < limit_s)
        return self.count(f"time.{name}", round(seconds // each_s))


class Texts:
    """All languages there are."""

    def __init__(self, default: str = SOURCE) -> None:
        """Raises KeyError for a language that is not there."""
        source = catalogue(SOURCE)
        self._translators = {name: Translator(name, {**source, **catalogue(name)}) for name in languages()}
        self.default = self._translators[default].language

    @property
    def languages(self) -> list[str]:
        return list(self._translators)

    def of(self, *wanted: str | None) -> Translator:
        """The first wanted language that is there, else the default."""
        known = (name for name in wanted if name in self._translators)
        return self._translators[next(known, self.default) or self.default]

    def accepted(self, header: str) -> Iterator[str]:
        """The languages of an ``Accept-Language`` header, in its order, without regions."""
        for part in header.split(","):
            yield part.partition(";")[0].strip().partition("-")[0].lower()


@lru_cache
def languages() -> tuple[str, ...]:
    """Those that have a folder, English first."""
    found = sorted(entry.name.removesuffix(".d") for entry in _folder().iterdir() if entry.name.endswith(".d"))
    return (SOURCE, *(name for name in found if name != SOURCE))


@lru_cache
def catalogue(language: str) -> Mapping[str, str]:
    """Key -> text of one language, of all its files.

    Raises:
        ValueError: a key is there twice, or is no text.
    """
    found: dict[str, str] = {}
    for file in sorted((_folder() / f"{language}.d").iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".yaml"):
            continue
        for key, text in (yaml.safe_load(file.read_text("utf-8")) or {}).items():
            if key in found or not isinstance(text, str):
                raise ValueError(f"texts/{language}.d/{file.name}: '{key}': is there twice, or is no text; quote it")
            found[key] = text
    return found


def as_datetime(time: str | datetime | None) -> datetime | None:
    """A moment of RFC 3339 text; None where it is none."""
    if time is None or isinstance(time, datetime):
        return time
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return None


def _folder() -> Traversable:
    return resources.files("echo_edge.web").joinpath("texts")
