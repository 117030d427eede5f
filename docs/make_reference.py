"""Write docs/configuration.md and configs/daemon/schema.json from the models in echo_edge/config*.py, and the AsyncAPI
document from the table in echo_edge/contract.py.

.venv/bin/python docs/make_reference.py            write them
.venv/bin/python docs/make_reference.py --check    exit 1 when one of them is stale
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from echo_edge import config, contract
from echo_edge import config_clips as clips
from echo_edge import config_devices as devices
from echo_edge import config_ecosystems as ecosystems
from echo_edge import config_machine as machine
from echo_edge import config_metrics as metrics
from echo_edge import config_mqtt as mqtt
from echo_edge import config_orders as orders
from echo_edge import config_states as states
from echo_edge.config_model import ID_PATTERN

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "configs" / "daemon" / "schema.json"
ASYNCAPI = ROOT / "echo_edge" / "schemas" / "asyncapi.json"

INTRODUCTION = """\
# Configuration

<!-- Written by docs/make_reference.py from the models in echo_edge/config*.py: change it there and run it. -->

One YAML file describes one gateway. A commented one is [example.yaml](../configs/daemon/example.yaml).
Check a file before the daemon reads it: every problem is named with its line; the exit code is then 78.

```console
$ echo-edge check line1.yaml
line1.yaml:9: machines.pump-12.points.de.window.lenght_s: unknown key; did you mean 'length_s'?
```

- Keys that are not listed here are refused, and so are keys that stand twice.
- A number's unit is the end of its key: `_s` seconds, `_hz` hertz, `_mm` millimetres,
  `_deg` degrees, `_db` decibels.
- An *id* has up to 48 lower-case letters, digits, `-` and `_`, and starts with a letter or digit. Ids become parts of
  MQTT topics.
- A path is absolute, or relative to the folder of the configuration file. The files must exist.
- The daemon reads the file at its start and when it is told to: `systemctl reload` (SIGHUP) after a change.
- A change of `model`, of a point's `channels`, of `window.length_s`, or of the device's rate or unit makes the point
  `not_monitored` until it is enrolled again: its baseline was made with another signal. Another sensor shows as
  `sensor_changed`. A new `scale` in the same unit is not noticed so far: enroll again yourself.
- `scale` of a microphone is per full scale (-1 to 1), `scale` of a recording per step of the stored integer.
- `check` also loads the model, reads the password file, and compares a point's channels with those of a microphone or
  simulator. What a device turns out not to have makes only the points that ask for it
  `not_monitored`.

For completion and hints in an editor that has the YAML language server, begin the file with a line that names the
schema ([schema.json](../configs/daemon/schema.json)), by path or address:

