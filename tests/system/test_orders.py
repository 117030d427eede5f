"""Orders to the real daemon: off until they are turned on, then signed or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from echo_edge.envelope import Topics, timestamp
from echo_edge.operator_keys import SharedKey, write_key
from echo_edge.order_envelope import sign
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, publish, wait_for
from tests.system.daemon import START_S, Daemon
from tests.system.test_daemon import SIMULATED, config

pytestmark = needs_mosquitto
TOPICS = Topics("echo-edge/v1", "gw")
KEY = SharedKey(bytes(range(32)))


@pytest.mark.timeout(90)
def test_the_daemon_hears_orders_only_when_it_is_told_to(tmp_path: Path) -> None:
    write_key(tmp_path / "m-lang.key", KEY)
    operators = f"{{m-lang: {{role: technician, key_file: {tmp_path}/m-lang.key}}}}"
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, f"{TOPICS.root}/#") as heard:
        quiet = config(broker.port, {"acc": SIMULATED})
        with Daemon(tmp_path / "daemon", quiet) as daemon:
            wait_for(lambda: bool(heard.on("/p/acc/state")), "the daemon", START_S)
            publish(broker, f"{TOPICS.orders}ping", b"{}")
            assert daemon.stop() == 0
        assert heard.on("/rsp/ping") == heard.on("/cmd/nonce") == []
        daemon.config.write_text(quiet + f"orders: {{mqtt: true, operators: {operators}}}\n")
        daemon.start()
        nonce = heard.wait("/cmd/nonce", timeout_s=START_S)[-1].json["nonce"]
        publish(broker, f"{TOPICS.orders}ping", b"{}")
        assert heard.wait("/rsp/ping")[-1].json["error"]["code"] == "bad_signature"
        body = {"v": 1, "gw": "gw", "id": "order-1", "verb": "ping", "nonce": nonce, "ctr": 1}
        body["ts"] = timestamp(time.time_ns())
        publish(broker, f"{TOPICS.orders}ping", sign(f"{TOPICS.orders}ping", body, "m-lang", KEY))
        assert heard.wait("/rsp/ping", 2)[-1].json["id"] == "order-1"
        assert daemon.stop() == 0
        wait_for(lambda: heard.on("/cmd/nonce")[-1].payload == b"", "no nonce of a daemon that is gone")
