"""Alerts on their way out: every step into the outbox, and once it is stored, what is open into the retained topics."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from echo_edge.album import Album
from echo_edge.alert_files import AlertFiles
from echo_edge.alert_life import Life, restored
from echo_edge.config import Config
from echo_edge.envelope import Listener, subject
from echo_edge.features import zoned
from echo_edge.machine_state import Machines
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, REST, WARNING, Outgoing
from echo_edge.payload import (
    Envelope,
    Payload,
    Topics,
    alert_active_payload,
    alert_payload,
    alerts_active_payload,
    encode,
    step_payload,
)
from echo_edge.pipeline import Point, Verdict
from echo_edge.publisher import Publisher
from echo_edge.sentence import place, step_text
from echo_edge.troubles import GatewayAlarms

log = logging.getLogger(__name__)

MESSAGE = "message"  # of a stored life: the newest message, as far as the outbox does not complete it
NEEDED = ("alert_id", "rev", "kind", "severity", "state", "opened", "text")  # of a message that is listed
WELL = "the sensor is well again"
GONE = "closed because it is not in the configuration any more"


def rank(life: Life) -> int:
    """How soon a step must go, and how late it may be dropped."""
    if life.type not in ("open", "escalate"):
        return REST
    return WARNING if life.severity == "warning" else CRITICAL


class OpenAlerts:
    """The newest message of every alert that somebody has to know of, as it is on disk.

    Told in the store's thread, begun in the pipeline's; hence the lock.
    """

    def __init__(
        self,
        publisher: Publisher,
        topics: Topics,
        envelope: Envelope,
        machines: Machines,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._listeners = listeners
        self._publisher, self._topics, self._envelope, self._machines = publisher, topics, envelope, machines
        self._newest: dict[str, Payload] = {}  # key of the life -> message
        self._opened: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def restore(self, life: Life, message: Payload) -> None:
        """An alert of before a restart; told with ``begin``."""
        self._newest[life.key] = message

    def begin(self, points: Mapping[str, Any]) -> None:
        """Tell what is open, or that nothing is."""
        with self._lock:
            for point in points:
                self._tell_point(point, time.time_ns())
            self._tell_list(time.time_ns())

    def told(self, life: Life, whole: Payload) -> None:
        """A step is on disk, or cannot be put there."""
        with self._lock:
            if life.over:
                self._newest.pop(life.key, None)
            else:
                self._newest[life.key] = whole
            if life.type == "open":
                self._opened[life.kind, life.severity] += 1
            self._listen(whole)
            if life.kind != "monitor":
                # whoever wants the whole gateway from one topic; who must not miss any has the point's own
                self._publisher.send_once(self._topics.alerts, encode(whole), qos=1)
                self._tell_point(life.about, life.time_ns)
            self._tell_list(life.time_ns)

    def counts(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """How many of each kind and severity are active now, and how many opened since the start; from any thread."""
        with self._lock:
            active = [message for message in self._newest.values() if message["state"] == "active"]
            return Counter((one["kind"], one["severity"]) for one in active), Counter(self._opened)

    def gone(self, life: Life, whole: Payload, machine_is_gone: bool) -> None:
        """The last step of a point that is not configured any more is on disk: nothing retained is left of it."""
        self._listen(whole)
        self._publisher.send_once(self._topics.alerts, encode(whole), qos=1)
        for topic in self._topics.retained(life.about):
            self._publisher.set_state(topic, b"")
        if machine_is_gone:
            self._publisher.set_state(self._topics.machine_state(life.about.partition("/")[0]), b"")

    def _tell_point(self, point: str, time_ns: int) -> None:
        alert, sensor = (self._active(f"{kind}:{point}") for kind in ("machine", "sensor"))
        payload = alert_active_payload(self._envelope, point, time_ns, alert, sensor)
        self._publisher.set_state(self._topics.alert_active(point), encode(payload))
        self._listen(payload)
        self._machines.alerts(point, tuple(one["alert_id"] for one in (alert, sensor) if one is not None))

    def _tell_list(self, time_ns: int) -> None:
        payload = alerts_active_payload(self._envelope, time_ns, self._newest.values())
        self._publisher.set_state(self._topics.alerts_active, encode(payload))
        self._listen(payload)

    def _listen(self, payload: Payload) -> None:
        for listen in self._listeners:
            listen(*subject(payload))

    def _active(self, key: str) -> Payload | None:
        message = self._newest.get(key)
        return None if message is None or message["state"] != "active" else message


class AlertReporter:
    """Takes every step of every alert; one thread uses it."""

    def __init__(
        self,
        config: Config,
        publisher: Publisher,
        outbox: Outbox,
        topics: Topics,
        envelope: Envelope,
        model: str,
        machines: Machines,
        album: Album | None,
        *,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.gateway = GatewayAlarms()
        self.standing: Mapping[str, Payload] = {}
        """Key of the life -> newest message, as far as the outbox does not complete it, of every alert that somebody
        has to know of. Replaced, never changed: it may be read from any thread."""

        self._config, self._outbox, self._topics, self._envelope = config, outbox, topics, envelope
        self._model, self._album = model, album
        self._files = None if album is None else AlertFiles(album.folder)
        self._open = OpenAlerts(publisher, topics, envelope, machines, listeners)

    def counts(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """Alerts by kind and severity: active now, and opened since the start; from any thread."""
        return self._open.counts()

    def restore(self, points: Mapping[str, Point]) -> set[str]:
        """Go on with the alerts of before a restart; return the ids of the machines' that are open.

        Those of points that are not configured any more are cleared. What cannot be read is left out.
        """
        for key, stored in list(self._outbox.lives.items()):
            try:
                life, message = restored(stored), _message_of(stored)
                if (life.key, life.alert_id, life.rev) != (key, message["alert_id"], message["rev"]):
                    raise ValueError("the message stored with it is another's")
            except (ValueError, TypeError, KeyError) as error:
                log.error("an alert of before the restart (%s) is forgotten, it cannot be read: %r", key, error)
                continue
            self.standing = {**self.standing, key: message}
            if life.kind != "monitor" and life.about not in points:
                self._gone(life)
                continue
            self._open.restore(life, message)
            if life.kind == "monitor":
                self.gateway.restore(life)
            elif life.kind == "sensor":
                points[life.about].sensor_alarm.slot.life = life
            else:
                points[life.about].policy.restore(life)
        return {point.open_alert.alert_id for point in points.values() if point.open_alert is not None}

    def begin(self) -> None:
        """Tell what is open, in place of what an earlier run left."""
        self._open.begin(self._config.points())

    def judged(self, verdict: Verdict) -> None:
        """A score made a step."""
        event, life = verdict.event, verdict.life
        if event is None or life is None:
            return
        evidence, title = zoned(self._config, verdict), self._config.title(event.point)
        picture = self._album.keep(event, evidence, title) if self._album and evidence else None
        self._put(life, alert_payload(self._envelope, event, self._model, title, evidence, picture))

    def step(self, life: Life, point: Point | None = None) -> None:
        """A person, time, a sensor or the gateway itself made a step; ``point`` is there when it is one's."""
        if point is None:
            where, what = f"gateway {self._topics.gateway}", self._of_gateway(life)
        else:
            where, what = place(life.about, self._config.title(life.about)), _of_sensor(life, point)
        trouble = None if point is None or life.kind != "sensor" else point.sensor_alarm.trouble
        reasons = () if trouble is None else trouble.reasons
        text = step_text(life, where) if what is None else step_text(life, where, what)
        before = None if life.type == "open" else self.standing.get(life.key)
        level = logging.INFO if life.type == "clear" else logging.WARNING
        log.log(level, "alert %s %s: %s", life.alert_id, life.type, text)
        self._put(life, step_payload(self._envelope, life, text, before, reasons))

    def _of_gateway(self, life: Life) -> str | None:
        """What is wrong with it; None where a restart forgot the sentence."""
        sentence = self.gateway.sentences.get(life.about)
        return sentence if life.active else f"no longer: {sentence or life.about}"

    def _put(self, life: Life, payload: Payload) -> None:
        kept = None if life.over else life.as_json() | {MESSAGE: payload}
        others = {key: message for key, message in self.standing.items() if key != life.key}
        self.standing = others if life.over else {**others, life.key: payload}
        monitor = life.kind == "monitor"
        self._outbox.put(
            Outgoing(
                self._topics.alerts if monitor else self._topics.alert(life.about),
                rank(life),
                payload,
                (life.key, kept),
                waits=not monitor,  # else a plant that listens to its points alone would never be rid of them
                then=lambda whole: self._open.told(life, whole),
            )
        )
        self._keep(payload)

    def _keep(self, payload: Payload) -> None:
        """After the alert was handed on: it must not wait for a disk that keeps what it was."""
        if self._files is not None:
            self._files.keep(payload)

    def _gone(self, life: Life) -> None:
        machine_is_gone = life.about.partition("/")[0] not in self._config.machines
        last = life.cleared(time.time_ns())
        text = step_text(last, place(life.about), GONE)
        payload = step_payload(self._envelope, last, text, self.standing[life.key])
        self.standing = {key: message for key, message in self.standing.items() if key != life.key}
        log.info("%s: alert %s is cleared: the point is not in the configuration any more", life.about, life.alert_id)
        self._outbox.put(
            Outgoing(
                self._topics.alert(life.about),
                rank(last),
                payload,
                (life.key, None),
                then=lambda whole: self._open.gone(last, whole, machine_is_gone),
            )
        )
        self._keep(payload)


def _of_sensor(life: Life, point: Point) -> str | None:
    """What is wrong with it; None where it is not known yet, or the step is a machine's."""
    trouble = point.sensor_alarm.trouble
    if life.kind != "sensor":
        return None
    return WELL if not life.active else None if trouble is None else trouble.text


def _message_of(stored: Payload) -> Payload:
    message: Payload = stored[MESSAGE]
    for name in NEEDED:
        message[name]  # a KeyError says which is missing
    return message
