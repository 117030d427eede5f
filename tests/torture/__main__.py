"""``make torture``: the long form of every proof that has one; takes an hour or more, and a day of one core."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.shared_data import SHARED

LONG_TESTS = [
    "tests/sensors",
    "tests/system/test_reopening.py",
    "tests/system/test_kill.py",
    "tests/system/test_link.py",
    "tests/system/test_faults_disk.py",
    "tests/system/test_faults_encoder.py",
    "tests/system/test_faults_growth.py",
    "tests/system/test_faults_link.py",
    "tests/system/test_faults_model.py",
    "tests/system/test_faults_poison.py",
    "tests/system/test_faults_ports.py",
    "tests/system/test_faults_start.py",
    "tests/torture/test_power_cuts.py",
    "tests/torture/test_package.py",
    "tests/echo_edge/test_alert_life.py",
    "tests/echo_edge/test_listening.py",
    "tests/echo_edge/test_outbox.py",
    "tests/echo_edge/test_outbox_model.py",
    "tests/echo_edge/test_baseline_kills.py",
    "tests/echo_edge/test_baseline_mutations.py",
    "tests/echo_edge/test_order_envelope.py",
    "tests/echo_edge/test_order_mqtt.py",
]


def main() -> int:
    long_form = {**os.environ, "ECHO_EDGE_TORTURE": "1"}
    data = [str(SHARED / "data")] if SHARED.is_dir() else []
    at_work = ["--jobs", str(os.cpu_count()), *(f"--data={folder}" for folder in data)]
    runs = [
        ["pytest", "-s", *(sys.argv[1:] or LONG_TESTS)],
        ["tests.torture.signal_health"],
        ["tests.torture.false_alarm_promise", *at_work],
        ["tests.torture.detection", *at_work],
        *(["tests.torture.enrollment_checks", folder] for folder in data),
        ["tests.torture.soak"],
    ]
    return max(subprocess.run([sys.executable, "-m", *run], env=long_form, check=False).returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main())
