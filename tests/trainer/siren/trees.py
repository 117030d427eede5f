"""Miniature data sets in their true layouts: every folder and name as published, every clip a fraction of a second."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from scipy.io import savemat

from trainer.siren.tasks import TASKS
from trainer.siren.tasks.cwru import SIZES as CWRU_SIZES
from trainer.siren.tasks.dcase import Dcase
from trainer.siren.tasks.mafaulda import SIZES as MAFAULDA_SIZES

LOADS = 4
DIAMETERS = ("007", "014", "021", "028")


def tone(number: int, rate_hz: int, frames: int, *, seed: int = 0) -> np.ndarray:
    """Return a hum that tells its number, in noise, shape (S,)."""
    random = np.random.default_rng([number, seed])
    t = np.arange(frames) / rate_hz
    hum = np.sin(2 * np.pi * (300 + 450 * number) * t + random.uniform(0, 6))
    return (0.3 * hum + 0.05 * random.standard_normal(frames)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz)


def cwru(root: Path) -> Path:
    """105 faults at 12 kHz as the University names them, and a normal and a 48 kHz recording beside them."""
    folders = {"DE": "12k_Drive_End_Bearing_Fault_Data", "FE": "12k_Fan_End_Bearing_Fault_Data"}
    number = 100
    for index, (label, count) in enumerate(CWRU_SIZES.items()):
        end, kind = label.split("_")
        fault, _, place = kind.partition("@")
        for i in range(count):
            folder = root / folders[end] / {"OC": "OR"}.get(fault, fault) / DIAMETERS[i // LOADS]
            name = f"{number}@{place}_{i % LOADS}.mat" if place else f"{number}_{i % LOADS}.mat"
            write_mat(folder / name, number, tone(index, 12_000, 2400, seed=number))
            number += 1
    write_mat(root / "Normal" / "97_0.mat", 97, tone(20, 12_000, 2400))
    write_mat(root / "48k_Drive_End_Bearing_Fault_Data" / "B" / "007" / "122_0.mat", 122, tone(21, 12_000, 2400))
    return root


def write_mat(path: Path, number: int, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {f"X{number}_DE_time": samples[:, None], f"X{number}_FE_time": 3 * samples[:, None]}
    savemat(path, {**columns, f"X{number}RPM": np.array([[1797]])})


def mafaulda(root: Path) -> Path:
    """1951 CSV files of eight channels."""
    severities = {"normal": [""], "imbalance": [f"{g}g" for g in (6, 10, 15, 20, 25, 30, 35)]}
    for index, (label, count) in enumerate(MAFAULDA_SIZES.items()):
        loads = [f"{g}g" for g in (0, 6, 20, 35)] if "hang-" in label else ["0.5mm", "1.0mm", "1.5mm"]
        kinds = severities.get(label, loads)
        for i in range(count):
            folder = root / label.replace("hang-", "hang/") / kinds[i % len(kinds)]
            folder.mkdir(parents=True, exist_ok=True)
            channels = [tone(index, 50_000, 1600, seed=8 * i + c) for c in range(8)] if i < 6 else None
            path = folder / f"{12 + i / 10:.4f}.csv"
            if channels is None:
                path.write_text("0,0,0,0,0,0,0,0\n")
            else:
                np.savetxt(path, np.stack(channels, axis=1), fmt="%.4f", delimiter=",")
    return root


def iiee(root: Path) -> Path:
    """357 clips to learn and 2021 to test."""
    classes = TASKS["iiee"].classes  # type: ignore[attr-defined]
    conditions = ("talking_1", "atmo_low", "atmo_medium", "atmo_high", "whitenoise_low", "stresstest")
    sides = (("train_cut", ("pure",), 357), ("test_cut", conditions, 2021))
    for side, names, count in sides:
        for i in range(count):
            path = root / side / classes[i % 3] / f"{names[i // 3 % len(names)]}_{i}.wav"
            write_wav(path, tone(i % 3, 44_100, 2205, seed=i), 44_100)
    return root


def iica(root: Path) -> Path:
    """3585 recordings; the folder ``ventlow`` is there and not read."""
    surroundings = ("hydr", "hydr_low", "lab", "work", "work_low")
    written = 0
    while written < 3585:
        leak = ("tubeleak", "ventleak")[written % 2]
        state = ("iO", "niO")[written // 2 % 2]
        place, session = surroundings[written // 4 % 5], 1 + written // 20 % 3
        knob, microphone = written // 240, 1 + written // 60 % 4
        number = 0 if state == "iO" else 1 + written % 2
        path = root / "raw" / leak / place / str(session) / f"{session}_{state}_{knob}_{microphone}_.wav"
        assert not path.exists()
        write_wav(path, tone(number, 48_000, 2400, seed=written), 48_000)
        written += 1
    write_wav(root / "raw" / "ventlow" / "lab" / "1" / "1_niO_1_1_.wav", tone(5, 48_000, 2400), 48_000)
    return root


def small_year(year: int) -> Dcase:
    """Return a year's data set with so few clips a section that a test can make them: 6 to learn, 8 to test."""
    task = TASKS[f"dcase{year}"]
    assert isinstance(task, Dcase)
    dev = {m: (6 * len(s), 8 * len(s)) for m, s in task.dev_sections.items()}
    evaluation = {m: 8 * len(s) for m, s in task.eval_sections.items()}
    return replace(task, dev=dev, evaluation=evaluation, eval_train=None, list_sha256="")


