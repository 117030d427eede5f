"""What a person who checks an alarm is shown: indicators that moved, the picture, and where pictures are kept."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from echo_edge.album import Album, save_picture
from echo_edge.enroll import Enrollment
from echo_edge.envelope import Envelope, Topics
from echo_edge.evidence import Evidence, Moved, moved
from echo_edge.features import zoned
from echo_edge.material import Material
from echo_edge.normal_state import NormalState
from echo_edge.outgoing import Outgoing
from echo_edge.payload import Info, load_schema
from echo_edge.pictures import BOTTOM, HEIGHT, MARK, NORMAL, NOW, TOP, WIDTH, draw
from echo_edge.pipeline import Pipeline, Verdict
from echo_edge.records import BandShare, Embedding, Event, Score
from echo_edge.report import Reporter
from echo_edge.sentence import alert_text
from echo_edge.store import StoreError
from tests.world import POINT, machine_windows, make_config, make_embedder

NAMES = ("velocity_rms_mm_s", "acceleration_rms_g", "sound_level_db")
USUAL = np.array([[1.2, 0.1, 80.0]])
SECOND_NS = 1_000_000_000
BANDS = tuple(BandShare(i * 1000, (i + 1) * 1000, share) for i, share in enumerate((0.05, 0.1, 0.7, 0.15)))
SCORE = Score(POINT, 0, SECOND_NS, 9.0, 4.0, "run", 0, BANDS, "bl_0001", True, {"echo": 8.0, "spectrum": 4.1})
EVENT = Event(POINT, "a1", 1, "open", "warning", SECOND_NS, SECOND_NS, 9.0, SECOND_NS, SCORE)


def embedding(indicators: Sequence[Sequence[float]], seed: int = 0, start_ns: int = 0) -> Embedding:
    random = np.random.default_rng(seed)
    channels = len(indicators)
    vectors = random.standard_normal((channels, 4, 8)).astype(np.float32)
    picture = np.full((channels, 4, 4), 100, np.uint8)
    values = np.array(indicators, np.float64)
    end_ns = start_ns + SECOND_NS
    return Embedding(POINT, vectors, 8000, start_ns, end_ns, vectors, picture, np.zeros(channels), values, NAMES)


def state(channels: int = 1) -> NormalState:
    """Indicators that vary by some percent around ``USUAL``."""
    random = np.random.default_rng(7)
    windows = []
    for i in range(60):
        around = np.repeat(USUAL, channels, axis=0) * random.uniform(0.97, 1.03, (channels, 3))
        windows.append(embedding(around.tolist(), i + 1, i * SECOND_NS))
    return NormalState.learn("run", Material.of(windows))


def names(found: Sequence[Moved]) -> list[str]:
    return [one.name for one in found]


def test_indicators_within_their_usual_range_did_not_move() -> None:
    assert moved(embedding(USUAL.tolist()), state(), [""]) == ()


def test_what_moved_is_named_the_strongest_first_with_its_usual_range() -> None:
    velocity, acceleration = moved(embedding([[4.2, 0.15, 80.0]]), state(), [""])
    assert (velocity.name, acceleration.name) == ("velocity_rms_mm_s", "acceleration_rms_g")
    assert velocity.usual_low == pytest.approx(1.17, abs=0.01)
    assert velocity.usual_high == pytest.approx(1.23, abs=0.01)
    assert velocity.words == "velocity RMS 4.2 mm/s, usual 1.2"


def test_an_indicator_that_sinks_moves_as_one_that_rises() -> None:
    (quiet,) = moved(embedding([[1.2, 0.1, 50.0]]), state(), [""])
    assert quiet.words.startswith("sound level 50 dB, usual 78 to 82")


def test_of_several_channels_the_one_that_moved_most_is_told() -> None:
    x, y = [2.4, 0.1, 80.0], [4.8, 0.1, 80.0]
    (velocity,) = moved(embedding([x, y]), state(2), ["x", "y"])
    assert (velocity.channel, velocity.words[:24]) == (1, "velocity RMS (y) 4.8 mm/s"[:24])


def test_a_point_without_indicators_has_none_that_moved() -> None:
    bare = [
        replace(embedding([[1.0]], i, i * SECOND_NS), indicators=np.empty((1, 0)), indicator_names=())
        for i in range(60)
    ]
    assert moved(bare[0], NormalState.learn("run", Material.of(bare)), [""]) == ()


def test_the_usual_ranges_are_stored_with_the_state() -> None:
    learned = state()
    again = NormalState.from_arrays("run", learned.arrays())
    assert again.usual.tolist() == learned.usual.tolist()
    assert again.usual.shape == (2, 1, 3)


def test_a_sentence_names_the_frequencies_only_where_the_spectrum_tells_and_the_two_strongest_indicators() -> None:
    said = [Moved("crest", 0, 9.0, 3.0, 4.0, f"number {i}") for i in range(3)]
    assert alert_text(EVENT, moved=said).endswith(", mostly 2.0-3.0 kHz; number 0; number 1")
    felt = replace(EVENT, score=replace(SCORE, rarities={"echo": 1.0, "spectrum": 1.0, "indicators": 8.0}))
    assert "mostly" not in alert_text(felt)


# the picture


def evidence(now: NDArray[np.uint8], nearest: NDArray[np.uint8], said: tuple[Moved, ...] = ()) -> Evidence:
    return Evidence(BANDS, SCORE.rarities, said, 12.0, "", 8000, 1.0, now, nearest, None)


def noise(seed: int, rows: int = 64, columns: int = 48) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(80, 100, (rows, columns)).astype(np.uint8)


def louder() -> Evidence:
    """The third of four bands, 2 to 3 kHz, is 38 dB louder than in the nearest normal window."""
    now, nearest = noise(1), noise(2)
    now[32:48] += 40
    return evidence(now, nearest)


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def rows_hz(low_hz: float, high_hz: float) -> slice:
    """Rows of the picture between two frequencies, of 4 kHz from bottom to top; a little inside of them."""
    height = (BOTTOM - TOP) / 4000
    return slice(round(BOTTOM - high_hz * height) + 4, round(BOTTOM - low_hz * height) - 4)


def test_the_picture_differs_between_now_and_normal_where_the_fault_is_and_nowhere_else() -> None:
    page = pixels(draw(EVENT, louder())).astype(float)
    assert page.shape == (HEIGHT, WIDTH, 3)

    def brighter(low_hz: float, high_hz: float) -> float:
        rows = rows_hz(low_hz, high_hz)
        now, normal = (page[rows, left:right].mean() for left, right in (NOW, NORMAL))
        return float(now - normal)

    assert brighter(2000, 3000) > 40
    assert max(abs(brighter(low, low + 1000)) for low in (0, 1000, 3000)) < 5


def test_a_wrong_way_up_spectrogram_would_be_noticed() -> None:
    rising = np.repeat(np.linspace(60, 160, 64).astype(np.uint8)[:, None], 48, axis=1)
    page = pixels(draw(EVENT, evidence(rising, rising))).astype(float)
    assert page[BOTTOM - 20 : BOTTOM, NOW[0] : NOW[1]].mean() < page[TOP : TOP + 20, NOW[0] : NOW[1]].mean()


def test_the_band_that_carries_the_score_is_marked_beside_the_spectrogram() -> None:
    page = pixels(draw(EVENT, louder())).astype(int)
    beside = page[TOP:BOTTOM, NOW[0] - 4]
    orange = np.flatnonzero(np.abs(beside - MARK).max(axis=1) < 30)
    marked_hz = 4000 * (1 - np.array([orange.max(), orange.min()]) / (BOTTOM - TOP))
    assert marked_hz == pytest.approx([2000, 3000], abs=50)


def test_a_picture_is_small_and_the_same_each_time() -> None:
    random = np.random.default_rng(3).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    worst = evidence(random[0], random[1], (Moved("crest", 0, 9.0, 3.0, 4.0, "word " * 100),))
    assert len(draw(EVENT, worst)) < 60_000
    assert draw(EVENT, worst) == draw(EVENT, worst)


@pytest.mark.parametrize("title", ["Förderpumpe 12", "泵 12", "two\nlines", "", "W" * 300, None])
@pytest.mark.parametrize(("rows", "columns", "level"), [(1, 1, 0), (13, 64, 255), (64, 2, 142)])
def test_any_title_and_any_spectrogram_can_be_drawn(title: str | None, rows: int, columns: int, level: int) -> None:
    flat = np.full((rows, columns), level, np.uint8)
    strange = replace(
        evidence(flat, flat), bands=(), strange_for_s=None, label="x", length_s=0.1, zone="D", usual_zone="C"
    )
    assert pixels(draw(replace(EVENT, severity="alarm"), strange, title)).shape == (HEIGHT, WIDTH, 3)


# the album


def test_pictures_are_kept_under_the_alert_and_its_revision_and_only_the_newest(tmp_path: Path) -> None:
    album = Album(tmp_path / "evidence", kept=3)
    told = [album.keep(replace(EVENT, rev=rev), louder()) for rev in range(1, 6)]
    assert told == [f"a1-{rev}.png" for rev in range(1, 6)]
    assert sorted(file.name for file in (tmp_path / "evidence").iterdir()) == ["a1-3.png", "a1-4.png", "a1-5.png"]
    assert (tmp_path / "evidence/a1-5.png").read_bytes() == draw(replace(EVENT, rev=5), louder())


def test_an_alert_that_clears_has_no_picture(tmp_path: Path) -> None:
    assert Album(tmp_path).keep(replace(EVENT, type="clear"), louder()) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_power_cut_left_of_a_picture_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".a0-1.png.x7").write_bytes(b"half")
    Album(tmp_path).keep(EVENT, louder())
    assert [file.name for file in tmp_path.iterdir()] == ["a1-1.png"]


def test_a_disk_that_takes_no_picture_is_logged_once_until_it_does_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "evidence"
    folder.write_text("a file where the folder should be")
    album = Album(folder)
    with caplog.at_level(logging.ERROR):
        assert [album.keep(EVENT, louder()) for _ in range(3)] == [None] * 3
        assert len(caplog.records) == 1
        folder.unlink()
        assert album.keep(EVENT, louder()) == "a1-1.png"
        (folder / "a1-1.png").unlink()
        folder.rmdir()
        folder.touch()
        album.keep(EVENT, louder())
    assert len(caplog.records) == 2
    with pytest.raises(StoreError, match="cannot be written"):
        save_picture(folder / "a.png", EVENT, louder())


# through the pipeline


@cache
def faulty(fault: str) -> Verdict:
    """The verdict that opens the alert of a machine with this fault, learned well."""
    points = {"de": {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}}
    config = make_config(machines={"pump": {"vibration_class": "small", "points": points}})
    pipeline = Pipeline(config, make_embedder())
    enrollment = Enrollment(POINT, "run", 0)
    pipeline.learn(enrollment, machine_windows(60))
    pipeline.points[POINT].adopt(replace(enrollment.finish(None), id="bl_0001"))
    for verdict in pipeline.step(machine_windows(12, fault=fault)):
        if verdict.event is not None:
            return replace(verdict, evidence=zoned(config, verdict))
    raise AssertionError(f"{fault}: no alert")


def shown(fault: str) -> Evidence:
    found = faulty(fault).evidence
    assert found is not None
    return found


def test_an_outer_race_is_shown_where_its_impacts_ring() -> None:
    strongest = max(shown("outer_race").bands, key=lambda band: band.share)
    assert strongest.low_hz < 4200 < strongest.high_hz
    change = shown("outer_race").now.mean(axis=1) - shown("outer_race").nearest.mean(axis=1)
    assert 3800 < (change.argmax() + 0.5) / len(change) * 8000 < 5100


def test_imbalance_names_velocity_first_and_its_zone_against_the_usual_one() -> None:
    found = shown("imbalance")
    assert names(found.moved)[0] == "velocity_rms_mm_s"
    assert (found.zone, found.usual_zone) == ("D", "C")
    assert "velocity RMS" in alert_text(faulty("imbalance").event or EVENT, moved=found.moved)


def test_strange_for_counts_from_the_first_strange_window() -> None:
    event = faulty("outer_race").event
    assert event is not None
    assert shown("outer_race").strange_for_s == pytest.approx(
        event.time_ns / 1e9
    )  # the windows begin at 0, all strange


class Broker:
    """Stands in for publisher and outbox: the events it was handed."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def set_state(self, topic: str, payload: bytes, qos: int = 1) -> None:
        pass

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0) -> None:
        pass

    def put(self, item: Outgoing) -> None:
        whole = item.payload | {"seq": 1, "id": "gw:0:1"}
        self.events.append(whole)
        item.then(whole)


def report(folder: Path) -> dict[str, Any]:
    broker, config = Broker(), make_config()
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    topics, envelope = Topics("echo-edge/v1", "gw"), Envelope("gw")
    reporter = Reporter(config, broker, broker, topics, envelope, info, Album(folder))  # type: ignore[arg-type]
    reporter.verdict(faulty("imbalance"), Pipeline(config, make_embedder()).points[POINT])
    (alert,) = broker.events
    jsonschema.validate(alert, load_schema("alert"))
    return alert


def test_an_alert_is_published_with_the_name_of_a_picture_that_is_there_by_then(tmp_path: Path) -> None:
    alert = report(tmp_path)
    picture = alert["evidence"]["spectrogram"]
    assert picture == f"{alert['alert_id']}-1.png"
    assert (tmp_path / picture).is_file()
    assert alert["evidence"]["indicators"][0]["name"] == "velocity_rms_mm_s"


def test_an_alert_goes_out_though_the_disk_takes_no_picture(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.touch()
    alert = report(folder)
    assert alert["type"] == "open"
    assert "spectrogram" not in alert["evidence"]
