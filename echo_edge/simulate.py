"""Simulate: a stand-in for a sensor, over its real transport, with troubles on request. No hardware needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from echo_edge.errors import SimulateError
from sensors import STAND_INS, Machine, PtyPort, PtyVibrationMeter, PulseMicrophone, make_protocol

AWAY_S = 5.0  # how long a stand-in is silent, suspended or unplugged
Trouble = Callable[[threading.Event], None]
"""Makes the trouble, and ends it again within ``AWAY_S`` or when the event is set."""

RATES_HZ = {"microphone": 48_000, "ee1": 26_667, "picoquake": 2_000, "witmotion": 200, "csv": 500}
KINDS = (*RATES_HZ, "wtvb01")
TROUBLES = {
    "lose": "a tenth of a second of samples, and their numbers with them",
    "corrupt": "one byte on the wire is damaged",
    "cut": "half a frame",
    "garbage": "bytes that belong to nothing",
    "restart": "the sensor counts anew, as after a loss of power",
    "silent": f"nothing comes for {AWAY_S:g} s, without an error",
    "unplug": f"the cable is out for {AWAY_S:g} s",
    "gain": f"half the volume for {AWAY_S:g} s",
    "zeros": f"every register reads zero for {AWAY_S:g} s",
}


@dataclass(frozen=True)
class StandIn:
    """What was made, and how to use it."""

    config_line: str
    """To paste below ``devices:``."""

    env: dict[str, str] = field(default_factory=dict)
    """What the daemon's environment needs to find it."""

    troubles: dict[str, Trouble] = field(default_factory=dict)


@contextmanager
def stand_in(
    kind: str,
    *,
    rate_hz: int | None = None,
    seed: int = 0,
    fault: str | None = None,
    severity: float = 1.0,
    link: Path | None = None,
    clock_ppm: float = 0.0,
) -> Iterator[StandIn]:
    """Make the stand-in for one kind of sensor on an invented machine.

    Args:
        kind: one of ``KINDS``.
        rate_hz: samples per second; None takes the usual one of the kind.
        seed, fault, severity: which machine, and what is wrong with it (see ``Machine``).
        link: a stable name for the serial port, which comes and goes with it.
        clock_ppm: how fast the sensor's clock runs: a drift, or a wrong rate.

    Raises:
        SimulateError: this machine lacks what the stand-in needs, or an option does not suit it.
    """
    if kind == "wtvb01" and (rate_hz or fault or clock_ppm):
        raise SimulateError("wtvb01: it has readings of its own: no rate, fault or clock can be given")
    rate_hz = rate_hz or RATES_HZ.get(kind, 1)
    machine = Machine(seed, rate_hz, 1, "Pa") if kind == "microphone" else Machine(seed, rate_hz, 3, gravity=True)
    machine.set_fault(fault, severity)
    with ExitStack() as stack:
        try:
            if kind == "microphone":
                if link or clock_ppm:
                    raise SimulateError("--link and --clock-ppm are for serial sensors, not for a microphone")
                yield _microphone(stack, machine)
            elif kind == "wtvb01":
                yield _meter(stack.enter_context(PtyVibrationMeter(seed=seed, link=link)), link)
            else:
                yield _serial(stack, kind, machine, link, clock_ppm)
        except (OSError, RuntimeError, ValueError) as error:
            raise SimulateError(f"{kind}: {error}") from error


def _microphone(stack: ExitStack, machine: Machine) -> StandIn:
    pulse = stack.enter_context(PulseMicrophone(machine.rate_hz))
    pulse.play_machine(machine)

    def silent(stop: threading.Event) -> None:
        pulse.hang(True)
        stop.wait(AWAY_S)
        pulse.hang(False)

    def gain(stop: threading.Event) -> None:
        pulse.control("set-source-volume", "vmic.monitor", "50%")
        stop.wait(AWAY_S)
        pulse.control("set-source-volume", "vmic.monitor", "100%")

    line = f"mic1: {{kind: microphone, device: {pulse.device}, rate_hz: {machine.rate_hz}}}"
    return StandIn(line, pulse.env, {"silent": silent, "gain": gain})


def _serial(stack: ExitStack, kind: str, machine: Machine, link: Path | None, clock_ppm: float) -> StandIn:
    if kind == "picoquake":
        make_protocol(kind, rate_hz=machine.rate_hz)  # its ValueError names the rates that there are
    sensor = stack.enter_context(STAND_INS[kind](machine, link=link, clock_ppm=clock_ppm))
    port = sensor.port
    rate = f", rate_hz: {machine.rate_hz}" if kind in {"picoquake", "csv"} else ""

    def silent(stop: threading.Event) -> None:
        sensor.silent.set()
        stop.wait(AWAY_S)
        sensor.silent.clear()

    troubles: dict[str, Trouble] = {
        "lose": lambda _: sensor.lose(max(1, machine.rate_hz // 10)),
        "corrupt": lambda _: sensor.corrupt(),
        "cut": lambda _: sensor.cut_frame(),
        "garbage": lambda _: sensor.send(b"\x01\xffgarbage\xaa\0\x55"),
        "restart": lambda _: sensor.restart(),
        "silent": silent,
    }
    if link is not None:  # without a stable name it would come back as a port that nobody knows
        troubles["unplug"] = _unplugging(sensor)
    return StandIn(f"acc1: {{kind: accelerometer, port: {port}, protocol: {kind}{rate}}}", {}, troubles)


def _unplugging(port: PtyPort) -> Trouble:
    def trouble(stop: threading.Event) -> None:
        port.unplug()
        stop.wait(AWAY_S)
        port.plug()

    return trouble


def _meter(meter: PtyVibrationMeter, link: Path | None) -> StandIn:
    def while_set(event: threading.Event) -> Trouble:
        def trouble(stop: threading.Event) -> None:
            event.set()
            stop.wait(AWAY_S)
            event.clear()

        return trouble

    def corrupt(stop: threading.Event) -> None:
        meter.spoil = lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])
        stop.wait(1)
        meter.spoil = None

    troubles = {"silent": while_set(meter.silent), "zeros": while_set(meter.zeros), "corrupt": corrupt}
    if link is not None:
        troubles["unplug"] = _unplugging(meter)
    line = f"meter1: {{kind: vibration_meter, port: {meter.port}, velocity_scale_mm_s: 0.001}}"
    return StandIn(line, {}, troubles)


def check_troubles(made: StandIn, names: list[str]) -> None:
    """Insist that the stand-in knows these troubles.

    Raises:
        SimulateError: it does not know one of them.
    """
    for name in names:
        if name not in made.troubles:
            hint = "; give it a stable name with --link" if name == "unplug" else ""
            raise SimulateError(f"no trouble '{name}' here; there is: {', '.join(made.troubles)}{hint}")


def make_trouble(
    made: StandIn, names: list[str], every_s: float, seconds: float, stop: threading.Event, say: Callable[[str], None]
) -> None:
    """Make the named troubles in turn, one every ``every_s``, until ``seconds`` are over or ``stop`` is set."""
    ends_s = time.monotonic() + seconds
    for name in cycle(names or [""]):
        left_s = ends_s - time.monotonic()
        if left_s <= 0 or stop.wait(min(every_s, left_s)):
            return
        if name and time.monotonic() < ends_s:
            say(f"{name}: {TROUBLES[name]}")
            made.troubles[name](stop)
