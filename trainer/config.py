"""The configuration of a pretraining run: YAML, checked, unknown keys refused."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.masking import Mask
from trainer.model.echo import PRESETS, EchoConfig

SHORTEST_S, LONGEST_S = 0.35, 20.0
SUMMARY_DIM = 64  # numbers that CLS tells of a band


class ConfigError(ValueError):
    """A person must edit the configuration; the message names the file, the key and the value."""


class Section(BaseModel):
    """A part of the configuration: immutable, and a key nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class AugmentConfig(Section):
    """Changes to a clip that leave the machine the same. All off by default, as published."""

    gain_db: float = Field(default=0.0, ge=0, le=40)
    """Gain drawn from -gain_db to +gain_db for every view."""

    background_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the views that are heard in the noise of another recording of the same process's part of the batch (of a
    machine, where there are only machines). What is to be told stays without."""

    background_snr_db: tuple[float, float] = (-10.0, 30.0)
    """Least and most level of the clip above its background, over the clip's whole spectrum."""

    transfer_db: float = Field(default=0.0, ge=0, le=40)
    """Height of a smooth random transfer path, another one for every clip."""

    transfer_knots: int = Field(default=12, ge=2)
    """Points from 0 to half the rate between which the path is straight."""

    @model_validator(mode="after")
    def _levels_in_order(self) -> AugmentConfig:
        low, high = self.background_snr_db
        if low > high:
            raise ValueError(f"background_snr_db {[low, high]}: least and most")
        return self


class DataConfig(Section):
    """What a batch is drawn from."""

    manifests: tuple[Path, ...] = ()
    """Files made by ``python -m trainer.data.build``, relative to the configuration; their ``train`` rows are used."""

    licences: tuple[str, ...] = ()
    """Use only recordings under these licences; empty: all of them."""

    machines_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the clips that are simulated machines; 1 when there is no manifest."""

    clips_per_batch: int = Field(default=16, gt=0)
    """Clips of one step, over all processes."""

    bands_per_clip: tuple[int, int] = (2, 5)
    """Fewest and most bands drawn from one clip, as in ECHO's released code."""

    bands_per_batch: int = Field(default=56, gt=0)
    """Bands of one step, over all processes: a fixed number, so that memory and time do not wander. Each is seen
    ``states`` times ``views`` times."""

    crop_s: tuple[float, float] = (1.0, 10.0)
    """Shortest and longest crop; one length is drawn for each batch, log-uniform. Shorter recordings are left out."""

    clip_s: float = Field(default=0.0, ge=0, le=LONGEST_S)
    """Length of the clips of which views are crops, where that is longer than a crop, at most the longest crop:
    ``objective.summary`` tells of all of it. 0: a view is a whole clip."""

    states: int = Field(default=1, ge=1, le=8)
    """So many states of each simulated machine are heard: a fault comes, a tone goes. Recordings have one."""

    views: int = Field(default=1, ge=1, le=16)
    """So many crops of each state are seen, each with its own gain and background."""

    resample_share: float = Field(default=0.5, ge=0, le=1)
    """Probability that a clip is resampled down to one of the rates below its own."""

    resample_hz: tuple[int, ...] = (8_000, 12_000, 16_000, 22_050, 24_000, 25_600, 32_000, 44_100)

    aligned_share: float = Field(default=0.25, ge=0, le=1)
    """Probability that a clip's bands are those of inference, the padded last one among them; else any 32 bins."""

    augment: AugmentConfig = AugmentConfig()

    workers: int = Field(default=1, ge=0)
    """Processes that draw batches ahead of the step; 0 draws in the step itself."""

    @model_validator(mode="after")
    def _crops_fit(self) -> DataConfig:
        if not SHORTEST_S <= self.crop_s[0] <= self.crop_s[1] <= LONGEST_S:
            raise ValueError(
                f"crop_s {list(self.crop_s)}: shortest and longest, from {SHORTEST_S} s (two patches, one of which can "
                f"be masked) to {LONGEST_S:g} s (what the time code covers)"
            )
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> DataConfig:
        if self.clip_s > self.crop_s[1]:
            raise ValueError(f"clip_s {self.clip_s:g}: at most the longest of crop_s {list(self.crop_s)}")
        return self

    @model_validator(mode="after")
    def _bands_fit(self) -> DataConfig:
        low, high = self.bands_per_clip
        if not self.clips_per_batch * low <= self.bands_per_batch <= self.clips_per_batch * high:
            raise ValueError(
                f"bands_per_batch {self.bands_per_batch}: {self.clips_per_batch} clips of {low} to {high} bands give "
                f"{self.clips_per_batch * low} to {self.clips_per_batch * high}"
            )
        return self


