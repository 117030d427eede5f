"""Scores, votes and areas: golden data to the last digit, and what a careful person would do otherwise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.shared_data import GOLDEN, arrays, needs_shared
from trainer.siren import neighbours
from trainer.siren.backends import Combined, LocalDensity, Mahalanobis, Nearest, Residual, detector
from trainer.siren.errors import ScoringError
from trainer.siren.metrics import Scored, areas, bootstrap, named, wilson, year_mean

ONE_STEP = 2**-23  # of float32 at 1: the order in which a matrix product is summed depends on the BLAS library
YEARS = (2020, 2021, 2022, 2023)


def golden() -> dict[str, Any]:
    return dict(json.loads((GOLDEN / "siren_golden.json").read_text()))


def scored(rows: list[list[Any]], year: int) -> list[Scored]:
    if year == 2020:
        return [Scored(machine, section, "", score, bool(label)) for _, score, label, machine, section in rows]
    return [Scored(machine, section, domain, score, bool(label)) for _, score, label, section, domain, machine in rows]


@needs_shared
@pytest.mark.parametrize("year", YEARS)
def test_areas_by_group_and_year_are_the_published_codes_to_the_last_digit(year: int) -> None:
    case = golden()["dcase_aggregation"][str(year)]
    found = {part: areas(scored(case[f"{part}_rows"], year), year, "siren") for part in ("dev", "eval")}
    for part, each in found.items():
        assert each.auc == case["siren"][f"{part}_groups"]["auc"]
        assert each.pauc == case["siren"][f"{part}_groups"]["pauc"]
        assert year_mean(each.values, year) == case["siren"][f"{part}_overall"]
    pooled = [value for each in found.values() for value in each.values]
    assert year_mean(pooled, year) == case["siren"]["overall_year"]


@needs_shared
@pytest.mark.parametrize("year", [2022, 2023])
def test_strict_sets_a_domains_normals_against_the_anomalies_of_both_domains_as_the_challenge_does(year: int) -> None:
    case = golden()["dcase_aggregation"][str(year)]
    for part in ("dev", "eval"):
        found = areas(scored(case[f"{part}_rows"], year), year, "strict")
        said = {**{f"{k}_auc": v for k, v in found.auc.items()}, **{f"{k}_pauc": v for k, v in found.pauc.items()}}
        official = case["official_challenge_definition_2022_on"][part]
        assert said == official["groups"]
        assert year_mean(found.values, year) == pytest.approx(official["overall"], rel=1e-15)


@needs_shared
@pytest.mark.parametrize("year", [2020, 2021])
def test_before_2022_both_modes_ask_the_same(year: int) -> None:
    rows = scored(golden()["dcase_aggregation"][str(year)]["dev_rows"], year)
    assert areas(rows, year, "siren") == areas(rows, year, "strict")


@needs_shared
def test_scores_of_a_bank_by_id_are_the_published_codes() -> None:
    stored, names = arrays("siren_arrays"), golden()["dcase_scores"]["d20"]["names"]
    for section in ("id_00", "id_02"):
        rows = [i for i, name in enumerate(names) if section in name]
        found = neighbours.siren_scores(stored[f"d20/bank_{section}"], stored["d20/test"][rows])
        assert np.abs(found - stored["d20/scores"][rows]).max() <= ONE_STEP


@needs_shared
def test_the_nearest_of_two_domains_is_the_published_codes_score() -> None:
    stored = arrays("siren_arrays")
    either = [neighbours.siren_scores(stored[f"d23/{domain}"], stored["d23/test"]) for domain in ("source", "target")]
    found = np.minimum(*either)
    assert np.abs(found - stored["d23/scores"]).max() <= ONE_STEP
    both = np.concatenate([stored["d23/source"], stored["d23/target"]])
    assert np.abs(neighbours.siren_scores(both, stored["d23/test"]) - found).max() <= ONE_STEP


@needs_shared
@pytest.mark.parametrize("case", ["loocv_c8", "loocv_c1"])
def test_leaving_one_out_finds_the_published_neighbours_at_the_published_distances(case: str) -> None:
    stored = arrays("siren_arrays")
    x, y = stored[f"{case}/X"], stored[f"{case}/y"]
    found, distance = neighbours.siren_loocv(neighbours.siren_distances(x, x), 5)
    np.testing.assert_array_equal(y[found], stored[f"{case}/topk_labels"])
    np.testing.assert_allclose(distance, stored[f"{case}/topk_dist"], rtol=1e-5)
    np.testing.assert_array_equal(np.array(neighbours.vote(y.tolist(), found)), stored[f"{case}/pred"])


@needs_shared
def test_one_channel_cut_into_eight_is_the_eight_channel_case() -> None:
    stored = arrays("siren_arrays")
    np.testing.assert_array_equal(neighbours.pseudo_channels(stored["loocv_c1/X"]), stored["loocv_c8/X"])


@needs_shared
def test_votes_channel_by_channel_are_the_published_codes() -> None:
    stored = arrays("siren_arrays")
    x = stored["loocv_c8/X"]
    found = neighbours.siren_channel_votes(neighbours.siren_distances(x, x), 5)
    for channel in range(8):
        said = neighbours.vote(stored["loocv_c8/y"].tolist(), found[:, channel])
        np.testing.assert_array_equal(np.array(said), stored["loocv_c8/pred_per_channel"][:, channel])


@needs_shared
def test_a_split_is_judged_by_all_eight_channels_as_published() -> None:
    stored = arrays("siren_arrays")
    x, y = stored["loocv_c8/X"], stored["loocv_c8/y"]
    found, distance = neighbours.siren_split(x[60:], x[:60], 5)
    np.testing.assert_allclose(distance, stored["traintest_c8/dist"], rtol=1e-5)
    np.testing.assert_array_equal(np.array(neighbours.vote(y[:60].tolist(), found)), stored["traintest_c8/pred"])


def test_the_end_of_a_one_channel_vector_is_lost_in_mode_siren() -> None:
    x = np.zeros((6, 1, 16), np.float32)
    x[:, 0, 14:] = np.arange(6, dtype=np.float32)[:, None]  # all that differs lies in the last eighth
    cut = neighbours.pseudo_channels(x)
    assert (neighbours.siren_distances(cut, cut)[:, :, :7] == 0).all()
    assert neighbours.distances(x, np.eye(6, dtype=bool))[0, 1] > 0


def test_a_vector_that_eight_does_not_divide_stays_whole() -> None:
    assert neighbours.pseudo_channels(np.zeros((3, 1, 151))).shape == (3, 1, 151)


def test_with_more_than_5000_clips_a_clip_is_its_own_neighbour_in_mode_siren() -> None:
    x = np.random.default_rng(0).standard_normal((5001, 1, 2)).astype(np.float32)
    many, few = neighbours.siren_distances(x, x), neighbours.siren_distances(x[:100], x[:100])
    assert (neighbours.siren_loocv(many, 1)[0][:, 0] == np.arange(5001)).mean() > 0.99
    assert (neighbours.siren_loocv(few, 1)[0][:, 0] != np.arange(100)).all()


def test_of_two_labels_with_equal_votes_the_one_of_the_nearest_wins() -> None:
    assert neighbours.majority(["ball", "inner", "inner", "ball", "outer"], [0, 1, 2, 3]) == "ball"
    assert neighbours.majority(["ball", "inner", "inner", "ball", "outer"], [4, 1, 0]) == "outer"


def test_who_may_not_vote_is_infinitely_far_and_never_a_neighbour() -> None:
    x = np.arange(4.0).reshape(4, 1, 1)
    barred = np.eye(4, dtype=bool)
    barred[0, 1] = barred[0, 2] = True
    assert neighbours.nearest(neighbours.distances(x, barred), 3)[0] == [3]


def test_a_channel_in_larger_units_does_not_drown_the_others() -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((20, 2, 3))
    louder = x * np.array([1.0, 1000.0])[None, :, None]
    barred = np.eye(20, dtype=bool)
    plain, scaled = neighbours.distances(x, barred), neighbours.distances(louder, barred)
    assert np.allclose(plain[~barred], scaled[~barred])


def test_by_density_a_clip_of_a_crowd_is_further_than_one_of_a_sparse_state_at_the_same_distance() -> None:
    crowd, sparse = np.arange(5) * 0.01, 10 + np.arange(5) * 2.0
    x = np.concatenate([[5.0], crowd, sparse])[:, None, None]
    distance = neighbours.distances(x, np.eye(11, dtype=bool), by_density=True)
    assert distance[0, 5] > 10 * distance[0, 6]


def two_domains(good: float) -> list[Scored]:
    random = np.random.default_rng(3)
    return [
        Scored("fan", "section_00", domain, float(random.normal(good * bad)), bool(bad))
        for domain in ("source", "target")
        for bad in (0, 1)
        for _ in range(50)
    ]


def test_the_interval_of_a_year_holds_its_figure_and_narrows_with_more_clips() -> None:
    few, many = two_domains(1.0), two_domains(1.0) * 8
    (low, high), *_ = bootstrap([few], 2023, "siren")
    value = year_mean(areas(few, 2023, "siren").values, 2023)
    assert low < value < high
    (low_many, high_many), *_ = bootstrap([many], 2023, "siren")
    assert high_many - low_many < (high - low) / 2


def test_a_group_with_one_class_is_named_and_drags_the_published_mean_to_nothing() -> None:
    clips = [clip for clip in two_domains(1.0) if not (clip.domain == "target" and clip.anomalous)]
    found = areas(clips, 2023, "siren")
    assert found.problems == ["fan_section_00_target: 50 test clips, none anomalous"]
    assert year_mean(found.values, 2023) < 1e-12
    assert areas(clips, 2023, "strict").problems == []  # the anomalies of the other domain answer


def test_no_groups_have_no_mean() -> None:
    with pytest.raises(ScoringError, match="no groups"):
        year_mean([], 2023)


def test_macro_counts_every_class_alike_and_weighted_every_clip() -> None:
    truth, said = ["a"] * 90 + ["b"] * 10, ["a"] * 100
    found = named(truth, said, ("a", "b", "c"))
    assert (found.right, found.count, found.accuracy) == (90, 100, 0.9)
    assert found.macro[1] == pytest.approx(0.5)
    assert found.weighted[1] == pytest.approx(0.9)
    assert found.per_class == {"a": (0.9, 1.0, pytest.approx(18 / 19), 90), "b": (0.0, 0.0, 0.0, 10)}


def test_wilsons_interval_is_the_textbooks() -> None:
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(105, 105)[1] == pytest.approx(1.0)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)


def normal_and_strange(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((4, 24))
    bank = random.standard_normal((60, 4)) @ mixing + 5 + 0.05 * random.standard_normal((60, 24))
    fresh = random.standard_normal((40, 4)) @ mixing + 5 + 0.05 * random.standard_normal((40, 24))
    return bank, fresh, fresh + 1.5 * random.standard_normal((40, 24))


@pytest.mark.parametrize("make", [Nearest, LocalDensity, Mahalanobis, Residual, Combined])
def test_every_back_end_finds_what_is_not_of_the_banks_kind_strange(make: type) -> None:
    bank, fresh, strange = normal_and_strange()
    learned = make(bank)
    assert np.median(learned.scores(strange)) > np.quantile(learned.scores(fresh), 0.9)
    assert learned.own.shape == (60,)


def test_the_mahalanobis_distance_is_that_of_the_shrunk_covariance() -> None:
    from sklearn.covariance import LedoitWolf  # noqa: PLC0415 - this test alone

    bank, fresh, _ = normal_and_strange()
    wanted = np.sqrt(LedoitWolf().fit(bank).mahalanobis(fresh))
    np.testing.assert_allclose(Mahalanobis(bank).scores(fresh), wanted, rtol=1e-6)


def test_what_a_back_end_says_of_its_own_vectors_is_what_it_says_of_fresh_ones() -> None:
    bank, fresh, _ = normal_and_strange()
    for make in (Nearest, Mahalanobis, Residual):
        learned = make(bank)
        assert np.median(learned.own) == pytest.approx(np.median(learned.scores(fresh)), rel=0.35)


def test_per_band_needs_bands_and_a_bank_needs_a_spread() -> None:
    bank = np.random.default_rng(0).standard_normal((5, 8))
    assert detector("per band", bank, None) is None
    assert detector("per band", bank, (0, 4, 8)) is not None
    with pytest.raises(ScoringError, match="2 normal vectors have no spread"):
        detector("combined", bank[:2], None)


def test_per_band_a_vector_may_have_its_nearest_elsewhere_in_every_band() -> None:
    bank = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
    mixed = np.array([[1.0, 0, 0, 1]])
    assert Nearest(bank, (0, 2, 4)).scores(mixed)[0] == pytest.approx(0.0, abs=1e-9)
    assert Nearest(bank).scores(mixed)[0] > 0.2
