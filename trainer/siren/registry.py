"""Encoders by the words the command line has for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from trainer.evaluation.contestants import CHECKPOINTS
from trainer.siren.encoders import beats, ced, dasheng, eat, fisher
from trainer.siren.encoders.base import Encoder, Mode
from trainer.siren.encoders.echo import echo, untrained
from trainer.siren.encoders.spectra import features
from trainer.siren.encoders.weights import Source
from trainer.siren.errors import WeightsError

WITHOUT_DOWNLOAD = ("mean-log-spectrum", "mean-deviation", "log-mel", "vibration", "untrained:tiny:0", "echo-tiny")
"""What runs on a fresh checkout: the trivial baselines, the architecture alone, and the default model."""

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
Made = Callable[..., Encoder]
FETCHED: dict[str, tuple[Source, Made]] = {
    "beats": (beats.SOURCE, beats.beats),
    **{f"ced-{size}": (source, partial(ced.ced, size)) for size, source in ced.SOURCES.items()},
    **{f"dasheng-{size}": (source, partial(dasheng.dasheng, size)) for size, source in dasheng.SOURCES.items()},
    **{f"eat-{size}": (source, partial(eat.eat, size)) for size, source in eat.SOURCES.items()},
    **{f"fisher-{size}": (source, partial(fisher.fisher, size)) for size, source in fisher.SOURCES.items()},
}
"""Encoders whose weights a person has to fetch: from where, and how they are made of path, device and mode."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How encoders are made."""

    device: torch.device
    allow_pickle: bool = False


def encoder(word: str, mode: Mode, choice: Choice) -> Encoder:
    """Return what a word of the command line names.

    ``mean-log-spectrum`` and the like; ``untrained:SIZE:SEED``; ``beats`` or another of ``FETCHED``, with ``:PATH``
    where its file is not under ``checkpoints/``; ``package.module:Class``, an encoder of a person's own; else an ECHO
    package by name or path, or a checkpoint.

    Raises:
        WeightsError: no such encoder, or no weights; the message says which file to fetch and where to put it.
    """
    trivial: Mapping[str, Callable[[], Encoder]] = features(choice.device, mode)
    name, _, rest = word.partition(":")
    if word in trivial:
        return trivial[word]()
    if name == "untrained":
        size, _, seed = rest.partition(":")
        if not seed.isdigit():
            raise WeightsError(f"{word}: say untrained:SIZE:SEED, as in untrained:tiny:0")
        return untrained(size, int(seed), choice.device)
    if name in FETCHED:
        path = Path(rest) if rest else None
        return FETCHED[name][1](path, choice.device, mode, allow_pickle=choice.allow_pickle)
    if OWN.fullmatch(word):
        return own(name, rest)
    try:
        return echo(word, choice.device)
    except WeightsError as error:
        if Path(word).suffix in CHECKPOINTS or "/" in word:
            raise
        near = get_close_matches(name, [*trivial, *FETCHED], n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise WeightsError(
            f"{word}: no such encoder{hint} See the command 'encoders'. As a package: {error}"
        ) from error


def own(module: str, name: str) -> Encoder:
    """Make an encoder of a class that a person wrote, without arguments.

    Raises:
        WeightsError: it cannot be imported, or is no ``Encoder`` with a name and a digest.
    """
    try:
        made = getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise WeightsError(f"{module}:{name}: cannot be made: {error}") from error
    if not isinstance(made, Encoder) or not all(getattr(made, key, "") for key in ("name", "digest")):
        raise WeightsError(f"{module}:{name}: no Encoder with a name and a digest; see trainer/siren/encoders/base.py")
    return made
