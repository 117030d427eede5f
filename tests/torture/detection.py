"""How small a fault is found at the promised rate of false alarms: ``docs/results/detection.md``.

    python -m tests.torture.detection --machines 16 --jobs 16 --cache FOLDER
    python -m tests.torture.detection --quick --cache FOLDER        # some minutes on two cores

The cache is that of ``false_alarm_promise``: days heard there are not heard again. With ``--data`` recorded faults are
judged, too. ``--add-to FILE`` takes up the figures of a run elsewhere, and measures only what they lack.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.torture import detection_report, growing, real_faults
from tests.torture.features import MODEL

NAME = "detection"
QUICK = {"machines": 2, "enrolled_h": 1.0, "growing_h": 0.5, "healthy_h": 0.5}
FULL = {"machines": 16, "enrolled_h": 24.0, "growing_h": 6.0, "healthy_h": 24.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, help="invented machines (default: 16)")
    parser.add_argument("--which", type=int, nargs="+", help="numbers of the machines, instead of the first so many")
    parser.add_argument("--enrolled-h", type=float, help="hours enrolled (default: 24)")
    parser.add_argument("--growing-h", type=float, help="hours in which a fault grows (default: 6)")
    parser.add_argument("--healthy-h", type=float, help="hours after the enrollment (default: 24)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/operation"), help="folder for what was heard")
    parser.add_argument("--data", type=Path, help="folder of real recordings (cwru, bldc_motor_mic, audio)")
    parser.add_argument("--quick", action="store_true", help="2 machines, enrolled for an hour")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the report")
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="figures of an earlier run, as JSON")
    arguments = parser.parse_args()
    which = tuple(arguments.which or ())
    if which:
        arguments.machines = len(which)
    result: dict[str, Any] = {} if arguments.add_to is None else json.loads(arguments.add_to.read_text())
    size = QUICK if arguments.quick else FULL
    given = {name: getattr(arguments, name) for name in size if getattr(arguments, name) is not None}
    plan = growing.Plan(**{**size, **given}, which=which, jobs=arguments.jobs)
    if "growing" not in result:
        result["growing"] = growing.measure(plan, arguments.cache / MODEL)
    if arguments.data is not None:
        result["real"] = real_faults.measure(arguments.data, plan.target)
    print(write(result, arguments.out))


def write(result: dict[str, Any], folder: Path) -> str:
    """Write JSON, picture and Markdown, and return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n")
    picture = f"{NAME}.png" if detection_report.draw(result, folder / f"{NAME}.png") else None
    text = detection_report.markdown(result, picture)
    (folder / f"{NAME}.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
