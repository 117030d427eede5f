"""A bench for orders: the real pipeline, store, books and reporter; link, outbox and alerts are stood in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echo_edge.album import Album
from echo_edge.books import Books
from echo_edge.capture import SensorStatus
from echo_edge.clip_job import ClipJob
from echo_edge.config import Config
from echo_edge.config_versions import ConfigVersions
from echo_edge.engine.fake import FakeEngine
from echo_edge.engine.standby import StandbyEngine
from echo_edge.history import History
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.operation import OperationLog
from echo_edge.order_types import Call
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.outbox import OutboxStatus
from echo_edge.payload import Envelope, Info, Topics
from echo_edge.pipeline import Pipeline
from echo_edge.report import Reporter
from tests.baselines import make_store
from tests.world import POINT, machine_windows, make_config, make_embedder


@dataclass
class Link:
    """A publisher that remembers the newest of each topic, and what an outbox is asked for."""

    states: dict[str, bytes] = field(default_factory=dict)
    connected: bool = True
    problems: tuple[str, ...] = ()
    status: OutboxStatus = field(default_factory=lambda: OutboxStatus(durable=True))
    replayed: list[int] = field(default_factory=list)
    lives: dict[str, Any] = field(default_factory=dict)

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1) -> None:  # noqa: ARG002  as a publisher has it
        self.states[topic] = payload

    def send_once(self, topic: str, payload: bytes, **_: Any) -> None:
        """Of no use later."""

    def put(self, item: Any) -> None:
        if item.life is not None:
            key, life = item.life
            self.lives.pop(key, None)
            if life is not None:
                self.lives[key] = life
        item.then(item.payload)

    def replay(self, from_seq: int, done: Callable[[int], None]) -> None:
        self.replayed.append(from_seq)
        done(0)


def begun(bench: Bench) -> Bench:
    """As the pipeline's thread does first."""
    bench.books.begin(bench.reporter.restore(bench.points))
    bench.monitor.standing.begin()
    bench.reporter.begin()
    return bench


def make_bench(
    folder: Path, config: Config | None = None, *, album: Album | None = None, link: Link | None = None, **parts: Any
) -> Bench:
    """All of it in one folder; ``link`` may be that of an earlier run, ``parts`` replace what a bench has."""
    config = config or make_config()
    link, mailbox, topics = link or Link(), Mailbox[SensorStatus](), Topics("echo-edge/v1", "gw")
    store = make_store(folder)
    books = Books(History(folder / "history"), lambda: OperationLog(folder / "state.db"), folder / "examples")
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    reporter = Reporter(config, link, link, topics, Envelope("gw"), info, album)  # type: ignore[arg-type]
    monitor = Monitor(Pipeline(config, make_embedder()), mailbox, store, reporter, books)
    clips = ClipJob(folder / "clips", config.gateway.clips, mailbox.order, store.note)
    usual = {
        "config": config,
        "folder": folder,
        "monitor": monitor,
        "store": store,
        "books": books,
        "reporter": reporter,
        "publisher": link,
        "outbox": link,
        "engine": StandbyEngine(FakeEngine()),
        "topics": topics,
        "captures": {},
        "clips": clips,
    }
    return Bench(**{**usual, **parts})


def alarmed(bench: Bench) -> str:
    """A machine that is far from what it was taught; returns its alert's id."""
    for window in machine_windows(20, fault="outer_race", skip_s=20):
        (verdict,) = bench.monitor._pipeline.step([window])
        bench.reporter.verdict(verdict, bench.points[POINT])
        bench.books.verdict(verdict, bench.points[POINT])
    alert = bench.points[POINT].open_alert
    assert alert is not None
    return alert.alert_id


def versions(folder: Path, text: str) -> ConfigVersions:
    """Of a configuration with this text."""
    path = folder / "etc" / "line1.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return ConfigVersions(path, folder)


def give(bench: Bench, verb: str, *, channel: Any = "mqtt", dry_run: bool = False, **args: Any) -> dict[str, Any]:
    """Order something as an engineer called Lang; ``expect`` is what must still be so."""
    expect, known = args.pop("expect", {}), VERBS[verb]
    call = Call("lang", "admin", channel, dry_run, expect)
    return known.work(bench, known.args.model_validate(args, strict=True), call)
