"""Throttle: how often somebody may try to log in. What it refuses costs no hash.

Counted by address and by name: five tries, then a wait that doubles with each further one, up to an hour. But a name
that is attacked must not keep its person out:

- where this person has logged in before, at this very address, only their own tries from there count;
- addresses that have failed lately share one count of the name;
- addresses that have not share another: thirty a minute, so that the right password gets in at its first try.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE_TRIES, FRESH_TRIES = 5, 30
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 3600.0
FORGOTTEN_S = 900.0  # without a try, after the wait is over
ENTRIES = 4096  # the one used longest ago gives way
Key = tuple[str, str, str]


@dataclass
class _Count:
    failed: int = 0
    free_s: float = 0.0
    """Nothing is tried before then."""

    used_s: float = 0.0


@dataclass(frozen=True)
class Try:
    """One try to log in. It counts as failed until ``Throttle.succeeded``."""

    wait_s: float
    """0: it may be made. Else it must not, and so long none may."""

    welcome: Key
    counts: tuple[Key, ...] = ()


class Throttle:
    """Bounded, in memory. Belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[Key, _Count] = OrderedDict()
        self._welcome: OrderedDict[Key, None] = OrderedDict()

    def begin(self, address: str, name: str) -> Try:
        """Ask whether a try may be made, and count it if so."""
        now, welcome, own = self._clock(), ("welcome", address, name), ("address", network_of(address), "")
        fresh = (known := self._known(own, now)) is None or known.failed == 0
        keys = [welcome] if welcome in self._welcome else [own, ("fresh" if fresh else "name", "", name)]
        held = [count.free_s - now for key in keys if (count := self._known(key, now)) is not None]
        if (wait_s := max(held, default=0.0)) > 0:
            return Try(wait_s, welcome)
        for key in keys:
            self._fail(key, now)
        return Try(0.0, welcome, tuple(keys))

    def succeeded(self, one: Try) -> None:
        """It was right: it does not count, and from there this person is let in whatever others try."""
        self.not_made(one)
        _keep(self._welcome, one.welcome, None)

    def not_made(self, one: Try) -> None:
        """Nobody looked whether it was right: it does not count."""
        for key in one.counts:
            if (count := self._counts.get(key)) is not None:
                count.failed, count.free_s = max(0, count.failed - 1), min(count.free_s, self._clock())

    def _known(self, key: Key, now: float) -> _Count | None:
        count = self._counts.get(key)
        return None if count is None or now > max(count.free_s, count.used_s) + FORGOTTEN_S else count

    def _fail(self, key: Key, now: float) -> None:
        count = self._known(key, now) or _Count()
        fresh = key[0] == "fresh"
        if fresh and count.failed >= FRESH_TRIES:  # its wait is over
            count = _Count()
        count.failed, count.used_s = count.failed + 1, now
        if (over := count.failed - (FRESH_TRIES if fresh else FREE_TRIES)) >= 0:
            count.free_s = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(over, 10))
        _keep(self._counts, key, count)


def _keep(table: OrderedDict[Key, _Count] | OrderedDict[Key, None], key: Key, value: _Count | None) -> None:
    table[key] = value  # type: ignore[assignment]
    table.move_to_end(key)
    if len(table) > ENTRIES:
        table.popitem(last=False)


def network_of(address: str) -> str:
    """Whose tries are counted together: an IPv4 address, or an IPv6 network of 64 bits, of which one host has all."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
