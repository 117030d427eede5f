"""One table: models beside the same network untrained and beside trivial features, with the doubt in each figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation import cwru
from trainer.evaluation.contestants import UNTRAINED_SEEDS, Contestant, baselines, untrained
from trainer.evaluation.detection import Rig, Row, detect, load_backgrounds, load_rigs
from trainer.evaluation.spread import effective_rank
from trainer.siren.metrics import wilson

SIREN_FILES, STRICT_FILES = 105, 101
NOTES = """\
CWRU: accuracy with the 95 % Wilson interval. One file of 105 (leakage-free: 101) is a point of a hundred, so that a
difference of two files is none. Published under SIREN's protocol: ECHO-Small 0.905, EAT-Large 0.914. Untrained
networks: mean and range of three seeds.

Detection: ROC-AUC / partial AUC, standardised over false positive rates up to 0.1 (0.5 is chance). The score is the
distance to the nearest learned window, band by band, in units of the usual one. Background (ESC-10: rain, sea,
helicopter, chainsaw, fire) is set against the normal machine; learning hears it too, from other recordings. With gain,
every window is tested louder and softer than it was learned. *Bearing, other load*: CWRU at 48 kHz, windows of 0.5 s,
normal learned at load 0 and tested at load 2. *Bearing, early fault*: the faults 6 dB below the normal machine, added
to it. *Motor*: windows of 1 s from a microphone, a motor without its propeller against one with it, at a throttle that
was not learned.
"""

Step = Callable[[str, int, int], None]
"""Told of progress: what is going on, how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contestant reached."""

    name: str
    cwru: cwru.CwruFigures
    effective_rank: float
    detection: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table; untrained networks of one shape share theirs, and show mean and range."""

    title: str
    members: tuple[Figures, ...]


def compare(contestants: Sequence[Contestant], data: Path, progress: Step = lambda *_: None) -> list[Column]:
    """Evaluate models, the untrained network of each shape under three seeds, and the baselines.

    Raises:
        DataError: recordings are missing under ``data``.
    """
    recordings = cwru.load_cwru(data / "cwru")
    rigs = load_rigs(data)
    shapes = list(dict.fromkeys(c.config for c in contestants if c.config is not None))
    groups = [(c.name, [c]) for c in contestants]
    for config in shapes:
        title = f"untrained {config.depth} x {config.embed_dim}"
        groups.append((title, [untrained(config, seed) for seed in UNTRAINED_SEEDS]))
    groups += [(c.name, [c]) for c in baselines()]
    rounds = [(member, title) for title, members in groups for member in members]
    total, found = len(rounds) * (1 + len(rigs)), []
    backgrounds = {hz: load_backgrounds(data / "audio", hz) for hz in {rig.rate_hz for rig in rigs}}
    for number, (member, title) in enumerate(rounds):

        def told(done: int, number: int = number, title: str = title) -> None:
            progress(title, number * (1 + len(rigs)) + done, total)

        found.append(_evaluate(member, recordings, rigs, backgrounds, told))
    progress("done", total, total)
    figures = iter(found)
    return [Column(title, tuple(next(figures) for _ in members)) for title, members in groups]


def _evaluate(
    contestant: Contestant,
    recordings: Sequence[cwru.CwruRecording],
    rigs: Sequence[Rig],
    backgrounds: dict[int, Any],
    told: Callable[[int], None],
) -> Figures:
    told(0)
    vectors = contestant.vectors([r.samples for r in recordings], cwru.RATE_HZ)
    score = cwru.score_cwru(vectors.reshape(len(vectors), -1), recordings)
    rows: list[Row] = []
    for number, rig in enumerate(rigs, 1):
        told(number)
        rows += detect(contestant.vectors, rig, backgrounds[rig.rate_hz])
    return Figures(contestant.name, score, effective_rank(vectors), tuple(rows))


def markdown(columns: Sequence[Column]) -> str:
    """Return the table, columns as given."""
    lines = [
        "| | " + " | ".join(c.title for c in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
        _line("CWRU, SIREN protocol", columns, lambda f: f.cwru.siren, files=SIREN_FILES),
        _line("CWRU, leakage-free", columns, lambda f: f.cwru.strict, files=STRICT_FILES),
        _line("effective rank on CWRU", columns, lambda f: f.effective_rank, digits=1),
    ]
    rows = columns[0].members[0].detection
    lines.append(_pair("detection, mean of all conditions", columns, range(len(rows))))
    for rig in dict.fromkeys(row.rig for row in rows):
        inside = [i for i, row in enumerate(rows) if row.rig == rig]
        lines.append(_pair(f"**{rig}**, mean", columns, inside))
        lines += [_pair(_condition(rows[i]), columns, [i]) for i in inside]
    return "\n".join(lines) + "\n"


def as_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return all figures as plain values."""
    return [asdict(column) for column in columns]


def _line(
    title: str, columns: Sequence[Column], figure: Callable[[Figures], float], *, files: int = 0, digits: int = 3
) -> str:
    cells = []
    for column in columns:
        values = [figure(f) for f in column.members]
        cell = f"{np.mean(values):.{digits}f}"
        if len(values) > 1:
            cell += f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
        elif files:
            low, high = wilson(round(values[0] * files), files)
            cell += f" [{low:.2f}, {high:.2f}]"
        cells.append(cell)
    return f"| {title} | " + " | ".join(cells) + " |"


def _pair(title: str, columns: Sequence[Column], rows: Sequence[int]) -> str:
    cells = []
    for column in columns:
        pairs = [
            (np.mean([f.detection[i].auc for i in rows]), np.mean([f.detection[i].pauc for i in rows]))
            for f in column.members
        ]
        auc, pauc = np.mean(pairs, axis=0)
        cell = f"{auc:.3f} / {pauc:.3f}"
        if len(pairs) > 1:
            low, high = np.min(pairs, axis=0)[0], np.max(pairs, axis=0)[0]
            cell += f" ({low:.3f}-{high:.3f})"
        cells.append(cell)
    return f"| {title} | " + " | ".join(cells) + " |"


def _condition(row: Row) -> str:
    noise = "clean" if row.snr_db is None else f"{row.snr_db:+.0f} dB".replace("+0", "0")
    return noise if row.gain_db == 0 else f"{noise}, gain +-{row.gain_db:.0f} dB"
