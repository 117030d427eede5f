"""Tables on a terminal of 80 columns: what tells rows apart, or how things are, is never cut."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from echo_edge.cli import app
from echo_edge.cli_status import view
from tests.baselines import enroll, make_store, small

PLACE = "pump-house-3/non-drive-end"


def test_a_level_stays_whole_beside_long_names_and_reasons():
    point = {
        "point": PLACE,
        "level": "not_monitored",
        "since": "2026-01-01T00:00:00.000000Z",
        "operating_state": "at-full-speed",
        "score": {"raw": 3.25, "threshold": 12.5},
        "quality": "bad",
        "sensor": ["clipping", "dead_channel"],
        "reason": "maintenance by m-lang until further notice: bearing is replaced",
    }
    outbox = {"waiting": 0, "lost": 0, "durable": True, "problem": None}
    gateway = {"id": "gw", "version": "1", "model": "m", "engine": {"serving": "onnx"}, "broker": "b:1"}
    gateway |= {"connected": True, "outbox": outbox, "problems": [], "alarms": [], "clips": False}
    console = Console(width=80)
    with console.capture() as seen:
        console.print(view({"points": [point], "gateway": gateway}))
    assert "not_monitored" in seen.get()
    assert "…" not in seen.get()
    assert max(map(len, seen.get().splitlines())) <= 80


def test_ids_of_baselines_stay_whole(tmp_path: Path, state_folder: Path):
    (tmp_path / "line1.yaml").write_text(
        "gateway: {id: gw}\ndevices: {acc: {kind: simulator}}\n"
        "machines: {pump-house-3: {points: {non-drive-end: {device: acc}}}}\n"
    )
    store = make_store(state_folder)
    for _ in range(2):
        enroll(store, small(1, PLACE), by="maria-magdalena")
    done = CliRunner().invoke(app, ["baseline", "list", str(tmp_path / "line1.yaml")])
    assert done.exit_code == 0, done.output
    assert [word for word in ("bl_0001", "bl_0002", "active") if word not in done.stdout] == []
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
