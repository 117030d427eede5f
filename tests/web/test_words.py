"""Words and looks: what templates name is there: every text, every symbol, and every class of a level."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from echo_edge.web.texts import catalogue

WEB = Path(str(resources.files("echo_edge.web")))
TEMPLATES = sorted(WEB.glob("templates/**/*.html"))
MODULES = [path for path in sorted(WEB.glob("*.py")) if path.name != "texts.py"]  # its docstrings show how
SOURCES = [*TEMPLATES, *MODULES]
CSS = (WEB / "static/page.css").read_text("utf-8")
CSS_MOST = 30_000  # bytes; the overview as a whole has 150,000


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_text_that_is_named_is_there(source: Path) -> None:
    text = source.read_text("utf-8")
    named = set(re.findall(r"\bt\([\"']([a-z_.]+)[\"'][,)]", text))
    counted = {f"{key}.{n}" for key in re.findall(r"\bt\.count\(\"([a-z_.]+)\"", text) for n in ("one", "other")}
    assert (named | counted) - set(catalogue("en")) == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_needs_what_the_browser_refuses(template: Path) -> None:
    text = template.read_text("utf-8")
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=\"|javascript:|<script(?![^>]*src=)|\|\s*safe\b|https?://", text)


def test_every_symbol_that_is_used_is_drawn_once() -> None:
    drawn = re.findall(r'<symbol id="i-(\w+)"', (WEB / "templates/_symbols.html").read_text("utf-8"))
    text = "".join(path.read_text("utf-8") for path in TEMPLATES)
    used = re.findall(r'href="#i-([a-z_]+)"', text) + re.findall(r'\bicon\("([a-z_]+)"\)', text)
    assert len(drawn) == len(set(drawn))
    assert set(used) <= set(drawn)


@pytest.mark.parametrize("level", ["normal", "warning", "alarm", "not_monitored", "unknown"])
def test_every_level_has_a_look_and_a_symbol_of_its_own(level: str) -> None:
    assert f".lv-{level}" in CSS
    assert f'id="i-{level}"' in (WEB / "templates/_symbols.html").read_text("utf-8")


def test_the_style_sheet_is_small_and_asks_nobody_else() -> None:
    assert len(CSS.encode()) < CSS_MOST
    assert not re.search(r"@import|url\(", CSS)
    assert all(name in CSS for name in ("prefers-color-scheme: dark", "@media print", ":focus-visible"))


def luminance(colour: str) -> float:
    """Of ``#rgb`` or ``#rrggbb``, as WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme: str) -> None:
    light, _, dark = CSS.partition("@media screen and (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3}(?:[0-9a-f]{3})?);", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3}(?:[0-9a-f]{3})?);", dark.partition("\n}")[0]))
    pairs = [(ink, behind) for ink in ("ink", "muted", "accent", "limit") for behind in ("bg", "surface")]
    pairs += [("head", "on-head"), ("accent", "on-accent"), ("ok", "surface"), ("ok", "ok-bg"), ("ok", "ok-on")]
    pairs += [(f"{level}-on", level) for level in ("warn", "bad", "nm", "un")]
    pairs += [(f"{level}-text", f"{level}-bg") for level in ("warn", "bad", "nm", "un")]
    faint = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}
