"""``make bench``: every benchmark in turn; ``--quick`` means fewer turns, and a minute of the daemon, not ten."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    runs = [
        ["tests.bench.bench_encoder"],
        ["tests.bench.bench_engines", *(["--turns", "5"] if quick else [])],
        ["tests.bench.bench_options"],
        ["tests.bench.bench_index", *(["--quick"] if quick else [])],
        ["tests.bench.bench_indicators"],
        ["tests.bench.bench_baselines"],
        ["tests.bench.bench_delivery"],
        ["tests.bench.bench_parsers", *(["--quick"] if quick else [])],
        ["tests.bench.bench_pretraining", *(["--turns", "2"] if quick else [])],
        ["tests.bench.bench_siren", *(["--turns", "1"] if quick else [])],
        ["tests.bench.bench_capture", *(["--seconds", "15"] if quick else [])],
        ["tests.bench.bench_page", *(["--seconds", "15"] if quick else [])],
        ["tests.bench.bench_daemon", "--minutes", "1" if quick else "10"],
    ]
    # a process each: the next figure must not inherit memory, threads or warm caches of the one before
    return max(subprocess.run([sys.executable, "-m", *run], check=False).returncode for run in runs)


if __name__ == "__main__":
    sys.exit(main())
