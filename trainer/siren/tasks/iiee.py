"""IDMT-ISA Electric Engine: a small motor that is good, broken or heavily loaded; learned in silence, tested in noise.

The paper's table says leave-one-out; the published figures are of the split the data set comes with (each is a
multiple of 1/2021, the number of test clips).
Source: S. Grollmisch et al., EUSIPCO 2019; github.com/yucongzh/SIREN@f9fa43e.
"""

from __future__ import annotations

import re
from pathlib import Path

from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import Count, FaultClip, FaultTask, Listing, relative

CLASSES = ("engine1_good", "engine2_broken", "engine3_heavyload")
TRAIN, TEST = 357, 2021
CONDITION = re.compile(r"(pure|talking|atmo_low|atmo_medium|atmo_high|whitenoise_low|stresstest)(?=[_.\d]|$)", re.I)


class Iiee(FaultTask):
    """357 clean clips to learn, 2021 noisy ones to test, three seconds each, 44.1 kHz."""

    key, title, rate_hz = "iiee", "IIEE", 44_100
    classes = CLASSES
    protocol = "split"
    leak = "none known: learned and tested clips are of other recordings, though of the same engines"
    grouping = "the split it comes with"
    official = TRAIN + TEST
    expected = f"it holds train_cut/ and test_cut/ with {', '.join(CLASSES)} in each"

    def find(self, root: Path) -> Listing:
        """Return the clips; see ``Task``."""
        self.check_root(root)
        clips, problems = [], []
        tests = "test_cut" if (root / "test_cut").is_dir() else "test"
        if tests == "test":
            problems.append(
                f"{root}: no test_cut/: the long files of test/ are tested, which no published figure is of"
            )
        for folder, side in (("train_cut", "train"), (tests, "test")):
            for name, path in relative(root, f"{folder}/**/*.wav"):
                label = next((part for part in name.lower().split("/")[:-1] if part in CLASSES), None)
                condition = CONDITION.match(path.name)
                if label is None:
                    problems.append(f"{path}: in no folder named {', '.join(CLASSES)}")
                    continue
                if condition is None:
                    problems.append(f"{path}: its name begins with no known condition (pure, talking, atmo_low, ...)")
                clips.append(
                    FaultClip(
                        name=name,
                        path=path,
                        rate_hz=self.rate_hz,
                        label=label,
                        group=side,
                        side="train" if side == "train" else "test",
                        condition=condition[1].lower() if condition else "unknown",
                    )
                )
        train = sum(clip.side == "train" for clip in clips)
        if not train or train == len(clips):
            raise TreeError(f"{root}: clips to {'test' if train else 'learn'} are missing; {self.expected}")
        counts = [Count("train_cut", train, TRAIN), Count(tests, len(clips) - train, TEST), *self.counted(clips)]
        problems += [f"{root}: {c.found} clips in {c.what}, expected {c.official}" for c in counts if not c.complete]
        return Listing(clips, counts, problems)
