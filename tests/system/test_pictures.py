"""From recordings of an invented machine to pictures of its faults, as ``replay`` draws them with the shipped model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from echo_edge.config import Config
from echo_edge.enroll_command import enroll_point
from echo_edge.replay import replay
from sensors import Machine

POINT, RATE_HZ, FULL_SCALE_G = "pump-12/de", 25_600, 4.0


def config() -> Config:
    point = {"device": "acc", "window": {"length_s": 1, "hop_s": 1}}
    return Config.model_validate(
        {
            "gateway": {"id": "gw"},
            "devices": {"acc": {"kind": "simulator", "rate_hz": RATE_HZ}},
            "machines": {"pump-12": {"title": "Feed pump 12", "vibration_class": "medium", "points": {"de": point}}},
        },
        context={"folder": Path()},
    )


def record(folder: Path, seconds: int, fault: str | None, severity: float = 1.0) -> Path:
    """One machine, perhaps with a fault, as a WAV with its scale beside it."""
    machine = Machine(3, RATE_HZ)
    machine.set_fault(fault, severity)
    machine.samples((1 if fault else 0) * RATE_HZ)  # a fault sets in softly
    folder.mkdir()
    file = folder / f"{fault}.wav"
    soundfile.write(file, machine.samples(seconds * RATE_HZ) / FULL_SCALE_G, RATE_HZ, "PCM_24")
    (folder / "manifest.csv").write_text(f"file,scale,unit\n{file.name},{FULL_SCALE_G},g\n")
    return file


@pytest.fixture
def enrolled(tmp_path: Path, state_folder: Path) -> Config:  # noqa: ARG001  # state goes there
    normal = record(tmp_path / "normal", 40, None)
    enroll_point(config(), POINT, "run", 1, [normal], None, lambda _: None, "m.lang", "")
    return config()


def opened(config: Config, file: Path, pictures: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line of the window that opened the alert, and the line of the event."""
    lines = list(replay(config, POINT, [file], pictures=pictures))
    at = next(i for i, line in enumerate(lines) if line.get("event") == "open")
    return lines[at - 1], lines[at]


def test_replay_draws_an_outer_race_where_it_rings_and_says_velocity_first_of_imbalance(
    enrolled: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    window, race = opened(enrolled, record(tmp_path / "race", 12, "outer_race", 0.3), folder)
    strongest = max(window["bands"], key=lambda band: band["share"])
    assert strongest["hz"] == [pytest.approx(3820, abs=30), pytest.approx(5100, abs=30)]
    with Image.open(io.BytesIO((folder / race["picture"]).read_bytes())) as picture:
        assert picture.size == (900, 420)
        assert np.asarray(picture.convert("L")).std() > 20
    _, imbalance = opened(enrolled, record(tmp_path / "imbalance", 12, "imbalance"), folder)
    assert imbalance["indicators"][0].startswith("velocity RMS ")
    assert {file.name for file in folder.iterdir()} == {race["picture"], imbalance["picture"]}
    assert (folder / race["picture"]).stat().st_size < 60_000


def test_replay_without_a_folder_draws_nothing(enrolled: Config, tmp_path: Path) -> None:
    _, event = opened(enrolled, record(tmp_path / "race", 12, "outer_race"), None)
    assert "picture" not in event
