"""Turn a checkpoint into a model package, ``NAME.onnx`` + ``NAME.json``.

    python -m trainer.export checkpoint.safetensors out/ --name echo-small --licence MIT --half
    python -m trainer.export --untrained tiny out/ --name echo-tiny-untrained --seed 0 --half

Nothing appears unless ONNX Runtime gives the same numbers as torch for every shape tried.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import re
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from echo_edge.artifact import NAME_PATTERN, TestVector, load_package, sha256_hex
from echo_edge.frontend import SPEC
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.data.manifest import Manifest, ManifestError, read_manifest
from trainer.export_graph import ExportEncoder, round_to_half
from trainer.files import publish
from trainer.model.echo import PRESETS, Echo

OPSET = 20  # the newest without a fused Attention operator, which TensorRT does not build; has Gelu as one operator
PARITY = 5e-5
PARITY_SHAPES = ((1, 16), (7, 32), (19, 208), (2, 992), (3, 2000))
VECTOR_SHAPES = ((3, 48), (2, 304))
SMALL_TENSOR = 1024  # numbers; below this, float16 saves nothing worth a Cast

FloatArray = NDArray[np.float32]


class ExportError(Exception):
    """The package cannot be named so, or does not compute what the checkpoint computes; nothing was written."""


def export_package(
    model: Echo,
    out_dir: Path,
    name: str,
    *,
    provenance: str,
    licence: str,
    half: bool = False,
    training_hours: Mapping[str, float] | None = None,
) -> tuple[Path, float]:
    """Write ``name.onnx`` and ``name.json`` to ``out_dir``; return the first and the largest difference from torch.

    Args:
        model: in eval mode; with ``half`` its matrices are rounded in place.
        half: store matrices as float16, which halves the file; the arithmetic stays float32.
        training_hours: hours of recordings by licence, for the manifest.
    Raises:
        ExportError: the name is none, or ONNX Runtime and torch differ by more than 5e-5 for some shape.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ExportError(f"{name!r} names no package: letters, digits, '.', '_' and '-' only; choose one by --name")
    if half:
        round_to_half(model)
    data = to_onnx(model, half=half)
    difference = check_parity(model, data)
    manifest = _manifest(
        model, data, name, provenance=provenance, licence=licence, half=half, training_hours=training_hours or {}
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir) as trial:  # the daemon's own checks, before anything is in place
        (Path(trial) / f"{name}.onnx").write_bytes(data)
        (Path(trial) / f"{name}.json").write_bytes(manifest)
        load_package(Path(trial) / name)
    publish(out_dir / f"{name}.onnx", data)
    publish(out_dir / f"{name}.json", manifest)
    return out_dir / f"{name}.onnx", difference


