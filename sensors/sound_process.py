"""Starts the PortAudio child process and turns its refusals into messages with a mend."""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sensors import portaudio_child
from sensors.child import Child
from sensors.errors import SensorUnavailable
from sensors.soundcards import ROOT, capture_cards, holder, permission_problem

OPEN_S = 10.0  # a sound server may have to start first


def start_child(name: str, order: dict[str, Any]) -> tuple[Child, dict[str, Any], bytes]:
    """Give a child process its order; return it with its first answer and what followed the answer.

    Raises:
        SensorUnavailable: it cannot be carried out; the child is gone.
    """
    spec = find_spec("sounddevice")
    if spec is None or spec.origin is None:
        raise SensorUnavailable(name, "the Python package sounddevice is not installed")
    order = {**order, "path": [str(Path(spec.origin).parent)]}
    try:
        child = Child([sys.executable, "-I", str(Path(portaudio_child.__file__)), json.dumps(order)])
    except OSError as error:
        raise SensorUnavailable(name, f"no process for the sound device: {error}") from error
    try:
        answer, rest = _first_line(name, child)
        if "error" in answer:
            raise SensorUnavailable(name, explain(answer, order.get("device")))
    except SensorUnavailable:
        child.stop()
        raise
    return child, answer, rest


def explain(answer: dict[str, Any], device: str | None, root: Path = ROOT) -> str:
    """Return why the child refused, with what /proc and /dev know of it: who holds the card, or that we may not."""
    error, number = str(answer["error"]), answer["card"]
    if number is not None and (who := holder(number, root)):
        return f"{device or 'the default microphone'} is in use by {who}: stop it, or choose another device"
    if (answer["absent"] or number is not None) and (problem := permission_problem(root)):
        return f"{error}; {problem}"
    if answer["absent"]:
        held = [f"{name} by {who}" for n, name in capture_cards(root).items() if (who := holder(n, root))]
        if held:
            return f"{error}; in use: {', '.join(held)}"
    return error


def _first_line(name: str, child: Child) -> tuple[dict[str, Any], bytes]:
    received = b""
    deadline = time.monotonic() + OPEN_S
    while b"\n" not in received:
        data = child.receive(max(0.0, deadline - time.monotonic()))
        if data is None:
            raise SensorUnavailable(name, f"the sound device did not open within {OPEN_S:.0f} s")
        if not data:
            raise SensorUnavailable(name, f"the sound process ended: {child.last_words()}")
        received += data
    line, _, rest = received.partition(b"\n")
    answer: dict[str, Any] = json.loads(line)
    return answer, rest
