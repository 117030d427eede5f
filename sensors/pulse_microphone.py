"""A private PulseAudio with one virtual microphone: no hardware, no session, no root. For tests and demonstrations.

It needs the programs pulseaudio, pactl and pacat and ALSA's pulse plugin (libasound2-plugins).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from sensors.machine import Machine
from sensors.pacing import Pacer

START_S = 10.0
FEED_S = 0.05
LATENCY_MS = 200  # with pacat's own 2 s the null sink runs 0.28 % slow, as measured with PulseAudio 16
AHEAD_S = 0.25  # played before the pace begins: what bridges a delay of ours
CONFIG = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"


class PulseMicrophone:
    """What is played into it can be recorded from ``device``; a context manager.

    Put ``env`` into the environment of the process that records.
    """

    device = "default"

    def __init__(self, rate_hz: int = 48_000, channels: int = 1) -> None:
        self.rate_hz, self.channels = rate_hz, channels
        self._running: list[subprocess.Popen[bytes]] = []
        self._files: list[IO[bytes]] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> PulseMicrophone:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: it does not.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="echo-edge-pulse-"))
        socket = self._folder / "native"
        config = self._folder / "asound.conf"
        config.write_text(CONFIG)
        home = {name: str(self._folder) for name in ("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH")}
        self._server_env = {**os.environ, **home}
        self.env = {
            "ALSA_CONFIG_PATH": str(config),
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_SINK": "vmic",
            "PULSE_SOURCE": "vmic.monitor",
            "PULSE_COOKIE": str(self._folder / "cookie"),
        }
        # norewinds: without it the first block of a recording takes a second
        sink = (
            f"module-null-sink sink_name=vmic rate={self.rate_hz} channels={self.channels} format=float32le norewinds=1"
        )
        try:
            self._spawn(
                ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no"],
                ["--realtime=no", f"--log-target=file:{self._folder / 'log'}", "--high-priority=no", "-L", sink],
                ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"],
            )
            deadline = time.monotonic() + START_S
            while self.control("info"):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PulseAudio did not start within {START_S:.0f} s")
                time.sleep(0.05)
        except (OSError, RuntimeError) as error:
            self.__exit__(None, None, None)
            raise RuntimeError(f"{error}; apt install pulseaudio pulseaudio-utils libasound2-plugins") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started and remove its files."""
        self._stop.set()
        for process in reversed(self._running):
            process.kill()
            process.wait()
            if process.stdin is not None:
                with suppress(OSError):  # what was not played any more
                    process.stdin.close()
        for thread in self._threads:
            thread.join()
        for file in self._files:
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def hang(self, hangs: bool) -> None:
        """Stop the server dead, as a device that hangs: no sample, no error; or let it go on."""
        self._running[0].send_signal(signal.SIGSTOP if hangs else signal.SIGCONT)

    def control(self, *arguments: str) -> int:
        """Run ``pactl``, for example with ``set-source-volume vmic.monitor 50%``; return its exit code."""
        done = subprocess.run(["pactl", *arguments], env=self._client_env(), capture_output=True, check=False)
        return done.returncode

    def play(self, samples: NDArray[np.float32]) -> None:
        """Start to play samples of shape (n,) or (n, channels) into the microphone; returns at once."""
        path = self._folder / f"play{len(self._files)}.raw"
        path.write_bytes(np.ascontiguousarray(samples, dtype="<f4").tobytes())
        file = path.open("rb")
        self._files.append(file)
        self._pacat(file)

    def play_machine(self, machine: Machine) -> None:
        """Play a machine of the same rate and channels until the end, at the pace of a real one; returns at once."""
        if (machine.rate_hz, machine.channels) != (self.rate_hz, self.channels):
            raise ValueError(f"the microphone has {self.rate_hz} Hz and {self.channels} channels, the machine differs")
        player = self._pacat(subprocess.PIPE)
        thread = threading.Thread(target=self._feed, args=(machine, player), name="pulse-microphone", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _feed(self, machine: Machine, player: subprocess.Popen[bytes]) -> None:
        frames = max(1, round(FEED_S * self.rate_hz))
        ahead = round(AHEAD_S * self.rate_hz)
        pacer = Pacer(self.rate_hz)
        assert player.stdin is not None
        with suppress(OSError, ValueError):  # the player ended: we are stopping, or the server is gone
            self._write(player.stdin, machine.samples(ahead))
            while not self._stop.is_set():
                self._write(player.stdin, machine.samples(frames))
                pacer.wait(frames, self._stop)

    @staticmethod
    def _write(pipe: IO[bytes], samples: NDArray[np.float32]) -> None:
        pipe.write(np.ascontiguousarray(samples, dtype="<f4").tobytes())
        pipe.flush()

    def _pacat(self, stdin: IO[bytes] | int) -> subprocess.Popen[bytes]:
        shape = [f"--rate={self.rate_hz}", f"--channels={self.channels}", "--format=float32le"]
        return self._spawn(["pacat", "--raw", "--device=vmic", f"--latency-msec={LATENCY_MS}"], shape, stdin=stdin)

    def _client_env(self) -> dict[str, str]:
        return {**self._server_env, **self.env}

    def _spawn(self, *parts: list[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        argv = [argument for part in parts for argument in part]
        env = self._client_env() if argv[0] == "pacat" else self._server_env
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(argv, env=env, stdin=stdin, stdout=quiet, stderr=quiet)
        self._running.append(process)
        return process
