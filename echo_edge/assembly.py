"""Assembly: every part of the daemon, wired; nothing runs yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echo_edge import __version__
from echo_edge.album import Album
from echo_edge.artifact import ModelPackage, load_package, verify
from echo_edge.audit_mirror import mirror
from echo_edge.backlog import Backlog
from echo_edge.baseline_store import open_store
from echo_edge.board import Board
from echo_edge.books import Books
from echo_edge.broker_settings import broker_settings
from echo_edge.capture import Capture, SensorStatus
from echo_edge.clip_job import ClipJob
from echo_edge.config import Config
from echo_edge.config_orders import read_operators
from echo_edge.config_versions import ConfigVersions
from echo_edge.control import Control, local_sockets
from echo_edge.control_answers import Answers
from echo_edge.crashes import Crashes
from echo_edge.disk_guard import DiskGuard
from echo_edge.embedder import Embedder
from echo_edge.engine import Engine, create_engine
from echo_edge.engine.prepare import standby_engine
from echo_edge.engine.standby import StandbyEngine
from echo_edge.envelope import Listener
from echo_edge.errors import ConfigError
from echo_edge.health import Health, Watched
from echo_edge.history import History
from echo_edge.homeassistant_link import Discovery, status_topics
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.mqtt import MqttSettings
from echo_edge.operation import OperationLog
from echo_edge.order_desk import Desk
from echo_edge.order_ledger import Ledger
from echo_edge.order_mqtt import OrderBridge
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.order_verbs_gateway import usual_level
from echo_edge.outbox import Outbox
from echo_edge.payload import Envelope, Info, Topics
from echo_edge.pipeline import Pipeline
from echo_edge.publisher import Publisher
from echo_edge.readings import Readings
from echo_edge.records import TopicMessage
from echo_edge.report import Reporter
from echo_edge.state_topics import StateTopics
from echo_edge.store import (
    database,
    examples_folder,
    history_folder,
    outbox_file,
)
from echo_edge.supervision import Supervision
from sensors import create_source

if TYPE_CHECKING:
    from echo_edge.sparkplug_link import SparkplugLink


def make_embedder(config: Config) -> Embedder:
    """Load the model package, check its hash and that the CPU reproduces its test vectors.

    Raises:
        ArtifactError: the package is missing, damaged, or this machine computes something else.
    """
    return Embedder(*_load_model(config))


def _load_model(config: Config) -> tuple[ModelPackage, Engine]:
    package = load_package(config.model)
    engine = create_engine("onnx", package, config.engine.threads)
    verify(package, engine)
    return package, engine


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that runs, until it is started and after."""

    embedder: Embedder
    engine: StandbyEngine
    mailbox: Mailbox[SensorStatus]
    outbox: Outbox
    publisher: Publisher
    topics: Topics
    envelope: Envelope
    health: Health
    supervision: Supervision
    reporter: Reporter
    monitor: Monitor
    captures: list[Capture]
    controls: list[Control]
    """One for each local socket."""

    orders: OrderBridge | None
    """None: no orders over MQTT."""

    sparkplug: SparkplugLink | None
    """None: not configured."""

    discovery: Discovery | None
    """None within a command."""

    versions: ConfigVersions | None
    crashes: Crashes
    restart: threading.Event
    """Set when the daemon is to begin anew."""


