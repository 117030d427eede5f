"""Orders to the real daemon: off until they are turned on, then signed or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

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


class Signed:
    """An operator who reads the nonce, signs, and waits for the answer."""

    def __init__(self, broker: Mosquitto, heard: Subscriber) -> None:
        self._broker, self._heard, self._number = broker, heard, 0

    def order(self, verb: str, **args: Any) -> dict[str, Any]:
        self._number += 1
        id_, topic = f"order-{self._number}", f"{TOPICS.orders}{verb}"
        nonce = self._heard.wait("/cmd/nonce", self._number, START_S)[-1].json["nonce"]
        body = {"v": 1, "gw": "gw", "id": id_, "verb": verb, "args": args, "nonce": nonce, "ctr": self._number}
        body["ts"] = timestamp(time.time_ns())
        publish(self._broker, topic, sign(topic, body, "m-lang", KEY))
        answered = lambda: [m.json for m in self._heard.on(f"/rsp/{verb}") if m.json.get("id") == id_]  # noqa: E731
        wait_for(lambda: bool(answered()), f"an answer to {verb}")
        return answered()[0]


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
        with daemon:
            heard.wait("/cmd/nonce", timeout_s=START_S)
            publish(broker, f"{TOPICS.orders}ping", b"{}")
            assert heard.wait("/rsp/ping")[-1].json["error"]["code"] == "bad_signature"
            signed = Signed(broker, heard)
            answer = signed.order("ping")
            assert (answer["id"], answer["ok"], answer["result"]["role"]) == ("order-1", True, "technician")
            assert signed.order("state.set", point="m/acc", name="idle")["ok"]
            row = heard.wait("/audit")[-1].json
            assert (row["who"], row["what"], row["object"], row["point"]) == ("m-lang", "order", "state.set", "acc")
            assert daemon.stop() == 0
        wait_for(lambda: heard.on("/cmd/nonce")[-1].payload == b"", "no nonce of a daemon that is gone")
