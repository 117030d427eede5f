"""Write the model card of a package: what it learned from, how, what it reaches, and its limits.

    python -m trainer.card runs/echo-tiny echo_edge/models/echo-tiny.json --manifest corpus/debian/manifest.csv \\
        --evaluation evaluation.json --note limits.md --out docs/models/echo-tiny.md

Run, package, manifests and evaluation must belong together: digests, vectors and names are compared. The picture of the
training lands beside the card.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from echo_edge.artifact import MIN_COSINE, ArtifactError, ModelPackage, load_package  # type: ignore[attr-defined]
from trainer.checkpoint import CheckpointError
from trainer.config import PretrainConfig
from trainer.curve import curve
from trainer.data.dataset import Batches
from trainer.data.manifest import Manifest, ManifestError, Recording, read_manifest
from trainer.data.sources import sourced
from trainer.evaluation.cwru import CwruFigures
from trainer.evaluation.detection import Row
from trainer.evaluation.table import NOTES, Column, Figures, markdown
from trainer.files import publish
from trainer.finished import Run, read_run

NAMED = 12  # so many recordings of one source under CC BY are named one by one
TASKS = {
    "reconstruction": "guess the log spectra of masked patches, not normalised",
    "summary": "tell from CLS the mean log spectrum of the whole clip without its noise, the level counted a tenth",
    "eat": "guess what a slowly following teacher says of masked patches (EAT)",
}


class CardError(Exception):
    """Run, package, manifests and evaluation do not belong together; the message says which and why."""


def card(run: Run, package: ModelPackage, manifests: Sequence[Manifest], table: Sequence[Column], limits: str) -> str:
    """Return the card in Markdown; it shows ``NAME.svg``, the run's ``curve``.

    Raises:
        CardError: they do not belong together.
    """
    _check_encoder(run, package)
    listed = tuple(f"{manifest.path.name} {manifest.sha256}" for manifest in manifests)
    if sorted(listed) != sorted(run.manifests):
        raise CardError(f"{run.folder}: learned from {', '.join(run.manifests)}; given: {', '.join(listed) or 'none'}")
    if package.name not in (titles := [column.title for column in table]):
        raise CardError(f"the evaluation is not of {package.name}, but of {', '.join(titles)}")
    used = [each.only(split="train", licences=run.config.data.licences or None) for each in manifests]
    parts = (
        f"# {package.name}",
        f"<!-- Written by trainer/card.py. -->\n\n{_what(package)}",
        f"## Data\n\n{_data(run.config, used)}",
        f"## Training\n\n{_training(run, used)}",
        f"![Losses and accuracies over the steps of training]({package.name}.svg)",
        f"## Results\n\n{markdown(table)}\n{NOTES.strip()}",
        f"## Limits\n\n{_limits(run.config, limits)}",
        f"## Again\n\n{_again(run, package, manifests)}\n",
    )
    return "\n\n".join(parts)


def _check_encoder(run: Run, package: ModelPackage) -> None:
    for vector in package.test_vectors:
        with torch.no_grad():
            ours, theirs = run.encoder(*map(torch.from_numpy, vector.inputs())).numpy(), vector.expected()
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1) if ours.shape == theirs.shape else 0
        if np.any(lengths == 0) or np.any((ours * theirs).sum(axis=1) < MIN_COSINE * lengths):
            raise CardError(f"{package.onnx_path}: is not the encoder of {run.folder}; export that first")


def _what(package: ModelPackage) -> str:
    order = "norm before the residual sum" if package.norm_first else "norm after the residual sum"
    return f"""\
