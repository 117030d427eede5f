"""Configuration: what is wrong is named by file, line and key, with the mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echo_edge.config_file import load_config, read_password
from echo_edge.config_mqtt import MqttConfig
from echo_edge.errors import ConfigError

GOOD = """\
gateway: {id: gw-1}
devices:
  acc: {kind: simulator, rate_hz: 25600, channels: 3}
machines:
  pump:
    title: Feed pump
    points:
      de: {device: acc, channels: [x, z], window: {length_s: 2, hop_s: 1}}
      nde: {device: acc, channels: [1]}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "line1.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [p.removeprefix(f"{tmp_path}/") for p in caught.value.problems]


def test_a_good_file_gives_its_points_by_full_name(tmp_path: Path) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(GOOD)
    config = load_config(path)
    assert list(config.points()) == ["pump/de", "pump/nde"]
    assert config.points()["pump/de"].channel_numbers == [0, 2]
    assert config.title("pump/de") == "Feed pump"
    assert config.target_per_month("pump/de") == 0.5  # one a month for the machine, shared by two points


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD.replace("hop_s", "hops_s")) == [
        "line1.yaml:8: machines.pump.points.de.window.hops_s: unknown key; did you mean 'hop_s'?"
    ]


def test_a_wrong_type_says_what_stood_there(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("25600", "fast"))
    assert problem.startswith("line1.yaml:3: devices.acc.rate_hz: ")
    assert "not 'fast'" in problem


@pytest.mark.parametrize("value", ["2026-13-45", "!!bool maybe", "!!int many", "0x_", "{[a]: 1}"])
def test_a_value_that_yaml_cannot_make_is_a_problem_like_any_other(value: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("Feed pump", value))
    assert problem.startswith("line1.yaml: is not valid YAML: ")


def test_a_duplicate_id_is_an_error_and_not_the_last_one_wins(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("      nde:", "      de:"))
    assert problem == "line1.yaml:9: machines.pump.points.de: is there twice; ids and keys must be unique"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("{kind: simulator, rate_hz: 25600, channels: 3}", "{kind: wavfile, files: [{path: no.wav}]}")
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("line1.yaml:3: devices.acc.files[0].path: no such file: ")


def test_every_problem_is_told_in_one_go(tmp_path: Path) -> None:
    text = GOOD.replace("gw-1", "GW 1").replace("hop_s: 1", "hop_s: 3").replace("[1]", "[1, 1]")
    assert [int(re.findall(r":(\d+):", p)[0]) for p in problems(tmp_path, text)] == [1, 8, 9]


def test_a_point_needs_a_device_that_exists(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("nde: {device: acc", "nde: {device: ac"))
    assert problem == (
        "line1.yaml:9: machines.pump.points.nde.device: there is no device 'ac' under 'devices'; did you mean 'acc'?"
    )


def test_a_point_needs_a_channel_that_its_device_opens(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("channels: 3", "channels: 2"))
    assert problem.startswith("line1.yaml:8: machines.pump.points.de.channels: 'acc' is opened with 2 channel(s)")


def test_a_password_without_a_user_is_an_error(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD + "mqtt: {username: gw}\n")
    assert problem.startswith("line1.yaml:10: mqtt: 'username' and a password")


@pytest.mark.parametrize("text", ["", "- a\n", "gateway: [", "a: b: c", "gateway: {id: \x00}"])
def test_what_is_not_a_configuration_at_all_is_said_plainly(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("line1.yaml")


def test_a_file_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_plaintext_to_another_host_is_refused_unless_a_person_insists(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD + "mqtt: {host: broker.plant}\n")
    assert "allow_plaintext" in problem
    path = tmp_path / "line1.yaml"
    path.write_text(GOOD + "mqtt: {host: broker.plant, allow_plaintext: true}\n")
    assert load_config(path).mqtt.host == "broker.plant"


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_password(MqttConfig.model_validate({"username": "gw", "password_file": path}), None)
    path.chmod(0o600)
    assert read_password(MqttConfig.model_validate({"username": "gw", "password_file": path}), None) == "secret"


def test_a_password_comes_from_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "mqtt-password").write_text("secret\n")
    settings = MqttConfig(username="gw", password_credential="mqtt-password")
    assert read_password(settings, str(tmp_path)) == "secret"
    with pytest.raises(ConfigError, match="LoadCredential"):
        read_password(settings, None)


