"""The board: the newest message of every topic, for watchers that may be slow, and at no cost without any."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from echo_edge.board import Board, Watch
from echo_edge.envelope import Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.payload import Envelope, Info
from echo_edge.pipeline import Pipeline
from echo_edge.publisher import Publisher
from echo_edge.records import Window
from echo_edge.report import Reporter
from echo_edge.window_message import WindowMessages
from tests.baselines import enroll, learned
from tests.benches import Link, make_bench
from tests.world import POINT, machine_windows, make_config, make_embedder

TOPICS = Topics("echo-edge/v1", "gw")


def taken(watch: Watch) -> list[tuple[str, bytes]]:
    """All that is new now."""
    found = []
    while (news := watch.take(0)) is not None:
        found.append((news.topic, news.payload))
    return found


def test_a_watcher_is_told_everything_that_is_up_and_then_every_change() -> None:
    board = Board(TOPICS)
    board.put(TOPICS.info, b"1")
    board.put(TOPICS.state(POINT), b"2")
    board.put(TOPICS.info, b"3")
    with board.watch() as watch:
        assert taken(watch) == [("m/pump/p/de/state", b"2"), ("info", b"3")]
        board.put(TOPICS.state(POINT), b"4")
        assert taken(watch) == [("m/pump/p/de/state", b"4")]
        assert taken(watch) == []


def test_who_is_slow_gets_the_newest_of_each_topic_and_no_backlog() -> None:
    board = Board(TOPICS)
    with board.watch() as quick, board.watch() as slow:
        for number in range(1000):
            board.put(TOPICS.health, b"%d" % number)
            board.put(TOPICS.info, b"%d" % number)
            assert len(taken(quick)) == 2
        assert taken(slow) == [("health", b"999"), ("info", b"999")]


def test_it_says_what_was_known_before_the_watch_began() -> None:
    board = Board(TOPICS)
    board.put(TOPICS.info, b"1")
    with board.watch() as watch:
        board.put(TOPICS.health, b"2")
        assert [watch.is_fresh(watch.take(0)) for _ in range(3)] == [False, True, True]


def test_a_waiting_watcher_is_woken_by_a_change() -> None:
    board = Board(TOPICS)
    with board.watch() as watch:
        timer = threading.Timer(0.05, board.put, (TOPICS.info, b"1"))
        timer.start()
        news = watch.take(30)
        timer.join()
    assert news is not None
    assert news.payload == b"1"


def test_what_is_live_is_kept_while_somebody_watches_and_no_longer() -> None:
    board = Board(TOPICS)
    board.live(TOPICS.score(POINT), b"1")
    with board.watch() as watch:
        assert taken(watch) == []
        board.live(TOPICS.score(POINT), b"2")
        with board.watch() as other:
            assert taken(other) == taken(watch) == [("m/pump/p/de/score", b"2")]
    with board.watch() as later:
        assert taken(later) == []


def test_only_the_gateways_own_topics_are_shown_and_none_of_its_orders() -> None:
    board = Board(TOPICS)
    for topic in ("homeassistant/sensor/x/config", TOPICS.nonce, TOPICS.answer("ping"), "echo-edge/v1/gw2/info"):
        board.put(topic, b"1")
    with board.watch() as watch:
        assert taken(watch) == []


def test_the_publisher_shows_states_without_a_broker_and_says_that_there_is_none() -> None:
    board = Board(TOPICS)
    publisher = Publisher(
        MqttSettings(host="127.0.0.1", port=1), TOPICS, Envelope("gw"), Outbox(None, "gw"), show=board.put
    )
    publisher.set_state(TOPICS.info, b"{}")
    with board.watch() as watch:
        assert taken(watch) == [("info", b"{}")]
        publisher.start()
        try:
            news = watch.take(30)
        finally:
            publisher.stop()
    assert news is not None
    told = json.loads(news.payload)
    assert (news.topic, told["state"]) == ("status", "degraded")
    assert told["reason"].startswith("127.0.0.1:1: ")


def messages(*windows: Window) -> list[dict[str, object]]:
    pipeline, made = Pipeline(make_config(), make_embedder()), WindowMessages()
    pipeline.points[POINT].remembered = True
    return [json.loads(json.dumps(made.of(verdict, 0.5))) for verdict in pipeline.step(windows)]


def test_a_window_is_told_with_its_picture_and_whether_it_follows_the_one_before() -> None:
    first, second, _, fourth = machine_windows(4)
    told = messages(first, second, fourth)
    assert [message["gap_before"] for message in told] == [True, False, True]
    message = told[0]
    assert {name: message[name] for name in ("length_s", "hop_s", "rate_hz", "rows", "cols", "top_hz", "channel")} == {
        "length_s": 0.5, "hop_s": 0.5, "rate_hz": 16_000, "rows": 64, "cols": 48, "top_hz": 8000, "channel": 0,
    }  # fmt: skip
    assert len(base64.b64decode(str(message["picture"]))) == 64 * 48
    assert len(message["level_db"]) == len(first.samples)  # type: ignore[arg-type]


def test_a_tone_lights_the_row_of_its_frequency() -> None:
    samples = np.sin(2 * np.pi * 2000 * np.arange(8000) / 16_000)[None].astype(np.float32)
    (message,) = messages(Window(POINT, samples, 16_000, 0))
    picture = np.frombuffer(base64.b64decode(str(message["picture"])), np.uint8).reshape(64, 48)
    assert abs(int(picture.mean(axis=1).argmax()) - 16) <= 1  # a quarter of 8000 Hz
    assert message["level_db"] == [-3.01]


def test_a_window_that_nobody_judges_has_the_same_picture() -> None:
    (window,) = machine_windows(1)
    pipeline, made = Pipeline(make_config(), make_embedder()), WindowMessages()
    (idle,) = pipeline.step([window])
    assert idle.embedding is None
    assert made.of(idle, 0.5) == messages(window)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_have_neither_picture_nor_level(value: float) -> None:
    (window,) = machine_windows(1)
    window.samples[0, 5] = value
    (message,) = messages(window)
    assert message["level_db"] == [None]
    assert "picture" not in message


def test_scores_and_windows_are_made_while_somebody_watches_and_at_no_other_time(tmp_path: Path) -> None:
    bench, link, board = make_bench(tmp_path), Link(), Board(TOPICS)
    point = bench.points[POINT]
    point.adopt(enroll(bench.store, learned()))
    info = Info("0", "fake", None, "fake", "5", (POINT,), {})
    reporter = Reporter(bench.config, link, link, TOPICS, Envelope("gw"), info, board=board)  # type: ignore[arg-type]
    before, during, after = (bench.monitor._pipeline.step([window])[0] for window in machine_windows(3))
    reporter.verdict(before, point)
    with board.watch() as watch:
        assert taken(watch) == []
        reporter.verdict(during, point)
        told = {topic: json.loads(payload) for topic, payload in taken(watch)}
    reporter.verdict(after, point)
    assert told.keys() == {"m/pump/p/de/score", "m/pump/p/de/window"}
    score, window = told["m/pump/p/de/score"], told["m/pump/p/de/window"]
    assert score["seq"] == 1  # none was made before
    assert score["ts"] == score["window"]["to"] == window["ts"]
    with board.watch() as watch:
        assert taken(watch) == []
