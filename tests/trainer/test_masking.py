"""Masks: the same number for every sequence, drawn from all patches, in blocks when asked for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from trainer.masking import Mask, clones_within, is_masked, kept_patches

KINDS: tuple[Mask, ...] = ("random", "inverse_block")


@pytest.fixture(autouse=True)
def same_draws_every_time() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("patches", "ratio", "keep"), [(62, 0.75, 15), (1, 0.75, 1), (3, 0.75, 1), (4, 0.75, 1), (12, 0.5, 6), (5, 0.1, 4)]
)
def test_every_sequence_keeps_the_same_share_and_at_least_one_patch(kind, patches, ratio, keep):
    kept = kept_patches(40, patches, ratio, kind)
    assert kept.shape == (40, keep)
    assert (kept.diff(dim=1) > 0).all()  # ascending, so none twice
    assert kept.min() >= 0
    assert kept.max() < patches
    assert (is_masked(kept, patches).sum(dim=1) == patches - keep).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_patch_is_always_kept_and_none_never(kind):
    share = (~is_masked(kept_patches(4000, 20, 0.75, kind), 20)).float().mean(dim=0)
    assert share.min() > 0.1
    assert share.max() < 0.5


def test_sequences_are_masked_independently():
    kept = kept_patches(100, 62, 0.75, "random")
    assert len({tuple(row) for row in kept.tolist()}) == 100


def neighbours(kind: Mask) -> float:
    """Return how often the patch after a kept one is kept too."""
    seen = ~is_masked(kept_patches(500, 62, 0.8, kind), 62)
    return float((seen[:, :-1] & seen[:, 1:]).sum() / seen[:, :-1].sum())


def test_blocks_keep_neighbours_far_more_often_than_chance():
    assert neighbours("random") == pytest.approx(11 / 61, abs=0.02)  # 12 of 62 are kept
    assert neighbours("inverse_block") > 0.5


def test_masked_is_what_is_not_kept():
    assert is_masked(torch.tensor([[0, 2], [1, 3]]), 4).tolist() == [
        [False, True, False, True],
        [True, False, True, False],
    ]


@pytest.mark.parametrize(
    ("budget", "bands_per_clip", "clones"), [(16, 4, 4), (16, 3.5, 4), (16, 5, 3), (64, 4, 16), (64, 1, 16), (2, 5, 1)]
)
def test_clones_share_a_budget_between_1_and_16(budget, bands_per_clip, clones):
    assert clones_within(budget, bands_per_clip) == clones
