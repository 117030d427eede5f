"""The real daemon tells Home Assistant what it measures, and takes what a button of it sends."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Mosquitto, Subscriber, needs_mosquitto, publish, wait_for
from tests.echo_edge.test_homeassistant import as_read
from tests.system.daemon import START_S, Daemon

CONFIG = """\
gateway: {{id: gw, outbox: {{max_mb: 4}}}}
mqtt: {{port: {port}, state_interval_s: 0.2, homeassistant: {{}}}}
orders: {{mqtt: true, unsigned_role: technician}}
devices: {{acc: {{kind: simulator, rate_hz: 16000}}}}
machines: {{m: {{title: Feed pump, points: {{de: {{device: acc, window: {{length_s: 0.5, hop_s: 0.5}}}}}}}}}}
"""


@needs_mosquitto
def test_a_device_appears_with_what_it_measures_and_its_button_begins_an_enrollment(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as heard:
        daemon = Daemon(tmp_path / "daemon", CONFIG.format(port=broker.port))

        def velocity_is_there() -> bool:
            told = heard.on("homeassistant/device/gw_m/config")
            return bool(told) and "de_velocity_rms_mm_s" in as_read(told[-1].json)

        with daemon:
            wait_for(velocity_is_there, "the velocity's entity", START_S)
            message = heard.on("homeassistant/device/gw_m/config")[-1].json
            components = as_read(message)
            assert message["dev"]["name"] == "Feed pump"
            for name, component in components.items():
                topic = component.get("state_topic")
                if topic is not None and name != "de_alert":
                    assert heard.on(topic), f"{name} reads a topic that nobody writes: {topic}"
            publish(broker, components["de_enroll"]["command_topic"], components["de_enroll"]["payload_press"].encode())
            (answer,) = heard.wait("/rsp/enroll.start")
            assert answer.json["ok"], answer.json
            assert daemon.stop() == 0
