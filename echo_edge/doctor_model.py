"""Doctor's look at what judges: the model package, the engine that runs it, the baseline of every point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from echo_edge.artifact import ModelPackage, load_package, verify
from echo_edge.baseline_store import BaselineStore, open_store
from echo_edge.config import Config
from echo_edge.doctor_found import Found, Patient
from echo_edge.engine import create_engine
from echo_edge.errors import ArtifactError, BaselineError, ConfigError, EngineError
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
    yield _engine(config, package)
    yield from _baselines(patient, package)


def _engine(config: Config, package: ModelPackage) -> Found:
    try:
        engine = create_engine(config.engine.kind, package, config.engine.threads)
        cosine, _ = verify(package, engine)
    except (ArtifactError, ConfigError, EngineError) as error:
        return Found("engine", "broken", str(error), "choose another `engine.kind`")
    return Found(
        "engine", "ok", f"{engine.name} serves, and reproduces the package's test vectors (cosine {cosine:.6f})"
    )


def _baselines(patient: Patient, package: ModelPackage) -> Iterator[Found]:
    if not database(patient.folder).exists():
        for point in patient.config.points():
            yield _never_taught(point)
        return
    try:
        store = open_store(patient.config, patient.folder)
    except BaselineError as error:
        yield Found("baselines", "broken", str(error), "see `state` above")
        return
    for point in patient.config.points():
        yield _baseline(patient.config, store, package, point)


def _never_taught(point: str) -> Found:
    return Found(
        f"baseline {point}", "warning", "nobody taught it what is normal", "echo-edge enroll start CONFIG POINT"
    )


def _baseline(config: Config, store: BaselineStore, package: ModelPackage, point: str) -> Found:
    where, told = f"baseline {point}", config.points()[point]
    try:
        active = store.active(point)
    except BaselineError as error:
        return Found(where, "broken", str(error), "activate another version, put a backup back, or enroll again")
    if active is None:
        return _never_taught(point)
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
