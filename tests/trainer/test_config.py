"""A run's configuration: what it takes, and one line for what it does not."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tests.trainer.runs import ROOT
from trainer.config import ConfigError, read_config


def read(folder, text: str, *overrides: str):
    (folder / "a.yaml").write_text(text)
    return read_config(folder / "a.yaml", overrides)


def test_what_is_not_said_has_a_default_and_overrides_win(tmp_path):
    config = read(tmp_path, "run: {steps: 5, seed: 1}", "run.seed=2", "objective.eat=0.5", "data.crop_s=[1, 2]")
    assert (config.run.steps, config.run.seed, config.objective.eat, config.data.crop_s) == (5, 2, 0.5, (1.0, 2.0))
    assert config.model.echo().embed_dim == 192


def test_manifests_are_relative_to_the_configuration(tmp_path):
    config = read(tmp_path, "{run: {steps: 5}, data: {manifests: [a.csv, b/c.csv, /d.csv]}}")
    assert [str(path) for path in config.data.manifests] == [f"{tmp_path}/a.csv", f"{tmp_path}/b/c.csv", "/d.csv"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run: {steps: 3, stepz: 4}", r"run\.stepz: unknown key, found 4; did you mean 'steps'\?"),
        ("runn: {steps: 3}", r"runn: unknown key, found .*; did you mean 'run'\?"),
        (
            "{run: {steps: 3}, data: {augment: {loud: 3}}}",
            r"data\.augment\.loud: unknown key, found 3; known are: back",
        ),
        (
            "{run: {steps: 3}, data: {augment: {background_snr_db: [9, 3]}}}",
            r".*background_snr_db \[9\.0, 3\.0\]: least",
        ),
        ("run: {}", r"run\.steps: missing"),
        ("run: {steps: many}", r"run\.steps: .*integer.*, found 'many'"),
        ("run: {steps: 0}", r"run\.steps: .*greater than 0, found 0"),
        ("{run: {steps: 3}, model: {size: huge}}", r"model\.size: .*'tiny', 'small' or 'base', found 'huge'"),
        ("{run: {steps: 3}, model: {width: 200}}", r"model\.width: .*multiple of 16, found 200"),
        ("{run: {steps: 3}, model: {width: 400}}", r"model: embed_dim 400 must be even and a multiple of 6 heads"),
        ("{run: {steps: 3}, data: {clips_per_batch: 3}}", "data: bands_per_batch 56: 3 clips .* give 6 to 15"),
        ("{run: {steps: 3}, data: {crop_s: [0.2, 3]}}", r"data: crop_s \[0\.2, 3\.0\]: shortest and longest, from 0"),
        ("{run: {steps: 3}, data: {crop_s: [1, 2], clip_s: 3}}", r"data: clip_s 3: at most the longest of crop_s"),
        ("{run: {steps: 3}, data: {crop_s: [3, 2]}}", r"data: crop_s \[3\.0, 2\.0\]: shortest and longest"),
        ("{run: {steps: 3}, data: {crop_s: [1, 30]}}", r"data: crop_s \[1\.0, 30\.0\]: .* 20 s"),
        ("{run: {steps: 3}, optimiser: {base_lr: .inf}}", r"optimiser\.base_lr: .*finite number, found inf"),
        ("{run: {steps: 3}, objective: {reconstruction: 0}}", "objective: .* all 0: nothing to learn"),
        ("{run: {steps: 3}, model: {width: 32}, objective: {summary: 1}}", r".*summary: 64 numbers .* width of 32"),
        ("[run]", "expected sections such as 'run:', found list"),
        ("run: {steps: [}", "not YAML: "),
    ],
)
def test_a_mistake_is_told_on_one_line_with_file_key_and_value(tmp_path, text, says):
    with pytest.raises(ConfigError, match=r"a\.yaml: " + says) as refusal:
        read(tmp_path, text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("steps=3", "--set steps=3: expected section.key=value"),
        ("run.steps", "--set run.steps: expected section.key=value"),
        ("run.steps.more=3", "--set run.steps.more=3: steps is not a section"),
        ("run.steps=[3", r"--set run.steps=\[3: not a YAML value: "),
        ("run.steps=some", r"a\.yaml: run.steps: .*, found 'some'"),
        ("run.sleeps=3", r"a\.yaml: run.sleeps: unknown key, found 3; did you mean 'steps'"),
    ],
)
def test_a_bad_override_is_told_on_one_line(tmp_path, override, says):
    with pytest.raises(ConfigError, match=says) as refusal:
        read(tmp_path, "run: {steps: 3}", override)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.yaml: ") as refusal:
        read_config(tmp_path / "a.yaml")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_are_read(path):
    assert read_config(path).run.steps > 0
