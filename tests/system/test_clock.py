"""The system clock starts in 1970 and is set by hours while the daemon runs: no sample comes or goes with that."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from echo_edge.config_file import load_config
from echo_edge.listen import live
from sensors import AlsaMicrophone, Machine, PtyAccelerometer
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub
from tests.system.test_daemon import SIMULATED, config

HOUR_S = 3600
RATE_HZ = 16_000


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    library = tmp_path / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@needs_mosquitto
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (apt install gcc libc6-dev)")
@pytest.mark.timeout(120)
def test_a_clock_that_starts_in_1970_and_is_set_moves_dates_and_neither_makes_nor_loses_a_sample(
    tmp_path: Path, shim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = tmp_path / "offset"
    offset.write_text(str(-int(time.time())))
    clock = {"LD_PRELOAD": str(shim), "WALL_OFFSET_FILE": str(offset)}
    with (
        AlsaMicrophone(Machine(1, RATE_HZ, 1)) as microphone,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        devices = {"mic": f"{{kind: microphone, device: {microphone.device}, rate_hz: {RATE_HZ}}}", "sim": SIMULATED}
        with Daemon(tmp_path / "daemon", config(broker.port, devices), {**microphone.env, **clock}) as daemon:
            for point in devices:
                wait_for(lambda p=point: heard.hears(p), point, 30)  # type: ignore[misc]
                daemon.enroll(f"m/{point}", "--minutes", "0.15")
                heard.wait_level(f"m/{point}", "normal", daemon)
            assert heard.last("/p/mic/state")["ts"].startswith("1970-01-01")
            gaps, states = heard.gaps("mic"), len(heard.on("/p/mic/state"))
            monkeypatch.setenv("STATE_DIRECTORY", str(daemon.state))
            blocks = []
            with live(load_config(daemon.config), "m/mic") as (_, stream):
                for block in stream:
                    if block is not None:
                        blocks.append(block)
                    for at, now_s in ((10, 0), (30, 2 * HOUR_S), (50, -2 * HOUR_S), (70, 1)):
                        if len(blocks) == at:
                            offset.write_text(str(now_s))
                    if len(blocks) == 100:
                        break
            year = time.strftime("%Y", time.gmtime())
            wait_for(lambda: heard.last("/p/mic/state")["ts"].startswith(year), "today's date", 10)
            assert {m.payload["level"] for m in heard.on("/p/mic/state")[states:]} == {"normal"}
            assert heard.gaps("mic") == gaps
            assert heard.gaps("sim") == (0, 0)
            assert daemon.stop() == 0
    assert not any(block.after_gap for block in blocks)
    indices = [block.index - blocks[0].index for block in blocks]
    assert indices == [i * RATE_HZ // 10 for i in range(100)]
    steps_s = {round((b.time_ns - a.time_ns) / 1e9 / HOUR_S) for a, b in pairwise(blocks)}
    assert {2, -4} <= steps_s
    assert max(abs(b.monotonic_ns - a.monotonic_ns - 10**8) for a, b in pairwise(blocks)) < 10**7


@needs_mosquitto
@pytest.mark.timeout(120)
def test_a_sensor_whose_clock_is_off_is_told_with_both_rates(tmp_path: Path) -> None:
    with (
        PtyAccelerometer(Machine(1, 8000, 3), clock_ppm=2000) as sensor,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        devices = {"de": f"{{kind: accelerometer, port: {sensor.port}}}"}
        with Daemon(tmp_path / "daemon", config(broker.port, devices)) as daemon:
            wait_for(lambda: "rate_wrong" in heard.last("/p/de/quality").get("reasons", []), "the wrong rate", 60)
            quality = heard.last("/p/de/quality")
            assert daemon.stop() == 0
    assert quality["rate_ppm"] == pytest.approx(2000, abs=100)
    (finding,) = [f for f in quality["findings"] if f["check"] == "rate_wrong"]
    told = re.search(r"8000 Hz announced \(([+-]\d+) ppm\)$", finding["text"])
    assert told is not None, finding["text"]
    assert int(told[1]) == pytest.approx(quality["rate_ppm"], abs=1)
