"""The page in a browser and for many viewers: bytes and time of the overview, and what sixteen live points cost.

One daemon, one page, one run: the daemon's load without the page stands beside its load with it.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from echo_edge.enroll_command import EnrollDesk
from tests.broker import Mosquitto, wait_for
from tests.browser.chromium import Chromium, Visitor
from tests.browser.page_service import PageService
from tests.browser.person import Person, somebody
from tests.system.daemon import HOST, Daemon, MosquittoSub

POINTS, VIEWERS = 16, 30
LEARN_MINUTES, PATIENCE_S = 0.4, 120.0
MOST_KB, MOST_MS, MOST_SHARE, MOST_MB = 150, 500, 0.03, 200
TICKS_PER_S = 100


def config(port: int) -> str:
    """Sixteen invented sensors at one window a second."""
    lines = [f"gateway: {{id: gw-hall3}}\nmqtt: {{port: {port}, state_interval_s: 10}}\ndevices:"]
    lines += [f"  a{n}: {{kind: simulator, rate_hz: 8000, seed: {n}}}" for n in range(POINTS)]
    lines += ["machines:"]
    lines += [f"  m{n}: {{points: {{de: {{device: a{n}, window: {{length_s: 1, hop_s: 1}}}}}}}}" for n in range(POINTS)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each load is measured (default: 60)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Mosquitto(folder / "broker") as broker,
            MosquittoSub(broker.port) as heard,
            Daemon(folder / "daemon", config(broker.port)) as daemon,
        ):
            teach(daemon, heard)
            show(measure(folder, daemon, seconds))


def teach(daemon: Daemon, heard: MosquittoSub) -> None:
    """All points at once: they are live only when they are judged."""
    desks = {f"m{n}": EnrollDesk(daemon.state, f"m{n}/de", alone=False) for n in range(POINTS)}
    wait_for(lambda: all(heard.last(f"/m/{m}/p/de/state") for m in desks), "the daemon", 60)
    sessions = {machine: desk.ask("start", minutes=LEARN_MINUTES)["session"] for machine, desk in desks.items()}
    for machine, desk in desks.items():
        enroll = f"/m/{machine}/p/de/enroll"
        wait_for(lambda e=enroll: heard.last(e).get("phase") == "deciding", machine, PATIENCE_S)  # type: ignore[misc]
        desk.ask("accept", session=sessions[machine])
        heard.wait_level(f"{machine}/de", "normal", daemon, PATIENCE_S)


def measure(folder: Path, daemon: Daemon, seconds: float) -> dict[str, float]:
    figures = {"daemon_without_page": share(seconds, daemon.process.pid)[0]}
    with PageService(folder / "page", daemon.state / "page.sock") as page, Chromium() as chromium:
        with somebody(chromium, page, "m.lang", "admin") as person:
            cookie = "; ".join(f"{one['name']}={one['value']}" for one in person.page.context.cookies())
            state = person.page.context.storage_state()
        opened = []
        for _ in range(6):  # the first one warms what is compiled and cached
            with chromium.visitor(page.origin, storage_state=state) as visitor:
                opened.append(overview(visitor))
        figures["overview_kb"] = median(kb for kb, _ in opened[1:])
        figures["drawn_ms"] = median(ms for _, ms in opened[1:])
        for viewers in (0, 1, VIEWERS):
            with watching(page.port, cookie, viewers) as received:
                begun = sum(received)
                page_share, daemon_share = share(seconds, page.process.pid, daemon.process.pid)
                figures[f"page_{viewers}"], figures[f"daemon_{viewers}"] = page_share, daemon_share
                figures[f"kb_s_{viewers}"] = (sum(received) - begun) / 1000 / seconds
        figures["page_mb"] = page.resident_mb()
    return figures


def overview(visitor: Visitor) -> tuple[float, float]:
    """Open it with nothing cached: kilobytes of all answers, headers included, and ms until it was drawn."""
    sizes: list[float] = []
    devtools = visitor.page.context.new_cdp_session(visitor.page)
    devtools.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    devtools.send("Network.enable")
    Person(visitor, "m.lang").opens("/")
    assert visitor.page.locator("article").count() == POINTS
    visitor.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    drawn = visitor.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return sum(sizes) / 1000, float(drawn)


@contextmanager
def watching(port: int, cookie: str, viewers: int) -> Iterator[list[int]]:
    """So many live overviews that take everything; yields the bytes that came to each."""
    request = f"GET /live?part=overview: HTTP/1.1\r\nHost: {HOST}:{port}\r\nCookie: {cookie}\r\n\r\n".encode()
    received, stop = [0] * viewers, threading.Event()
    with selectors.DefaultSelector() as ready:
        clients = [socket.create_connection((HOST, port)) for _ in range(viewers)]
        for number, client in enumerate(clients):
            client.sendall(request)
            ready.register(client, selectors.EVENT_READ, number)

        def take() -> None:
            while not stop.is_set():
                for key, _ in ready.select(0.1) if clients else []:
                    received[key.data] += len(key.fileobj.recv(1 << 16))  # type: ignore[union-attr]
                if not clients:
                    stop.wait(0.1)

        reader = threading.Thread(target=take, name="viewers")
        reader.start()
        try:
            time.sleep(3)  # the first of each part is over
            assert all(received), "a viewer was sent nothing"
            yield received
        finally:
            stop.set()
            reader.join()
            for client in clients:
                client.close()


def share(seconds: float, *pids: int) -> list[float]:
    """Of one core that each process uses meanwhile."""
    begun_s, before = time.monotonic(), [cpu_s(pid) for pid in pids]
    time.sleep(seconds)
    return [(cpu_s(pid) - b) / (time.monotonic() - begun_s) for pid, b in zip(pids, before, strict=True)]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def show(figures: dict[str, float]) -> None:
    table = Table("figure", "measured", "target", title=f"the page, {POINTS} points at 1 window/s")
    table.add_row("overview, all answers", f"{figures['overview_kb']:.0f} kB", f"< {MOST_KB} kB")
    table.add_row("overview drawn", f"{figures['drawn_ms']:.0f} ms", f"< {MOST_MS} ms")
    for viewers, target in ((0, ""), (1, f"< {MOST_SHARE:.0%}"), (VIEWERS, "")):
        text = f"{figures[f'page_{viewers}']:.1%} of one core, {figures[f'kb_s_{viewers}']:.0f} kB/s"
        table.add_row(f"the page with {viewers} viewers", text, target)
    without = figures["daemon_without_page"]
    for viewers in (0, 1, VIEWERS):
        load = figures[f"daemon_{viewers}"]
        table.add_row(
            f"the daemon, page with {viewers} viewers", f"{load:.1%} of one core", f"as without: {without:.1%}"
        )
    table.add_row("the page's resident memory", f"{figures['page_mb']:.0f} MB", f"< {MOST_MB} MB")
    Console().print(table)
    print(json.dumps({"page": figures}))


if __name__ == "__main__":
    main()
