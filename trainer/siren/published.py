"""The figures others published, to stand beside ours.

Of the years: the mean of AUC and pAUC values; of the fault sets: the share named rightly. All in percent.

*2025-08*, the paper of ECHO (arXiv:2508.14689). Its MAFAULDA sound column let every recording vote on itself.
*2025-09*, the table of github.com/yucongzh/SIREN after that was mended. The two EAT rows are as printed there; their
sound values, means and the last column are still those from before the mend, and stand in each other's row.
"""

from __future__ import annotations

from dataclasses import dataclass

YEARS = ("dcase2020", "dcase2021", "dcase2022", "dcase2023", "dcase2024", "dcase2025")
FAULTS = ("iiee", "iica", "cwru", "mafaulda vibration", "mafaulda sound")
LEAKED = ("mafaulda sound",)
EARLY, LATER = "2025-08", "2025-09"


@dataclass(frozen=True, slots=True)
class Published:
    """One model's row."""

    table: str
    model: str
    years: tuple[float, ...]
    faults: tuple[float, ...]
    doubtful: tuple[str, ...] = ()
    """Columns whose published value is known to be wrong."""


def _early(model: str, years: tuple[float, ...], faults: tuple[float, ...]) -> Published:
    """Return a row of the first table, which prints MAFAULDA as sound/vibration and shares, not percent."""
    iiee, iica, cwru, sound, vibration = (round(100 * value, 1) for value in faults)
    percent = tuple(round(100 * value, 1) for value in years)
    return Published(EARLY, model, percent, (iiee, iica, cwru, vibration, sound), LEAKED)


def _later(model: str, *values: float, doubtful: tuple[str, ...] = ()) -> Published:
    return Published(LATER, model, values[:6], values[6:], doubtful)


ROWS = (
    _early("BEATs base", (0.743, 0.613, 0.590, 0.629, 0.559, 0.578), (0.658, 0.916, 0.886, 0.856, 0.997)),
    _early("CED base", (0.677, 0.567, 0.573, 0.608, 0.578, 0.577), (0.802, 0.861, 0.819, 0.865, 0.997)),
    _early("CED small", (0.677, 0.567, 0.568, 0.600, 0.572, 0.579), (0.744, 0.857, 0.857, 0.865, 0.997)),
    _early("Dasheng base", (0.694, 0.573, 0.579, 0.607, 0.571, 0.569), (0.994, 0.911, 0.886, 0.924, 0.999)),
    _early("Dasheng 0.6B", (0.685, 0.568, 0.566, 0.568, 0.568, 0.566), (0.991, 0.921, 0.895, 0.924, 0.997)),
    _early("FISHER small", (0.705, 0.595, 0.598, 0.618, 0.557, 0.587), (0.975, 0.945, 0.905, 0.951, 1.000)),
    _early("FISHER tiny", (0.706, 0.585, 0.571, 0.585, 0.553, 0.577), (0.998, 0.954, 0.752, 0.951, 1.000)),
    _early("FISHER mini", (0.700, 0.584, 0.579, 0.604, 0.559, 0.569), (0.999, 0.945, 0.733, 0.951, 1.000)),
    _early("ECHO small", (0.722, 0.602, 0.600, 0.637, 0.579, 0.587), (0.999, 0.938, 0.905, 0.929, 1.000)),
    _later("BEATs base", 74.26, 61.31, 58.97, 62.89, 55.89, 57.84, 65.81, 91.55, 88.57, 99.69, 63.66),
    _later("CED base", 67.75, 56.67, 57.26, 60.84, 57.83, 57.72, 80.21, 86.08, 81.90, 99.74, 66.48),
    _later("CED small", 67.69, 56.66, 56.79, 60.04, 57.24, 57.89, 74.42, 85.66, 85.71, 99.59, 64.43),
    _later("CED mini", 67.59, 56.35, 57.03, 59.85, 56.39, 57.43, 74.17, 84.91, 82.86, 99.64, 63.66),
    _later("CED tiny", 67.21, 56.17, 56.77, 59.61, 56.19, 57.82, 72.74, 84.02, 82.86, 99.64, 63.51),
    _later("EAT large", 73.94, 57.47, 58.54, 61.66, 57.89, 60.01, 68.33, 89.96, 91.43, 99.33, 85.03, doubtful=LEAKED),
    _later("EAT base", 72.13, 57.79, 58.57, 59.69, 57.12, 59.75, 78.97, 89.01, 85.71, 99.90, 84.52, doubtful=LEAKED),
    _later("Dasheng 1.2B", 69.48, 57.06, 57.29, 61.23, 57.13, 57.12, 96.09, 91.91, 90.48, 99.69, 77.24),
    _later("Dasheng 0.6B", 68.18, 56.76, 56.61, 59.94, 56.75, 56.73, 99.11, 92.11, 89.52, 99.74, 78.22),
    _later("Dasheng base", 69.15, 57.27, 57.87, 60.70, 57.71, 57.01, 99.36, 90.88, 88.57, 99.85, 81.96),
    _later("FISHER small", 70.54, 59.51, 59.79, 61.83, 55.66, 58.68, 97.48, 94.20, 86.67, 100.0, 85.29),
    _later("FISHER mini", 69.98, 58.39, 57.91, 60.35, 55.91, 56.90, 99.90, 94.50, 73.33, 100.0, 87.75),
    _later("FISHER tiny", 70.64, 58.51, 57.11, 58.46, 55.34, 57.69, 99.80, 95.43, 75.24, 100.0, 88.52),
    _later("ECHO small", 72.23, 60.20, 59.96, 63.71, 57.86, 58.70, 99.85, 93.67, 90.48, 99.54, 82.42),
    _later("ECHO tiny", 70.14, 59.01, 59.76, 63.75, 56.91, 58.40, 100.0, 93.58, 90.48, 99.85, 78.83),
)