class ModelConfig(Section):
    """The encoder; sizes as in ``trainer.model.echo.PRESETS``."""

    size: Literal["tiny", "small", "base"] = "tiny"
    depth: int = Field(default=0, ge=0)
    """Layers; 0 means as many as the size has."""

    width: int = Field(default=0, ge=0, multiple_of=16)
    """Width; 0 means that of the size."""

    norm_first: bool = False
    """Norm before attention and feed-forward rather than after, as published; learns faster in short runs."""

    start: Path | None = None
    """Encoder to start from, relative to the configuration: ``encoder.safetensors`` or ``checkpoint.pth`` of an earlier
    run with the same sizes and ``run.seed`` (the summary is read the way that seed draws). None: random weights."""

    patch_gain: float = Field(default=1.0, gt=0)
    """Factor on the patch weights at the start: machines differ by hundredths in the spectra, positions by 1."""

    level_gain: float = Field(default=1.0, ge=0, le=1)
    """Factor on what the patch weights take of a band's level as a whole, at the start; 0 begins deaf to gain."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """None in pretraining, as in EAT."""

    @model_validator(mode="after")
    def _heads_fit(self) -> ModelConfig:
        self.echo()
        return self

    def echo(self) -> EchoConfig:
        preset = PRESETS[self.size]
        return EchoConfig(
            self.width or preset.embed_dim, self.depth or preset.depth, dropout=self.dropout, norm_first=self.norm_first
        )


class ObjectiveConfig(Section):
    """What the student must tell or guess. All parts may be on; a weight of 0 costs nothing."""

    reconstruction: float = Field(default=1.0, ge=0)
    """Weight of guessing the masked patches' log spectra, not normalised: level and mean are what steady sounds are."""

    summary: float = Field(default=0.0, ge=0)
    """Weight of CLS, of bands of which nothing is hidden, telling the mean log spectrum of the whole clip without its
    background, its level counted a tenth, and nothing beside it."""

    rhythm: float = Field(default=0.0, ge=0)
    """Scale of the rhythm within the summary, beside the spectrum; 0 leaves it out."""

    normalise_patches: bool = False
    """Reconstruct patches after removing their mean and deviation (as MAE does)."""

    eat: float = Field(default=0.0, ge=0)
    """Weight of guessing the teacher's averaged layers at masked patches (EAT)."""

    eat_utterance: float = Field(default=1.0, ge=0)
    """Weight, within ``eat``, of the student's CLS against the mean of the teacher's target."""

    target_tap: Literal["ffn", "block"] = "ffn"
    """Which output of the teacher's layers is averaged: before the second residual (EAT) or after it."""

    target_norm: Literal["instance", "none"] = "instance"
    """Normalise each layer over time first (EAT), or keep the temporal mean."""

    mask: Mask = "random"
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    clone_budget: int = Field(default=16, gt=0)
    """Masked copies of the bands of one clip: each band gets budget / bands of them, 1 to 16."""

    decoder_layers: int = Field(default=6, ge=0)
    cls_reduction: Literal["mean", "sum"] = "mean"
    """``sum`` over bands and clones is what EAT's code does; ``mean`` does not change its weight with the batch."""

    ema: tuple[float, float] = (0.9998, 0.99999)
    """Teacher's momentum, first and last."""

    ema_anneal_share: float = Field(default=0.25, gt=0, le=1)
    """Share of all steps after which the last momentum holds."""

    @model_validator(mode="after")
    def _something_to_do(self) -> ObjectiveConfig:
        if self.reconstruction == self.summary == self.eat == 0:
            raise ValueError("reconstruction, summary and eat are all 0: nothing to learn")
        return self


