"""Evaluate: how well normal recordings tell normal from faulty ones, ours beside a mean log spectrum."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.baseline import same_unit
from echo_edge.embedder import Embedder
from echo_edge.errors import RecordingError
from echo_edge.material import Material
from echo_edge.normal_state import NormalState
from echo_edge.recordings import recorded_windows, recordings_in
from echo_edge.records import Embedding, Window

PAUC_MAX_FPR = 0.1
LABELS = ("normal", "anomaly")
POINT = "evaluate/file"
DETECTORS = ("ours", "mean_log_spectrum")

Step = Callable[[str, int, int], None]
"""Told of progress: what is going on, how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One row of the label file."""

    path: Path
    label: str
    group: str
    scale: float | None


def read_labels(path: Path) -> list[LabelledFile]:
    """Read ``path,label[,group][,scale]``; paths are relative to the file itself.

    Raises:
        RecordingError: names the file and line of the first thing that is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            unknown = set(reader.fieldnames or ()) - {"path", "label", "group", "scale"}
            if not {"path", "label"} <= set(reader.fieldnames or ()) or unknown:
                raise RecordingError(
                    f"{path}:1: the columns are path,label[,group][,scale], not {','.join(reader.fieldnames or ())}"
                )
            rows = [_labelled(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    counts = Counter(row.label for row in rows)
    if min(counts["normal"], counts["anomaly"]) == 0:
        raise RecordingError(
            f"{path}: needs both labels to compare; it has {counts['normal']} normal and {counts['anomaly']} anomaly"
        )
    return rows


def _labelled(path: Path, line: int, row: dict[str, str]) -> LabelledFile:
    if row["label"] not in LABELS:
        raise RecordingError(f"{path}:{line}: label '{row['label']}' is neither 'normal' nor 'anomaly'")
    try:
        scale = float(row["scale"]) if row.get("scale") else None
    except ValueError as error:
        raise RecordingError(f"{path}:{line}: scale '{row['scale']}' is not a number") from error
    file = path.parent / row["path"]
    if not file.is_file():
        raise RecordingError(f"{path}:{line}: no such file: {file}")
    return LabelledFile(file, row["label"], row.get("group") or "all", scale)


def evaluate(
    embedder: Embedder, normal: Sequence[Path], labels: Path, length_s: float, progress: Step = lambda *_: None
) -> dict[str, Any]:
    """Learn from ``normal`` (files or folders), score every labelled file by the mean over its windows.

    Returns:
        ``ours`` and ``mean_log_spectrum`` with ``roc_auc``, ``pauc`` (standardised, false positive rate up to 0.1)
        overall and per group, ``counts``, ``model``, and each file's two scores.

    Raises:
        RecordingError: a recording or the label file cannot be used, or a file is both learned and tested.
        EnrollError: the normal recordings are too little or useless.
    """
    rows = read_labels(labels)
    learned = [file for path in normal for file in recordings_in(path)]
    leaked = {file.resolve() for file in learned} & {row.path.resolve() for row in rows}
    if leaked:
        raise RecordingError(f"{sorted(leaked)[0]}: is learned as normal and tested as well; the figure would be false")
    windows = list(recorded_windows(POINT, [0], length_s, length_s, learned))
    rate_hz = windows[0].rate_hz
    embeddings = _batched(embedder, windows, lambda done: progress("learning", done, len(windows)))
    state = NormalState.learn("normal", Material.of(embeddings))
    files: list[dict[str, Any]] = []
    for row in rows:
        progress("scoring", len(files), len(rows))
        cut = list(recorded_windows(POINT, [0], length_s, length_s, [row.path], row.scale))
        if cut[0].rate_hz != rate_hz:
            raise RecordingError(f"{row.path}: is {cut[0].rate_hz} Hz, the normal recordings are {rate_hz} Hz")
        if not same_unit(cut[0].unit, windows[0].unit):
            raise RecordingError(
                f"{row.path}: samples are in {cut[0].unit}, the normal recordings' in {windows[0].unit}; "
                "a difference in scale alone would look like a fault"
            )
        verdicts = [state.judge(e) for e in _batched(embedder, cut)]
        scores = {
            "ours": float(np.mean([v.value for v in verdicts])),
            "mean_log_spectrum": float(np.mean([v.rarities["spectrum"] for v in verdicts])),
        }
        files.append({"path": str(row.path), "label": row.label, "group": row.group, **scores})
    progress("scoring", len(rows), len(rows))
    return {
        "model": embedder.model_name,
        "window_s": length_s,
        "rate_hz": rate_hz,
        "counts": {"learned_windows": len(windows), **Counter(row.label for row in rows)},
        **{name: _figures(files, name) for name in DETECTORS},
        "files": files,
    }


def _batched(
    embedder: Embedder, windows: Sequence[Window], told: Callable[[int], None] = lambda _: None, size: int = 16
) -> list[Embedding]:
    embeddings: list[Embedding] = []
    for first in range(0, len(windows), size):
        embeddings += embedder.embed(windows[first : first + size])
        told(len(embeddings))
    return embeddings


def _figures(files: list[dict[str, Any]], name: str) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  # a second to import, and only this command needs it

    def both(rows: list[dict[str, Any]]) -> dict[str, Any]:
        truth: NDArray[np.int64] = np.array([row["label"] == "anomaly" for row in rows], dtype=np.int64)
        counts = {"normal": int((truth == 0).sum()), "anomaly": int(truth.sum())}
        if min(counts.values()) == 0:
            return counts  # one class alone has no AUC
        scores = [row[name] for row in rows]
        return {
            "roc_auc": float(roc_auc_score(truth, scores)),
            "pauc": float(roc_auc_score(truth, scores, max_fpr=PAUC_MAX_FPR)),
            **counts,
        }

    groups = sorted({row["group"] for row in files})
    return {**both(files), "groups": {g: both([row for row in files if row["group"] == g]) for g in groups}}
