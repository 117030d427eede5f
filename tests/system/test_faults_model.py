"""A model or a baseline that does not belong together with the rest is refused: never a score, nothing deleted."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from dataclasses import fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.artifact import MODELS_DIR, load_package
from echo_edge.embedder import Embedder
from echo_edge.engine.fake import FakeEngine, fake_package
from echo_edge.enroll import Enrollment
from echo_edge.errors import ArtifactError
from echo_edge.frontend import SPEC
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block
from tests.baselines import enroll, make_store
from tests.world import POINT, make_config

LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
MUTATIONS = 1000 if LONG else 40
NAME = "echo-tiny"
WAYS: dict[str, tuple[Any, Any]] = {
    "model": ("0" * 64, "1" * 64),
    "width": (16, 24),
    "rate_hz": (16_000, 32_000),
    "channel": (0, 1),
    "length_s": (0.5, 1.0),
    "hop_s": (0.5, 0.25),
    "unit": ("g", "full scale"),
    "bearing": (False, True),
}
"""What a verdict depends on: as the baseline was learned, and otherwise."""


def world(way: dict[str, Any]) -> Pipeline:
    engine = FakeEngine(way["width"])
    sha256 = way["model"] if way["width"] == 16 else way["model"][:-1] + "2"  # another network is another file
    embedder = Embedder(replace(fake_package(engine), sha256=sha256), engine)
    window = {"length_s": way["length_s"], "hop_s": min(way["hop_s"], way["length_s"])}
    point: dict[str, Any] = {"device": "acc", "channels": [way["channel"]], "window": window}
    machine: dict[str, Any] = {"points": {"de": point}}
    if way["bearing"]:
        machine["shaft_hz"] = 29.5
        point["bearing"] = {"rolling_elements": 9, "ball_diameter_mm": 7.94, "pitch_diameter_mm": 39.04}
    devices = {"acc": {"kind": "simulator", "rate_hz": way["rate_hz"], "channels": 2}}
    return Pipeline(make_config(devices=devices, machines={"pump": machine}), embedder)


@cache
def sound(rate_hz: int) -> NDArray[np.float32]:
    """20 s of noise, on two channels."""
    return 0.1 * np.random.default_rng(1).standard_normal((20 * rate_hz, 2), np.float32)


def windows(way: dict[str, Any], count: int) -> list[Window]:
    """The same sound, captured that way."""
    windower = Windower(POINT, [way["channel"]], way["rate_hz"], way["length_s"], way["hop_s"], way["unit"])
    return windower.push(Block(sound(way["rate_hz"]), 0, after_gap=True))[:count]


def test_a_baseline_of_another_model_or_another_way_to_listen_never_gives_a_score(tmp_path: Path) -> None:
    usual = {name: as_learned for name, (as_learned, _) in WAYS.items()}
    teacher, store = world(usual), make_store(tmp_path)
    enrollment = Enrollment(POINT, "run", 30, "simulator:1")
    teacher.learn(enrollment, windows(usual, 30))
    enroll(store, enrollment.finish(None))
    baseline = store.active(POINT)
    assert baseline is not None
    refused, scores = 0, 0
    cases = [dict(zip(WAYS, values, strict=True)) for values in product(*WAYS.values())]
    for way in cases if LONG else [way for way in cases if sum(way[name] != usual[name] for name in way) <= 2]:
        judge = world(way)
        judge.points[POINT].adopt(baseline)
        verdicts = judge.step(windows(way, 1))
        if way == usual:
            assert [v.level for v in verdicts] == ["normal"]
            continue
        refused += 1
        scores += sum(v.score is not None for v in verdicts)
        assert {v.level for v in verdicts} == {"not_monitored"}, way
        assert all("enroll again" in (v.reason or "") for v in verdicts), (way, verdicts[0].reason)
    assert scores == 0
    assert [(one.id, one.status) for one in store.list(POINT)] == [(baseline.id, "active")]
    print(f"{refused} other ways refused, {scores} scores")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for suffix in (".onnx", ".json"):
        shutil.copy(MODELS_DIR / (NAME + suffix), tmp_path)
    return tmp_path / NAME


@pytest.mark.parametrize("constant", [field.name for field in fields(SPEC)])
def test_a_model_for_another_preprocessing_is_refused_by_the_constant_that_differs(
    package: Path, constant: str
) -> None:
    manifest = package.with_suffix(".json")
    content = json.loads(manifest.read_text())
    content["front_end"][constant] += 1
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=rf"echo-tiny\.json: front_end\.{constant} is .*; export the model again"):
        load_package(package)


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """The same file after a bad sector, flipped bits, a copy that was cut short, or one that was begun twice."""
    data, kind = bytearray(whole), chance.choice(("sector", "bits", "cut", "longer"))
    for _ in range(chance.choice((1, 8, 200))):
        at = chance.randrange(len(data) if chance.random() < 0.5 else 10_000)
        if kind == "sector":
            data[at : at + 512] = chance.randbytes(len(data[at : at + 512]))
        elif kind == "bits":
            data[at] ^= 1 << chance.randrange(8)
    return bytes({"cut": data[: chance.randrange(len(data))], "longer": data + data[:512]}.get(kind, data))


@pytest.mark.timeout(600 if LONG else 60)
def test_no_damaged_model_is_ever_loaded(package: Path) -> None:
    file, chance = package.with_suffix(".onnx"), random.Random(4)
    whole, took_s = file.read_bytes(), []
    for _ in range(MUTATIONS):
        bad = damaged(whole, chance)
        assert bad != whole
        file.write_bytes(bad)
        begun_s = time.monotonic()
        with pytest.raises(ArtifactError, match=r"echo-tiny\.onnx: damaged or changed"):
            load_package(package)
        took_s.append(time.monotonic() - begun_s)
    file.write_bytes(whole)
    assert load_package(package).name == NAME
    print(f"{MUTATIONS} damaged models refused, each within {max(took_s):.2f} s")
    assert max(took_s) < 1
