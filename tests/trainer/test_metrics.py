"""What a run says of itself survives its interruptions."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

import torch

from trainer.metrics import Log, Stopwatch, cut_after, encoder_flops, peak_flops
from trainer.model.echo import EchoConfig


def test_every_line_is_json_and_tells_every_float_from_the_next(tmp_path):
    loss = float(torch.tensor(7.0).exp())
    with Log(tmp_path, 0, 10) as log:
        log.write(1, {"loss": loss, "lr": 1.25e-7})
        log.advance(1)
        log.write(2, {"loss": float(torch.nextafter(torch.tensor(loss), torch.tensor(9e9)))})
    first, second = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert first["step"] == 1
    assert torch.tensor(first["loss"]) == torch.tensor(loss)
    assert first["lr"] == 1.25e-7
    assert second["loss"] > first["loss"]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    with Log(tmp_path, 0, 10) as log:
        log.write(1, {"loss": 1.0})
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 1.0}


def test_a_resumed_run_drops_what_it_will_write_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [f'{{"step": {step}, "loss": 1.0}}' for step in (1, 2, 2, 3)]
    path.write_text("\n".join([*lines, '{"step": 1, "lo']))  # the last one was being written when the power went
    cut_after(path, 2)
    assert path.read_text().splitlines() == lines[:3]
    cut_after(path, 0)
    assert path.read_text() == ""
    cut_after(tmp_path / "none.jsonl", 2)
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_waiting_is_part_of_the_lap_and_the_next_lap_starts_at_nothing():
    watch = Stopwatch()
    watch.waited_s = 0.0
    total_s, waited_s = watch.lap()
    assert total_s >= waited_s == 0
    watch.waited_s = 1.5
    assert watch.lap()[1] == 1.5
    assert watch.lap()[1] == 0


def test_operations_of_an_encoder_grow_with_tokens_and_their_square():
    config = EchoConfig(64, 2)
    per_token = 2 * 2 * (4 * 64 * 64 + 2 * 64 * 256)
    assert encoder_flops(config, 3, 10) == 3 * 10 * (per_token + 2 * 4 * 10 * 64)


def test_a_plain_product_is_measured_once():
    one = peak_flops(torch.device("cpu"), torch.float32, size=128)
    assert 1e7 < one < 1e14
    assert peak_flops(torch.device("cpu"), torch.float32, size=128) == one
