"""Doctor's look at what judges: the model package, the engine that runs it, the baseline of every point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from echo_edge.artifact import ModelPackage, load_package, verify
from echo_edge.baseline_store import BaselineStore, open_store
from echo_edge.doctor_found import Found, Patient, bad
from echo_edge.engine import create_engine
from echo_edge.errors import ArtifactError, BaselineError, EngineError
from echo_edge.store import database


def model(patient: Patient) -> Iterator[Found]:
    """The package, the engine and, with the package, the baselines."""
    config = patient.config
    try:
        package = load_package(config.model)
    except ArtifactError as error:
        yield Found("model", "broken", str(error), "copy both files of the package again, or name another `model`")
        return
    yield Found("model", "ok", f"{package.name}, SHA-256 {package.sha256[:12]}: whole")
    yield from _engine(patient, package)
    yield from _baselines(patient, package)


def _engine(patient: Patient, package: ModelPackage) -> Iterator[Found]:
    """The CPU's, which serves whenever no other does; and what the daemon says of the one that serves now."""
    try:
        engine = create_engine("onnx", package, patient.config.engine.threads)
        cosine, _ = verify(package, engine)
    except (ArtifactError, EngineError) as error:
        yield Found("engine", "broken", str(error), "install echo-edge anew, or use another `model`")
    else:
        told = f"{engine.name} on the CPU computes what the package's test vectors say (cosine {cosine:.6f})"
        yield Found("engine", "ok", told)
    yield from _serving(patient) if patient.runs else _would_serve(patient.config.engine.kind)


def _serving(patient: Patient) -> Iterator[Found]:
    now = patient.status.get("gateway", {}).get("engine")
    if now is not None:
        told = f"{now['serving']} serves; configured is {patient.config.engine.kind}"
        if "building" in now:
            told += f", which is {now['building']:.0%} ready"
        if "problem" in now:
            yield bad(
                "engine", f"{told}: {now['problem']}", "look at the GPU, or write `engine.kind: onnx`", broken=False
            )
        else:
            yield Found("engine", "ok", told)


def _would_serve(kind: str) -> Iterator[Found]:
    """Whether the daemon would find the GPU engine that is configured."""
    if kind == "onnx":
        return
    from echo_edge.engine.cuda import NONE_HERE, device, nvidia_here  # noqa: PLC0415 - only where somebody wants a GPU
    from echo_edge.engine.prepare import best  # noqa: PLC0415

    try:
        gpu = device()
    except EngineError as error:
        absent = kind == "auto" and not nvidia_here()
        told = f"the CPU would serve: {NONE_HERE if absent else error}"
        mend = "look at the GPU and its driver, or write `engine.kind: onnx`"
        yield Found("engine", "ok", told) if kind == "auto" else bad("engine", told, mend, broken=False)
        return
    chosen = best() if kind == "auto" else kind
    yield Found("engine", "ok", f"{gpu.name}: the CPU would serve until {chosen} is ready there")


def _baselines(patient: Patient, package: ModelPackage) -> Iterator[Found]:
    if patient.folder.is_dir() and not patient.may_look:
        return  # told with the disk
    if not database(patient.folder).exists():
        for point in patient.config.points():
            yield _never_taught(patient, point)
        return
    try:
        store = open_store(patient.config, patient.folder)
    except BaselineError as error:
        yield Found("baselines", "broken", str(error), "see `state` above")
        return
    for point in patient.config.points():
        yield _baseline(patient, store, package, point)


def _never_taught(patient: Patient, point: str) -> Found:
    mend = f"echo-edge enroll start {patient.path} {point}"
    return Found(f"baseline {point}", "warning", "nobody taught it what is normal", mend)


def _baseline(patient: Patient, store: BaselineStore, package: ModelPackage, point: str) -> Found:
    config = patient.config
    where, told = f"baseline {point}", config.points()[point]
    try:
        active = store.active(point)
    except BaselineError as error:
        return Found(where, "broken", str(error), "activate another version, put a backup back, or enroll again")
    if active is None:
        return _never_taught(patient, point)
    now = replace(
        active.origin,
        model_name=package.name,
        model_sha256=package.sha256,
        channels=tuple(told.channel_numbers),
        length_s=told.window.length_s,
        hop_s=told.window.hop_s,
        rate_hz=getattr(config.devices[told.device], "rate_hz", None) or active.origin.rate_hz,
    )
    if difference := active.origin.difference(now):
        mend = "enroll again, or take the change of the configuration back"
        return Found(where, "broken", f"{active.id} was made with {difference}", mend)
    states = ", ".join(state.name for state in active.states)
    return Found(where, "ok", f"{active.id} knows {states}; model and windows are the same")
