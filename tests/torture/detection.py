"""How small a fault is found at the promised rate of false alarms: ``docs/results/detection.md``.

    python -m tests.torture.detection --machines 16 --jobs 16 --cache FOLDER
    python -m tests.torture.detection --quick --cache FOLDER        # some minutes on two cores

The cache is that of ``false_alarm_promise``: days heard there are not heard again. With ``--data`` recorded faults are
judged, too. ``--add-to FILE`` takes up the figures of a run elsewhere, and measures only what they lack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.torture import detection_report, growing, real_faults
from tests.torture.features import MODEL
from tests.torture.options import parser_of, plan_of, write

NAME = "detection"
QUICK = {"machines": 2, "enrolled_h": 1.0, "growing_h": 0.5, "healthy_h": 0.5}
FULL = {"machines": 16, "enrolled_h": 24.0, "growing_h": 6.0, "healthy_h": 24.0}


def main() -> None:
    parser = parser_of(__doc__, "2 machines, enrolled for an hour")
    parser.add_argument("--enrolled-h", type=float, help="hours enrolled (default: 24)")
    parser.add_argument("--growing-h", type=float, help="hours in which a fault grows (default: 6)")
    parser.add_argument("--healthy-h", type=float, help="hours after the enrollment (default: 24)")
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="figures of an earlier run, as JSON")
    arguments = parser.parse_args()
    result: dict[str, Any] = {} if arguments.add_to is None else json.loads(arguments.add_to.read_text())
    plan = growing.Plan(**plan_of(arguments, QUICK if arguments.quick else FULL))
    if "growing" not in result:
        result["growing"] = growing.measure(plan, arguments.cache / MODEL)
    if arguments.data is not None:
        result["real"] = real_faults.measure(arguments.data, plan.target)
    print(write(NAME, result, arguments.out, detection_report.draw, detection_report.markdown))


if __name__ == "__main__":
    main()
