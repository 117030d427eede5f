"""The metrics page: what Prometheus reads is what the gateway knows, and no client of it can hurt the daemon."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import yaml
from pydantic import ValidationError

from echo_edge.assembly import Parts, make_embedder, wire
from echo_edge.baseline_store import open_store
from echo_edge.capture import Capture, SensorStatus
from echo_edge.config_metrics import MetricsConfig
from echo_edge.daemon import _running
from echo_edge.engine.standby import EngineStatus, StandbyEngine
from echo_edge.metrics import QUALITIES, Metrics
from echo_edge.metrics_server import CLIENTS
from echo_edge.payload import LEVELS
from echo_edge.pipeline import Pipeline
from tests.baselines import OTHER_POINT, learned
from tests.broker import wait_for
from tests.metrics_page import Samples, fetch, of, page, scrape
from tests.world import POINT, RATE_HZ, make_config

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "echo-edge.json").read_text("utf-8"))
RULES = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
EXPRESSIONS += [rule["expr"] for rule in RULES]
METRIC = re.compile(r"\b((?:echo_edge|process)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
BY = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = ("instance", "job")  # labels that every scrape gets


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Everything but a broker, as it runs; one point is enrolled and one is not."""
    folder = tmp_path_factory.mktemp("state")
    point = {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}
    config = make_config(
        devices={"acc": {"kind": "simulator", "rate_hz": RATE_HZ, "seed": 1}},  # the seed of what is learned
        machines={"pump": {"points": {"de": point, "nde": point}}},
    )
    baseline = learned(Pipeline(config, make_embedder(config)))
    store = open_store(config, folder)
    store.activate(POINT, store.propose(baseline, "lang").id, "lang")
    made = wire(config, folder, ["acc"], None, silent=True)
    with _running(made):
        yield made


def scored(parts: Parts) -> None:
    wait_for(lambda: parts.monitor.scored[POINT] > 0, "a score")


def test_nobody_but_this_host_reads_it_unless_that_is_said() -> None:
    with pytest.raises(ValidationError, match="allow_network: true"):
        MetricsConfig(host="0.0.0.0")
    assert MetricsConfig(host="0.0.0.0", allow_network=True).port == 9464
    assert MetricsConfig(host="::1").host == "::1"


def test_a_point_with_a_verdict_has_a_score_and_what_it_is_held_against(parts: Parts) -> None:
    with page(parts) as port:
        scored(parts)
        samples = scrape(port)
    state, *_ = parts.reporter.told(POINT)
    assert sum(of(samples, "point_level", point=POINT, level=level) for level in LEVELS) == 1
    assert of(samples, "point_level", point=POINT, level="not_monitored") == 0
    assert sum(of(samples, "point_quality", point=POINT, quality=quality) for quality in QUALITIES) == 1
    assert of(samples, "point_score", point=POINT) >= 0
    assert state.score is not None
    assert of(samples, "point_threshold", point=POINT) == state.score.threshold
    assert of(samples, "point_false_alarms_target_per_month", point=POINT) == 0.5  # the machine's, shared by two
    assert 0 <= of(samples, "point_lag_seconds", point=POINT) < 60


def test_a_point_without_a_verdict_has_a_level_and_no_score(parts: Parts) -> None:
    with page(parts) as port:
        wait_for(lambda: parts.monitor.unscored[OTHER_POINT] > 1, "two windows")
        samples = scrape(port)
    assert of(samples, "point_level", point=OTHER_POINT, level="not_monitored") == 1
    assert of(samples, "point_level", point=OTHER_POINT, level="normal") == 0
    assert ("echo_edge_point_score", (("point", OTHER_POINT),)) not in samples
    assert of(samples, "windows_total", point=OTHER_POINT, outcome="unscored") > 1
    assert of(samples, "windows_total", point=OTHER_POINT, outcome="scored") == 0
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
    assert "echo_edge_sensor_overflows_total" not in told  # an invented sensor cannot know


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


# the dashboard and the rules in deploy/


@pytest.fixture(scope="module")
def told(parts: Parts) -> Samples:
    """A page with everything that there can be."""
    status = SensorStatus("acc", "ok", counters={"gaps": 1, "lost_frames": 10, "overflows": 1})
    sensor = cast(Capture, SimpleNamespace(device="acc", status=status, last_block_s=0.0))
    parts.supervision.troubles(0)
    parts.supervision.certificate_ends_s = {"broker": 2e9, "client": 2e9}
    scored(parts)
    wait_for(
        lambda: (rate := parts.reporter.told(POINT)[0].false_alarms) is not None and rate.kept is not None, "doubt"
    )
    engine = cast(StandbyEngine, SimpleNamespace(status=EngineStatus("cpu", "gpu", building=0.5)))
    with page(replace(parts, captures=[sensor], engine=engine)) as port:
        return scrape(port)


def wrong_with(expression: str, told: Samples) -> Iterator[str]:
    """What an expression asks for that is not on the page."""
    labels_of: dict[str, dict[str, set[str]]] = {"up": {label: set() for label in OF_PROMETHEUS}}
    for name, labels in told:
        values = labels_of.setdefault(name, {label: set() for label in OF_PROMETHEUS})
        for label, value in labels:
            values.setdefault(label, set()).add(value)
    used = METRIC.findall(expression)
    if unknown := [name for name, _ in used if name not in labels_of] or not used:
        yield f"{expression}: no such metric: {unknown}"
        return
    for name, matchers in used:
        for label, operator, value in MATCHER.findall(matchers):
            words = set(value.split("|") if operator == "=~" else [value])
            if label not in labels_of[name]:
                yield f"{expression}: {name} has no label {label}"
            elif label not in OF_PROMETHEUS and "$" not in value and not words <= labels_of[name][label]:
                yield f"{expression}: {label} is never {value}"
    for label in (label for group in BY.findall(expression) for label in re.split(r",\s*", group)):
        if not any(label in labels_of[name] for name, _ in used):
            yield f"{expression}: nothing has a label {label} to sum by"


def test_every_metric_and_label_that_is_asked_for_is_on_the_page(told: Samples) -> None:
    assert [problem for expression in EXPRESSIONS for problem in wrong_with(expression, told)] == []


@pytest.mark.parametrize(
    "mistake",
    [
        "echo_edge_point_levels",
        'echo_edge_point_level{machine="a"}',
        'echo_edge_point_level{level="bad"}',
        "sum by (host) (echo_edge_point_level)",
        "vector(1)",
    ],
)
def test_a_mistake_in_an_expression_would_be_found(mistake: str, told: Samples) -> None:
    assert len(list(wrong_with(mistake, told))) == 1


def test_the_page_has_nothing_that_no_panel_shows(told: Samples) -> None:
    shown = {name for expression in EXPRESSIONS for name, _ in METRIC.findall(expression)}
    ours = {name for name, _ in told if name.startswith("echo_edge_") and not name.endswith(("_sum", "_count"))}
    assert ours - shown == set()


def test_a_rule_says_how_severe_it_is_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert len(rule["annotations"]["summary"]) > 20, rule["alert"]


def test_panels_do_not_overlap_and_have_names() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
