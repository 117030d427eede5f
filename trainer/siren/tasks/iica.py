"""IDMT-ISA Compressed Air: no leak, a leaking tube or a leaking vent, heard by four microphones.

The file name tells: ``iO`` is sound (no leak), ``niO`` leaks; the folder says where. The published folds put the
microphones and neighbouring takes of one session on both sides; strict mode keeps a session at one setting together.
Source: D. Johnson et al., EUSIPCO 2020; github.com/yucongzh/SIREN@f9fa43e.
"""

from __future__ import annotations

import re
from pathlib import Path

from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import FaultClip, FaultTask, Listing, relative

LEAKS = ("tubeleak", "ventleak")
STATE = re.compile(r"_(n?iO)_", re.IGNORECASE)
# session, state, turns of the knob, microphone: 1_niO_0.5_3_.wav
KNOB = re.compile(r"_n?iO_(?P<knob>[^_]+)_", re.IGNORECASE)


class Iica(FaultTask):
    """3585 recordings of about half a minute, 48 kHz."""

    key, title, rate_hz = "iica", "IICA", 48_000
    classes = ("no_leak", *LEAKS)
    protocol = "kfold"
    leak = "the other microphones and neighbouring takes of the same session vote"
    grouping = "leak, surroundings, session and setting of the knob"
    official = 3585
    expected = f"it holds raw/{LEAKS[0]}/ and raw/{LEAKS[1]}/<surroundings>/<session>/ with WAV files"

    def find(self, root: Path) -> Listing:
        """Return the recordings; see ``Task``."""
        self.check_root(root)
        clips, problems = [], []
        for leak in LEAKS:
            for name, path in relative(root, f"raw/{leak}/**/*.wav"):
                state = STATE.search(path.name)
                if state is None:
                    problems.append(f"{path}: its name holds neither _iO_ nor _niO_")
                    continue
                knob = KNOB.search(path.name)
                label = "no_leak" if state[1].lower() == "io" else leak
                group = "/".join([*name.split("/")[1:-1], knob["knob"] if knob else ""])
                clips.append(FaultClip(name=name, path=path, rate_hz=self.rate_hz, label=label, group=group))
        if not clips:
            raise TreeError(f"{root}: no IICA recordings; {self.expected}")
        clips.sort(key=lambda clip: clip.name)
        counts = self.counted(clips)
        problems += [f"{root}: {c.found} clips of {c.what}, expected {c.official}" for c in counts if not c.complete]
        return Listing(clips, counts, problems)
