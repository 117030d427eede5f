"""What the student is asked: targets worked by hand, losses where they belong, a teacher that only follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer import frontend
from trainer.bands import Bands
from trainer.config import ObjectiveConfig
from trainer.masking import is_masked
from trainer.model.echo import Echo, EchoConfig
from trainer.objective import (
    LEVEL_SHARE,
    Objective,
    Outcome,
    Summary,
    patches_of,
    rhythm_of,
    spectrum_of,
    step_flops,
    unexplained,
)

DIM, BANDS_PER_CLIP = 64, 4
LOSSES = {"patch_loss", "frame_loss", "utterance_loss", "summary_loss", "excess_loss"}
POSITION = torch.tensor([0.1, 0.4, 0.9])


def bands(patches: int = 10, n_bands: int = 3) -> torch.Tensor:
    return torch.randn(n_bands, 32, 16 * patches, generator=torch.Generator().manual_seed(1))


def objective(**config: Any) -> Objective:
    torch.manual_seed(0)
    return Objective(Echo(EchoConfig(DIM, 2, dropout=0.0)), ObjectiveConfig(**config))


def given(seen: torch.Tensor) -> Bands:
    """Return bands that are whole clips, without background."""
    every, flat = torch.arange(len(seen)), torch.zeros(len(seen), 32)
    return Bands(seen, seen, POSITION, seen, every, flat, torch.ones(len(seen), 32))


def ask(objective: Objective, patches: int = 10) -> Outcome:
    torch.manual_seed(5)  # masks and mask noise
    outcome: Outcome = objective(given(bands(patches)), BANDS_PER_CLIP)
    return outcome


# The reconstruction --------------------------------------------------------------------------------------------------


def test_patches_are_columns_of_the_band_in_order():
    whole = bands()
    patches = patches_of(whole)
    assert patches.shape == (3, 10, 512)
    assert torch.equal(patches.reshape(3, 10, 32, 16).transpose(1, 2).flatten(2), whole)


def test_normalised_patches_have_neither_level_nor_spread():
    patches = patches_of(5 + 3 * bands(), normalise=True)
    assert patches.mean(-1).abs().max() < 1e-5
    assert (patches.std(-1, correction=0) - 1).abs().max() < 1e-4


def test_unexplained_is_one_for_the_mean_and_nothing_for_the_truth():
    target = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 3 + 4
    assert float(unexplained(target.mean(0).expand_as(target), target)) == pytest.approx(1, abs=0.01)
    assert float(unexplained(target, target)) == 0
    assert float(unexplained(target.mean(0).expand_as(target) * 9, target * 9)) == pytest.approx(1, abs=0.01)


def test_a_modulation_at_25_hz_peaks_at_25_hz():
    time_s = torch.arange(32_000) / 16_000
    noise = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    swelling = noise * (1 + 0.8 * torch.sin(2 * torch.pi * 25 * time_s))
    level, _ = frontend.bands(swelling, 16_000)
    found = rhythm_of(level[:6, :, :192]).reshape(6, -1, 8).mean(1)  # 8 ranges of modulation frequency, up to 50 Hz
    assert (found.argmax(-1) == 3).all()


def test_a_gain_leaves_the_rhythm_as_it_is():
    assert torch.allclose(rhythm_of(bands()), rhythm_of(bands() + 0.7), atol=1e-4)


def test_the_masked_patches_are_guessed_and_no_others():
    def loss(spoil: Callable[..., Any] | None) -> torch.Tensor:
        asked = objective(reconstruction=1, eat=1)
        assert asked.decoder is not None
        if spoil:
            asked.decoder.register_forward_hook(spoil)
        return ask(asked).loss

    def at_kept(_decoder: Any, args: tuple[Any, ...], said: torch.Tensor) -> torch.Tensor:
        _, kept, n_patches = args
        return torch.where(is_masked(kept, n_patches)[:, :, None], said, said + 100)

    def at_masked(_decoder: Any, args: tuple[Any, ...], said: torch.Tensor) -> torch.Tensor:
        _, kept, n_patches = args
        return torch.where(is_masked(kept, n_patches)[:, :, None], said + 100, said)

    assert torch.equal(loss(at_kept), loss(None))
    assert loss(at_masked) > 10 * loss(None)


def test_a_student_does_not_see_what_it_must_guess():
    asked, seen = objective(), []
    asked.student.encoder.layers[0].register_forward_hook(lambda _layer, args, _said: seen.append(args[0].shape))
    assert float(ask(asked, patches=12).parts["masked_share"]) == 0.75
    assert seen == [(3 * 4, 1 + 3, DIM)]  # three bands, four clones, CLS and a quarter of twelve patches


def test_the_summary_is_the_shape_of_the_spectrum_and_a_tenth_of_its_level():
    mean, all_of_it = bands().mean(2), torch.ones(3, 32)
    told, loud = (spectrum_of(mean + gain, all_of_it) for gain in (0, 0.1))
    bent = spectrum_of(mean + torch.linspace(-0.1, 0.1, 32), all_of_it)
    assert torch.allclose(loud - told, torch.full((3, 32), 0.5 * LEVEL_SHARE), atol=1e-4)
    assert torch.allclose(bent - told, torch.linspace(-0.5, 0.5, 32).expand(3, -1), atol=1e-4)


def test_the_level_of_a_partial_band_counts_a_tenth_too_and_its_empty_rows_tell_nothing():
    real = (torch.arange(32) >= 23).float().expand(3, -1)
    told, loud = (spectrum_of((bands().mean(2) + gain) * real, real) for gain in (0, 0.1))
    assert torch.allclose((loud - told)[:, 23:], torch.full((3, 9), 0.5 * LEVEL_SHARE), atol=1e-4)
    assert not loud[:, :23].any()
    assert not rhythm_of(bands() * real[:, :, None])[:, :16].any()


@pytest.mark.parametrize("frames", [16, 40, 64, 200])
def test_a_rhythm_can_be_told_of_bands_of_any_length(frames):
    noise = torch.randn(3, 32, frames, generator=torch.Generator().manual_seed(0))
    assert rhythm_of(noise).shape == (3, 32)
    assert bool(torch.isfinite(rhythm_of(noise)).all())


def summarised(
    cls: Callable[[Summary, torch.Tensor], torch.Tensor], rhythm: float = 0.5
) -> tuple[Summary, dict[str, float]]:
    """Return a summary and the losses of a CLS made from it and from the truth it asks for."""
    torch.manual_seed(0)
    module, seen = Summary(96, rhythm), given(bands())
    with torch.no_grad():
        losses = module(cls(module, module.told(seen)), seen)
    return module, {name: float(value) for name, value in losses.items()}


@pytest.mark.parametrize("rhythm", [0, 0.5])
def test_a_cls_that_is_the_summary_turned_has_no_loss_and_keeps_its_distances(rhythm):
    module, losses = summarised(lambda module, truth: truth @ module.turn.T, rhythm)
    assert losses["summary_loss"] < 1e-5
    assert losses["excess_loss"] < 1e-8
    assert torch.allclose(module.turn.T @ module.turn, torch.eye(64 if rhythm else 32), atol=1e-5)


def test_what_varies_beside_the_summary_is_excess_and_what_does_not_is_free():
    def beside(module: Summary, amount: torch.Tensor) -> torch.Tensor:
        away = torch.randn(96, generator=torch.Generator().manual_seed(2))
        away = away - away @ module.turn @ module.turn.T
        return amount[:, None] * away / away.norm()

    _, free = summarised(lambda module, truth: truth @ module.turn.T + beside(module, torch.full((3,), 7.0)))
    _, varying = summarised(lambda module, truth: truth @ module.turn.T + beside(module, torch.tensor([-3.0, 0, 3])))
    assert free["excess_loss"] < 1e-8
    assert varying["excess_loss"] == pytest.approx(6 / 64, rel=1e-3)
    assert varying["summary_loss"] < 1e-5


def test_the_spectrum_is_read_the_same_way_with_the_rhythm_and_without():
    torch.manual_seed(0)
    without = Summary(96).turn
    torch.manual_seed(0)
    assert torch.equal(Summary(96, 0.5).turn[:, :32], without)


def test_the_spectrum_is_read_the_same_way_whatever_else_is_learned():
    def turn(**config: float) -> torch.Tensor:
        summary = objective(summary=1, **config).summary
        assert summary is not None
        return summary.turn

    assert torch.equal(turn(reconstruction=1), turn(reconstruction=0))


def test_a_summary_that_begins_with_a_trained_encoder_takes_its_offset_over():
    torch.manual_seed(0)
    module, seen = Summary(96), given(bands())
    cls = module.told(seen) @ module.turn.T + 3.0
    module.begin_with(cls, seen)
    with torch.no_grad():
        assert float(module(cls, seen)["summary_loss"]) < 1e-5


# EAT -----------------------------------------------------------------------------------------------------------------


def first_place(patches: int) -> int:
    """Return where in the time table ``ask`` lets the patches begin."""
    torch.manual_seed(5)
    return int(torch.randint(125 - patches + 1, ()))


def target_by_hand(teacher: Echo, patches: int, tap: str, norm: str) -> np.ndarray:
    """Return the teacher's target (B, P, D) in float64: each layer normed, their mean, layer norm."""
    with torch.no_grad():
        taps = teacher.taps(teacher.patch_tokens(bands(patches), POSITION, first_place(patches)), POSITION, tap)

    def normed(x: np.ndarray, axis: int) -> np.ndarray:
        return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)

    over_time = norm == "instance" and patches >= 8
    return normed(np.mean([normed(tap.double().numpy(), 1 if over_time else 2) for tap in taps], axis=0), 2)


