"""The daemon on real bearings: two accelerometers of a motor, learned from seconds of normal running at two loads.

The recordings hold 5 and 10 s of normal; the first two thirds are learned, the rest is what silence is judged on.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.shared_data import SHARED, needs_shared
from tests.system.daemon import Daemon, MosquittoSub, command

CWRU = SHARED / "data" / "cwru"
NORMALS = {"load0": "normal/97_Normal_0", "load2": "normal/99_Normal_2"}
FAULTS = {"ball": "48k_DE/122_B007_0", "inner": "48k_DE/109_IR007_0", "outer": "48k_DE/135_OR007at6_0"}
QUIET_S, FAULTY_S, BETWEEN_S = 8, 8, 8
POINTS = {"motor/de": "DE", "motor/fe": "FE"}

CONFIG = """\
gateway: {{id: gw, outbox: {{max_mb: 4}}}}
mqtt: {{port: {port}, state_interval_s: 0.5}}
devices:
  de: {{kind: wavfile, files: {de}}}
  fe: {{kind: wavfile, files: {fe}}}
machines:
  motor:
    points:
      de: {{device: de, window: &w {{length_s: 0.25, hop_s: 0.25}}, alert: &a {alert}}}
      fe: {{device: fe, window: *w, alert: *a}}
"""
ALERT = "{windows: 20, strange_windows: 12, hold_off_s: 1}"


def scale_of(name: str) -> str:
    with (CWRU / "manifest.csv").open(newline="") as lines:
        return next(row["scale_g_per_lsb"] for row in csv.DictReader(lines) if row["file"] == name)


def first_two_thirds(folder: Path, name: str) -> Path:
    """An excerpt with its scale in a manifest beside it, as any recording may have."""
    data, rate_hz = soundfile.read(CWRU / name, dtype="int16")
    file = folder / Path(name).name
    soundfile.write(file, data[: len(data) * 2 // 3], rate_hz, subtype="PCM_16")
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        manifest.write_text("file,scale_g_per_lsb\n")
    with manifest.open("a") as out:
        out.write(f"{file.name},{scale_of(name)}\n")
    return file


def last_third(name: str, play_s: float) -> dict[str, object]:
    start_s = soundfile.info(CWRU / name).duration * 2 / 3
    return {"path": str(CWRU / name), "start_s": round(start_s, 3), "play_s": play_s}


def play_list(channel: str) -> list[dict[str, object]]:
    """Normal at both loads, then each fault, with normal in between; short recordings loop."""
    quiet, loaded = (f"{stem}_{channel}.flac" for stem in NORMALS.values())
    files = [last_third(quiet, QUIET_S), last_third(loaded, QUIET_S)]
    for stem in FAULTS.values():
        files += [{"path": str(CWRU / f"{stem}_{channel}.flac"), "play_s": FAULTY_S}, last_third(loaded, BETWEEN_S)]
    return files


def enroll_both_loads(daemon: Daemon, folder: Path) -> None:
    for point, channel in POINTS.items():
        for state, stem in NORMALS.items():
            result = daemon.enroll(
                point, "--state", state, "--from", first_two_thirds(folder, f"{stem}_{channel}.flac")
            )
        assert result["states"] == list(NORMALS)


@needs_shared
@needs_mosquitto
@pytest.mark.timeout(240)
def test_every_kind_of_bearing_fault_is_told_within_a_minute_and_normal_running_is_not(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        lists = {channel.lower(): json.dumps(play_list(channel)) for channel in POINTS.values()}
        daemon = Daemon(tmp_path, CONFIG.format(port=broker.port, alert=ALERT, **lists))
        enroll_both_loads(daemon, tmp_path)
        with daemon:
            heard.wait_level("motor/de", "normal", daemon)
            begun_s = next(m.at_s for m in heard.on("/p/de/state") if m.payload["level"] == "normal")
            assert heard.last("/p/de/state")["provisional"] is True
            for number, fault in enumerate(FAULTS):
                starts_s = begun_s + 2 * QUIET_S + number * (FAULTY_S + BETWEEN_S)
                wait_for(
                    lambda count=number + 1: len(heard.alerts("motor/de", "open")) == count,  # type: ignore[misc]
                    f"an alert for the {fault} fault",
                    starts_s + 60 - time.monotonic(),
                )
                delay_s = heard.alerts("motor/de", "open")[number].at_s - starts_s
                print(f"{fault}: alert {delay_s:.1f} s after the faulty recording began")
                assert -1 < delay_s < 60  # never before: the held-out normal running was silent
                wait_for(
                    lambda count=number + 1: len(heard.alerts("motor/de", "clear")) == count,  # type: ignore[misc]
                    f"the end of the {fault} alert",
                    60,
                )
            assert daemon.stop() == 0
    kinds = [m.payload["type"] for m in heard.alerts("motor/de") if m.payload["type"] != "update"]
    assert kinds == ["open", "clear"] * 3
    quiet_until_s = begun_s + 2 * QUIET_S
    assert all(m.at_s > quiet_until_s for m in heard.on("/alert"))
    assert {m.payload["severity"] for m in heard.on("/alert")} == {"warning"}


@needs_shared
def test_replay_finds_every_48_khz_fault_at_the_drive_end_and_keeps_quiet_on_the_held_out_normal(
    tmp_path: Path,
) -> None:
    any_file = json.dumps([last_third(f"{NORMALS['load0']}_DE.flac", 1)])
    daemon = Daemon(tmp_path, CONFIG.format(port=1883, alert=ALERT, de=any_file, fe=any_file))
    enroll_both_loads(daemon, tmp_path)

    def replayed(*files: Path) -> list[dict[str, object]]:
        done = command("replay", daemon.config, "motor/de", *files, env=daemon.env)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    held_out = []
    for stem in NORMALS.values():
        data, rate_hz = soundfile.read(CWRU / f"{stem}_DE.flac", dtype="int16")
        held_out.append(tmp_path / f"{Path(stem).name}_rest.wav")
        soundfile.write(held_out[-1], data[len(data) * 2 // 3 :], rate_hz, subtype="PCM_16")
        with (tmp_path / "manifest.csv").open("a") as out:
            out.write(f"{held_out[-1].name},{scale_of(f'{stem}_DE.flac')}\n")
    quiet = replayed(*held_out * 6)
    assert [line for line in quiet if "event" in line] == []
    faulty = sorted((CWRU / "48k_DE").glob("*_DE.flac"))
    assert len(faulty) == 13
    margins = []
    for file in faulty:
        short = soundfile.info(file).duration < 5
        lines = replayed(*[file] * (4 if short else 1))
        opened = [line for line in lines if line.get("event") == "open"]
        assert len(opened) == 1, file.name
        margins.append(np.median([line["score"] / line["threshold"] for line in lines if "score" in line]))  # type: ignore[operator]
    highest = max(line["score"] / line["threshold"] for line in quiet if "score" in line)  # type: ignore[operator]
    print(f"score / threshold: held-out normal at most {highest:.2f}, faults {min(margins):.2f} to {max(margins):.2f}")
