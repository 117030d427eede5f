"""Every parser under damaged bytes: nothing breaks, nothing grows, the next good frames are found, and what passes on.

What each format can promise beside that:
  ee1        every sample passed on is one that was sent, in order, and every omission is a gap of the exact length
  picoquake  order, and a gap for every omission; a sample may carry a wrong number (no checksum)
  csv        the same, by the time of the lines
  witmotion  a single wrong byte never passes and is a gap; nothing counts frames, so order and omissions are not seen
The shares of damaged frames that pass are printed (``pytest -s``). ECHO_EDGE_TORTURE=1 makes it ten million bytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensors.identify import what_speaks
from sensors.protocol import Protocol, ProtocolError, Samples
from sensors.protocols import make_protocol
from tests.sensors.formats import FIRST, FORMATS, Format, held, number

TORTURE = os.environ.get("ECHO_EDGE_TORTURE") == "1"
BYTES = 10_000_000 if TORTURE else 1_000_000
BODY = 10_000  # bytes of a stream that may be damaged
HEAD_FRAMES, TAIL_FRAMES = 6, 12
UNSEEN = 2  # good frames after the damage that may be needed to find the way back
EXACT, COUNTED = ("ee1",), ("ee1", "picoquake", "csv")

Mutation = Callable[[bytearray, int, int, np.random.Generator], None]


def flip(data: bytearray, at: int, _length: int, random: np.random.Generator) -> None:
    data[at] ^= int(random.integers(1, 256))


def delete(data: bytearray, at: int, length: int, _random: np.random.Generator) -> None:
    del data[at : at + length]


def insert(data: bytearray, at: int, length: int, random: np.random.Generator) -> None:
    data[at:at] = random.bytes(length)


def truncate(data: bytearray, at: int, length: int, _random: np.random.Generator) -> None:
    del data[max(at, len(data) - 4 * length) :]


def duplicate(data: bytearray, at: int, length: int, _random: np.random.Generator) -> None:
    data[at:at] = data[at : at + length]


def swap(data: bytearray, at: int, length: int, _random: np.random.Generator) -> None:
    first, second = data[at : at + length], data[at + length : at + 2 * length]
    data[at : at + 2 * length] = second + first


def overwrite(data: bytearray, at: int, length: int, random: np.random.Generator) -> None:
    end = min(len(data), at + length)
    data[at:end] = random.bytes(end - at)


MUTATIONS: dict[str, Mutation] = {f.__name__: f for f in (flip, delete, insert, truncate, duplicate, swap, overwrite)}
damage = st.tuples(
    st.sampled_from(sorted(MUTATIONS)), st.floats(0, 1), st.integers(1, 300), st.integers(0, (1 << 32) - 1)
)
PIECES = st.sampled_from([29, 64, 500, 4096, 1 << 15])


class Tally:
    """What came of all examples of one format."""

    def __init__(self, form: Format) -> None:
        self.form = form
        self.count: Counter[str] = Counter()
        body_frames = BODY // len(form.frame(FIRST))
        self.head = form.stream(FIRST, HEAD_FRAMES)
        body = [form.frame(FIRST + (HEAD_FRAMES + i) * form.frame_samples) for i in range(body_frames)]
        for at in range(len(body) - 20, 0, -60):
            body.insert(at, form.interlude)
        self.body = b"".join(body)
        self.tail_first = FIRST + (HEAD_FRAMES + body_frames) * form.frame_samples
        self.tail = form.stream(self.tail_first, TAIL_FRAMES)
        self.sent = HEAD_FRAMES + body_frames + TAIL_FRAMES

    def run(self, body: bytes, piece: int) -> None:
        """Feed one damaged stream and judge what comes out."""
        protocol = self.form.introduced()
        data = self.head + body + self.tail
        self.count["bytes"] += len(data)
        runs: list[Samples] = []
        try:
            for at in range(0, len(data), piece):
                runs += protocol.push(data[at : at + piece])
                assert held(protocol) <= self.form.most_held
        except ProtocolError:
            self.count["ended"] += 1
            self._judge(runs, protocol, ended=True)
        else:
            self._judge(runs, protocol, ended=False)

    def _judge(self, runs: list[Samples], protocol: Protocol, *, ended: bool) -> None:
        before: int | None = None
        passed: set[int] = set()
        for lost, numbers in self._stretches(runs):
            for i, n in enumerate(numbers):
                known = before is not None and n is not None
                if known and n is not None and before is not None:
                    self.count["disorder"] += n <= before
                    self.count["unmarked"] += n > before + 1 and (i > 0 or lost is None)
                    self.count["wrong length"] += i == 0 and lost is not None and lost != n - before - 1
                if n is not None:
                    passed.add(n)
                    before = n
                elif before is not None:
                    before = None if i == 0 and lost is not None else before + 1
        assert protocol.counters["resets"] == 0 or self.form.name not in EXACT
        if ended:
            return
        self.count["damaged"] += self.sent - len(passed) // self.form.frame_samples
        must = range(
            self.tail_first + UNSEEN * self.form.frame_samples,
            self.tail_first + TAIL_FRAMES * self.form.frame_samples,
        )
        missing = [n for n in must if n not in passed]
        assert not missing, f"not found again after the damage: {len(missing)} of {len(must)} samples"

    def _stretches(self, runs: list[Samples]) -> Iterator[tuple[int | None, list[int | None]]]:
        """Yield what lies between gaps: frames lost before it (None: no gap), which samples came (None: a wrong one).

        Where numbers are counted without a checksum, a sample may carry the values of another one (a cut from the
        middle of a frame to the same place in a later one): one that fits neither neighbour is a wrong one, too.
        """
        stretches: list[tuple[int | None, list[int | None]]] = []
        for run in runs:
            numbers = [number(row) for row in run.values.astype(np.float64) / self.form.lsb]
            if run.gap or not stretches:
                stretches.append((run.lost_frames if run.gap else None, numbers))
            else:
                stretches[-1][1].extend(numbers)
        for lost, numbers in stretches:
            if self.form.name in COUNTED and self.form.name not in EXACT:
                starts = [None if n is None else n - i for i, n in enumerate(numbers)]
                for i, start in enumerate(starts):
                    if (
                        start is not None
                        and len(starts) > 1
                        and start not in (*starts[max(0, i - 1) : i], *starts[i + 1 : i + 2])
                    ):
                        numbers[i] = None
            self.count["corrupt"] += numbers.count(None)
            yield lost, numbers

    def report(self) -> None:
        share = self.count["corrupt"] / max(1, self.count["damaged"])
        print(f"\n{self.form.name}: {dict(self.count)}, {share:.2%} of the damaged frames passed with a wrong number")


def fuzz(tally: Tally, mutate: Callable[[bytearray, list[tuple[str, float, int, int]]], None], most: int) -> None:
    @settings(
        max_examples=-(-BYTES // BODY),
        deadline=None,
        database=None,
        derandomize=not TORTURE,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(damage, min_size=1, max_size=4) | st.lists(damage, min_size=most // 2, max_size=most), PIECES)
    def one(damages: list[tuple[str, float, int, int]], piece: int) -> None:
        body = bytearray(tally.body)
        mutate(body, damages)
        tally.run(bytes(body), piece)

    one()
    tally.report()
    assert tally.count["bytes"] >= 0.8 * BYTES


def any_damage(body: bytearray, damages: list[tuple[str, float, int, int]]) -> None:
    for what, where, length, seed in damages:
        if body:
            at = round(where * (len(body) - 1))
            MUTATIONS[what](body, at, length, np.random.default_rng((seed, at)))


def single_bytes(body: bytearray, damages: list[tuple[str, float, int, int]]) -> None:
    """One wrong byte in each of a few frames that lie far apart."""
    apart = len(body) // 20
    for slot in {round(where * 19) for _, where, _, _ in damages}:
        _, _, length, seed = damages[slot % len(damages)]
        flip(body, min(len(body) - 1, slot * apart + length), 1, np.random.default_rng((seed, slot, length)))


@pytest.mark.timeout(600 if TORTURE else 60)
@pytest.mark.parametrize("name", FORMATS)
def test_damage_of_every_kind_breaks_nothing_and_the_way_back_is_found(name: str) -> None:
    tally = Tally(FORMATS[name])
    fuzz(tally, any_damage, 24)
    if name in COUNTED:  # bytes exchanged between frames can give two neighbours the values of two others
        misplaced = tally.count["disorder"] + tally.count["unmarked"]
        assert misplaced <= (0 if name in EXACT else tally.count["damaged"] // 1000)
    if name in EXACT:
        assert tally.count["corrupt"] == tally.count["wrong length"] == tally.count["ended"] == 0


@pytest.mark.timeout(600 if TORTURE else 60)
@pytest.mark.parametrize("name", FORMATS)
def test_single_wrong_bytes_are_caught_as_far_as_the_format_can(name: str) -> None:
    tally = Tally(FORMATS[name])
    fuzz(tally, single_bytes, 16)
    assert tally.count["disorder"] == tally.count["unmarked"] == 0
    if name in ("ee1", "witmotion"):
        assert tally.count["corrupt"] == tally.count["ended"] == 0


@pytest.mark.timeout(600 if TORTURE else 60)
@pytest.mark.parametrize("name", FORMATS)
def test_a_sensor_that_introduces_itself_in_damaged_bytes_breaks_nothing(name: str) -> None:
    form = FORMATS[name]
    clean = form.introduction + form.interlude + form.stream(FIRST, 2_000 // len(form.frame(FIRST)) + 1)
    cards = Counter[bool]()

    @settings(
        max_examples=-(-BYTES // 10 // len(clean)),
        deadline=None,
        database=None,
        derandomize=not TORTURE,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(damage, min_size=1, max_size=10), PIECES)
    def one(damages: list[tuple[str, float, int, int]], piece: int) -> None:
        body = bytearray(clean)
        any_damage(body, damages)
        protocol = make_protocol(name)
        with suppress(ProtocolError):
            for at in range(0, len(body), piece):
                protocol.ask()
                protocol.push(bytes(body[at : at + piece]))
                assert held(protocol) <= form.most_held
        cards[protocol.card is not None] += 1
        assert protocol.why_unknown()
        if body:
            assert what_speaks(bytes(body))

    one()
    assert cards[True]
