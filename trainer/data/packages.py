"""A corpus from Debian packages: download by name, unpack without installing, keep what the recipe lists, build.

    python -m trainer.data.packages configs/train/corpora/debian.yaml corpus/

Needs apt-get and dpkg-deb, no rights and nothing installed. The licence of every file comes from the recipe, whose
author read it in the package's copyright file; the folder keeps those files, and packages.json says which versions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from rich.console import Console

from trainer.data.build import EXIT_FAILED, EXIT_NO_DATA, as_json, build, show
from trainer.data.containers import DAMAGE
from trainer.data.labels import NAMES, LabelError
from trainer.data.licences import UNKNOWN, spdx
from trainer.data.probe import LeftOut
from trainer.data.survey import Rules, Survey
from trainer.files import publish

app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)


class RecipeError(Exception):
    """The recipe cannot be followed; the message says where and why."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Model):
    """Files of a package under one licence."""

    licence: str
    """SPDX identifier."""
    files: tuple[str, ...] = Field(min_length=1)
    """Globs on paths inside the package; ``*`` crosses folders."""
    but_not: tuple[str, ...] = ()
    """Globs of files among those, which are under another licence."""
    says: str
    """What in the package's copyright file says so: where to look, and who is to be named."""

    @field_validator("licence")
    @classmethod
    def _known(cls, text: str) -> str:
        if spdx(text) == UNKNOWN:
            raise ValueError(f"{text!r} is no SPDX identifier that we know")
        return spdx(text)


class Package(_Model):
    """One package and what to take of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    what: str
    """What is to be heard, in a few words."""
    unpack: tuple[str, ...] = ()
    """Globs of zip archives (games call them .pk3) inside the package; members count as files below ``ARCHIVE.d/``."""
    copyright_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Digest of the copyright file that the recipe's author read."""
    parts: tuple[Part, ...] = Field(min_length=1)


class Recipe(_Model):
    """Packages that make a corpus."""

    packages: tuple[Package, ...] = Field(min_length=1)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; raises ``RecipeError`` with file, key and reason."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def download(name: str, folder: Path) -> Path:
    """Download a package with apt-get into ``folder``; raises ``RecipeError``."""
    before = set(folder.glob(f"{name}_*.deb"))
    _run(["apt-get", "download", "-q", name], folder)
    found = set(folder.glob(f"{name}_*.deb"))
    new = sorted(found - before) or sorted(found)  # apt-get leaves alone what is there already
    return new[-1]


def make_corpus(
    recipe: Recipe,
    folder: Path,
    rules: Rules,
    fetch: Callable[[str, Path], Path] = download,
    say: Callable[[str], None] = lambda _line: None,
) -> Survey:
    """Download, unpack, keep what the recipe lists, and write ``folder/manifest.csv`` and ``folder/packages.json``.

    Returns:
        The survey; packages that could not be had, and globs that match nothing, are among what was left out.
    Raises:
        LabelError, OSError: the folder cannot be written.
    """
    files, packages = folder / "files", folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(files, ignore_errors=True)
    problems: list[LeftOut] = []
    record: list[dict[str, Any]] = []
    licences: dict[str, str] = {}
    for number, package in enumerate(recipe.packages, 1):
        say(f"{number}/{len(recipe.packages)} {package.name}: {package.what}")
        try:
            deb = fetch(package.name, packages)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                entry, kept = _take(package, deb, Path(scratch), files / package.name, problems)
        except (RecipeError, *DAMAGE) as error:
            problems.append(LeftOut(package.name, "package not to be had", str(error)))
            continue
        record.append(entry)
        licences.update({f"{package.name}/{name}": licence for name, licence in kept.items()})
    lines = [f'"{name}",{licence}' for name, licence in sorted(licences.items())]
    files.mkdir(exist_ok=True)
    publish(files / NAMES[1], ("\n".join(["path,licence", *lines]) + "\n").encode("utf-8"))
    publish(folder / "packages.json", (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    found = build(folder / "manifest.csv", [files], rules, jobs=os.cpu_count() or 1)
    found.left_out = problems + [item for item in found.left_out if not item.name.endswith("/copyright")]
    return found


def _take(
    package: Package, deb: Path, scratch: Path, target: Path, problems: list[LeftOut]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Unpack a package, move the files of its parts to ``target``; return its record and each file's licence."""
    _run(["dpkg-deb", "-x", str(deb.resolve()), str(scratch.resolve())], scratch)
    for path in sorted(scratch.rglob("*")):
        if path.is_file() and _matches(path.relative_to(scratch).as_posix(), package.unpack):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(path.with_name(path.name + ".d"))
    names = sorted(p.relative_to(scratch).as_posix() for p in scratch.rglob("*") if p.is_file() and not p.is_symlink())
    kept: dict[str, str] = {}
    for part in package.parts:
        for glob in part.files:
            matched = [name for name in names if fnmatchcase(name, glob) and not _matches(name, part.but_not)]
            kept.update(dict.fromkeys(matched, part.licence))
            if not matched:
                problems.append(LeftOut(package.name, "nothing in the package matches", glob))
    notice = f"usr/share/doc/{package.name}/copyright"
    digest = sha256((scratch / notice).read_bytes()).hexdigest() if notice in names else None
    if digest != package.copyright_sha256 and package.copyright_sha256 is not None:
        problems.append(LeftOut(package.name, "its licences may have changed", f"read {target / notice} again"))
    for name in [*kept, *([notice] if notice in names else [])]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).replace(target / name)
    entry = {
        "package": package.name,
        "version": _run(["dpkg-deb", "-f", str(deb.resolve()), "Version"], scratch).strip(),
        "sha256": sha256(deb.read_bytes()).hexdigest(),
        "bytes": deb.stat().st_size,
        "copyright_sha256": digest,
        "files": len(kept),
        "parts": [part.model_dump(mode="json") for part in package.parts],
    }
    return entry, kept


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RecipeError(f"{command[0]}: not found; this needs Debian, Ubuntu or the like") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "no message").splitlines()[-1]
        raise RecipeError(f"{' '.join(command[:2])}: {last}; try 'apt-get update'") from error
    return done.stdout


@app.command()
def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="Which packages, files and licences.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the corpus goes; `files/` is made anew.")],
    val_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the files held out.")] = 0.05,
    min_s: Annotated[float, typer.Option(min=0, help="Leave out what is shorter.")] = 0.5,
) -> None:
    """Build a corpus from Debian packages; nothing is installed and no rights are needed.

    Afterwards: `FOLDER/manifest.csv` for the trainer, `FOLDER/packages.json` with versions, digests and licences.
    Downloads stay in `FOLDER/packages/` for the next time.

    Exit codes: 0 written, 1 failed, 2 usage, 4 nothing that can be used.
    """
    errors = Console(stderr=True)
    try:
        found = make_corpus(
            read_recipe(recipe),
            folder,
            Rules(val_share=val_share, min_s=min_s),
            say=lambda line: errors.print(line, markup=False, highlight=False),
        )
        publish(folder / "report.json", (json.dumps(as_json(found), indent=1, ensure_ascii=False) + "\n").encode())
    except (RecipeError, LabelError, OSError) as error:
        errors.print(f"packages: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED) from error
    show(found, Console())
    if not found.recordings:
        errors.print("nothing that can be used: no manifest written", style="red")
        raise typer.Exit(EXIT_NO_DATA)


if __name__ == "__main__":
    app()
