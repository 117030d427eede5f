"""Nonces of orders: random numbers of the gateway that a signed order must name, so that it counts once only."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import dataclass, field

from echo_edge.operator_keys import b64u

NONCE_BYTES = 16
VALID_S = 120.0
RENEW_S = 60.0
KEPT = 64  # more than are used in VALID_S within the limits on orders


@dataclass(slots=True)
class _Nonce:
    text: str
    made_s: float
    used_by: set[str] = field(default_factory=set)


class Nonces:
    """The newest nonce, and those before it while they are valid. Times are monotonic: a wrong clock does no harm.

    A nonce is valid once for each key, so that operators who read the same one do not starve each other, and no signed
    order is valid twice. Any thread may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nonces: deque[_Nonce] = deque(maxlen=KEPT)

    def newest(self, now_s: float) -> tuple[str, bool]:
        """The nonce to use from now on, and whether it was made by this call, because the one before is old."""
        with self._lock:
            if self._nonces and now_s - self._nonces[-1].made_s < RENEW_S:
                return self._nonces[-1].text, False
        return self.renew(now_s), True

    def renew(self, now_s: float) -> str:
        """Make a new one now; those before stay valid."""
        with self._lock:
            self._nonces.append(_Nonce(b64u(secrets.token_bytes(NONCE_BYTES)), now_s))
            while now_s - self._nonces[0].made_s > VALID_S:
                self._nonces.popleft()
            return self._nonces[-1].text

    def is_fresh(self, text: str, key_id: str, now_s: float) -> bool:
        """True when it is ours, valid, and this key has not used it."""
        with self._lock:
            nonce = self._find(text, now_s)
            return nonce is not None and key_id not in nonce.used_by

    def use(self, text: str, key_id: str, now_s: float) -> bool:
        """Use it up for this key; False when it was not fresh."""
        with self._lock:
            nonce = self._find(text, now_s)
            if nonce is None or key_id in nonce.used_by:
                return False
            nonce.used_by.add(key_id)
            return True

    def _find(self, text: str, now_s: float) -> _Nonce | None:
        return next((n for n in self._nonces if n.text == text and now_s - n.made_s <= VALID_S), None)
