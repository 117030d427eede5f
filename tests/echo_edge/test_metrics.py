"""The metrics page: what Prometheus reads is what the gateway knows, and no client of it can hurt the daemon."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from echo_edge.assembly import Parts, wire
from echo_edge.config_metrics import MetricsConfig
from echo_edge.daemon import _running
from echo_edge.demo_broker import free_port
from echo_edge.metrics import Metrics
from echo_edge.metrics_server import CLIENTS
from tests.broker import wait_for
from tests.world import POINT, make_config

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def fetch(port: int, path: str = "/metrics", timeout_s: float = 20) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
        return str(answer.read().decode())


def scrape(port: int) -> Samples:
    families = text_string_to_metric_families(fetch(port))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"echo_edge_{name}", tuple(sorted(labels.items()))]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Everything but a broker, as it runs; nothing is enrolled."""
    made = wire(make_config(), tmp_path_factory.mktemp("state"), ["acc"], None, silent=True)
    with _running(made):
        yield made


@contextmanager
def page(parts: Parts) -> Iterator[int]:
    port = free_port()
    metrics = Metrics(MetricsConfig(port=port), parts)
    metrics.start()
    try:
        yield port
    finally:
        metrics.stop()


def test_nobody_but_this_host_reads_it_unless_that_is_said() -> None:
    with pytest.raises(ValidationError, match="allow_network: true"):
        MetricsConfig(host="0.0.0.0")
    assert MetricsConfig(host="0.0.0.0", allow_network=True).port == 9464
    assert MetricsConfig(host="::1").host == "::1"


def test_a_point_without_a_verdict_has_a_level_and_no_score(parts: Parts) -> None:
    with page(parts) as port:
        wait_for(lambda: parts.monitor.unscored[POINT] > 1, "two windows")
        samples = scrape(port)
    assert of(samples, "point_level", point=POINT, level="not_monitored") == 1
    assert of(samples, "point_level", point=POINT, level="normal") == 0
    assert ("echo_edge_point_score", (("point", POINT),)) not in samples
    assert of(samples, "windows_total", point=POINT, outcome="unscored") > 1
    assert of(samples, "windows_total", point=POINT, outcome="scored") == 0
    assert of(samples, "pipeline_signal_seconds_total") > 0.5
    assert of(samples, "pipeline_step_seconds_bucket", le="+Inf") == of(samples, "pipeline_step_seconds_count") > 0


def test_sensors_the_outbox_and_the_broker_are_told(parts: Parts) -> None:
    with page(parts) as port:
        wait_for(lambda: parts.captures[0].status.state == "ok", "a sensor")
        samples = scrape(port)
    assert of(samples, "sensor_state", device="acc", state="ok") == 1
    assert of(samples, "sensor_last_sample_age_seconds", device="acc") < 20
    assert of(samples, "outbox_durable") == of(samples, "mqtt_connected") == 0
    assert of(samples, "alerts_active", kind="machine", severity="alarm") == 0
    assert samples["process_resident_memory_bytes", ()] > 1e6


def test_what_is_known_of_no_one_is_not_told_as_nought(parts: Parts) -> None:
    with page(parts) as port:
        told = {name for name, _ in scrape(port)}
    assert "echo_edge_certificate_expires_timestamp_seconds" not in told
    assert "echo_edge_point_false_alarms_kept" not in told


def test_another_path_is_not_found(parts: Parts) -> None:
    with page(parts) as port, pytest.raises(urllib.error.HTTPError, match="404") as error:
        fetch(port, "/secret")
    error.value.close()


def test_a_port_that_is_taken_costs_the_page_alone(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    with page(parts) as port:
        second = Metrics(MetricsConfig(port=port), parts)
        second.start()
        second.stop()
        assert "Address already in use" in caplog.text
        assert fetch(port)


def test_two_hundred_idle_clients_neither_keep_prometheus_out_nor_make_threads(parts: Parts) -> None:
    with page(parts) as port, ExitStack() as idle:
        before = threading.active_count()
        for _ in range(200):
            idle.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=20)))
        assert of(scrape(port), "uptime_seconds") >= 0
        assert threading.active_count() <= before + CLIENTS


def test_a_client_that_dawdles_is_left_and_the_port_is_closed_at_the_end(parts: Parts) -> None:
    with page(parts) as port:
        dawdler = socket.create_connection(("127.0.0.1", port), timeout=20)
        dawdler.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert fetch(port)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4  # nobody waited for its time-out
    with closing(dawdler):
        assert dawdler.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