```yaml
# yaml-language-server: $schema=schema.json
```
"""
SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The file", config.Config, ""),
    ("`gateway`", config.GatewayConfig, "gateway: {id: gw-hall3}"),
    ("`gateway.history`", config.HistoryConfig, "history: {keep_days: 30, max_mb: 2000}"),
    ("`gateway.clips`", clips.ClipsConfig, "clips: {public_key_file: clip-public.pem}"),
    ("`gateway.outbox`", config.OutboxConfig, "outbox: {max_mb: 64, max_age_days: 90}"),
    ("`engine`", config.EngineConfig, "engine: {kind: auto, threads: 2}"),
    (
        "`mqtt`",
        mqtt.MqttConfig,
        "mqtt: {host: broker.example, port: 8883, tls: {ca_file: ca.pem}, username: gw-hall3, password_file: password}",
    ),
    ("`mqtt.tls`", mqtt.TlsConfig, ""),
    ("`mqtt.homeassistant`", ecosystems.HomeAssistantConfig, "homeassistant: {enabled: true}"),
    ("`mqtt.sparkplug`", ecosystems.SparkplugConfig, "sparkplug: {group: hall3, primary_host: ignition}"),
    (
        "`orders`",
        orders.OrdersConfig,
        "orders: {mqtt: true, operators: {m-lang: {role: technician, key_file: m-lang.key}}}",
    ),
    (
        "`orders.operators.NAME`",
        orders.OperatorConfig,
        "m-lang: {role: technician, public_key: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}",
    ),
    ("`metrics`", metrics.MetricsConfig, "metrics: {port: 9464}"),
    (
        "`devices.NAME` of kind `microphone`",
        devices.MicrophoneConfig,
        'mic1: {kind: microphone, device: "usb:0d8c:0014:A1", rate_hz: 48000}',
    ),
    (
        "`devices.NAME.calibration` of kind `microphone`",
        devices.CalibrationConfig,
        "calibration: {file: umik.txt, sign: response}",
    ),
    (
        "`devices.NAME` of kind `accelerometer`",
        devices.AccelerometerConfig,
        "acc1: {kind: accelerometer, port: /dev/serial/by-id/usb-acme-1}",
    ),
    (
        "`devices.NAME` of kind `wavfile`",
        devices.WavFileConfig,
        "rec1: {kind: wavfile, files: [{path: pump.wav}]}",
    ),
    ("`devices.NAME.files[]`", devices.RecordingConfig, ""),
    (
        "`devices.NAME` of kind `simulator`",
        devices.SimulatorConfig,
        "sim1: {kind: simulator, rate_hz: 25600, channels: 3, fault: outer_race}",
    ),
    ("`devices.NAME` of kind `iio`", devices.IioConfig, "acc2: {kind: iio, device: adxl355, rate_hz: 4000}"),
    (
        "`devices.NAME` of kind `mcc172`",
        devices.Mcc172Config,
        "daq1: {kind: mcc172, channels: [0, 1], iepe: true, sensitivity_mv_per_unit: [100.4, 99.1]}",
    ),
    (
        "`devices.NAME` of kind `vibration_meter`",
        devices.VibrationMeterConfig,
        "vib1: {kind: vibration_meter, port: /dev/serial/by-id/usb-rs485-1, velocity_scale_mm_s: 0.001}",
    ),
    ("`machines.NAME`", config.MachineConfig, "pump-12: {title: Feed pump 12, points: {de: {device: acc1}}}"),
    (
        "`machines.NAME.operating_state`",
        states.OperatingStateConfig,
        'operating_state: {topic: plant/pump-12/state, settle_s: 10, values: {"1": run-50hz, "0": idle}}',
    ),
    ("`machines.NAME.adaptation`", config.AdaptationConfig, "adaptation: {share_per_month: 0.05}"),
    ("`machines.NAME.points.NAME`", config.PointConfig, "de: {device: acc1, channels: [x, y, z]}"),
    ("`machines.NAME.points.NAME.window`", config.WindowConfig, "window: {length_s: 5, hop_s: 2.5}"),
    ("`machines.NAME.points.NAME.alert`", config.AlertConfig, "alert: {windows: 10, strange_windows: 6}"),
    (
        "`machines.NAME.points.NAME.bearing`",
        machine.BearingConfig,
        "bearing: {rolling_elements: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04}",
    ),
)
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
UNITS = {"_mm_s": "mm/s", "_s": "s", "_hz": "Hz", "_mm": "mm", "_deg": "degrees", "_db": "dB"}
BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def page() -> str:
    """Return the whole reference in Markdown."""
    return "\n".join([INTRODUCTION, *(_section(*section) for section in SECTIONS)])


def schema() -> str:
    """Return the JSON Schema of the file, for editors."""
    body = config.Config.model_json_schema()
    _plain(body)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": "echo-edge gateway"}
    return json.dumps(named, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    texts = {PAGE: page(), SCHEMA: schema(), ASYNCAPI: contract.render(contract.asyncapi())}
    stale = [path for path, text in texts.items() if _read(path) != text]
    if arguments == ["--check"]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run python docs/make_reference.py\n")
        return 1 if stale else 0
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _section(title: str, model: type[BaseModel], example: str) -> str:
    lines = [f"## {title}", "", _markdown(getdoc(model) or "")]
    if example:
        lines += ["", "```yaml", example, "```"]
    lines += ["", "| key | type | default | range | meaning |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_row(name, field))} |" for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    is_id = any(getattr(m, "pattern", None) == ID_PATTERN for m in field.metadata)
    kind = "id" if is_id else _type(field.annotation)
    return f"`{name}`", kind, _default(field), _range(field, unit), _meaning(name, field)


def _meaning(name: str, field: FieldInfo) -> str:
    if field.description:
        return _markdown(field.description)
    if name == "kind":
        return "Which driver reads the device."
    model = field.annotation
    return _markdown(getdoc(model) or "") if isinstance(model, type) else ""


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        text = "id" if any(getattr(m, "pattern", None) == ID_PATTERN for m in arguments[1].metadata) else "device"
    elif origin is typing.Literal:
        text = " or ".join(_code(value) for value in arguments)
    elif origin in (typing.Union, types.UnionType):
        text = " or ".join(_type(member) for member in arguments if member is not types.NoneType)
    elif origin is list:
        text = f"list of {_type(arguments[0])}"
    elif origin is dict:
        text = f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    elif issubclass(annotation, BaseModel):
        text = "section"
    else:
        text = TYPES[annotation]
    return text


def _code(value: Any) -> str:
    """Return a value as it is written in YAML: quoted where YAML would take the text for a number."""
    bare = isinstance(value, str) and not value.replace(".", "").isdigit()
    return f"`{value if bare else json.dumps(value)}`"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None:
        return "absent"
    if isinstance(value, BaseModel):
        return "its defaults"
    return _code(value)


def _range(field: FieldInfo, unit: str) -> str:
    parts = [
        f"{sign} {_figure(getattr(m, key))}"
        for kind, key, sign in BOUNDS
        for m in field.metadata
        if isinstance(m, kind)
    ]
    text = ", ".join(parts) + (f" {unit}" if unit and parts else unit)
    if any(isinstance(m, MinLen) for m in field.metadata):
        text = "at least one"
    return text


def _figure(value: float) -> str:
    return f"{value:,.10g}" if value >= 10_000 else f"{value:g}"


def _markdown(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def _plain(node: Any) -> None:
    """Turn the docstrings' double backquotes into what an editor shows best."""
    for child in _children(node):
        _plain(child)
    if isinstance(node, dict) and isinstance(node.get("description"), str):
        node["description"] = _markdown(node["description"])


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