@pytest.mark.parametrize("patches", [7, 8, 20])
@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("tap", ["ffn", "block"])
def test_the_targets_are_eats_worked_by_hand(tap, norm, patches):
    asked = objective(reconstruction=0, eat=1, target_tap=tap, target_norm=norm)
    assert asked.teacher is not None
    assert asked.decoder is not None
    target = target_by_hand(asked.teacher, patches, tap, norm)
    with torch.no_grad():  # a student that says nothing: its losses are the size of the targets
        for silent in (asked.student.norm, asked.decoder.heads["teacher"]):
            silent.weight.zero_()
            silent.bias.zero_()
    parts = ask(asked, patches).parts
    assert float(parts["utterance_loss"]) == pytest.approx((target.mean(1) ** 2).sum(-1).mean() / 8, rel=1e-3)
    assert float(parts["frame_loss"]) == pytest.approx((target**2).sum(-1).mean() / 8, rel=1e-3)
    rows = target.reshape(-1, DIM)
    assert float(parts["target_deviation"]) == pytest.approx(np.sqrt(rows.var(0, ddof=1) + 1e-6).mean(), rel=1e-3)


def test_the_teacher_gets_no_gradient_and_the_student_does():
    asked = objective(eat=1)
    ask(asked).loss.backward()
    assert asked.teacher is not None
    assert all(value.grad is None and not value.requires_grad for value in asked.teacher.parameters())
    lost = [name for name, value in asked.named_parameters() if value.requires_grad and value.grad is None]
    assert lost == []


