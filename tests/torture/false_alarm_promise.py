"""Whether the promised number of false alarms a month is kept: ``docs/results/false_alarm_promise.md``.

    python -m tests.torture.false_alarm_promise --machines 16 --days 8 --jobs 16 --cache FOLDER
    python -m tests.torture.false_alarm_promise --quick --cache FOLDER        # some minutes on two cores

Everything heard is kept in the cache: a run that was stopped goes on, and a second one only scores. ``--from-json``
writes report and picture again, where matplotlib is, from a run elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture import promise_report
from tests.torture.features import MODEL
from tests.torture.options import parser_of, plan_of, write
from tests.torture.promise import ENROLLMENTS, Enrollments, Plan, measure
from tests.torture.real_normals import count_real

NAME = "false_alarm_promise"
QUICK = {"machines": 2, "days": 0.25, "months": 20}
FULL = {"machines": 16, "days": 8.0, "months": 200}


def main() -> None:
    parser = parser_of(__doc__, "2 machines for 6 hours, 20 months")
    parser.add_argument("--days", type=float, help="days of each, the first one included (default: 8)")
    parser.add_argument("--months", type=int, help="machine-months to resample for each figure (default: 200)")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing, write the report of this file")
    arguments = parser.parse_args()
    if arguments.from_json is not None:
        result = json.loads(arguments.from_json.read_text())
    else:
        kinds = (Enrollments(10, 3), Enrollments(60, 2)) if arguments.quick else ENROLLMENTS
        plan = Plan(**plan_of(arguments, QUICK if arguments.quick else FULL), enrollments=kinds)
        result = measure(plan, arguments.cache / MODEL)
        result["real"] = count_real(arguments.data, plan.targets) if arguments.data is not None else None
    print(write(NAME, result, arguments.out, promise_report.draw, promise_report.markdown))


if __name__ == "__main__":
    main()
