"""What is wrong with the gateway itself becomes an alarm, and is over when it is over."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from echo_edge.disk_guard import floor_bytes
from echo_edge.engine.standby import EngineStatus
from echo_edge.outbox import OutboxStatus
from echo_edge.supervision import Supervision


class Gateway:
    """What is watched, and a clock to turn."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.publisher = SimpleNamespace(problems=(), broker_certificate_ends_s=None)
        self.outbox = SimpleNamespace(status=OutboxStatus(durable=True))
        self.engine = SimpleNamespace(status=EngineStatus("onnx", "tensorrt", building=0.5))
        self.supervision = Supervision(
            self.publisher,  # type: ignore[arg-type]
            self.outbox,  # type: ignore[arg-type]
            self.engine,  # type: ignore[arg-type]
            folder,
            None,
            now_s=lambda: self.now_s,
        )

    def troubles(self, dropped: int = 0) -> set[str]:
        return set(self.supervision.troubles(dropped))


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_a_dropped_window_is_a_trouble_for_a_minute(gateway: Gateway) -> None:
    assert gateway.troubles(3) == set()  # of before we looked
    assert gateway.troubles(4) == {"overload"}
    gateway.now_s = 61.0
    assert gateway.troubles(4) == set()


def test_an_outbox_that_fails_or_gives_up_events_is_a_trouble(gateway: Gateway) -> None:
    assert gateway.troubles() == set()
    gateway.outbox.status = OutboxStatus(lost=2, problem="disk_full: no space left")
    assert gateway.troubles() == {"outbox", "outbox_lost"}
    gateway.outbox.status = OutboxStatus(lost=2)
    assert gateway.troubles() == {"outbox_lost"}
    gateway.now_s = 3601.0
    assert gateway.troubles() == set()


def test_only_what_can_be_told_over_the_connection_is_told_over_it(gateway: Gateway) -> None:
    gateway.publisher.problems = ("connection refused", "mqtt_denied: a/b", "no_subscriber: nobody listens to a/b")
    assert gateway.troubles() == {"mqtt_denied"}


def test_a_certificate_is_told_a_month_before_its_end(gateway: Gateway) -> None:
    gateway.publisher.broker_certificate_ends_s = time.time() + 29.5 * 86400
    assert gateway.supervision.troubles(0)["certificate"].startswith("the broker's certificate runs out in ")
    gateway.publisher.broker_certificate_ends_s = None  # the broker is away
    gateway.now_s = 61.0
    assert gateway.troubles() == {"certificate"}


def test_a_disk_that_is_nearly_full_is_told(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=floor_bytes(1e10) - 1, total=1e10)
    monkeypatch.setattr("echo_edge.supervision.shutil.disk_usage", lambda _: usage)
    assert gateway.troubles() == {"disk"}


def test_a_disk_that_takes_hardly_another_file_is_told(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {"f_frsize": 4096, "f_blocks": 10**9, "f_bfree": 10**9, "f_bavail": 10**9}
    limits = SimpleNamespace(f_files=65_536, f_favail=7, **room)
    monkeypatch.setattr("echo_edge.supervision.os.statvfs", lambda _: limits)
    assert gateway.supervision.troubles(0)["disk"].startswith("only 7 files can still be made where ")


def test_the_cpu_in_place_of_the_wanted_engine_is_a_trouble_except_while_that_is_first_built(gateway: Gateway) -> None:
    assert gateway.troubles() == set()
    gateway.engine.status = EngineStatus("onnx", "tensorrt", "the CPU serves instead of the GPU: out of memory", 0.5)
    assert gateway.supervision.troubles(0) == {"engine": "the CPU serves instead of the GPU: out of memory"}
    gateway.engine.status = EngineStatus("tensorrt", "tensorrt", fallbacks=1)
    assert gateway.troubles() == set()
