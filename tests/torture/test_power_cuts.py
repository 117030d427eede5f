"""After a power cut everything that was said to be stored is there; with less than a sync for each commit it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

try:
    import mfusepy  # noqa: F401
except (ImportError, OSError) as error:  # the package, or the system's library behind it
    pytest.skip(f"FUSE is not installed: {error}", allow_module_level=True)

from tests.torture.power_cuts import KINDS, CannotMountError, Tally, cut

LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"


def power_cuts(folder: Path, kind: str, cuts: int, synchronous: str = "FULL") -> Tally:
    try:
        return cut(folder, kind, cuts, synchronous)
    except CannotMountError as error:
        pytest.skip(f"this machine or user cannot mount a file system of its own: {error}")


@pytest.mark.timeout(1200 if LONG else 60)
@pytest.mark.parametrize("kind", KINDS)
def test_no_stored_event_is_lost_to_a_power_cut(tmp_path: Path, kind: str) -> None:
    tally = power_cuts(tmp_path, kind, 500 if LONG else 4)
    assert tally.stored > 20 * tally.cuts, tally
    assert (tally.lost, tally.damaged) == (0, 0), tally


@pytest.mark.parametrize(("synchronous", "kind"), [("NORMAL", "drop"), ("OFF", "torn")])
def test_with_less_than_a_sync_for_each_commit_the_same_cuts_cost_events(
    tmp_path: Path, synchronous: str, kind: str
) -> None:
    tally = power_cuts(tmp_path, kind, 6, synchronous)
    assert tally.lost > 0, tally