def dcase(root: Path, year: int, machines: Sequence[str] | None = None) -> Path:
    """Both sets of a year, machine by machine, and the list of labels; returns the folder ``dcase<year>_t2``."""
    task = small_year(year)
    home = root / f"dcase{year}_t2"
    rows: list[list[str]] = []
    for part, sections in (("development", task.dev_sections), ("evaluation", task.eval_sections)):
        for number, (machine, names) in enumerate(sections.items()):
            if machines is not None and machine not in machines:
                continue
            if part == "evaluation":
                rows.append([machine])
            for section in names:
                rows += _section(home, part, machine, number, section, year)
    labels = home / "evaluation" / f"eval_data_list_{year}_converted.csv"
    labels.parent.mkdir(parents=True, exist_ok=True)
    with labels.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, lineterminator="\r\n" if year > 2023 else "\n").writerows(rows)
    return home


def _section(home: Path, part: str, machine: str, number: int, section: str, year: int) -> list[list[str]]:
    """Write one section's clips; return its rows for the list of labels."""
    rows = []
    folder = home / part / machine
    train = folder / "train" if part == "development" or year > 2021 else home / "additional_train" / machine / "train"
    for i in range(6):
        domain = "target" if i >= 4 else "source"
        name = f"normal_{section}_{i:08}.wav" if year == 2020 else f"{section}_{domain}_train_normal_{i:04}.wav"
        write_wav(train / name, tone(number, 16_000, 3200, seed=i), 16_000)
    for i in range(8):
        domain, word = ("source", "target")[i % 2], ("normal", "anomaly")[i // 2 % 2]
        samples = tone(number, 16_000, 3200, seed=50 + i)
        if word == "anomaly":
            samples = samples + tone(number + 7, 16_000, 3200, seed=i)
        truth = f"{word}_{section}_{i:08}.wav" if year == 2020 else f"{section}_{domain}_test_{word}_{i:04}.wav"
        hidden = f"{section}_{i:08}.wav" if year == 2020 else f"{section}_{i:04}.wav"
        if year == 2021:
            hidden = f"{section}_{domain}_test_{i:04}.wav"
        tests = folder / (f"{domain}_test" if year == 2021 else "test")
        write_wav(tests / (hidden if part == "evaluation" else truth), samples, 16_000)
        if part == "evaluation":
            reference = f"{section}_{domain}_{i:04}.wav" if year == 2025 else truth
            rows.append([hidden, reference, str(int(word == "anomaly"))])
    return rows
