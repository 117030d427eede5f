"""The documents say what the program does: references are current, commands exist, links resolve, examples hold."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import typer
import typer.main
import yaml

from echo_edge.cli import app
from echo_edge.config_file import load_config
from echo_edge.order_types import Verb
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.payload import SCHEMAS, load_schema
from echo_edge.web.cli import app as web_app
from echo_edge.web.config import WebConfig, WebTlsConfig, load_web_config
from sensors.recording import manifest_scale

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
EXAMPLE = ROOT / "configs" / "daemon" / "example.yaml"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == language]


def reference() -> ModuleType:
    """The script that writes the reference; ``docs`` is no package."""
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_reference_and_the_editor_schema_are_current():
    assert reference().main(["--check"]) == 0, "run: .venv/bin/python docs/make_reference.py"


def test_the_reference_names_every_key_of_every_section():
    page = (DOCS / "configuration.md").read_text("utf-8")
    missing = [
        f"{model.__name__}.{key}"
        for _, model, _ in reference().SECTIONS
        for key in model.model_fields
        if f"| `{key}` |" not in page
    ]
    models = json.loads((ROOT / "configs/daemon/schema.json").read_text("utf-8"))["$defs"]
    assert missing == []
    assert {model.__name__ for _, model, _ in reference().SECTIONS} == {*models, "Config"}


def test_the_example_configuration_passes_its_check_and_its_schema():
    config = load_config(EXAMPLE)
    schema = json.loads((ROOT / "configs/daemon/schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load(EXAMPLE.read_text("utf-8")), schema)
    assert {device.kind for device in config.devices.values()} == {"simulator"}, "it must run without files or sensors"


def test_the_editor_schema_refuses_an_unknown_key():
    schema = json.loads((ROOT / "configs/daemon/schema.json").read_text("utf-8"))
    example = yaml.safe_load(EXAMPLE.read_text("utf-8")) | {"gatewy": {}}
    with pytest.raises(jsonschema.ValidationError, match="gatewy"):
        jsonschema.validate(example, schema)


def test_the_configurations_of_the_quick_start_are_valid(tmp_path: Path):
    sensor, recordings = blocks(DOCS / "quick-start.md", "yaml")
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "n0.wav").touch()
    (tmp_path / "line1.yaml").write_text(sensor)
    (tmp_path / "files.yaml").write_text(recordings)
    assert list(load_config(tmp_path / "line1.yaml").points()) == ["pump-12/de"]
    assert list(load_config(tmp_path / "files.yaml").points()) == ["pump/de"]


def test_the_manifest_of_the_quick_start_scales_recordings(tmp_path: Path):
    (manifest,) = blocks(DOCS / "quick-start.md", "csv")
    (tmp_path / "manifest.csv").write_text(manifest)
    assert manifest_scale(tmp_path / "n0.wav") == (pytest.approx(50 / 32768), "g")


@each_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\s-]", "", h.lower()).replace(" ", "-") for h in headings}, target


def options_of(command: Any) -> set[str]:
    """Of a command, or of all commands of a group."""
    below = [options_of(sub) for sub in getattr(command, "commands", {}).values()]
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}.union({"--help"}, *below)


@each_page
def test_every_command_and_option_named_exists(page: Path):
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group, of typer's or click's
    text = page.read_text("utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *blocks(page, "console"), *blocks(page, "yaml")])
    used = re.findall(r"(?<!-u )(?<!/)echo-edge (?!-)([a-z-]+)\b([^\n|]*)", code)
    options = {name: options_of(command) for name, command in commands.items()}
    groups = "|".join(name for name, sub in commands.items() if hasattr(sub, "commands"))
    for name, verb in re.findall(rf"echo-edge ({groups}) ([a-z]+)", code):
        assert verb in commands[name].commands, f"echo-edge {name} {verb}"
    for name, rest in used:
        assert name in options, f"echo-edge {name}"
        unknown = set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest)) - options[name]
        assert not unknown, f"echo-edge {name} {unknown}"
    known = set().union(*options.values()) | {
        "--untrained",
        "--licence",
        "--name",
        "--half",
        "--check",
        "--data",
        "--machines",
        "--quick",
        "--set",
        "--logdir",
        "--workers",
        "--allow-pickle",
        "--encoder",
        "--clips",
        "--configure",
        "--allow-downgrades",
        "--force",
        "--now",
    }  # of trainer, docs, bench, tensorboard; dpkg, apt, echo-edge-rollback, systemctl
    assert set(re.findall(r"(?<![\w-])--[a-z0-9-]+", code)) <= known


@pytest.mark.parametrize(("program", "commands_of"), [("echo-edge", app), ("echo-edge-web", web_app)])
def test_the_table_of_commands_has_every_command_and_every_verb(program: str, commands_of: typer.Typer):
    commands = typer.main.get_command(commands_of).commands  # type: ignore[attr-defined]
    words = {f"{name} {verb}" for name, group in commands.items() for verb in getattr(group, "commands", {})}
    words |= {name for name, command in commands.items() if not hasattr(command, "commands")}
    rows = rf"^\| \[?`{program} ([a-z -]+[a-z])"
    lines = re.findall(rows, (DOCS / "commands.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(lines) == sorted(words)


def test_the_page_is_documented_to_its_last_key_and_its_example_and_certificate_are_fine(tmp_path: Path):
    page = (DOCS / "page.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page[page.index("## Every key") :], re.MULTILINE)
    assert sorted(rows) == sorted([*WebConfig.model_fields, *WebTlsConfig.model_fields])
    example = (ROOT / "configs/web/example.yaml").read_text("utf-8")
    (section,) = blocks(DOCS / "page.md", "yaml")
    (command,) = re.findall(r"^openssl req .*\\\n.*$", page, re.MULTILINE)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, capture_output=True)  # noqa: S602  # as it is told
    for added in ("", section.replace("/etc/echo-edge-web", str(tmp_path))):
        (tmp_path / "line1.yaml").write_text(example + added)
        config = load_web_config(tmp_path / "line1.yaml")
        assert config.is_loopback is (added == "")


def test_the_table_of_verbs_has_every_verb_its_role_and_its_arguments():
    def row(name: str, verb: Verb[Bench, Any]) -> str:
        needed, others = (
            [f"`{n}`" for n, f in verb.args.model_fields.items() if f.is_required() is r] for r in (True, False)
        )
        told = " ".join([*([", ".join(needed)] if needed else []), *([f"[{', '.join(others)}]"] if others else [])])
        return f"| `{name}` | {verb.role} | {told} | {verb.help} |"

    rows = re.findall(r"^\| `[a-z.]+` \| (?:viewer|technician|engineer|admin) .*$", verbs_page(), re.MULTILINE)
    assert rows == [row(name, verb) for name, verb in VERBS.items()]


def verbs_page() -> str:
    return (DOCS / "verbs.md").read_text("utf-8")


@each_page
def test_every_command_of_the_trainer_and_its_options_exist(page: Path):
    text = page.read_text("utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text), *blocks(page, "sh"), *blocks(page, "console")])
    for module, rest in re.findall(r" -m (trainer[\w.]*)([^\n]*)", code.replace("\\\n", " ")):
        folder = ROOT / module.replace(".", "/")
        source = (folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")).read_text("utf-8")
        parameters = re.findall(r"^    (\w+): Annotated", source, re.MULTILINE)  # typer's; argparse spells options out
        declared = {*re.findall(r'"--([a-z-]+)"', source), *(name.replace("_", "-") for name in parameters), "help"}
        assert set(re.findall(r"(?<![\w-])--([a-z-]+)", rest.partition("#")[0])) <= declared, module


@each_page
def test_every_make_target_named_exists(page: Path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets


@each_page
def test_every_source_file_named_exists(page: Path):
    for name in re.findall(
        r"`((?:echo_edge|sensors|trainer|docs|scripts|configs)/[\w./-]+\.\w+)`", page.read_text("utf-8")
    ):
        assert (ROOT / name).is_file(), name


def test_the_message_examples_obey_their_schemas_and_cover_all_of_them():
    examples = [json.loads(text) for text in blocks(DOCS / "mqtt.md", "json")]
    for example in examples:
        name = example["schema"].split("/")[1]
        jsonschema.validate(example, load_schema(name))
    assert {example["schema"] for example in examples} == {f"echo-edge/{name}/1" for name in SCHEMAS}


def test_the_picture_of_the_demo_asks_no_other_host_for_anything():
    picture = (DOCS / "demo.svg").read_text("utf-8")
    assert not re.search(r"@import|@font-face|url\(\"?\s*http|href=", picture)


@each_page
def test_no_path_of_the_machine_it_was_written_on(page: Path):
    assert not re.search(r"/work/|/tmp/|/root/|/home/", page.read_text("utf-8"))
