"""The metrics page of a gateway in this process, and what stood on it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from echo_edge.assembly import Parts
from echo_edge.config_metrics import MetricsConfig
from echo_edge.demo_broker import free_port
from echo_edge.metrics import Metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def page(parts: Parts) -> Iterator[int]:
    """Serve it; gives the port."""
    port = free_port()
    metrics = Metrics(MetricsConfig(port=port), parts)
    metrics.start()
    try:
        yield port
    finally:
        metrics.stop()


def fetch(port: int, path: str = "/metrics", timeout_s: float = 20) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
        return str(answer.read().decode())


def scrape(port: int) -> Samples:
    """Name and labels -> value."""
    families = text_string_to_metric_families(fetch(port))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def of(samples: Samples, name: str, **labels: str) -> float:
    """The value of one of ours."""
    return samples[f"echo_edge_{name}", tuple(sorted(labels.items()))]