def to_onnx(model: Echo, *, half: bool = False) -> bytes:
    """Return the model as ONNX with free N and T = 16 * P."""
    config = model.config
    first = 2 if config.patch_kernel_t > config.patch_stride_t else 1
    n = torch.export.Dim("N", min=1, max=65_536)
    p = torch.export.Dim("P", min=first, max=config.spec_len // config.patch_stride_t)
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # misses torchvision aloud
    with warnings.catch_warnings():
        # The exporter warns of its own use of torch's and Python's internals.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(torch|onnxscript|copyreg|onnx_ir)\b.*")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|onnxscript|copyreg|onnx_ir)\b.*")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|onnxscript)\b.*")
        program = torch.onnx.export(
            ExportEncoder(model).eval(),
            (torch.zeros(3, config.band_width, 4 * config.patch_stride_t), torch.zeros(3)),
            input_names=["bands", "position"],
            output_names=["cls"],
            dynamic_shapes={"bands": {0: n, 2: config.patch_stride_t * p}, "position": {0: n}},
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # stack traces: a third of a small file, and paths of the machine that made it
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:], proto.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    if half:
        _store_half(proto)
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def check_parity(model: Echo, data: bytes) -> float:
    """Return the largest difference between ONNX Runtime and torch over several N and T.

    Raises:
        ExportError: it is above 5e-5.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for n, frames in PARITY_SHAPES:
        bands, position = TestVector(
            seed=n, frames=frames, position=np.linspace(0.02, 0.98, n).tolist(), cls_base64=""
        ).inputs()
        if frames < model.config.patch_kernel_t:
            continue
        (found,) = session.run(["cls"], {"bands": bands, "position": position})
        difference = float(np.abs(found - _torch_cls(model, bands, position)).max())
        if not difference <= PARITY:
            raise ExportError(f"{n} bands of {frames} frames: differs from torch by {difference:.2g}, at most {PARITY}")
        largest = max(largest, difference)
    return largest


def _torch_cls(model: Echo, bands: FloatArray, position: FloatArray) -> FloatArray:
    with torch.no_grad():
        cls: FloatArray = model(torch.from_numpy(bands), torch.from_numpy(position)).numpy()
    return cls


def _store_half(proto: onnx.ModelProto) -> None:
    """Replace float32 matrices that float16 holds exactly by float16 and a Cast, which runtimes fold when they load."""
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALL_TENSOR:
            continue
        values = numpy_helper.to_array(tensor)
        short = values.astype(np.float16)
        if not np.array_equal(short.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(short, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def hours_by_licence(manifests: Sequence[Manifest]) -> dict[str, float]:
    """Return the hours of recordings to learn from, by licence."""
    hours: defaultdict[str, float] = defaultdict(float)
    for manifest in manifests:
        for recording in manifest.only(split="train").recordings:
            hours[recording.licence] += recording.duration_s / 3600
    return {licence: round(hours[licence], 3) for licence in sorted(hours)}


def _manifest(
    model: Echo,
    data: bytes,
    name: str,
    *,
    provenance: str,
    licence: str,
    half: bool,
    training_hours: Mapping[str, float],
) -> bytes:
    config = model.config
    content: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "sha256": sha256_hex(data),
        "opset": OPSET,
        "encoder": {
            "embed_dim": config.embed_dim,
            "depth": config.depth,
            "heads": config.heads,
            "patch_kernel_t": config.patch_kernel_t,
            "norm_first": config.norm_first,
            "weights": "float16" if half else "float32",
        },
        "front_end": asdict(SPEC),
        "provenance": provenance,
        "weights_licence": licence,
        "training_hours": dict(training_hours),
        "test_vectors": [_vector(model, seed, n, frames) for seed, (n, frames) in enumerate(VECTOR_SHAPES)],
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def _vector(model: Echo, seed: int, n: int, frames: int) -> dict[str, Any]:
    position = np.linspace(0.1, 0.9, n).round(3).tolist()
    inputs = TestVector(seed=seed, frames=frames, position=position, cls_base64="").inputs()
    cls = base64.b64encode(_torch_cls(model, *inputs).astype("<f4").tobytes()).decode()
    return {"seed": seed, "frames": frames, "position": position, "cls_base64": cls}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.export",
        description="Turn a checkpoint into the model package the daemon loads: NAME.onnx and NAME.json.",
        epilog="Exit code 1 and no files when the checkpoint does not fit or ONNX Runtime disagrees with torch. "
        "Afterwards: copy both files to the gateway and set 'model:' to the path of NAME.onnx.",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, help=".safetensors or .pth; none with --untrained")
    parser.add_argument("out_dir", type=Path, help="folder for the two files, made if need be")
    parser.add_argument("--name", help="name of the package (default: that of the checkpoint)")
    parser.add_argument("--licence", default="unknown", help="licence of the weights, an SPDX id such as MIT")
    parser.add_argument(
        "--provenance", help="one line: where the weights come from (default: the file and its SHA-256)"
    )
    parser.add_argument("--heads", type=int, help="attention heads, if neither the file nor width / 64 says it")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="let a .pth run code while it loads: only if you trust it"
    )
    parser.add_argument(
        "--manifest", action="append", default=[], type=Path, metavar="CSV",
        help="what it learned from: hours by licence go into the package (repeat for several)",
    )  # fmt: skip
    parser.add_argument("--half", action="store_true", help="store weights as float16: half the file, same speed")
    parser.add_argument("--untrained", choices=sorted(PRESETS), help="random weights of this size: to try, to test")
    parser.add_argument("--seed", type=int, default=0, help="of --untrained (default 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, export, say what was written; return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.checkpoint is None) == (arguments.untrained is None):
        parser.error("needs a checkpoint or --untrained, not both")
    try:
        if arguments.untrained:
            torch.manual_seed(arguments.seed)
            model = Echo(PRESETS[arguments.untrained]).eval()
            name = arguments.name or f"echo-{arguments.untrained}-untrained"
            origin = f"seeded random weights, not trained (seed {arguments.seed})"
        else:
            model = load_checkpoint(arguments.checkpoint, heads=arguments.heads, allow_pickle=arguments.allow_pickle)
            name = arguments.name or arguments.checkpoint.stem
            origin = f"{arguments.checkpoint.name}, SHA-256 {sha256_hex(arguments.checkpoint.read_bytes())}"
        path, difference = export_package(
            model,
            arguments.out_dir,
            name,
            provenance=arguments.provenance or origin,
            licence=arguments.licence,
            half=arguments.half,
            training_hours=hours_by_licence([read_manifest(path) for path in arguments.manifest]),
        )
    except (CheckpointError, ExportError, ManifestError) as error:
        print(f"export: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, differs from torch by {difference:.1g}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
