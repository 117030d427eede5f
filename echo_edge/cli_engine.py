"""``build-engine``: make the engine for this machine's GPU before the daemon needs it. Prints, as ``cli`` does."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from echo_edge.cli_shared import AsJson, ConfigPath, err, say
from echo_edge.config_file import load_config
from echo_edge.store import cache_folder


def build_engine(config: ConfigPath, as_json: AsJson = False) -> None:
    """Build and check the TensorRT engine for this machine's GPU and these windows; says where it lies.

    The daemon does the same by itself, while the CPU serves; built before, the GPU serves from the start. Half
    precision, or single where half does not give the CPU's verdicts. An engine that is there is only checked. Give
    the service's folder by `$CACHE_DIRECTORY`, such as `/var/cache/echo-edge/line1`, and its user by `sudo -u`.
    Exit code 70 when there is no GPU, no TensorRT, or no engine that is exact enough.
    """
    from echo_edge.artifact import load_package  # noqa: PLC0415
    from echo_edge.engine.exact import exact_tensorrt  # noqa: PLC0415  # onnxruntime, which no other command needs
    from echo_edge.engine.profiles import window_shapes  # noqa: PLC0415

    loaded = load_config(config)
    package = load_package(loaded.model)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=as_json or not err.is_terminal) as bar:
        task = bar.add_task("looking for a GPU", total=1.0)
        made = exact_tensorrt(
            package,
            window_shapes(loaded),
            cache_folder() / "engines",
            lambda phase, fraction: bar.update(task, description=phase, completed=fraction),
        )
    made.engine.close()
    if as_json:
        parts = {"precision": made.precision, "seconds": round(made.seconds, 1), "half_refused": made.refused}
        print(json.dumps({"file": str(made.file), **parts, **asdict(made.parity)}))
        return
    say(f"{made.file}: {made.precision}, {made.file.stat().st_size / 1e6:.0f} MB, ready after {made.seconds:.1f} s")
    if made.refused is not None:
        say(f"Single precision, since half is not exact enough: {made.refused}")
    parity = made.parity
    say(
        f"Test vectors: cosine {parity.cosine:.6f} in the worst band, largest difference {parity.difference:.2g}. "
        f"All {parity.windows} verdicts are the CPU's; scores differ by up to {parity.drift:.2%}"
    )
