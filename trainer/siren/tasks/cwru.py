"""Case Western Reserve University's bearings: which of ten places the fault sits at, from a drive-end accelerometer.

As the University publishes it, one MAT file a recording; or repacked as FLAC with a ``manifest.csv`` beside it, whose
``scale_g_per_lsb`` gives g. Normal recordings and those at 48 kHz are left out, and the drive-end sensor is read even
for faults at the fan end: so the published figures were made.
Source: engineering.case.edu/bearingdatacenter; github.com/yucongzh/SIREN@f9fa43e.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import Count, FaultClip, FaultTask, Listing, relative

ENDS = {"12k_Drive_End_Bearing_Fault_Data": "DE", "12k_Fan_End_Bearing_Fault_Data": "FE"}
SUBSETS = {"12k_DE": "DE", "12k_FE": "FE"}
KINDS = {"B": "B", "IR": "IR", "OR": "OC"}
FAULTS = {"ball": "B", "inner": "IR", "outer": "OC"}
DIAMETERS = ("007", "014", "021", "028")
DIAMETER = re.compile(rf"(?<!\d)({'|'.join(DIAMETERS)})(?!\d)")
POSITION = re.compile(r"@(3|6|12)(?!\d)")
SIZES = {
    "DE_B": 16, "DE_IR": 16, "DE_OC@3": 8, "DE_OC@6": 12, "DE_OC@12": 8,
    "FE_B": 12, "FE_IR": 12, "FE_OC@3": 11, "FE_OC@6": 6, "FE_OC@12": 4,
}  # fmt: skip
EXPECTED = {
    "fault": f"one of {', '.join(FAULTS)}",
    "scale_g_per_lsb": "g for each step of 16 bit, above 0",
    "size_in": "0.007, 0.014, 0.021 or 0.028 inch",
    "sampling_rate_hz": "12000",
}
COLUMNS = ("file", "subset", "siren_reads_this", "scale_g_per_lsb", "fault", "fault_end", "size_in", "or_position")


class Cwru(FaultTask):
    """105 recordings of about ten seconds, 12 kHz."""

    key, title, rate_hz = "cwru", "CWRU", 12_000
    classes = tuple(SIZES)
    protocol = "loocv"
    leak = "the same bearing at the other three loads votes"
    grouping = "fault diameter"
    official = sum(SIZES.values())
    expected = f"it holds {' and '.join(ENDS)} as published, or manifest.csv with FLAC files"

    def find(self, root: Path) -> Listing:
        """Return the recordings; see ``Task``."""
        manifest = self.check_root(root) / "manifest.csv"
        listing = _from_manifest(root, manifest) if manifest.is_file() else _from_tree(root)
        if not listing.clips:
            found = f"{root}: no CWRU recordings at 12 kHz; {self.expected}"
            raise TreeError("; ".join([*listing.problems[:1], found]))
        clips = [clip for clip in listing.clips if isinstance(clip, FaultClip)]
        listing.counts = self.counted(clips, SIZES)
        listing.problems += [
            f"{root}: {count.found} recordings of {count.what}, {count.official} are published"
            for count in listing.counts
            if not count.complete
        ]
        return listing


def _from_tree(root: Path) -> Listing:
    clips, problems = [], []
    for name, path in relative(root, "**/*.mat"):
        folders = name.split("/")[:-1]
        end = next((ENDS[folder] for folder in folders if folder in ENDS), None)
        kind = next((KINDS[folder] for folder in folders if folder in KINDS), None)
        diameter = DIAMETER.search(name)
        if end is None:
            if not any(folder.startswith(("48k_", "Normal")) for folder in folders):
                problems.append(f"{path}: in none of the folders {', '.join(ENDS)}")
            continue
        if kind is None or diameter is None:
            wanted = "a folder B, IR or OR" if kind is None else "a fault diameter 007, 014, 021 or 028"
            problems.append(f"{path}: {wanted} is not in its path")
            continue
        place = POSITION.search(name)
        label = f"{end}_{kind}" + (f"@{place[1] if place else '6'}" if kind == "OC" else "")
        clips.append(FaultClip(name=name, path=path, rate_hz=Cwru.rate_hz, label=label, group=diameter[0]))
    return Listing(clips, problems=problems)


def _from_manifest(root: Path, manifest: Path) -> Listing:
    with manifest.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise TreeError(f"{manifest}:1: no column {', '.join(missing)}")
        wanted = [(rows.line_num, row) for row in rows if row["subset"] in SUBSETS and row["siren_reads_this"] == "1"]
    clips, problems = [], []
    for line, row in wanted:
        kind = FAULTS.get(row["fault"])
        scale, size, rate_hz = (_number(row.get(name)) for name in ("scale_g_per_lsb", "size_in", "sampling_rate_hz"))
        group = f"{round(size * 1000):03}" if math.isfinite(size) else ""
        for name, good in (
            ("fault", kind),
            ("scale_g_per_lsb", scale > 0),
            ("size_in", group in DIAMETERS),
            ("sampling_rate_hz", "sampling_rate_hz" not in row or rate_hz == Cwru.rate_hz),
        ):
            if not good:
                raise TreeError(f"{manifest}:{line}: {name}: {row[name]!r}; expected {EXPECTED[name]}")
        place = f"@{row['or_position'] or '6'}" if kind == "OC" else ""
        label = f"{row['fault_end']}_{kind}{place}"
        if label not in SIZES:
            raise TreeError(f"{manifest}:{line}: {label}: no such class; there are {', '.join(SIZES)}")
        path = root / row["file"]
        if not path.is_file():
            problems.append(f"{path}: is in manifest.csv:{line} and not there")
            continue
        clips.append(
            FaultClip(name=row["file"], path=path, rate_hz=Cwru.rate_hz, scale=scale, label=label, group=group)
        )
    return Listing(clips, [Count("all", len(clips), Cwru.official)], problems)


def _number(text: str | None) -> float:
    """Return a number; NaN when it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