def wire(
    config: Config,
    folder: Path,
    devices: list[str],
    credentials_folder: str | None,
    *,
    versions: ConfigVersions | None = None,
    crashes: Crashes | None = None,
    silent: bool = False,
) -> Parts:
    """Make every part and let them know each other.

    Args:
        folder: of the state.
        devices: those that are opened.
        silent: for a command that works alone: no broker, no orders, nothing on disk but what it was asked for.

    Raises:
        ConfigError, ArtifactError: a person must act.
    """
    usual_level()  # an hour of more words, by order, ends with the daemon that it was given to
    mqtt, kept = config.mqtt, config.gateway.outbox
    taken = config.orders.mqtt and not silent
    operators = read_operators(config.orders, credentials_folder) if taken else {}
    settings = MqttSettings(host="127.0.0.1") if silent else broker_settings(mqtt, credentials_folder)
    crashes = crashes or Crashes(folder)  # not entered, it notes nothing
    embedder, engine = _standby(config, cpu_only=silent or crashes.leaves_out("engine") not in {"", "onnx"})
    mailbox: Mailbox[SensorStatus] = Mailbox()
    topics, envelope = Topics(config.mqtt.base_topic, config.gateway.id), Envelope(config.gateway.id)
    hearers: list[Callable[[TopicMessage], None]] = [StateTopics(config, mailbox.state).hear]
    path = None if silent else outbox_file(folder)
    board = Board(topics)
    outbox = Outbox(path, config.gateway.id, max_mb=kept.max_mb, max_age_days=kept.max_age_days)
    publisher = Publisher(
        settings,
        topics,
        envelope,
        outbox,
        backlog=Backlog(outbox, no_subscriber=mqtt.no_subscriber),
        reread=lambda: broker_settings(mqtt, credentials_folder),
        listen_to=[*config.state_topics(), *status_topics(mqtt), *([f"{topics.orders}+"] if taken else [])],
        hear=lambda message: _hand_on(message, hearers),
        show=board.put,
    )
    if versions is not None:
        versions.reached = lambda: publisher.connected
    album = None if silent else Album(folder / "evidence")
    sparkplug = None if silent else _sparkplug(config, folder, credentials_folder)
    discovery = None if silent else Discovery(config, topics, publisher, folder / "homeassistant.json")
    listeners: list[Listener] = []
    if discovery is not None:
        hearers.append(discovery.hear)
        listeners.append(discovery.listen)
    if sparkplug is not None:
        listeners.append(sparkplug.hear)
    reporter = Reporter(
        config,
        publisher,
        outbox,
        topics,
        envelope,
        _info(config, embedder, versions),
        album,
        listeners=listeners,
        board=board,
    )
    past = config.gateway.history
    history = History(history_folder(folder), 0 if silent else past.keep_days, past.max_mb)
    books = Books(history, lambda: OperationLog(database(folder)), examples_folder(folder))
    store = open_store(config, folder)
    if not silent:
        store.tell = mirror(outbox.put, topics, envelope)
    left_out = {crashes.leaves_out("point"): f"safe mode: {crashes.sentence}"}
    monitor = Monitor(Pipeline(config, embedder, crashes.note), mailbox, store, reporter, books, left_out)
    if not silent:
        monitor.adapts(config)
    by_device = {device: _capture(config, device, mailbox) for device in devices}
    captures = list(by_device.values())
    restart = threading.Event()
    bench = Bench(
        config,
        folder,
        monitor,
        store=store,
        books=books,
        reporter=reporter,
        publisher=publisher,
        outbox=outbox,
        engine=engine,
        topics=topics,
        captures=by_device,
        clips=ClipJob(folder / "clips", config.gateway.clips, mailbox.order, store.note),
        versions=versions,
        restart=restart.set,
    )
    monitor.chores += [
        bench.clips.tick,
        lambda: reporter.computes_with(engine.name),
        DiskGuard(outbox_file(folder), history, books.examples, folder / "evidence").tick,
    ]
    desk = Desk(bench, VERBS, store.note)
    answers = Answers(
        config,
        mailbox,
        monitor,
        by_device,
        None if silent else desk.carry_out,
        board=None if silent else board,
        read=None if silent else _readings(config, folder, reporter, versions, credentials_folder).read,
    )
    health = Health(Watched(monitor, mailbox, captures, publisher, outbox, engine, folder, settings.client_cert))
    bridge = None
    if taken:
        ledger = Ledger(database(folder))
        bridge = OrderBridge(config.orders, operators, desk, mailbox.order, publisher, topics, envelope, ledger)
        hearers.append(bridge.hear)
    return Parts(
        embedder,
        engine,
        mailbox,
        outbox,
        publisher,
        topics,
        envelope,
        health,
        Supervision(publisher, outbox, engine, folder, settings.client_cert),
        reporter,
        monitor,
        captures,
        local_sockets(folder, answers, page=not silent),
        bridge,
        sparkplug,
        discovery,
        versions,
        crashes,
        restart,
    )


def _standby(config: Config, *, cpu_only: bool) -> tuple[Embedder, StandbyEngine]:
    package, cpu = _load_model(config)
    engine = StandbyEngine(cpu) if cpu_only else standby_engine(config, package, cpu)
    return Embedder(package, engine), engine


def _readings(
    config: Config, folder: Path, reporter: Reporter, versions: ConfigVersions | None, credentials_folder: str | None
) -> Readings:
    file = None if versions is None else versions.path
    return Readings(config, folder, lambda: reporter.alerts.standing, file, credentials_folder)


def _sparkplug(config: Config, folder: Path, credentials_folder: str | None) -> SparkplugLink | None:
    mqtt = config.mqtt
    if mqtt.sparkplug is None:
        return None
    try:
        from echo_edge.sparkplug import SparkplugTopics  # noqa: PLC0415  needs an extra
        from echo_edge.sparkplug_link import SparkplugLink  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError([f"mqtt.sparkplug: {error}; install it with pip install 'echo-edge[sparkplug]'"]) from error
    return SparkplugLink(
        lambda: broker_settings(mqtt, credentials_folder),
        SparkplugTopics(mqtt.sparkplug.group, config.gateway.id),
        config.points(),
        folder / "sparkplug-bdseq",
        primary_host=mqtt.sparkplug.primary_host,
    )


def _hand_on(message: TopicMessage, hearers: list[Callable[[TopicMessage], None]]) -> None:
    """Each knows its own topics."""
    for hear in hearers:
        hear(message)


def _capture(config: Config, device: str, mailbox: Mailbox[SensorStatus]) -> Capture:
    settings = config.devices[device]
    options = settings.options
    points = {name: point for name, point in config.points().items() if point.device == device}
    return Capture(device, lambda: create_source(settings.kind, device, **options), points, mailbox)


def _info(config: Config, embedder: Embedder, versions: ConfigVersions | None) -> Info:
    return Info(
        version=__version__,
        model=embedder.model_name,
        model_sha256=embedder.model_sha256,
        engine=embedder.engine_name,
        protocol=config.mqtt.protocol,
        points=tuple(config.points()),
        titles={m: machine.title for m, machine in config.machines.items() if machine.title},
        config_sha256=None if versions is None else versions.sha256,
    )
