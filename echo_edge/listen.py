"""Listen to a point: its blocks from the running daemon or from the device itself, and what they show once a second.

Nothing is kept unless the caller writes it down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from echo_edge.capture import limits
from echo_edge.config import Config
from echo_edge.control_client import send_order
from echo_edge.errors import ListenError
from echo_edge.records import Limits, Window
from echo_edge.signal_checks import Finding, check_signal
from echo_edge.store import control_socket, state_folder
from echo_edge.tap import read_block, read_info
from sensors import Block, SensorError, SourceInfo, create_source

LOOK_S = 1
BANDS = 12  # with levels and health they fit a terminal of 24 lines
LOWEST_HZ = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one second of a point showed. C = channels of the point, B = frequency bands."""

    time_ns: int
    rms: tuple[float, ...]
    peak: tuple[float, ...]
    """Without the mean, for each channel, in the sensor's unit."""

    bands_hz: NDArray[np.float64]
    """Shape (B + 1,): the edges, evenly spaced on a logarithmic axis."""

    bands_rms: NDArray[np.float64]
    """Shape (B,): of the loudest channel, in the sensor's unit."""

    findings: tuple[Finding, ...]
    limits: Limits


class Listener:
    """Blocks of a device -> looks at one of its points, at any rate."""

    def __init__(self, point: str, channels: list[int], info: SourceInfo) -> None:
        self._point, self._channels, self._info = point, channels, info
        self._limits = limits(info, channels)
        self._held = np.zeros((0, len(channels)), dtype=np.float32)
        top_hz = info.rate_hz / 2
        self._edges_hz = np.geomspace(min(LOWEST_HZ, top_hz / 10), top_hz, BANDS + 1)

    def push(self, block: Block) -> Iterator[Look]:
        """Take a block; yield the seconds that it completes. None spans a gap."""
        if block.after_gap:
            self._held = self._held[:0]
        self._held = np.concatenate((self._held, block.samples[:, self._channels]))
        frames = self._info.rate_hz * LOOK_S
        while len(self._held) >= frames:
            second, self._held = self._held[:frames], self._held[frames:]
            time_ns = block.time_ns + (len(block.samples) - len(self._held) - frames) * 1_000_000_000 // frames
            yield self._look(
                Window(self._point, second.T.copy(), self._info.rate_hz, time_ns, self._info.unit, self._limits)
            )

    def _look(self, window: Window) -> Look:
        x = window.samples - window.samples.mean(axis=1, keepdims=True)
        rms = np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=1))
        return Look(
            window.time_ns,
            tuple(rms.tolist()),
            tuple(np.abs(x).max(axis=1).tolist()),
            self._edges_hz,
            self._bands(x[int(rms.argmax())], window.rate_hz),
            check_signal(window),
            window.limits,
        )

    def _bands(self, x: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
        hann = np.hanning(len(x)).astype(np.float32)
        power_f = np.abs(fft.rfft(x * hann)).astype(np.float64) ** 2 * 2 / (len(x) * float(np.sum(hann**2)))
        of_band = np.searchsorted(self._edges_hz, np.arange(len(power_f)) * rate_hz / len(x), side="right") - 1
        inside = (of_band >= 0) & (of_band < BANDS)
        return np.sqrt(np.bincount(of_band[inside], power_f[inside], BANDS))


@contextmanager
def live(config: Config, point: str, save_to: str | None = None) -> Iterator[tuple[SourceInfo, Iterator[Block | None]]]:
    """Open a point's device, through the running daemon or alone: what it is, and its blocks (None: none was due).

    Args:
        save_to: where the caller is going to store the samples; the daemon writes it to its log.

    Raises:
        ListenError: the device cannot be opened or failed, or the daemon went away.
    """
    order: dict[str, Any] = {"order": "listen", "point": point, "save_to": save_to}
    answers = send_order(control_socket(state_folder(config.gateway.id)), order)
    with closing(answers):
        try:
            first = next(answers, {"ok": False, "error": "the daemon went away"})
        except OSError:  # nobody listens there: no daemon runs
            with _alone(config, point) as (info, blocks):
                yield _heard(config, point, info), blocks
            return
        yield _heard(config, point, read_info(_or_error(first)["info"])), _from_daemon(answers)


def _heard(config: Config, point: str, info: SourceInfo) -> SourceInfo:
    """Insist that the point's device has its channels, and a waveform on them."""
    device, channels = config.points()[point].device, config.points()[point].channel_numbers
    if info.indicators:
        raise ListenError(
            f"{point}: {device} measures {', '.join(info.indicators)}, not a waveform; see its features on MQTT"
        )
    if max(channels) >= info.channels:
        raise ListenError(f"{point}: there is no channel {max(channels)}, {device} has {info.channels}, counted from 0")
    return info


def _from_daemon(answers: Iterator[dict[str, Any]]) -> Iterator[Block | None]:
    try:
        for answer in answers:
            yield read_block(answer["block"]) if "block" in _or_error(answer) else None
    except OSError as error:
        raise ListenError(f"the daemon went away: {error}") from error
    raise ListenError("the daemon stopped")


def _or_error(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise ListenError(answer["error"])
    return answer


@contextmanager
def _alone(config: Config, point: str) -> Iterator[tuple[SourceInfo, Iterator[Block | None]]]:
    name = config.points()[point].device
    device = config.devices[name]
    source = create_source(device.kind, name, **device.options)

    def blocks() -> Iterator[Block | None]:
        while True:
            yield source.read()

    try:
        yield source.open(), blocks()
    except SensorError as error:
        raise ListenError(str(error)) from error
    finally:
        source.close()
