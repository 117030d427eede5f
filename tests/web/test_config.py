"""The page's configuration: what is refused, where, with which mend; and which names it is asked for by."""

from __future__ import annotations

from pathlib import Path

import pytest

from echo_edge.errors import ConfigError
from echo_edge.web.config import WebConfig, load_web_config

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str) -> Path:
    for name in ("page.crt", "page.key", "open.key"):
        (folder / name).touch()
        (folder / name).chmod(0o644 if name == "open.key" else 0o600)
    path = folder / "web.yaml"
    path.write_text(text)
    return path


def test_the_example_is_fine_and_open_to_this_machine_alone() -> None:
    config = load_web_config(ROOT / "configs" / "web" / "example.yaml")
    assert config.is_loopback
    assert config.address == "http://127.0.0.1:8443/"


def test_what_the_example_says_of_other_machines_is_fine_too(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "web" / "example.yaml").read_text().replace("\n# ", "\n")
    lines = [line for line in text.splitlines() if ":" in line and not line.startswith(("#", "As it is", "For other"))]
    text = "\n".join(lines).replace("/etc/echo-edge-web/gw-hall3.crt", "page.crt")
    config = load_web_config(written(tmp_path, text))
    assert config.scheme == "https"
    assert config.address == "https://gw-hall3.plant.example:8443/"
    assert config.allowed_hosts == {"gw-hall3.plant.example:8443", "192.168.7.20:8443"}


TLS = "tls: {certificate_file: page.crt, key_file: page.key}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gateway: Hall 3\n", "web.yaml:1: gateway: 'Hall 3' is not an id"),
        ("gateway: g\nprot: 1\n", "web.yaml:2: prot: unknown key; did you mean 'port'?"),
        ("gateway: g\nport: 0\n", "web.yaml:2: port: Input should be greater than or equal to 1, not 0"),
        ("gateway: g\nhost: localhost\n", "web.yaml:2: host: 'localhost' is not an IP address; 127.0.0.1 is this"),
        ("gateway: g\n\nhost: 0.0.0.0\n" + TLS, "web.yaml:1: names: is needed where host is 0.0.0.0"),
        ("gateway: g\nhost: '::'\nnames: [gw]\n", "web.yaml:1: tls: is needed where host is ::, for passwords"),
        ("gateway: g\nhost: 0.0.0.0\nnames: [localhost]\n" + TLS, "web.yaml:3: names: 'localhost' is for a page on"),
        ("gateway: g\nnames: ['https://gw/']\n", "web.yaml:2: names: 'https://gw/' is not a host name; use a name"),
        ("gateway: g\nnames: ['gw:99999']\n", "web.yaml:2: names: 'gw:99999' is not a host name"),
        ("gateway: g\ntls: {certificate_file: none.crt, key_file: page.key}\n", "tls.certificate_file: no such file"),
        ("gateway: g\ntls:\n  certificate_file: page.crt\n  key_file: open.key\n", "web.yaml:4: tls.key_file: "),
        ("gateway: g\ntls:\n  certificate_file: page.crt\n", "web.yaml:2: tls.key_file: give either key_file or"),
        ("gateway: g\ntls: {certificat_file: page.crt}\n", "unknown key; did you mean 'certificate_file'?"),
        ("gateway: g\nlanguage: fr\n", "web.yaml:2: language: Input should be 'en' or 'de', not 'fr'"),
        ("", "web.yaml:1: is empty or not a mapping; start with 'gateway: ...'"),
        ("gateway: g\ngateway: h\n", "web.yaml:2: gateway: is there twice"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_its_mend(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_web_config(written(tmp_path, text))
    assert told in "\n".join(error.value.problems)


def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = written(tmp_path, "gateway: g\ntls: {certificate_file: page.crt, key_file: open.key}\n")
    with pytest.raises(ConfigError, match=f"can be read by others; chmod 600 {tmp_path}/open.key"):
        load_web_config(path)


def test_a_key_that_systemd_hands_over_is_found_and_a_missing_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "gateway: g\ntls: {certificate_file: page.crt, key_credential: page.key}\n"
    config = load_web_config(written(tmp_path, text))
    assert config.tls is not None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "page.key").write_text("-----BEGIN PRIVATE KEY-----")
    assert config.tls.key() == tmp_path / "page.key"
    (tmp_path / "page.key").write_text("-")
    with pytest.raises(ConfigError, match=r"secrets/NAME/page.key, root's alone"):
        config.tls.key()


def test_other_machines_without_encryption_only_where_somebody_said_so() -> None:
    config = WebConfig(gateway="g", host="0.0.0.0", names=["gw"], allow_plaintext=True)
    assert config.address == "http://gw:8443/"


def test_browsers_leave_out_the_usual_port_and_a_tunnel_may_have_its_own(tmp_path: Path) -> None:
    config = load_web_config(written(tmp_path, f"gateway: g\nhost: 0.0.0.0\nport: 443\nnames: [GW.example]\n{TLS}"))
    assert config.allowed_hosts == {"gw.example", "gw.example:443"}
    tunnel = WebConfig(gateway="g", names=["localhost:9000"])
    assert tunnel.allowed_hosts == {"localhost:9000", "localhost:8443", "127.0.0.1:8443", "[::1]:8443"}
