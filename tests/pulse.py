"""A private PulseAudio with one virtual microphone, for tests: no hardware, no session, no root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

START_S = 10.0


class PulseMicrophone:
    """What is played into it can be recorded from ``device``; a context manager.

    Put ``env`` into the environment of the process that records.
    """

    device = "default"

    def __init__(self, rate_hz: int = 48_000, channels: int = 1) -> None:
        self.rate_hz, self.channels = rate_hz, channels
        self._running: list[subprocess.Popen[bytes]] = []
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> PulseMicrophone:
        """Start the server and wait until it answers."""
        self._folder = Path(tempfile.mkdtemp(prefix="pulse-"))
        socket = self._folder / "native"
        config = self._folder / "asound.conf"
        config.write_text("pcm.!default { type pulse }\n")
        home = {name: str(self._folder) for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH")}
        self._server_env = {**os.environ, **home}
        self.env = {
            "ALSA_CONFIG_PATH": str(config),
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_SOURCE": "vmic.monitor",
            "PULSE_COOKIE": str(self._folder / "cookie"),
        }
        # norewinds: without it the first block of a recording takes a second
        sink = (
            f"module-null-sink sink_name=vmic rate={self.rate_hz} channels={self.channels} format=float32le norewinds=1"
        )
        self._spawn(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no"],
            ["--realtime=no", f"--log-target=file:{self._folder / 'log'}", "--high-priority=no", "-L", sink],
            ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"],
        )
        deadline = time.monotonic() + START_S
        while subprocess.run(["pactl", "info"], env=self._client_env(), capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError("PulseAudio did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started and remove its files."""
        for process in reversed(self._running):
            process.kill()
            process.wait()
        for file in self._files:
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def play(self, samples: NDArray[np.float32]) -> None:
        """Start to play samples of shape (n,) or (n, channels) into the microphone; returns at once."""
        path = self._folder / f"play{len(self._files)}.raw"
        path.write_bytes(np.ascontiguousarray(samples, dtype="<f4").tobytes())
        file = path.open("rb")
        self._files.append(file)
        shape = [f"--rate={self.rate_hz}", f"--channels={self.channels}", "--format=float32le"]
        self._spawn(["pacat", "--raw", "--device=vmic"], shape, stdin=file)

    def _client_env(self) -> dict[str, str]:
        return {**self._server_env, **self.env}

    def _spawn(self, *parts: list[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> None:
        argv = [argument for part in parts for argument in part]
        env = self._client_env() if argv[0] == "pacat" else self._server_env
        quiet = subprocess.DEVNULL
        self._running.append(subprocess.Popen(argv, env=env, stdin=stdin, stdout=quiet, stderr=quiet))
