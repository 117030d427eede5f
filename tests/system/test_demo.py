"""The demonstration, whole: what ``make demo`` shows is what a newcomer believes us by."""

from __future__ import annotations

import json

import pytest

from tests.system.daemon import command


@pytest.mark.timeout(240)
def test_the_demo_reports_and_clears_a_fault_and_leaves_the_healthy_machine_alone() -> None:
    done = command("demo", timeout_s=180)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for point in ("de", "mic"):
        told = [a for a in alerts if a["point"] == point and a["type"] != "update"]
        assert [a["type"] for a in told] == ["open", "clear"]
        assert len({a["alert_id"] for a in told}) == 1
        low_hz, high_hz = told[0]["bands"][0]["hz"]
        assert 3_000 < (low_hz + high_hz) / 2 < 8_000  # where the impacts of a bearing ring
    assert {a["machine"] for a in alerts} == {"pump-1"}
    assert {a["model"] for a in alerts} == {"echo-tiny"}
