"""The model package ``NAME.onnx`` + ``NAME.json``: what the trainer hands to the daemon, and how both check it.

Shape suffixes: N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from echo_edge.errors import ArtifactError
from echo_edge.frontend import SPEC

if TYPE_CHECKING:
    from echo_edge.engine.base import Engine

MODELS_DIR = Path(__file__).parent / "models"
# How protobuf writes the key of an external-data entry; in 11 MB of weights it does not turn up by chance.
EXTERNAL_DATA_KEY = b"\x0a\x08location\x12"
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]*"
MIN_COSINE = 0.9999
MAX_ABS = 0.01  # CPU engines differ by 1e-5; a half-precision engine on the target by a few thousandths

FloatArray = NDArray[np.float32]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TestVector(_Strict):
    """An input anyone can make again, and the output the exporter saw."""

    __test__ = False  # pytest would take it for a test

    seed: int = Field(ge=0)
    frames: int = Field(gt=0, le=SPEC.max_frames, multiple_of=SPEC.patch_frames)
    position: list[float] = Field(min_length=1)
    cls_base64: str
    """Little-endian float32, shape (N, D)."""

    def inputs(self) -> tuple[FloatArray, FloatArray]:
        """Return bands (N, 32, T), uniform in -1..1, and positions (N,).

        Raw PCG64 output, the stream numpy promises never to change.
        """
        shape = (len(self.position), SPEC.band_width, self.frames)
        raw = np.random.PCG64(self.seed).random_raw(shape[0] * shape[1] * shape[2])
        bands = ((raw >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)
        return bands.reshape(shape), np.array(self.position, np.float32)

    def expected(self) -> FloatArray:
        """Return the recorded output, shape (N, D)."""
        flat = np.frombuffer(base64.b64decode(self.cls_base64, validate=True), "<f4")
        return flat.reshape(len(self.position), -1)


class Encoder(_Strict):
    """The shape of the network inside."""

    embed_dim: int = Field(gt=0)
    depth: int = Field(gt=0)
    heads: int = Field(gt=0)
    patch_kernel_t: int = Field(gt=0)
    norm_first: bool = False
    """Norm before the residual sum instead of after it, as published; an absent field means the latter."""

    weights: Literal["float32", "float16"]
    """How the file stores the weights; the arithmetic is float32."""


class FrontEnd(_Strict):
    """The constants of ``echo_edge.frontend.Spec`` the model was trained with."""

    window_ms: int
    hop_ms: int
    floor: float
    log_mean: float
    log_scale: float
    band_width: int
    patch_frames: int
    max_frames: int
    min_rate_hz: int


class Manifest(_Strict):
    """``NAME.json``. A field may be added only with a new ``schema``."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of ``NAME.onnx``."""

    opset: int = Field(ge=1, le=20)
    encoder: Encoder
    front_end: FrontEnd
    provenance: str
    weights_licence: str
    training_hours: dict[str, float] = Field(default_factory=dict)
    """Hours of recordings the weights learned from, by licence; simulated machines are not counted."""

    test_vectors: list[TestVector] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose manifest is sound and whose hash was right when it was loaded."""

    name: str
    onnx_path: Path
    sha256: str
    embed_dim: int
    depth: int
    heads: int
    patch_kernel_t: int
    norm_first: bool
    opset: int
    front_end: FrontEnd
    provenance: str
    weights_licence: str
    test_vectors: tuple[TestVector, ...]

    def read_onnx(self) -> bytes:
        """Return the model file, checked against its hash, so that what runs is what was checked.

        Raises:
            ArtifactError: the file is missing, changed, or keeps weights in other files.
        """
        return _read_onnx(self.onnx_path, self.sha256)


def load_package(name_or_path: str | Path) -> ModelPackage:
    """Find a package by its bare name (those that come with echo-edge) or path (with or without suffix), and check it.

    Raises:
        ArtifactError: missing, damaged or changed files, unknown or missing fields, constants of another front end.
    """
    json_path, onnx_path = _locate(name_or_path)
    manifest = _read_manifest(json_path)
    if manifest.name != json_path.stem:
        raise ArtifactError(f"{json_path}: describes {manifest.name!r}; name the files after the model")
    for key, ours in asdict(SPEC).items():
        theirs = getattr(manifest.front_end, key)
        if theirs != ours:
            raise ArtifactError(
                f"{json_path}: front_end.{key} is {theirs}, this version computes with {ours}; "
                "export the model again with the trainer of this version"
            )
    _read_onnx(onnx_path, manifest.sha256)
    encoder = manifest.encoder
    for index, vector in enumerate(manifest.test_vectors):
        _check_vector(json_path, index, vector, encoder.embed_dim)
    return ModelPackage(
        name=manifest.name,
        onnx_path=onnx_path,
        sha256=manifest.sha256,
        embed_dim=encoder.embed_dim,
        depth=encoder.depth,
        heads=encoder.heads,
        patch_kernel_t=encoder.patch_kernel_t,
        norm_first=encoder.norm_first,
        opset=manifest.opset,
        front_end=manifest.front_end,
        provenance=manifest.provenance,
        weights_licence=manifest.weights_licence,
        test_vectors=tuple(manifest.test_vectors),
    )


def verify(package: ModelPackage, engine: Engine) -> tuple[float, float]:
    """Run the package's test vectors; return the worst cosine and the largest absolute difference.

    Raises:
        ArtifactError: this engine does not reproduce what the exporter saw.
        EngineError: inference failed.
    """
    worst, largest = 1.0, 0.0
    for vector in package.test_vectors:
        found, expected = engine.run(*vector.inputs()), vector.expected()
        if found.shape != expected.shape:
            raise ArtifactError(f"{package.onnx_path}: output {found.shape}, the test vector has {expected.shape}")
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        worst = min(worst, float(((found * expected).sum(axis=1) / np.maximum(norms, 1e-12)).min()))
        largest = max(largest, float(np.abs(found - expected).max()))
    if worst < MIN_COSINE or largest > MAX_ABS:
        raise ArtifactError(
            f"{package.onnx_path}: engine {engine.name} does not reproduce the test vectors: cosine {worst:.6f} "
            f"(at least {MIN_COSINE}), largest difference {largest:.3g} (at most {MAX_ABS}); "
            "use another engine or export the model again"
        )
    return worst, largest


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _locate(name_or_path: str | Path) -> tuple[Path, Path]:
    path = Path(name_or_path)
    if not path.name:
        raise ArtifactError(f"{str(name_or_path)!r} names no model")
    bare = len(path.parts) == 1
    if path.suffix in (".onnx", ".json"):
        path = path.with_suffix("")
    if bare and _is_file(MODELS_DIR / f"{path.name}.json"):  # first: no folder that we are in may bring its own
        path = MODELS_DIR / path.name
    json_path, onnx_path = path.with_name(path.name + ".json"), path.with_name(path.name + ".onnx")
    for file in (json_path, onnx_path):
        if not _is_file(file):
            known = ", ".join(sorted(found.stem for found in MODELS_DIR.glob("*.json"))) or "none"
            raise ArtifactError(f"{file}: no such file; a model is a path or one of those that came along: {known}")
    return json_path, onnx_path


def _is_file(path: Path) -> bool:
    """False also where we may not look."""
    try:
        return path.is_file()
    except OSError:
        return False


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ArtifactError(
            f"{path}: {where}: {first['msg']}; export the model again or use the echo-edge it was made for"
        ) from error


def _read_onnx(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    if (found := sha256_hex(data)) != sha256:
        raise ArtifactError(
            f"{path}: damaged or changed: expected SHA-256 {sha256}, found {found}; copy both files again"
        )
    if EXTERNAL_DATA_KEY in data:
        raise ArtifactError(
            f"{path}: keeps weights in other files, which the hash does not cover; export it as one file"
        )
    return data


def _check_vector(path: Path, index: int, vector: TestVector, embed_dim: int) -> None:
    """Raise ArtifactError where a test vector is not numbers of the promised shape."""
    try:
        expected = vector.expected()
    except ValueError as error:
        raise ArtifactError(f"{path}: test_vectors.{index}: damaged: {error}; copy the package again") from error
    if expected.shape[1] != embed_dim or not np.isfinite(expected).all():
        raise ArtifactError(
            f"{path}: test_vectors.{index}: not {embed_dim} finite numbers a band; copy the package again"
        )
