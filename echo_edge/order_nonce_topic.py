"""The topic ``cmd/nonce``: the newest nonce lies there, retained, and again when somebody else's took its place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from echo_edge.envelope import Envelope, Topics
from echo_edge.order_answers import encoded, nonce_payload
from echo_edge.order_nonces import VALID_S, Nonces
from echo_edge.order_replies import Mouth

AGAIN_S = 5.0  # ours is put back no more often


class NonceTopic:
    """Publishes nonces; any thread may call."""

    def __init__(
        self,
        mouth: Mouth,
        topics: Topics,
        envelope: Envelope,
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self.nonces = Nonces()
        self._mouth, self._topic, self._envelope = mouth, topics.nonce, envelope
        self._now_ns, self._monotonic_s = now_ns, monotonic_s
        self._lock = threading.Lock()  # what is newest is published last
        self._ours: deque[bytes] = deque(maxlen=16)
        self._again_s = -AGAIN_S

    def tick(self) -> None:
        """Publish a new one when the one that lies there is old."""
        with self._lock:
            nonce, made = self.nonces.newest(self._monotonic_s())
            if made:
                self._publish(nonce)

    def renew(self) -> None:
        with self._lock:
            self._publish(self.nonces.renew(self._monotonic_s()))

    def heard(self, payload: bytes) -> bool:
        """Take in what came on the topic; True when it was not ours, and ours was published again."""
        now_s = self._monotonic_s()
        with self._lock:
            if not self._ours or payload in self._ours or now_s - self._again_s < AGAIN_S:
                return False
            self._again_s = now_s
            self._mouth.set_state(self._topic, self._ours[-1])
            return True

    def stop(self) -> None:
        """Leave nothing there: nobody takes orders from here on."""
        self._mouth.set_state(self._topic, b"")

    def _publish(self, nonce: str) -> None:
        payload = encoded(nonce_payload(self._envelope, self._now_ns(), nonce, VALID_S)).encode()
        self._ours.append(payload)
        self._mouth.set_state(self._topic, payload)
