"""Clips of sound: off by default, encrypted to a key whose other half is elsewhere, dropped where somebody speaks."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import ValidationError
from typer.testing import CliRunner

from echo_edge.capture import SensorStatus
from echo_edge.cli import app
from echo_edge.clip_job import ClipJob
from echo_edge.clip_keys import read_private_key
from echo_edge.clips import about_flac, flac, seal, unseal
from echo_edge.config_clips import ClipsConfig
from echo_edge.errors import ClipError, OrderError
from echo_edge.tap import Tap
from sensors import Block, SourceInfo
from tests.broker import wait_for
from tests.talker import talk
from tests.world import POINT, machine_windows, make_config

RATE_HZ = 16_000


@dataclass
class Keys:
    """Both halves, as files; only the public one belongs on the gateway."""

    private: Path
    public: Path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    key = X25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    made = Keys(tmp_path / "private.pem", tmp_path / "public.pem")
    made.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    made.public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return made


@dataclass
class Sensor:
    """A capture whose device has delivered all of this."""

    samples: np.ndarray
    unit: str = "full scale"
    blocks_frames: int = 1600
    status: SensorStatus = field(init=False)

    def __post_init__(self) -> None:
        self.taps: list[Tap] = []
        info = SourceInfo(RATE_HZ, 1, self.unit, "sim:1")
        self.status = SensorStatus("mic", "ok", info=info)

    @contextmanager
    def tapped(self) -> Iterator[Tap]:
        tap = Tap()
        self.taps.append(tap)
        for start in range(0, len(self.samples), self.blocks_frames):
            part = self.samples[start : start + self.blocks_frames, None].astype(np.float32)
            tap.offer(Block(part, start * 10**9 // RATE_HZ, after_gap=start == 0))
        yield tap


@dataclass
class Log:
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def note(self, *row: str) -> None:
        self.rows.append(row)


def job(folder: Path, keys: Keys, log: Log) -> ClipJob:
    def post(work: object) -> bool:
        work()  # type: ignore[operator]
        return True

    return ClipJob(folder / "clips", ClipsConfig(public_key_file=keys.public), post, log.note)


def hum(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(1)
    return 0.1 * noise.standard_normal(round(seconds * RATE_HZ))


def test_a_clip_opens_with_the_other_half_and_with_nothing_else(keys: Keys, tmp_path: Path) -> None:
    log = Log()
    clips = job(tmp_path, keys, log)
    sound = hum(1.0)
    name = clips.start(POINT, Sensor(sound), [0], 0.5, "lang")  # type: ignore[arg-type]
    wait_for(lambda: bool(log.rows), "the outcome")
    ((who, what, why, point, object_),) = log.rows
    assert (who, what, point, object_) == ("lang", "clip.record", POINT, name)
    assert why.startswith("0.5 s recorded")
    sealed = (tmp_path / "clips" / name).read_bytes()
    data = unseal(sealed, read_private_key(keys.private))
    heard, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    about = about_flac(data)
    assert (rate_hz, about["unit"], about["point"]) == (RATE_HZ, "full scale", POINT)
    np.testing.assert_allclose(heard * about["scale"], sound[: RATE_HZ // 2], atol=1e-6)
    with pytest.raises(ClipError, match="does not open"):
        unseal(sealed, X25519PrivateKey.generate())
    for at in (0, 20, 60, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(ClipError):
            unseal(bytes(changed), read_private_key(keys.private))


def test_the_desk_opens_a_clip_to_a_flac_file(keys: Keys, tmp_path: Path) -> None:
    (window,) = machine_windows(1)
    recipient = read_private_key(keys.private).public_key()
    (tmp_path / "one.eeclip").write_bytes(seal(flac(window), recipient))
    arguments = ["clip", "open", str(tmp_path / "one.eeclip"), str(tmp_path / "one.flac"), "--key", str(keys.private)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "pump/de from 1970-01-01" in done.output
    assert soundfile.info(tmp_path / "one.flac").frames == window.samples.shape[1]


def test_a_clip_in_which_somebody_speaks_is_dropped(keys: Keys, tmp_path: Path) -> None:
    log = Log()
    clips = job(tmp_path, keys, log)
    clips.start(POINT, Sensor(0.01 * hum(5.0) + 0.1 * talk(5.0, RATE_HZ)), [0], 5.0, "lang")  # type: ignore[arg-type]
    wait_for(lambda: bool(log.rows), "the outcome", 20)
    assert log.rows[0][2] == "dropped: somebody seems to speak"
    assert not list((tmp_path / "clips").glob("*"))


def test_one_clip_at_a_time_of_a_sensor_that_is_well(keys: Keys, tmp_path: Path) -> None:
    log = Log()
    clips = job(tmp_path, keys, log)
    with pytest.raises(OrderError, match="is not open"):
        clips.check(POINT, None)
    silent = Sensor(np.empty(0))
    clips.start(POINT, silent, [0], 5.0, "lang")  # type: ignore[arg-type]
    with pytest.raises(OrderError, match="another clip"):
        clips.check(POINT, silent)  # type: ignore[arg-type]
    wait_for(lambda: bool(silent.taps), "the thread to listen")
    silent.taps[0].ended = True
    wait_for(lambda: bool(log.rows), "the outcome")
    assert log.rows[0][2] == "not recorded: its sensor was closed"


def test_old_clips_and_too_many_are_deleted_and_that_is_written_down(keys: Keys, tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "clips"
    folder.mkdir()
    now_s = time.time()
    for name, age_s in (("old", 8 * 86400), ("ahead", -8 * 86400), ("big1", 20), ("big2", 10), ("new", 0)):
        path = folder / f"{name}.eeclip"
        path.touch()
        os.truncate(path, 60 << 20 if name.startswith("big") else 10)
        os.utime(path, (now_s - age_s, now_s - age_s))
    job(tmp_path, keys, log).tick()
    assert sorted(path.stem for path in folder.iterdir()) == ["big2", "new"]
    assert {row[4]: row[2] for row in log.rows} == {
        "old.eeclip": "older than 7 days",
        "ahead.eeclip": "older than 7 days",
        "big1.eeclip": "over 100 MiB",
    }


def test_a_private_key_on_the_gateway_is_refused_and_so_is_another_kind(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "signing.pub").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for file, why in ((keys.private, "must not be on the gateway"), (tmp_path / "signing.pub", "no public key")):
        with pytest.raises(ValidationError, match=why):
            make_config(gateway={"id": "gw", "clips": {"public_key_file": str(file)}})
    assert make_config().gateway.clips is None
