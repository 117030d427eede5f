"""Mirror of the audit log: each row that the daemon writes is told over MQTT, too, by way of the outbox."""

from __future__ import annotations

from collections.abc import Callable

from echo_edge.audit import AuditEntry
from echo_edge.envelope import Envelope, Payload, Topics
from echo_edge.outgoing import REST, Outgoing


def audit_payload(envelope: Envelope, entry: AuditEntry) -> Payload:
    """Return one row, as far as the outbox does not complete it."""
    try:
        stamp = envelope.stamp("audit", entry.time_ns, entry.point or None, counted=False)
    except ValueError:  # a point of which no topic can be made; the row is told all the same
        stamp = envelope.stamp("audit", entry.time_ns, counted=False)
    told = {"seq_of_log": entry.seq, "who": entry.who, "what": entry.what, "hash": entry.hash}
    return stamp | told | {k: v for k, v in (("why", entry.why), ("object", entry.object)) if v}


def mirror(put: Callable[[Outgoing], None], topics: Topics, envelope: Envelope) -> Callable[[AuditEntry], None]:
    """What to call with every new row; nobody waits for a subscriber."""

    def tell(entry: AuditEntry) -> None:
        put(Outgoing(topics.audit, REST, audit_payload(envelope, entry), waits=False))

    return tell
