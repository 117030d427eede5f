"""The commands about baselines, alone while no daemon runs: what they print, what they refuse, how they exit."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from echo_edge.baseline import Baseline
from echo_edge.baseline_diff import difference
from echo_edge.baseline_orders import run_verb
from echo_edge.cli import app
from echo_edge.errors import BaselineError, OrderError
from tests.baselines import OTHER_POINT, enroll, learned, make_store, small, world
from tests.world import POINT

CONFIG = """
gateway: {id: gw}
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines:
  pump: {approval: APPROVAL, points: {de: {device: acc}, nde: {device: acc}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "line1.yaml"
    path.write_text(CONFIG.replace("APPROVAL", "local"))
    return path


def refused(*arguments: str | Path) -> Exception:
    """The error of ours that a command ends with; ``cli.main`` turns it into a message and an exit code."""
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert isinstance(done.exception, Exception)
    return done.exception


def printed(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def answer(*arguments: str | Path) -> Any:
    return json.loads(printed(*arguments, "--json"))


def test_a_list_tells_each_versions_status_and_who_made_it(config: Path, state_folder: Path) -> None:
    assert "no baseline yet" in printed("baseline", "list", config)
    store = make_store(state_folder)
    enroll(store, small(1))
    enroll(store, small(2, OTHER_POINT), by="vogt")
    store.propose(small(3), "lang [red]", "after the repair")
    told = answer("baseline", "list", config, POINT)["baselines"]
    assert [(one["id"], one["status"], one["author"]) for one in told] == [
        ("bl_0001", "active", "lang"),
        ("bl_0003", "proposed", "lang [red]"),
    ]
    table = printed("baseline", "list", config)
    assert all(text in table for text in ("bl_0002", "vogt", "lang [red]", "after the repair"))


def test_a_damaged_version_is_listed_with_what_is_wrong(config: Path, state_folder: Path) -> None:
    enroll(make_store(state_folder), small(1))
    (state_folder / "signing.key").unlink()
    (one,) = answer("baseline", "list", config)["baselines"]
    assert one["status"] == "damaged"
    assert "signing.key" in one["problem"]
    assert "damaged" in printed("baseline", "list", config)


def test_show_tells_what_the_manifest_holds(config: Path, state_folder: Path) -> None:
    enroll(make_store(state_folder), replace(small(1), settings={"gain": "12 dB"}))
    told = answer("baseline", "show", config, "bl_0001")
    assert told["status"] == "active"
    assert told["manifest"]["settings"] == {"gain": "12 dB"}
    table = printed("baseline", "show", config, "bl_0001")
    assert all(text in table for text in ("simulator:1", "gain 12 dB", "30 useful", "at 1 a month", "16000 Hz"))


def test_show_tells_what_was_heard_when_and_what_was_signed(config: Path, state_folder: Path) -> None:
    store, baseline = make_store(state_folder), small(1)
    stored = enroll(store, baseline)
    told = answer("baseline", "show", config, stored.id)
    heard, state = told["heard"]["run"], baseline.states[0]
    assert heard["from"] < heard["until"]
    assert heard["spectrum"][-1]["hz"][1] == pytest.approx(baseline.origin.rate_hz / 2, rel=0.01)
    assert all(before["hz"][1] == after["hz"][0] for before, after in pairwise(heard["spectrum"]))
    assert list(heard["usual"]) == list(state.indicator_names)
    assert all(low <= high for low, high in heard["usual"].values())
    assert told["active_since"] is not None
    assert told["manifest_sha256"] == store.signed(stored.id).sha256
    assert bytes.fromhex(told["signature"]) == store.signed(stored.id).signature


def test_activate_and_roll_back_say_who_and_why(config: Path, state_folder: Path) -> None:
    store = make_store(state_folder)
    enroll(store, small(1))
    store.propose(small(2), "lang")
    said = printed("baseline", "activate", config, POINT, "bl_0002", "--by", "vogt", "--why", "compared")
    assert "pump/de is judged by bl_0002 (run)" in said
    assert "judged by bl_0001 again" in printed("baseline", "rollback", config, POINT, "--by", "vogt")
    assert "bl_0002 is rejected" in printed("baseline", "reject", config, "bl_0002", "--by", "vogt")
    rows = answer("audit", config, POINT)["entries"]
    assert [(row["who"], row["what"], row["why"]) for row in rows[-3:]] == [
        ("vogt", "activate", "compared"),
        ("vogt", "rollback", ""),
        ("vogt", "reject", ""),
    ]


def test_who_is_at_the_terminal_is_named_unless_told_otherwise(
    config: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "kern")
    make_store(state_folder).propose(small(1), "lang")
    printed("baseline", "activate", config, POINT, "bl_0001")
    assert answer("audit", config)["entries"][-1]["who"] == "kern"


def test_with_two_persons_the_author_is_refused(config: Path, state_folder: Path) -> None:
    config.write_text(CONFIG.replace("APPROVAL", "two_person"))
    make_store(state_folder).propose(small(1), "lang")
    error = refused("baseline", "activate", config, POINT, "bl_0001", "--by", "lang")
    assert "another person" in str(error)
    printed("baseline", "activate", config, POINT, "bl_0001", "--by", "vogt")


def test_an_export_is_imported_as_a_proposal_that_must_be_checked(
    config: Path, state_folder: Path, tmp_path: Path
) -> None:
    twin = make_store(tmp_path / "twin", "gw-twin")
    enroll(twin, small(1, OTHER_POINT))
    twin.export("bl_0001", tmp_path / "twin.eebl")
    arguments = ("baseline", "import", config, POINT, tmp_path / "twin.eebl", "--by", "lang")
    error = refused(*arguments)
    assert isinstance(error, BaselineError)
    assert "not trusted here" in str(error)
    said = printed(*arguments, "--key", tmp_path / "twin" / "signing.pub")
    assert "bl_0001 is proposed for pump/de, from bl_0001 of pump/nde on gw-twin." in said
    assert "only a proposal" in said
    assert make_store(state_folder).active(POINT) is None
    printed("baseline", "export", config, "bl_0001", tmp_path / "own.eebl")
    assert (tmp_path / "own.eebl").exists()


def test_the_log_is_verified_with_an_exit_code(config: Path, state_folder: Path) -> None:
    enroll(make_store(state_folder), small(1))
    assert "whole: 2 entries" in printed("audit", config, "--verify")
    (state_folder / "signing.key").unlink()
    done = CliRunner().invoke(app, ["audit", str(config), "--verify"])
    assert done.exit_code == 1
    assert "signing.key" in done.output


def test_what_cannot_be_is_refused_with_a_reason(config: Path, state_folder: Path) -> None:
    store = make_store(state_folder)
    enroll(store, small(1))
    assert "there is no baseline 'bl_0007'" in str(refused("baseline", "show", config, "bl_0007"))
    done = CliRunner().invoke(app, ["baseline", "activate", str(config), "pump/x", "bl_0001"])
    assert done.exit_code == 2
    for verb, args, message in (
        ("dance", {}, "is no verb"),
        ("activate", {"point": POINT}, "by: Field required"),
        ("reject", {"id": "bl_0001", "by": "x", "force": True}, "force: Extra inputs"),
    ):
        with pytest.raises(OrderError, match=message) as caught:
            run_verb(store, verb, args)
        assert caught.value.exit_code == 2


def named(baseline: Baseline, id_: str) -> Baseline:
    return replace(baseline, id=id_)


def test_a_diff_tells_what_changed_and_that_the_same_machine_is_not_strange(config: Path, state_folder: Path) -> None:
    pipeline, store = world(), make_store(state_folder)
    first = enroll(store, replace(learned(pipeline, "idle"), settings={"gain": "0 dB"}))
    enroll(store, replace(learned(pipeline, "run", active=first, seed=1), settings={"gain": "6 dB"}))
    told = answer("baseline", "diff", config, "bl_0001", "bl_0002")
    assert told["changed"] == [{"what": "gain", "old": "0 dB", "new": "6 dB"}]
    assert [(s["name"], s["old"] is None, s["strange_share"]) for s in told["states"]] == [
        ("idle", False, 0.0),
        ("run", True, 0.0),
    ]
    assert "strange to the old" in printed("baseline", "diff", config, "bl_0001", "bl_0002")


def test_a_machine_learned_with_a_fault_is_strange_to_the_old_baseline() -> None:
    pipeline = world()
    told = difference(named(learned(pipeline), "bl_0001"), named(learned(pipeline, fault="cavitation"), "bl_0002"))
    assert told["states"][0]["strange_share"] > 0.5


def test_baselines_that_cannot_be_compared_say_why() -> None:
    one = named(small(1), "bl_0001")
    other_model = replace(small(2), id="bl_0002", origin=replace(one.origin, model_sha256="f" * 64))
    told = difference(one, other_model)
    assert told["states"][0]["strange_share"] is None
    assert "model" in told["incomparable"]
    with pytest.raises(BaselineError, match="compare two of one point"):
        difference(one, named(small(2, OTHER_POINT), "bl_0002"))