def test_the_teacher_follows_by_its_momentum_and_its_time_code_stays():
    asked = objective(eat=1)
    assert asked.teacher is not None
    before = {name: value.clone() for name, value in asked.teacher.named_parameters()}
    with torch.no_grad():
        for value in asked.student.parameters():
            value.add_(1.0)
    asked.update_teacher(0.9)
    for name, value in asked.teacher.named_parameters():
        moved = 0.0 if name == "pos_embed" else 0.1
        assert torch.allclose(value, before[name] + moved, atol=1e-6), name
    assert torch.equal(asked.teacher.pos_embed, before["pos_embed"])


def test_the_teacher_neither_drops_nor_differs_between_draws():
    asked = Objective(Echo(EchoConfig(DIM, 2, dropout=0.5)), ObjectiveConfig(reconstruction=0, eat=1))
    assert asked.student.training
    longest = bands(patches=125)  # so long that there is but one place in the time table
    one, other = (asked(given(longest), BANDS_PER_CLIP).parts for _ in range(2))
    assert one["target_deviation"] == other["target_deviation"]
    assert one["frame_loss"] != other["frame_loss"]


def test_the_sum_over_sequences_is_their_mean_times_their_number():
    total, mean = (float(ask(objective(eat=1, cls_reduction=kind)).parts["utterance_loss"]) for kind in ("sum", "mean"))
    assert total / mean == pytest.approx(3 * 4)  # bands, clones


