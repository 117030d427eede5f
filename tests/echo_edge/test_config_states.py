"""Configuration of operating states: what YAML and people get wrong is named with its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from echo_edge.config_file import load_config
from tests.echo_edge.test_config import GOOD, problems

TOLD = '    operating_state: {topic: plant/pump/state, settle_s: 5, values: {"1": run-50hz, "0": "off"}}\n'


def with_state(line: str) -> str:
    return GOOD.replace("    title: Feed pump\n", line)


def test_a_topic_settling_time_and_translation_are_read(tmp_path: Path) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(with_state(TOLD).replace("channels: [1]", "channels: [1], off_below_db: -50"))
    config = load_config(path)
    state = config.operating_state("pump/nde")
    assert (state.topic, state.settle_s, state.values) == ("plant/pump/state", 5, {"1": "run-50hz", "0": "off"})
    assert config.state_topics() == ["plant/pump/state"]
    assert [point.off_below_db for point in config.points().values()] == [None, -50]


@pytest.mark.parametrize(
    ("wrong", "key", "problem"),
    [
        ("topic: plant/+/state", "topic", "'plant/+/state' has a wildcard; name the one topic"),
        ("topic: $SYS/uptime", "topic", "begins with '$'"),
        ('topic: ""', "topic", "a topic is 1 to 65,535 bytes long"),
        ('values: {"0": off}', "values", "YAML reads off, no or false as false; write the word in quotes"),
        ("values: {on: run}", "values", "YAML reads on, yes or true as true; write the word in quotes"),
        ("values: {1: run}", "values", "the payload 1 stands without quotes; write '1'"),
        ('values: {"1": Run 50}', "values.1", "'Run 50' is not an id"),
        ("settle_s: -1", "settle_s", "greater than or equal to 0"),
        ("settles_s: 1", "settles_s", "unknown key; did you mean 'settle_s'?"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_mend(tmp_path: Path, wrong: str, key: str, problem: str) -> None:
    (found,) = problems(tmp_path, with_state(f"    operating_state: {{{wrong}}}\n"))
    assert found.startswith(f"line1.yaml:6: machines.pump.operating_state.{key}: ")
    assert problem in found
