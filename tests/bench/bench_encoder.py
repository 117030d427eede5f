"""How fast the encoder is here: our engine against torch, window by window, and the front end's share.

Both run on one thread and take turns, so that a busy machine slows both; the fastest of several turns counts, in
processor time, which another process cannot stretch. Peak is the best of several float32 matrix products, by torch and
by ONNX Runtime, of shapes that stay in the cache and keep the multiply-add units busy.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from echo_edge import frontend
from echo_edge.artifact import load_package
from echo_edge.engine import Engine, create_engine
from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo, EchoConfig, frequency_code

RATES_HZ = (16_000, 48_000)
LENGTHS_S = (2, 5, 10)
TARGET_RATIO = {"tiny": 1.5, "small": 1.7}
TARGET_SHARE = {"tiny": 0.10, "small": 0.05}


class PublishedEncoder(nn.Module):
    """The published arrangement: torch's own encoder layers, with their fused inference path, on all tokens."""

    def __init__(self, model: Echo) -> None:
        super().__init__()
        config = model.config
        self.model = model
        layer = nn.TransformerEncoderLayer(
            config.embed_dim,
            config.heads,
            4 * config.embed_dim,
            0.1,
            "gelu",
            batch_first=True,
            layer_norm_eps=config.eps,
        )
        self.encoder = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.encoder.load_state_dict(model.encoder.state_dict())

    def forward(self, bands: Tensor, position: Tensor) -> Tensor:
        patches = self.model.patch_tokens(bands, position)
        cls = self.model.cls_token + frequency_code(position, patches.shape[2])[:, None]
        out: Tensor = self.model.norm(self.encoder(torch.cat((cls, patches), dim=1)))[:, 0]
        return out


def fastest_ms(turns: int, **calls: Callable[[], object]) -> dict[str, float]:
    """Run the calls in turns; return the least processor time of each, in milliseconds."""
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(turns + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if turn:  # the first warms up
                best[name] = min(best[name], 1e3 * (time.thread_time() - start))
    return best


def peak_gflops() -> float:
    """Return the most float32 multiply-adds a second one thread was seen to do, in GFLOP/s."""
    best = 0.0
    for m, k, n in ((512, 384, 768), (1216, 192, 768), (608, 384, 1536), (2048, 2048, 2048)):
        x, w = torch.randn(m, k), torch.randn(k, n)
        session, feed = _product(w.numpy(), m), {"x": x.numpy()}
        calls = {"torch": lambda x=x, w=w: x @ w, "ort": lambda session=session, feed=feed: session.run(None, feed)}
        best = max(best, 2 * m * k * n / min(fastest_ms(20, **calls).values()) / 1e6)
    return best


def _product(weight: NDArray[np.float32], rows: int) -> ort.InferenceSession:
    """Return a session of one product: ``rows`` rows times ``weight``."""
    k, n = weight.shape
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "peak",
        [value("x", onnx.TensorProto.FLOAT, (rows, k))],
        [value("y", onnx.TensorProto.FLOAT, (rows, n))],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def encoder_gflop(config: EchoConfig, n_bands: int, frames: int) -> float:
    """Return the multiply-adds of all tokens through all layers, times two, unused rows of the last one included."""
    patches = frames // config.patch_stride_t
    tokens, dim = patches + 1, config.embed_dim
    layer = tokens * (8 + 4 * config.mlp_ratio) * dim * dim + 4 * tokens * tokens * dim
    patch = patches * 2 * config.band_width * config.patch_kernel_t * dim
    return n_bands * (config.depth * layer + patch) / 1e9


def measure(sizes: Sequence[str], turns: int) -> dict[str, Any]:
    """Return the peak and one row per size, rate and length."""
    torch.set_num_threads(1)
    peak = peak_gflops()
    rows: list[dict[str, Any]] = []
    for size in sizes:
        torch.manual_seed(0)
        model = Echo(PRESETS[size]).eval()
        published = PublishedEncoder(model).eval()
        with tempfile.TemporaryDirectory() as folder:
            path, _ = export_package(model, Path(folder), size, provenance="bench", licence="none")
            engine = create_engine("onnx", load_package(path), threads=1)
        windows = [(rate_hz, length_s) for rate_hz in RATES_HZ for length_s in LENGTHS_S]
        rows += [{"size": size, **_row(model, published, engine, peak, turns, *window)} for window in windows]
    return {"peak_gflops": round(peak), "rows": rows}


def _row(
    model: Echo, published: nn.Module, engine: Engine, peak: float, turns: int, rate_hz: int, length_s: int
) -> dict[str, Any]:
    samples = np.random.default_rng(0).standard_normal(rate_hz * length_s).astype(np.float32)
    bands, position = frontend.bands(samples, rate_hz)
    bands_t, position_t = torch.from_numpy(bands), torch.from_numpy(position)
    with torch.no_grad():
        assert torch.allclose(published(bands_t, position_t), torch.from_numpy(engine.run(bands, position)), atol=1e-4)
        ms = fastest_ms(
            turns,
            fused=lambda: published(bands_t, position_t),
            eager=lambda: model.tokens(bands_t, position_t),
            ours=lambda: engine.run(bands, position),
            front_end=lambda: frontend.bands(samples, rate_hz),
        )
    gflop = encoder_gflop(model.config, len(bands), bands.shape[-1])
    return {
        "rate_hz": rate_hz,
        "length_s": length_s,
        "gflop": round(gflop, 2),
        **{f"{key}_ms": round(value, 2) for key, value in ms.items()},
        "ratio_fused": round(ms["fused"] / ms["ours"], 2),
        "ratio_eager": round(ms["eager"] / ms["ours"], 2),
        "peak_fraction": round(gflop / ms["ours"] * 1e3 / peak, 2),
        "front_end_share": round(ms["front_end"] / ms["ours"], 3),
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print a table for people and one line of JSON for machines."""
    table = Table(title=f"encoder, one thread; peak of this core {result['peak_gflops']} GFLOP/s (matrix products)")
    for heading in (
        "model",
        "kHz",
        "s",
        "GFLOP",
        "torch fused",
        "torch eager",
        "ours ms",
        "x fused",
        "x eager",
        "of peak",
    ):
        table.add_column(heading, justify="right")
    table.add_column("front end", justify="right")
    for row in result["rows"]:
        good = row["front_end_share"] < TARGET_SHARE[row["size"]]
        table.add_row(
            row["size"],
            f"{row['rate_hz'] / 1000:g}",
            str(row["length_s"]),
            f"{row['gflop']:.1f}",
            f"{row['fused_ms']:.1f}",
            f"{row['eager_ms']:.1f}",
            f"{row['ours_ms']:.1f}",
            f"{row['ratio_fused']:.2f}",
            f"{row['ratio_eager']:.2f}{'' if row['ratio_eager'] >= TARGET_RATIO[row['size']] else ' !'}",
            f"{row['peak_fraction']:.0%}",
            f"{row['front_end_share']:.1%}{'' if good else ' !'}",
        )
    console.print(table)
    console.print("! misses its target: tiny 1.5 times torch, front end under 10 %; small 1.7 times, under 5 %")
    console.print_json(json.dumps({"bench": "encoder", **result}), indent=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_encoder", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"], choices=sorted(TARGET_RATIO))
    parser.add_argument("--turns", type=int, default=8, help="how often each takes its turn; the fastest counts")
    arguments = parser.parse_args(argv)
    show(measure(arguments.sizes, arguments.turns), Console(width=120))
    return 0


if __name__ == "__main__":
    sys.exit(main())