def test_the_weights_are_those_of_the_configuration():
    def loss(patch: float, eat: float) -> float:
        return ask(objective(reconstruction=patch, eat=eat, eat_utterance=0.25)).loss.item()

    parts = ask(objective(reconstruction=1, eat=1)).parts
    assert not any(value.requires_grad for value in parts.values())
    patch, eat = parts["patch_loss"].item(), (parts["frame_loss"] + 0.25 * parts["utterance_loss"]).item()
    assert loss(1, 1) == pytest.approx(patch + eat, rel=1e-5)
    assert loss(2, 0.5) == pytest.approx(2 * patch + 0.5 * eat, rel=1e-5)


# What is off costs nothing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "modules", "losses"),
    [
        ({"reconstruction": 0, "summary": 1}, {"student", "summary"}, {"summary_loss", "excess_loss"}),
        ({}, {"student", "decoder"}, {"patch_loss"}),
        ({"eat": 1}, {"student", "decoder", "teacher"}, {"patch_loss", "frame_loss", "utterance_loss"}),
        ({"reconstruction": 0, "eat": 1}, {"student", "decoder", "teacher"}, {"frame_loss", "utterance_loss"}),
    ],
)
def test_a_weight_of_nothing_builds_no_module_and_logs_no_loss(weights, modules, losses):
    asked = objective(**weights)
    assert {name for name, module in asked.named_children() if module is not None} == modules
    assert set(ask(asked).parts) & LOSSES == losses
    heads = set() if asked.decoder is None else set(asked.decoder.heads)
    expected = ({"patch"} if "patch_loss" in losses else set()) | ({"teacher"} if "frame_loss" in losses else set())
    assert heads == expected


def operations(*, backward: bool, **config: Any) -> tuple[float, float]:
    """Return what we reckon for a step and what torch counts of it."""
    asked = Objective(Echo(EchoConfig(192, 2, dropout=0.0)), ObjectiveConfig(**config))
    with FlopCounterMode(display=False) as counted:
        loss = asked(given(bands(patches=30)), BANDS_PER_CLIP).loss
        if backward:
            loss.backward()
    return step_flops(asked, 3, 16 * 30, BANDS_PER_CLIP), counted.get_total_flops()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"summary": 1, "reconstruction": 0},
        {"summary": 1, "rhythm": 0.5},
        {"eat": 1},
        {"eat": 1, "reconstruction": 0},
        {"mask_ratio": 0.5},
    ],
)
def test_the_operations_of_a_step_are_those_that_torch_counts(config):
    reckoned, counted = operations(backward=True, decoder_layers=0, **config)
    assert reckoned == pytest.approx(counted, rel=0.04)


def test_the_decoders_operations_are_those_that_torch_counts_forward():
    """Backward, torch's counter forgets that the convolutions are grouped and counts 16 times too many."""
    (with_it, counted_with), (without, counted_without) = (operations(backward=False, decoder_layers=n) for n in (6, 0))
    assert (with_it - without) / 3 == pytest.approx(counted_with - counted_without)


# What a batch may look like ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["random", "inverse_block"])
@pytest.mark.parametrize("patches", [2, 3, 62])
def test_every_length_of_two_patches_or_more_can_be_learned_from(patches, mask):
    outcome = ask(objective(reconstruction=1, eat=1, mask=mask), patches)
    outcome.loss.backward()
    assert all(bool(torch.isfinite(value)) for value in outcome.parts.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_leaves_losses_and_teacher_in_single(dtype):
    asked = objective(reconstruction=1, eat=1)
    full = ask(asked).loss
    with torch.autocast("cpu", dtype):
        half = ask(asked).loss
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), rel=0.05)
    asked.update_teacher(0.5)
    assert asked.teacher is not None
    assert {value.dtype for value in asked.teacher.parameters()} == {torch.float32}
