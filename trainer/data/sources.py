"""Where recordings come from, and who is to be named: what a model card must say."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from trainer.data.labels import NAMES, PATHS
from trainer.data.manifest import Manifest, Recording


def sourced(manifest: Manifest) -> Iterator[tuple[Recording, str, str]]:
    """Yield every recording with its source, and the words on its authors where there are any.

    Of a Debian package, ``packages.json`` beside the manifest tells both (``trainer.data.packages``); of others, the
    column ``source`` of a label file above the recording tells the source, else the name of their folder must do.
    """
    folder, labelled = manifest.path.parent, dict[Path, dict[Path, str]]()
    record = folder / "packages.json"
    packages = {each["package"]: each for each in json.loads(record.read_text("utf-8"))} if record.exists() else {}
    for recording in manifest.recordings:
        package = packages.get(recording.path.removeprefix("files/").partition("/")[0])
        if package is not None:
            says = [part["says"] for part in package["parts"] if part["licence"] == recording.licence]
            yield recording, f"Debian `{package['package']}` {package['version']}", "; ".join(says)
            continue
        path = folder / recording.path
        for above in path.parents:
            if above not in labelled:
                labelled[above] = _sources_in(above)
        told = (labelled[above][path] for above in path.parents if path in labelled[above])
        yield recording, next(told, path.parent.name), ""


def _sources_in(folder: Path) -> dict[Path, str]:
    """Return the column ``source`` of a label file, by recording; nothing where there is none."""
    for path in (folder / name for name in NAMES):
        if path.is_file():
            with path.open(newline="", encoding="utf-8-sig") as lines:
                rows = list(csv.DictReader(lines))
            named = next((name for name in PATHS if rows and name in rows[0]), None)
            if named and "source" in rows[0]:
                return {folder / row[named]: row["source"] for row in rows if row["source"]}
    return {}