@pytest.mark.parametrize("content", ["-", "-\n"])
def test_a_credential_that_the_unit_file_left_unset_is_no_password(content: str, tmp_path: Path) -> None:
    (tmp_path / "mqtt-password").write_text(content)
    settings = MqttConfig(username="gw", password_credential="mqtt-password")
    with pytest.raises(ConfigError, match=r"mqtt.password_credential: systemd was given no credential 'mqtt-password'"):
        read_password(settings, str(tmp_path))
    (tmp_path / "mqtt-password").write_text("-secret\n")
    assert read_password(settings, str(tmp_path)) == "-secret"


def test_a_device_named_like_a_kind_does_not_confuse_the_line_numbers(tmp_path: Path) -> None:
    text = GOOD.replace("  acc: {kind: simulator,", "  simulator: {kind: simulator, seeed: 1,")
    assert problems(tmp_path, text)[0] == "line1.yaml:3: devices.simulator.seeed: unknown key; did you mean 'seed'?"


def with_microphone(tmp_path: Path, options: str) -> str:
    (tmp_path / "umik.txt").write_text("20 0.5\n1000 0\n")
    (tmp_path / "broken.txt").write_text("20 0.5\n1000 nought\n")
    return GOOD.replace(
        "{kind: simulator, rate_hz: 25600, channels: 3}", f"{{kind: microphone, channels: 3, {options}}}"
    )


def test_a_calibration_file_is_found_beside_the_configuration_and_read(tmp_path: Path) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(with_microphone(tmp_path, "calibration: {file: umik.txt, sign: response}, sensitivity_dbfs: -36"))
    device = load_config(path).devices["acc"]
    assert device.model_dump()["calibration"] == {"file": tmp_path / "umik.txt", "sign": "response"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("calibration: {file: umik.txt}", "devices.acc.calibration: 'sign' is missing: say 'response' when"),
        ("calibration: {file: umik.txt, sign: plus}", "calibration.sign: Input should be 'response' or 'correction'"),
        ("calibration: {file: gone.txt, sign: response}", "calibration.file: no such file"),
        ("calibration: {file: broken.txt, sign: response}", "broken.txt:2: 'nought' is no number"),
        ("sensitivity_dbfs: -36, scale: 2, unit: Pa", "give 'scale' and 'unit', or 'sensitivity_dbfs'"),
        ("sensitivity_dbfs: -36, unit: Pa", "give 'scale' and 'unit', or 'sensitivity_dbfs'"),
    ],
)
def test_a_microphone_s_scale_that_cannot_be_right_is_refused(tmp_path: Path, options: str, problem: str) -> None:
    (found,) = problems(tmp_path, with_microphone(tmp_path, options))
    assert found.startswith("line1.yaml:3: devices.acc")
    assert problem in found


def accelerometer(options: str) -> str:
    return GOOD.replace(
        "{kind: simulator, rate_hz: 25600, channels: 3}", f"{{kind: accelerometer, port: /dev/ttyS9, {options}}}"
    )


@pytest.mark.parametrize(
    "options",
    [
        "protocol: ee1",
        "protocol: picoquake, rate_hz: 4000, range_g: 4",
        "protocol: witmotion, rate_hz: 200, baud: 9600",
        "protocol: csv, rate_hz: 800, unit: g, scale: 0.001, columns: [t_us, x, y, z, '-']",
    ],
)
def test_every_serial_protocol_takes_its_options(tmp_path: Path, options: str) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text(accelerometer(options))
    assert load_config(path).devices["acc"].kind == "accelerometer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "rate_hz: 4000",
            "protocol ee1 takes no options, not rate_hz; it is for protocol picoquake and witmotion and csv",
        ),
        (
            "protocol: witmotion, range_g: 4",
            "protocol witmotion takes rate_hz, not range_g; it is for protocol picoquake",
        ),
        ("protocol: picoquake, rate_hz: 3000", "rate_hz 3000 is none of 12.5, 25, 50, 100, 200, 500, 1000, 2000, 4000"),
        ("protocol: csv, columns: [ax, t_us]", "columns: t_us comes first, and once"),
        ("protocol: modbus", "'csv'"),
        ("baud: 1200", "greater than or equal to 2400"),
    ],
)
def test_a_serial_option_that_makes_no_sense_is_named_with_the_mend(tmp_path: Path, options: str, message: str) -> None:
    (problem,) = problems(tmp_path, accelerometer(options))
    assert problem.startswith("line1.yaml:3: devices.acc")
    assert message in problem
