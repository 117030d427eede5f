"""Whether the promised number of false alarms a month is kept: ``docs/results/false_alarm_promise.md``.

    python -m tests.torture.false_alarm_promise --machines 16 --days 8 --jobs 16 --cache FOLDER
    python -m tests.torture.false_alarm_promise --quick --cache FOLDER        # some minutes on two cores

Everything heard is kept in the cache: a run that was stopped goes on, and a second one only scores. ``--from-json``
writes report and picture again, where matplotlib is, from a run elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.torture import promise_report
from tests.torture.features import MODEL
from tests.torture.promise import ENROLLMENTS, Enrollments, Plan, measure
from tests.torture.real_normals import count_real

NAME = "false_alarm_promise"
QUICK = {"machines": 2, "days": 0.25, "months": 20}
FULL = {"machines": 16, "days": 8.0, "months": 200}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, help="invented machines (default: 16)")
    parser.add_argument("--which", type=int, nargs="+", help="numbers of the machines, instead of the first so many")
    parser.add_argument("--days", type=float, help="days of each, the first one included (default: 8)")
    parser.add_argument("--months", type=int, help="machine-months to resample for each figure (default: 200)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--cache", type=Path, default=Path(".cache/operation"), help="folder for what was heard")
    parser.add_argument("--data", type=Path, help="folder of real recordings (cwru, bldc_motor_mic, audio)")
    parser.add_argument("--quick", action="store_true", help="2 machines for 6 hours, 20 months")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the report")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing, write the report of this file")
    arguments = parser.parse_args()
    which = tuple(arguments.which or ())
    if which:
        arguments.machines = len(which)
    if arguments.from_json is not None:
        result = json.loads(arguments.from_json.read_text())
    else:
        size = QUICK if arguments.quick else FULL
        given = {name: getattr(arguments, name) for name in size if getattr(arguments, name) is not None}
        kinds = (Enrollments(10, 3), Enrollments(60, 2)) if arguments.quick else ENROLLMENTS
        plan = Plan(**{**size, **given}, which=which, enrollments=kinds, jobs=arguments.jobs)
        result = measure(plan, arguments.cache / MODEL)
        result["real"] = count_real(arguments.data, plan.targets) if arguments.data is not None else None
    print(write(result, arguments.out))


def write(result: dict[str, Any], folder: Path) -> str:
    """Write JSON, picture and Markdown, and return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.json").write_text(json.dumps(result, indent=1) + "\n")
    picture = f"{NAME}.png" if promise_report.draw(result, folder / f"{NAME}.png") else None
    text = promise_report.markdown(result, picture)
    (folder / f"{NAME}.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
