"""The first two steps of a guided enrollment: is the sensor sound, and does the machine run? Pure."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.baseline import Baseline
from echo_edge.enroll import NOT_THE_SENSOR
from echo_edge.errors import EnrollError
from echo_edge.frontend import SPEC, band_edges_hz
from echo_edge.records import Embedding, Window
from echo_edge.self_test import Check
from echo_edge.signal_checks import Finding
from sensors import SourceInfo

MOST = 0.5  # a bad finding in more of the windows ends it
MAX_PPM = 500.0  # crystals are within 100
QUIET_DB = 6.0  # below the quietest state that is known
NOISE_DB = 20.0  # above the converter's rounding noise a machine is heard
DB = 20 / math.log(10)


class SensorCheck:
    """What some seconds of windows show of the sensor; each of its checks is told, the good ones as well.

    Args:
        active: the baseline in force; another sensor than its is no error, but told.
        live: False for recordings, which have no rate of their own, and a gap between any two.
    """

    def __init__(self, active: Baseline | None, *, live: bool, hop_s: float) -> None:
        self.windows = 0
        self.rate_ppm: float | None = None
        self.checks: tuple[Check, ...] = ()
        """Empty until it is finished."""

        self._active, self._live, self._hop_s = active, live, hop_s
        self._info: SourceInfo | None = None
        self._worst: dict[str, Finding] = {}
        self._bad: Counter[str] = Counter()
        self._last: Window | None = None
        self._gaps = 0
        self._rms: list[float] = []

    def opened(self, info: SourceInfo) -> None:
        self._info = info

    def hear(self, window: Window, findings: tuple[Finding, ...]) -> None:
        self.windows += 1
        for finding in findings:
            if finding.check in NOT_THE_SENSOR:
                continue
            self._bad[finding.check] += finding.bad
            if finding.check not in self._worst or finding.bad:
                self._worst[finding.check] = finding
        if self._last is not None and window.time_ns - self._last.time_ns > 1.5 * self._hop_s * 1e9:
            self._gaps += 1
        self._last = window
        if not (findings and findings[0].bad):
            self._rms.append(float(np.sqrt(np.var(window.samples, axis=1, dtype=np.float64).max())))

    def finish(self) -> None:
        """Say what was seen.

        Raises:
            EnrollError: most windows tell nothing of the machine; exit code 3.
        """
        window = self._last
        if window is None:
            raise EnrollError("no window came", 3)
        self.checks = (*self._of_windows(window), *(self._of_sensor(window) if self._live else ()))
        bad = [check for check in self.checks if check.severity == "bad"]
        if bad:
            raise EnrollError("; ".join(f"{check.check}: {check.text} ({check.advice})" for check in bad), 3)

    def _of_windows(self, window: Window) -> list[Check]:
        looked = ["silence", "stuck", "clipping", "dc", "level"]
        looked += ["gravity"] if window.limits.gravity else []
        looked += ["mains_hum"] if window.unit != "g" else []
        fine = {"level": f"{np.median(self._rms):.3g} {window.unit} RMS"} if self._rms else {}
        checks = [Check(name, "ok", fine.get(name, "")) for name in looked if name not in self._worst]
        for name, finding in self._worst.items():
            bad = self._bad[name] > MOST * self.windows
            checks.append(Check(name, "bad" if bad else "warning", finding.text, finding.advice))
        return checks

    def _of_sensor(self, window: Window) -> list[Check]:
        ppm = "" if self.rate_ppm is None else f", {self.rate_ppm:+.0f} ppm"
        wrong = self.rate_ppm is not None and abs(self.rate_ppm) > MAX_PPM
        checks = [
            Check("rate", "warning", f"{window.rate_hz} Hz{ppm}", "the device's rate setting, or samples that it loses")
            if wrong
            else Check("rate", "ok", f"{window.rate_hz} Hz{ppm}"),
            Check("gap", "warning", f"{self._gaps} in {self.windows} windows", "look at cable, USB hub and load")
            if self._gaps
            else Check("gap", "ok", "none"),
        ]
        if self._info is None:
            return checks
        known = "" if self._active is None else self._active.identity
        now, calibration = self._info.identity, self._info.calibration
        checks.append(
            Check("identity", "ok", now)
            if known in {"", now}
            else Check("identity", "warning", f"{now}; so far it was {known}", "right, if the sensor was replaced")
        )
        checks.append(
            Check("calibration", "ok", f"{calibration}, in {window.unit}")
            if calibration != "none"
            else Check(
                "calibration", "warning", f"none: samples in {window.unit}", "levels can only be compared with itself"
            )
        )
        return checks


class MachineCheck:
    """Does it run, and how does it sound: a coarse spectrum for a person to look at."""

    def __init__(self, active: Baseline | None) -> None:
        self.windows = 0
        self.checks: tuple[Check, ...] = ()
        self.spectrum: list[dict[str, Any]] = []
        """Per band its edges in Hz and the level of its strongest row in dB; for comparing bands, not absolute."""

        self._active = active
        self._levels_db: list[float] = []
        self._bands: list[NDArray[np.float32]] = []
        self._noise_db: float | None = None
        self._unit = ""

    def hear(self, window: Window, embedding: Embedding) -> None:
        self.windows += 1
        self._unit = window.unit
        self._levels_db.append(float(embedding.level_db.max()))
        self._bands.append(embedding.spectrum.max(axis=(0, 2)))  # the loudest channel's strongest row of each band
        if window.limits.lsb:
            self._noise_db = 20 * math.log10(max(window.limits.lsb) / math.sqrt(12))
        mean = np.stack(self._bands).mean(axis=0, dtype=np.float64) * SPEC.log_scale + SPEC.log_mean
        self.spectrum = [
            {"hz": [round(low, 1), round(high, 1)], "db": round(level * DB, 1)}
            for (low, high), level in zip(band_edges_hz(window.rate_hz), mean.tolist(), strict=True)
        ]

    def finish(self) -> None:
        """Say whether it is loud enough to be running; without a window there is nothing to say."""
        if not self._levels_db:
            return
        level_db = float(np.median(self._levels_db))
        text = f"{level_db:.1f} dB re 1 {self._unit}"
        comparable = self._active is not None and self._active.origin.unit == self._unit
        known_db = [float(s.quiet_db.max()) for s in self._active.states] if self._active and comparable else []
        if known_db and level_db < min(known_db) - QUIET_DB:
            below = min(known_db) - level_db
            text = f"{text}: {below:.0f} dB below the quietest state that is known"
            self.checks = (Check("quiet", "warning", text, "is it running, and loaded as usual?"),)
        elif self._noise_db is not None and level_db < self._noise_db + NOISE_DB:
            text = f"{text}: little above the sensor's own noise"
            self.checks = (Check("quiet", "warning", text, "is it running? is the range much too large?"),)
        else:
            self.checks = (Check("machine", "ok", text),)
