"""MAFAULDA: ten states of one rotor with two bearings, by a tachometer, two three-axis accelerometers and a microphone.

Channels of a file: 0 tachometer, 1-3 accelerometer of the underhang bearing, 4-6 of the overhang bearing (axial,
radial, tangential), 7 microphone. The published "vibration" is of channels 0 to 6, the tachometer included; strict
mode leaves it out.
Source: www02.smt.ufrj.br/~offshore/mfs; github.com/yucongzh/SIREN@f9fa43e.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import FaultClip, FaultTask, Listing, relative

SIZES = {
    "normal": 49, "horizontal-misalignment": 197, "vertical-misalignment": 301, "imbalance": 333,
    "overhang-ball_fault": 137, "overhang-cage_fault": 188, "overhang-outer_race": 188,
    "underhang-ball_fault": 186, "underhang-cage_fault": 184, "underhang-outer_race": 188,
}  # fmt: skip
BEARINGS = ("overhang", "underhang")


class Mafaulda(FaultTask):
    """1951 recordings of five seconds, 50 kHz, eight channels."""

    key, title, rate_hz = "mafaulda", "MAFAULDA", 50_000
    classes = tuple(SIZES)
    parts = ("vibration", "sound")
    strict_parts = {"vibration": (1, 2, 3, 4, 5, 6), "sound": (7,)}  # noqa: RUF012 - read only
    protocol = "loocv"
    leak = "the same mounting at the neighbouring speeds votes"
    grouping = "fault and its severity: one mounting"
    official = sum(SIZES.values())
    expected = (
        "it holds normal/, horizontal-misalignment/<x>mm/, vertical-misalignment/<x>mm/, imbalance/<x>g/, overhang/ "
        "and underhang/{ball_fault,cage_fault,outer_race}[/<load>]/, with CSV files below"
    )

    def find(self, root: Path) -> Listing:
        """Return the recordings; see ``Task``."""
        clips, problems = [], []
        for name, path in relative(self.check_root(root), "**/*.csv"):
            label = _label(PurePosixPath(name).parts[:-1])
            if label is None:
                problems.append(f"{path}: in no folder of one of the ten states")
                continue
            # Everything between the state's folder and the file is one mounting: severity, or load.
            group = str(PurePosixPath(name).parent)
            clips.append(FaultClip(name=name, path=path, rate_hz=self.rate_hz, columns=8, label=label, group=group))
        if not clips:
            raise TreeError(f"{root}: no MAFAULDA recordings; {self.expected}")
        counts = self.counted(clips, SIZES)
        problems += [
            f"{root}: {count.found} recordings of {count.what}, {count.official} are published"
            for count in counts
            if not count.complete
        ]
        return Listing(clips, counts, problems)


def _label(folders: tuple[str, ...]) -> str | None:
    for at, folder in enumerate(folders):
        if folder in BEARINGS:
            return next((f"{folder}-{below}" for below in folders[at + 1 :] if f"{folder}-{below}" in SIZES), None)
        if folder in SIZES:
            return folder
    return None
