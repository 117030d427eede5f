"""A recipe of Debian packages becomes a corpus whose licences and versions are on record."""

from __future__ import annotations

import json
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.trainer.data.sounds import sound_bytes
from trainer.data.licences import PERMISSIVE
from trainer.data.manifest import read_manifest
from trainer.data.packages import Part, Recipe, RecipeError, download, make_corpus, read_recipe
from trainer.data.survey import Rules, Survey

DEFAULT = Path(__file__).parents[3] / "configs/train/corpora/debian.yaml"
RULES = Rules(min_s=0.1, val_share=0)
GAME = """packages:
  - name: game-data
    what: engines
    parts:
      - licence: CC0
        files: ["usr/share/game/*.wav"]
        but_not: ["*/music.wav"]
        says: 'Files: *'
"""
NOTICE = "Files: *\nLicense: CC0\n"


def package(folder: Path, name: str = "game-data", **files: bytes) -> Path:
    """Make a package with a copyright file and ``files`` (``engine_wav`` is usr/share/game/engine.wav)."""
    tree = folder / name
    content = {f"usr/share/game/{key.replace('_', '.')}": data for key, data in files.items()}
    content[f"usr/share/doc/{name}/copyright"] = NOTICE.encode()
    control = f"Package: {name}\nVersion: 1.2-3\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n"
    content["DEBIAN/control"] = control.encode()
    for path, data in content.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    deb = folder / f"{name}_1.2-3_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True, capture_output=True)
    return deb


def corpus(tmp_path: Path, deb: Path, text: str = GAME) -> tuple[Survey, Path]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    folder = tmp_path / "corpus"
    return make_corpus(read_recipe(recipe), folder, RULES, fetch=lambda _name, _folder: deb), folder


def test_what_the_recipe_lists_becomes_the_manifest_with_its_licence(tmp_path: Path):
    deb = package(tmp_path, engine_wav=sound_bytes("e.wav"), music_wav=sound_bytes("m.wav"), read_me=b"words")
    _, folder = corpus(tmp_path, deb)
    found = {recording.path: recording.licence for recording in read_manifest(folder / "manifest.csv").recordings}
    assert found == {"files/game-data/usr/share/game/engine.wav": "CC0-1.0"}
    assert not list(folder.rglob("music.wav")), "what is under another licence is not kept"


def test_version_digest_and_copyright_are_on_record(tmp_path: Path):
    deb = package(tmp_path, engine_wav=sound_bytes("e.wav"))
    _, folder = corpus(tmp_path, deb)
    (entry,) = json.loads((folder / "packages.json").read_text())
    assert (entry["package"], entry["version"]) == ("game-data", "1.2-3")
    assert entry["sha256"] == sha256(deb.read_bytes()).hexdigest()
    assert entry["copyright_sha256"] == sha256(NOTICE.encode()).hexdigest()
    assert entry["parts"][0]["licence"] == "CC0-1.0"
    assert (folder / "files/game-data/usr/share/doc/game-data/copyright").read_text() == NOTICE


def test_members_of_a_game_s_archives_count_as_files(tmp_path: Path):
    pack = tmp_path / "0snd.pk3"
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("sound/pump.wav", sound_bytes("p.wav"))
    text = GAME.replace("    parts", '    unpack: ["*.pk3"]\n    parts').replace("game/*.wav", "game/a.pk3.d/sound/*")
    _, folder = corpus(tmp_path, package(tmp_path, a_pk3=pack.read_bytes()), text)
    assert [recording.path for recording in read_manifest(folder / "manifest.csv").recordings] == [
        "files/game-data/usr/share/game/a.pk3.d/sound/pump.wav"
    ]


def test_a_glob_that_matches_nothing_is_reported(tmp_path: Path):
    text = GAME.replace("usr/share/game/*.wav", 'usr/share/game/*.wav", "usr/share/game/*.ogg')
    found, _ = corpus(tmp_path, package(tmp_path, engine_wav=sound_bytes("e.wav")), text)
    assert [(item.reason, item.detail) for item in found.left_out] == [
        ("nothing in the package matches", "usr/share/game/*.ogg")
    ]


def test_a_changed_copyright_file_is_reported(tmp_path: Path):
    text = GAME.replace("    parts", f"    copyright_sha256: {'a' * 64}\n    parts")
    found, _ = corpus(tmp_path, package(tmp_path, engine_wav=sound_bytes("e.wav")), text)
    assert [item.reason for item in found.left_out] == ["its licences may have changed"]


def test_a_package_that_cannot_be_had_is_reported_and_the_others_are_used(tmp_path: Path):
    deb = package(tmp_path, engine_wav=sound_bytes("e.wav"))
    (tmp_path / "recipe.yaml").write_text(GAME + GAME.split("\n", 1)[1].replace("game-data", "gone-data"))

    def fetch(name: str, _folder: Path) -> Path:
        if name == "gone-data":
            raise RecipeError("apt-get download: E: Unable to locate package gone-data")
        return deb

    found = make_corpus(read_recipe(tmp_path / "recipe.yaml"), tmp_path / "corpus", RULES, fetch=fetch)
    assert len(found.recordings) == 1
    assert [(item.name, item.reason) for item in found.left_out] == [("gone-data", "package not to be had")]


def test_a_damaged_package_is_reported(tmp_path: Path):
    deb = tmp_path / "game-data_1_all.deb"
    deb.write_bytes(b"!<arch>\nnothing")
    found, _ = corpus(tmp_path, deb)
    assert [item.reason for item in found.left_out] == ["package not to be had"]
    assert "dpkg-deb -x" in found.left_out[0].detail


def test_a_machine_without_apt_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="apt-get: not found; this needs Debian"):
        download("game-data", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence: CC0", "licence: free", "packages.0.parts.0.licence: .*'free' is no SPDX"),
        ("what:", "whta:", r"packages.0.(what: Field required|whta: Extra)"),
        ("game-data", "Game Data", "packages.0.name: String should match"),
        ('files: ["usr/share/game/*.wav"]', "files: []", r"packages.0.parts.0.files: .* at least 1"),
        ("packages:", "packages: {", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused_by_its_key(tmp_path: Path, old: str, new: str, message: str):
    (tmp_path / "recipe.yaml").write_text(GAME.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / "recipe.yaml")


def default_parts() -> list[tuple[str, Part]]:
    recipe: Recipe = read_recipe(DEFAULT)
    return [(package.name, part) for package in recipe.packages for part in package.parts]


def test_the_default_recipe_has_only_licences_under_which_weights_may_be_given_away():
    assert not [(name, part.licence) for name, part in default_parts() if part.licence not in PERMISSIVE]


def test_the_default_recipe_cites_where_each_licence_is_granted():
    assert all(len(part.says) > 10 for _, part in default_parts())
    assert all(package.copyright_sha256 for package in read_recipe(DEFAULT).packages)