An [ECHO](https://arxiv.org/abs/2508.14689) encoder for the sound and vibration of machines, at any sampling rate from
{package.front_end.min_rate_hz} Hz. It turns every band of 32 frequency bins of a window into one vector; echo-edge
compares vectors with those of the machine's normal sound. It knows no kinds of faults.

| | |
|---|---|
| package | `{package.onnx_path.name}`, {package.onnx_path.stat().st_size / 1e6:.1f} MB, SHA-256 `{package.sha256}` |
| network | {package.depth} layers of width {package.embed_dim}, {package.heads} heads, {order} |
| licence of the weights | {package.weights_licence} |
| made from | {package.provenance} |"""


def _data(config: PretrainConfig, manifests: Sequence[Manifest]) -> str:
    rows: dict[tuple[str, str, str], list[Recording]] = defaultdict(list)
    hours: dict[str, float] = defaultdict(float)
    for manifest in manifests:
        for recording, source, credit in sourced(manifest):
            if recording.duration_s >= config.data.crop_s[0]:  # shorter ones are not drawn
                rows[recording.licence, source, credit].append(recording)
                hours[recording.licence] += recording.duration_s / 3600
    machines = "simulated machines, never the same one twice"
    if not rows:
        return f"Only {machines}."
    table = [
        f"{_percent(config.data.machines_share)} of the clips are {machines}. The others are crops of "
        f"{sum(map(len, rows.values()))} recordings, {sum(hours.values()):.2f} h: "
        + ", ".join(f"{licence} {hours[licence]:.2f} h" for licence in sorted(hours)) + ".",
        "", "| licence | source | recordings | hours | named |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for (licence, source, credit), found in sorted(rows.items()):
        few = licence.startswith("CC-BY") and len(found) <= NAMED
        names = credit or (", ".join(Path(recording.path).stem for recording in found) if few else "")
        amount = f"{len(found)} | {sum(recording.duration_s for recording in found) / 3600:.2f}"
        table.append(f"| {licence} | {_cell(source)} | {amount} | {_cell(names)} |")
    return "\n".join(table)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _training(run: Run, used: Sequence[Manifest]) -> str:
    data, aim, optimiser = run.config.data, run.config.objective, run.config.optimiser
    tasks = [f"{what} (weight {getattr(aim, name):g})" for name, what in TASKS.items() if getattr(aim, name)]
    clips, bands = data.clips_per_batch * optimiser.accumulate, data.bands_per_batch * optimiser.accumulate
    epochs = run.step * optimiser.accumulate / Batches(data, used, seed=0).batches_per_epoch
    speeds = [line for line in run.lines if "bands_per_s" in line]
    steps = np.diff([0.0, *(line["step"] for line in speeds)])
    views = data.states * data.views
    hours = sum(bands * views * part / line["bands_per_s"] for part, line in zip(steps, speeds, strict=True)) / 3600
    speed, waited = (np.median([line[key] for line in speeds]) for key in ("bands_per_s", "data_wait_share"))
    rows = {
        "objective": "; ".join(tasks),
        "steps": f"{run.step:,}, of {clips} clips of {data.crop_s[0]:g} to {data.crop_s[1]:g} s, {bands} bands"
        + (f", each in {views} views" if views > 1 else ""),
        "optimiser": f"AdamW, rate {optimiser.base_lr:g} for 256 clips, warm-up {_percent(optimiser.warmup_share)}",
        "computed": f"{run.config.run.precision}, processes: {run.processes}, {hours:.1f} h, {speed:.0f} bands/s; "
        f"{_percent(waited)} of the time waiting for data",
    }
    if aim.reconstruction or aim.eat:
        rows["masks"] = f"{aim.mask.replace('_', ' ')}, {_percent(aim.mask_ratio)} of the patches"
    if start := run.config.model.start:
        rows["begun with"] = f"`{start}`"
    if aim.summary and data.augment.background_share:
        low, high = data.augment.background_snr_db
        rows["views"] = (
            f"{data.states} states of a machine, {data.views} views of each, gain up to {data.augment.gain_db:g} dB up "
            f"and down; {_percent(data.augment.background_share)} of them in noise at {low:g} to {high:g} dB"
        )
    if used and data.machines_share < 1:
        rows["recordings"] = f"every part was drawn {epochs:.2g} times"
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _limits(config: PretrainConfig, more: str) -> str:
    level = (
        "A change that is the same at all frequencies, such as a machine that only gets louder, is heard at a tenth of "
        "its size."
        if config.objective.summary
        else "Level counts: a sensor that was moved, or another gain, sounds like a change."
    )
    return f"""\
- Published encoders learned from thousands of hours; the hours above are what this one has.
- The figures are of one bench with bearings damaged on purpose and of one small motor. For your machine,
  `echo-edge evaluate` measures on your recordings, beside a mean log spectrum.
- {level}
- Not a safety function.
{more}""".strip()


def _again(run: Run, package: ModelPackage, manifests: Sequence[Manifest]) -> str:
    name, licence, folder = package.name, package.weights_licence, f"runs/{run.folder.resolve().name}"
    launch = f"torchrun --nproc-per-node {run.processes} -m" if run.processes > 1 else "python -m"
    paths = (manifest.path.resolve() for manifest in manifests)
    given = "".join(f" \\\n    --manifest {path.parent.name}/{path.name}" for path in paths)
    begun = ", `model.start` the encoder named above" if run.config.model.start else ""
    return f"""\
More in [how to pretrain](../pretraining.md). `data.manifests` must list the manifests named below{begun}.

```sh
{launch} trainer.pretrain configs/train/{name}.yaml {folder}
python -m trainer.export {folder}/encoder.safetensors out/ --name {name} --licence {licence} --half{given}
python -m trainer.evaluation out/{name} --data DATA --json evaluation.json
python -m trainer.card {folder} out/{name} --evaluation evaluation.json --out docs/models/{name}.md{given}
```"""


def read_table(path: Path) -> list[Column]:
    """Return the columns that ``python -m trainer.evaluation --json`` wrote."""

    def figures(member: dict[str, Any]) -> Figures:
        rows = tuple(Row(**row) for row in member["detection"])
        return Figures(member["name"], CwruFigures(**member["cwru"]), member["effective_rank"], rows)

    try:
        columns: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return [Column(column["title"], tuple(map(figures, column["members"]))) for column in columns]
    except (ValueError, KeyError, TypeError) as error:
        raise CardError(f"{path}: not written by python -m trainer.evaluation --json: {error!r}") from error


def main(
    run: Annotated[Path, typer.Argument(help="the folder of a finished run")],
    package: Annotated[str, typer.Argument(help="the model package made from it, by path or name")],
    evaluation: Annotated[Path, typer.Option(help="what python -m trainer.evaluation --json wrote of the package")],
    out: Annotated[Path, typer.Option(help="the card; the picture NAME.svg lands beside it")],
    manifest: Annotated[list[Path], typer.Option(help="a manifest that the run learned from; repeatable")] = [],  # noqa: B006
    note: Annotated[Path | None, typer.Option(help="Markdown to add to the limits")] = None,
) -> None:
    """Write the model card of a package, and the picture of its training."""
    try:
        found, limits = read_run(run), note.read_text("utf-8") if note else ""
        made = load_package(package)
        text = card(found, made, [read_manifest(path) for path in manifest], read_table(evaluation), limits)
        out.parent.mkdir(parents=True, exist_ok=True)
        publish(out.with_name(f"{made.name}.svg"), curve(found.lines).encode())
        publish(out, text.encode())
    except (ArtifactError, CardError, CheckpointError, ManifestError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
