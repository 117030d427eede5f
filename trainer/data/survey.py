"""Walk folders, look into every file, and decide which recordings make the manifest, in which split, and which do not.

The result depends on the files alone, not on the order in which a disk lists them, nor on where the folder lies.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from trainer.data.containers import is_archive
from trainer.data.labels import Labels
from trainer.data.licences import UNKNOWN
from trainer.data.manifest import Recording
from trainer.data.probe import Found, LeftOut, is_utf8, probe

MAT = re.compile(r"(?i)\.mat#")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a recording must be to be used, and what is assumed of it where nothing beside it says."""

    licence: str = UNKNOWN
    rate_hz: int | None = None
    val: tuple[str, ...] = ()
    val_share: float = 0.05
    min_s: float = 0.5
    exclude: tuple[str, ...] = ()
    licences: frozenset[str] | None = None
    """Licences that may be used; None is all."""


@dataclass
class Survey:
    """What was found below all roots."""

    recordings: list[Recording] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What the lists of a layout promise, and the folder has not."""
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> dict[str, list[LeftOut]]:
        """Return what was left out by reason, the most frequent first."""
        by_reason: dict[str, list[LeftOut]] = defaultdict(list)
        for item in self.left_out:
            by_reason[item.reason].append(item)
        return dict(sorted(by_reason.items(), key=lambda pair: (-len(pair[1]), pair[0])))

    def hours(self, *columns: str) -> dict[tuple[Any, ...], tuple[int, float]]:
        """Return recordings and hours by the values of some of their columns."""
        counts: Counter[tuple[Any, ...]] = Counter()
        hours: dict[tuple[Any, ...], float] = defaultdict(float)
        for recording in self.recordings:
            key = tuple(getattr(recording, column) for column in columns)
            counts[key] += 1
            hours[key] += recording.duration_s / 3600
        return {key: (counts[key], hours[key]) for key in sorted(counts)}


def survey(
    roots: Sequence[Path],
    out: Path,
    rules: Rules,
    labels_of: Callable[[Path, Collection[Path]], Labels],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    jobs: int = 1,
) -> Survey:
    """Look at everything below ``roots`` and return what a manifest at ``out`` should list.

    Args:
        roots: folders, or single files.
        labels_of: makes the labels of a root, given files that are not to be read as such (``out`` itself).
        progress: called with files done and files in all.
        jobs: threads that decode.
    Raises:
        LabelError: a label file is broken.
    """
    result = Survey()
    folder, ignore = _absolute(out.parent), {out.resolve()}
    found: dict[str, Recording] = {}
    work: list[tuple[Path, str, str, _Root]] = []
    bases: list[_Root] = []
    for top in map(_absolute, roots):
        base = top if top.is_dir() else top.parent
        root = _Root(labels_of(base, ignore), set())
        bases.append(root)
        for path in sorted(walk(top, result.left_out)):
            name = path.relative_to(base).as_posix()
            if path.resolve() in ignore or root.labels.is_label_file(name):
                continue
            root.names.add(name)
            if _matches(name, rules.exclude):
                result.left_out.append(LeftOut(name, "excluded"))
            elif is_archive(name) or root.labels.find(name) is not None:
                work.append((path, name, _shown(path, folder), root))
            else:
                result.left_out.append(LeftOut(name, "not in the lists"))
    with ThreadPoolExecutor(jobs) as pool:
        probed = pool.map(lambda job: probe(job[0]), work)
        try:
            for done, ((_, name, shown, root), items) in enumerate(zip(work, probed, strict=True), 1):
                progress(done, len(work))
                for item in items:
                    judged = _judge(item, name, shown, root, rules)
                    if isinstance(judged, LeftOut):
                        result.left_out.append(judged)
                    else:
                        found.setdefault(judged.path, judged)
        except BaseException:  # someone pressed Ctrl-C: not after the other two million files
            pool.shutdown(cancel_futures=True)
            raise
    for root in bases:
        result.missing += root.labels.missing(root.names)
        result.notes += root.labels.notes
    _keep_first_of_each(found, result)
    result.notes = [f"{note} ({count} times)" if count > 1 else note for note, count in Counter(result.notes).items()]
    return result


def walk(top: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    """Yield the regular files below ``top``, through links to folders, each folder once; the rest goes to the list."""
    if not top.is_dir():
        yield top
        return
    seen: set[tuple[int, int]] = set()
    unread: list[OSError] = []
    for where, folders, files in os.walk(top, followlinks=True, onerror=unread.append):
        here = Path(where).stat()
        if (key := (here.st_dev, here.st_ino)) in seen:
            folders.clear()
            left_out.append(LeftOut(where, "folder seen before", "a link leads back to it"))
            continue
        seen.add(key)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if name.startswith("."):
                continue
            if not is_utf8(str(path)):
                left_out.append(LeftOut(ascii(str(path)), "name is not UTF-8", "rename it"))
                continue
            try:
                if stat.S_ISREG(path.stat().st_mode):
                    yield path
                else:
                    left_out.append(LeftOut(str(path), "not a regular file"))
            except OSError as error:
                left_out.append(LeftOut(str(path), "unreadable", error.strerror or str(error)))
    left_out += [LeftOut(str(error.filename), "unreadable", error.strerror or str(error)) for error in unread]


def is_val(group: str, share: float) -> bool:
    """Whether a group of recordings is held out: by the digest of its name, so for ever and on every machine."""
    return int(sha256(group.encode("utf-8")).hexdigest()[:8], 16) < share * 2**32


@dataclass(frozen=True, slots=True)
class _Root:
    labels: Labels
    names: set[str]
    """What was found below it: files, members, variables."""


def _judge(item: Found | LeftOut, name: str, shown: str, root: _Root, rules: Rules) -> Recording | LeftOut:
    if isinstance(item, LeftOut):
        return LeftOut(name + item.name, item.reason, item.detail)
    inside = name + item.inner
    root.names.add(inside)
    label = root.labels.find(inside)
    if label is None or _matches(inside, rules.exclude):
        return LeftOut(inside, "not in the lists" if label is None else "excluded")
    label = item.label.over(label)
    licence = label.licence or rules.licence
    rate_hz = item.rate_hz or label.rate_hz or rules.rate_hz
    if rules.licences is not None and licence not in rules.licences:
        return LeftOut(inside, "licence", licence)
    if rate_hz is None:
        return LeftOut(inside, "no sampling rate", "give --rate, or a manifest.csv beside it with path and rate_hz")
    whole_s = item.frames / rate_hz
    start_s, end_s = label.part_s if label.part_s and label.part_s[1] <= whole_s else (0.0, whole_s)
    duration_s = end_s - start_s
    if duration_s < rules.min_s or item.silent:
        reason = "silent" if item.silent else f"shorter than {rules.min_s:g} s"
        return LeftOut(inside, reason, f"{duration_s:.3f} s")
    held_out = label.split == "val" if label.split else is_val(label.group or _group(inside), rules.val_share)
    return Recording(
        path=shown + item.inner,
        rate_hz=rate_hz,
        channels=item.channels,
        frames=item.frames,
        offset_s=start_s,
        duration_s=duration_s,
        split="val" if held_out or _matches(inside, rules.val) else "train",
        licence=licence,
        sha256=item.sha256,
    )


def _shown(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would replace the names a person gave by links' ends


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _file(inside: str) -> str:
    """Return a name without the variable of a MAT file."""
    return inside[: match.end() - 1] if (match := MAT.search(inside)) else inside


def _group(inside: str) -> str:
    """Return what a recording shares its split with: variables of one MAT file, parts of one sample of an archive."""
    file = _file(inside)
    if "#" not in file:
        return file
    archive, member = file.split("#", 1)
    folder, _, name = member.rpartition("/")
    return f"{archive}#{folder}/{name.split('.', 1)[0]}"


def _keep_first_of_each(found: dict[str, Recording], result: Survey) -> None:
    """Keep one recording of each content: a held-out one if there is one, so that nothing is in both splits."""
    first: dict[tuple[str, str], str] = {}
    for path, recording in sorted(found.items(), key=lambda item: (item[1].split != "val", item[0])):
        same = first.setdefault((recording.sha256, path[len(_file(path)) :]), path)
        if same == path:
            result.recordings.append(recording)
        else:
            result.left_out.append(LeftOut(path, "duplicate", f"same as {same}"))
    result.recordings.sort(key=lambda recording: (recording.path, recording.offset_s))
