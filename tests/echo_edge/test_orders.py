"""Orders: what does not fit is refused where it is read, for in the pipeline's thread it would end the daemon."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from echo_edge.orders import ORDER


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-12:00", "1960-01-01T00:00:00Z", "2026-05-04T18:00:00"])
def test_a_time_that_no_message_can_tell_is_refused(until: str) -> None:
    with pytest.raises(ValidationError):
        ORDER.validate_python({"order": "state", "do": "set", "point": "pump/de", "name": "idle", "until": until})


@pytest.mark.parametrize("past_ns", [(0, 2**63), (-1, 10)])
def test_hours_that_no_history_has_are_refused(past_ns: tuple[int, int]) -> None:
    with pytest.raises(ValidationError):
        ORDER.validate_python({"order": "enroll.start", "point": "pump/de", "past_ns": past_ns})
