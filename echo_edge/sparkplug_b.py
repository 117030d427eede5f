"""Sparkplug B payloads: metrics to protobuf bytes and back; the only file that knows protobuf.

The messages are built here from a table, not by a compiler: generated code is promised to run under one major
version of protobuf and the next, and which version is installed is onnxruntime's choice. The table holds what we
send and what is sent to us; data sets, templates, properties and metadata are fields unknown here, which are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PACKAGE = "org.eclipse.tahu.protobuf"
# name, number, type: Sparkplug 3.0, section 6.4.1 (Google Protocol Buffer Schema)
METRIC_FIELDS = (
    ("name", 1, "STRING"),
    ("alias", 2, "UINT64"),
    ("timestamp", 3, "UINT64"),
    ("datatype", 4, "UINT32"),
    ("is_historical", 5, "BOOL"),
    ("is_transient", 6, "BOOL"),
    ("is_null", 7, "BOOL"),
)
VALUE_FIELDS = (
    ("int_value", 10, "UINT32"),
    ("long_value", 11, "UINT64"),
    ("float_value", 12, "FLOAT"),
    ("double_value", 13, "DOUBLE"),
    ("boolean_value", 14, "BOOL"),
    ("string_value", 15, "STRING"),
    ("bytes_value", 16, "BYTES"),
)
PAYLOAD_FIELDS = (("timestamp", 1, "UINT64"), ("seq", 3, "UINT64"), ("uuid", 4, "STRING"), ("body", 5, "BYTES"))


class Kind(IntEnum):
    """Data types of the metrics that we send, by their number in the specification."""

    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13


FIELD_OF = {
    Kind.INT64: "long_value",
    Kind.DOUBLE: "double_value",
    Kind.BOOLEAN: "boolean_value",
    Kind.STRING: "string_value",
    Kind.DATETIME: "long_value",
}
KIND_OF = {int(kind): kind for kind in Kind}
KIND_BY_FIELD = {FIELD_OF[kind]: kind for kind in reversed(Kind)}  # of a command that leaves its data type out
Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Metric:
    """One named value at one time."""

    name: str
    kind: Kind
    value: Value | None
    """None: not known. Of a ``DATETIME``, milliseconds since 1970."""

    time_ms: int
    """When it became so, milliseconds since 1970."""

    historical: bool = False
    """It was so once, and says nothing of now."""

    def as_history(self) -> Metric:
        return replace(self, historical=True)


@dataclass(frozen=True, slots=True)
class Content:
    """One payload."""

    metrics: tuple[Metric, ...]
    time_ms: int | None
    seq: int | None


def encode(metrics: Iterable[Metric], time_ms: int, seq: int | None) -> bytes:
    """Return a payload; ``seq`` None leaves the number out, as a death certificate does."""
    payload = _PAYLOAD(timestamp=time_ms)
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        one = payload.metrics.add(name=metric.name, timestamp=metric.time_ms, datatype=int(metric.kind))
        if metric.historical:
            one.is_historical = True
        if metric.value is None:
            one.is_null = True
        else:
            # negative integers travel as their two's complement
            value = metric.value % 2**64 if metric.kind is Kind.INT64 else metric.value
            setattr(one, FIELD_OF[metric.kind], value)
    encoded: bytes = payload.SerializeToString()
    return encoded


def decode(payload: bytes) -> Content:
    """Return what a payload says; metrics without a name or of kinds that we do not use are left out.

    Raises:
        ValueError: it is no Sparkplug B payload.
    """
    try:
        message = _PAYLOAD.FromString(payload)
    except DecodeError as error:
        raise ValueError(f"no Sparkplug B payload: {error}") from error
    return Content(
        tuple(metric for one in message.metrics if (metric := _metric(one)) is not None),
        message.timestamp if message.HasField("timestamp") else None,
        message.seq if message.HasField("seq") else None,
    )


def _metric(one: Any) -> Metric | None:
    kind = KIND_OF.get(one.datatype) if one.HasField("datatype") else KIND_BY_FIELD.get(one.WhichOneof("value"))
    if not one.name or kind is None:
        return None
    value = None if one.is_null or not one.HasField(FIELD_OF[kind]) else getattr(one, FIELD_OF[kind])
    if kind is Kind.INT64 and value is not None and value >= 2**63:
        value -= 2**64
    return Metric(one.name, kind, value, one.timestamp, one.is_historical)


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="echo_edge/sparkplug_b", package=PACKAGE, syntax="proto2")
    payload = file.message_type.add(name="Payload")
    metric = payload.nested_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind in METRIC_FIELDS:
        _add(metric, name, number, kind)
    for name, number, kind in VALUE_FIELDS:
        _add(metric, name, number, kind).oneof_index = 0
    for name, number, kind in PAYLOAD_FIELDS:
        _add(payload, name, number, kind)
    metrics = _add(payload, "metrics", 2, "MESSAGE")
    metrics.label, metrics.type_name = metrics.LABEL_REPEATED, f".{PACKAGE}.Payload.Metric"
    pool = descriptor_pool.DescriptorPool()  # our own: another package may bring the same names
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Payload"))


def _add(message: Any, name: str, number: int, kind: str) -> Any:
    field = message.field.add(name=name, number=number)
    field.label, field.type = field.LABEL_OPTIONAL, getattr(field, f"TYPE_{kind}")
    return field


_PAYLOAD = _payload_class()
