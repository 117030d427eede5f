"""Cut the power of a gateway that stores alerts, again and again, and look what is left.

The real outbox writes to a file system that forgets what was not synced (``lossy_fs.py``). What the outbox said to be
stored must be there after every cut, and the file whole. The same with less than a sync for each commit must fail, or
this proves nothing.

    python -m tests.torture.power_cuts [--cuts 500] [--page PAGE.md]
"""

from __future__ import annotations

import argparse
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from echo_edge.envelope import Payload
from echo_edge.outbox import Outbox
from echo_edge.outbox_db import OutboxDb
from echo_edge.outgoing import CRITICAL, REST, WARNING, Outgoing

KINDS = ("drop", "prefix", "torn")
MAX_MB = 4.0
ANEW_EVERY = 20  # cuts: then the file is made from nothing
EARLY = 0.15  # of the cuts come at any time after the start, the others after the first event was stored


class CannotMountError(Exception):
    """No FUSE here, or not for this user."""


@dataclass
class Tally:
    """What so many cuts did."""

    cuts: int = 0
    stored: int = 0
    lost: int = 0
    damaged: int = 0

    def __str__(self) -> str:
        return f"{self.cuts} cuts, {self.stored} events stored, {self.lost} lost, {self.damaged} times unreadable"


@contextmanager
def lossy(folder: Path) -> Iterator[Path]:
    """The file system, mounted below ``folder`` by a process of its own.

    Raises:
        CannotMountError: it cannot be.
    """
    disk = folder / "disk"
    disk.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.lossy_fs", str(disk)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline_s = time.monotonic() + 10
        while not disk.is_mount():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise CannotMountError(process.stderr.read()[-300:] if process.stderr else "")
            time.sleep(0.01)
        yield disk
    finally:
        unmount = shutil.which("fusermount3") or "umount"
        subprocess.run([unmount, *(["-u"] if "fuser" in unmount else []), "-z", str(disk)], check=False)
        process.terminate()
        process.wait(5)
        if process.stderr is not None:
            process.stderr.close()


def write(disk: Path, synchronous: str, told: int, seed: int) -> None:
    """Store events as fast as it goes, and say of each that it is stored; never returns."""
    chance = random.Random(seed)

    def then(whole: Payload) -> None:
        if whole.get("durable", True):
            os.write(told, f"{whole['id']}\n".encode())

    box = Outbox(disk / "outbox.db", "gw1", max_mb=MAX_MB, open_db=lambda p, mb: OutboxDb(p, mb, synchronous))
    box.start()
    while True:
        rank = chance.choice((CRITICAL, WARNING, REST))
        box.put(Outgoing("t", rank, {"text": "x" * chance.randrange(100, 1500)}, then=then))
        for row in box.front()[:1] if chance.random() < 0.3 else ():
            box.settle(row)
        time.sleep(chance.expovariate(1000))


def one_cut(disk: Path, kind: str, synchronous: str, chance: random.Random, tally: Tally) -> None:
    path = disk / "outbox.db"
    if tally.cuts % ANEW_EVERY == 0:
        for left in disk.iterdir():
            left.unlink()
    read, told = os.pipe()
    seed = chance.randrange(1 << 30)
    if (child := os.fork()) == 0:
        try:
            os.close(read)
            write(disk, synchronous, told, seed)
        finally:
            os._exit(1)
    os.close(told)
    if chance.random() < EARLY:
        time.sleep(chance.uniform(0.0, 0.5))  # while the outbox opens its file, or makes it
    else:
        select.select([read], [], [], 10)
        time.sleep(chance.uniform(0.0, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read) as lines:
        stored = {line.strip() for line in lines if line.endswith("\n")}
    (disk / ".cut").write_text(f"{kind} {seed}")
    tally.cuts += 1
    tally.stored += len(stored)
    try:
        left = read_back(path)
    except sqlite3.DatabaseError:
        tally.damaged += 1
        tally.lost += len(stored)
        for part in disk.iterdir():
            part.unlink()
        return
    tally.lost += len(stored - left)


def read_back(path: Path) -> set[str]:
    """Ids of all events in the file, which is checked whole."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            return set()  # cut while it was made: nothing was stored yet
        if (found := db.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(str(found))
        (epoch,) = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        return {f"gw1:{epoch}:{seq}" for (seq,) in db.execute("SELECT seq FROM alert")}


def cut(folder: Path, kind: str, cuts: int, synchronous: str = "FULL", seed: int = 0) -> Tally:
    """Cut the power so often; each time the outbox goes on with what was left.

    Raises:
        CannotMountError: there is no FUSE here.
    """
    chance, tally = random.Random(f"{kind} {synchronous} {seed}"), Tally()
    with lossy(folder) as disk:
        for _ in range(cuts):
            one_cut(disk, kind, synchronous, chance, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", type=int, default=500, help="of each kind; of each control a fifth")
    parser.add_argument("--page", type=Path, help="write the result there, as Markdown")
    options = parser.parse_args()
    rows = []
    plan = [("FULL", kind, options.cuts) for kind in KINDS]
    plan += [("NORMAL", "drop", options.cuts // 5), ("OFF", "torn", options.cuts // 5)]
    for synchronous, kind, cuts in plan:
        with tempfile.TemporaryDirectory() as name:
            tally = cut(Path(name), kind, cuts, synchronous)
        print(f"synchronous={synchronous}, {kind}: {tally}", flush=True)
        rows.append((synchronous, kind, tally))
    if options.page is not None:
        options.page.write_text(page(rows), "utf-8")
    kept = all(tally.lost == tally.damaged == 0 for synchronous, _, tally in rows if synchronous == "FULL")
    bites = all(tally.lost + tally.damaged > 0 for synchronous, _, tally in rows if synchronous != "FULL")
    return 0 if kept and bites else 1


def page(rows: list[tuple[str, str, Tally]]) -> str:
    lines = [
        "# Power cuts",
        "",
        "`python -m tests.torture.power_cuts`: the real outbox stores alerts on",
        "a file system that forgets what was not synced; it is killed at a random instant, the power is cut, and what",
        "the outbox said to be stored is looked for. *drop*: everything since the last sync is gone; *prefix*: the",
        "first of those writes happened; *torn*: any of their 512-byte sectors did. The last two rows are controls:",
        "with less than a sync for each commit the same test must fail.",
        "",
        "| SQLite's `synchronous` | kind | cuts | events stored | lost | unreadable |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {s} | {kind} | {t.cuts} | {t.stored} | {t.lost} | {t.damaged} |" for s, kind, t in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
