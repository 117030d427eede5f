"""The stand-ins that ``echo-edge simulate`` makes: what it prints can be pasted, and its troubles happen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from echo_edge.config import Config
from echo_edge.errors import SimulateError
from echo_edge.simulate import KINDS, TROUBLES, StandIn, check_troubles, make_trouble, stand_in
from sensors import Block, SensorFault, Source, create_source


def driver(made: StandIn) -> Source:
    """The driver that the printed line configures."""
    devices = yaml.safe_load(made.config_line)
    (name,) = devices
    points = {"m": {"points": {"p": {"device": name}}}}
    config = Config.model_validate({"gateway": {"id": "g"}, "devices": devices, "machines": points})
    settings = config.devices[name]
    return create_source(settings.kind, name, **settings.options)


def blocks(source: Source, count: int) -> list[Block]:
    heard: list[Block] = []
    while len(heard) < count:
        if (block := source.read()) is not None:
            heard.append(block)
    return heard


@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_line_and_environment_find_the_stand_in(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = None if kind == "microphone" else tmp_path / "tty"
    with stand_in(kind, link=link) as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        source = driver(made)
        source.open()
        try:
            assert all(block.samples.std() > 0 for block in blocks(source, 3))
        finally:
            source.close()
        assert made.troubles.keys() <= TROUBLES.keys()
        assert link is None or link.is_symlink()
    assert link is None or not link.is_symlink()


def test_a_trouble_comes_in_turn_and_reaches_the_driver(tmp_path: Path) -> None:
    said: list[str] = []
    with stand_in("ee1", rate_hz=8000, link=tmp_path / "tty") as made:
        source = driver(made)
        source.open()
        blocks(source, 1)
        helper = threading.Thread(
            target=make_trouble, args=(made, ["corrupt", "lose"], 0.3, 1.0, threading.Event(), said.append)
        )
        helper.start()
        heard = blocks(source, 13)
        helper.join()
        source.close()
    assert [line.split(":")[0] for line in said] == ["corrupt", "lose", "corrupt"]
    assert [block.lost_frames for block in heard if block.after_gap] == [160, 800, 160]


def test_a_clock_that_runs_fast_delivers_more(tmp_path: Path) -> None:
    with stand_in("ee1", rate_hz=8000, clock_ppm=200_000, link=tmp_path / "tty") as made:
        source = driver(made)
        source.open()
        first, *_, last = blocks(source, 12)
        source.close()
    heard_s = (last.monotonic_ns - first.monotonic_ns) / 1e9
    assert (last.index - first.index) / 8000 / heard_s == pytest.approx(1.2, abs=0.1)


def test_what_a_stand_in_cannot_do_is_said() -> None:
    with pytest.raises(SimulateError, match="serial sensors"), stand_in("microphone", clock_ppm=5):
        pass
    with stand_in("ee1", rate_hz=8000) as made:
        for name, hint in (("unplug", "give it a stable name with --link"), ("gain", "there is: lose, corrupt")):
            with pytest.raises(SimulateError, match=hint):
                check_troubles(made, [name])
    for kind in ("witmotion", "picoquake"):
        with pytest.raises(SimulateError, match=f"{kind}: .*is none of"), stand_in(kind, rate_hz=123):
            pass
    with pytest.raises(SimulateError, match="no rate, fault or clock"), stand_in("wtvb01", rate_hz=5):
        pass


def test_a_link_that_a_killed_stand_in_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "tty").symlink_to("/dev/pts/none")
    with stand_in("ee1", rate_hz=8000, link=tmp_path / "tty"):
        assert (tmp_path / "tty").exists()


def test_a_microphone_that_falls_silent_without_an_error_is_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in("microphone", rate_hz=16_000) as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        source = driver(made)
        source.open()
        blocks(source, 3)
        helper = threading.Thread(target=made.troubles["silent"], args=(threading.Event(),))
        helper.start()
        with pytest.raises(SensorFault, match="stalled"):
            blocks(source, 100)
        source.close()
        helper.join()