class OptimiserConfig(Section):
    """AdamW and its schedule."""

    base_lr: float = Field(default=5e-4, gt=0)
    """Peak rate for an effective batch of 256 clips; it scales with the batch."""

    min_lr: float = Field(default=1e-6, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.05, ge=0)
    decay_all: bool = False
    """Decay biases, norms and CLS too, as EAT's published runs did."""

    clip_norm: tuple[float, float] = (1.0, 0.3)
    """Largest gradient norm, before and after ``clip_switch_share`` of the steps."""

    clip_switch_share: float = Field(default=0.15, ge=0, le=1)
    accumulate: int = Field(default=1, gt=0)
    """Batches whose gradients are added before one step."""


class RunConfig(Section):
    """How long, how precisely, and how often to look."""

    steps: int = Field(gt=0)
    seed: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    log_every: int = Field(default=20, gt=0)
    save_every: int = Field(default=500, gt=0)
    evaluate_every: int = Field(default=0, ge=0)
    """Steps between evaluations on recordings not trained on; 0 never."""

    evaluation_data: Path | None = None
    """Folder with ``cwru``; without it the effective rank alone is evaluated."""

    collapse_below: float = Field(default=0.01, ge=0)
    """Stop when the deviation of CLS, or of the teacher's targets, is below this after ``collapse_after`` steps."""

    collapse_after: int = Field(default=500, ge=0)


class PretrainConfig(Section):
    """One run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    run: RunConfig

    @model_validator(mode="after")
    def _summary_fits(self) -> PretrainConfig:
        if self.objective.summary and (width := self.model.echo().embed_dim) < SUMMARY_DIM:
            raise ValueError(f"objective.summary: {SUMMARY_DIM} numbers do not fit into a width of {width}")
        return self


def read_config(path: Path, overrides: tuple[str, ...] = ()) -> PretrainConfig:
    """Read a run's configuration; ``overrides`` are ``section.key=value`` with YAML values.

    Raises:
        ConfigError: naming the file, the key, its value and what is expected.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected sections such as 'run:', found {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    try:
        config = PretrainConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from error
    manifests = tuple(path.parent / manifest for manifest in config.data.manifests)
    start = path.parent / config.model.start if config.model.start else None
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"manifests": manifests}),
            "model": config.model.model_copy(update={"start": start}),
        }
    )


def _override(content: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    *sections, key = name.split(".")
    if not equals or not sections:
        raise ConfigError(f"--set {override}: expected section.key=value, for example run.steps=1000")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"--set {override}: {section} is not a section")
    try:
        content[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: not a YAML value: {' '.join(str(error).split())}") from error


def _first(error: ValidationError) -> str:
    """Return the first complaint on one line: key, what is expected, and the value unless that is a whole section."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])  # often why one is missing
    *sections, name = [str(part) for part in first["loc"]] or ["the configuration"]
    key, said = ".".join([*sections, name]), first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key}: missing"
    if first["type"] == "extra_forbidden":
        section: Any = PretrainConfig
        for part in sections:
            section = section.model_fields[part].annotation
        close = difflib.get_close_matches(name, section.model_fields, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(sorted(section.model_fields))}"
        return f"{key}: unknown key, found {first['input']!r}; {hint}"
    found = "" if isinstance(first["input"], dict) else f", found {first['input']!r}"
    return f"{key}: {said}{found}"
