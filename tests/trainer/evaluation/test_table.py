"""The command: what it prints, what it takes for a model, and what it says when recordings are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from trainer.checkpoint import save_safetensors
from trainer.evaluation.__main__ import main
from trainer.evaluation.contestants import baselines, contestant
from trainer.evaluation.cwru import CwruFigures
from trainer.evaluation.detection import Row
from trainer.evaluation.table import Column, Figures, markdown
from trainer.export import export_package
from trainer.model.echo import Echo


def figures(siren: float, auc: float) -> Figures:
    rows = (Row("pump", None, 0.0, auc, 0.5), Row("pump", 0.0, 6.0, auc - 0.1, 0.6))
    return Figures("x", CwruFigures(siren, 50 / 101), 12.34, rows)


def test_a_model_shows_its_interval_and_untrained_networks_mean_and_range() -> None:
    columns = [
        Column("ours", (figures(84 / 105, 1.0),)),
        Column("untrained", tuple(figures(s, 0.8 + s / 10) for s in (0.8, 0.9, 1.0))),
    ]
    assert markdown(columns).splitlines() == [
        "| | ours | untrained |",
        "|---|---|---|",
        "| CWRU, SIREN protocol | 0.800 [0.71, 0.87] | 0.900 (0.800-1.000) |",
        "| CWRU, leakage-free | 0.495 [0.40, 0.59] | 0.495 (0.495-0.495) |",
        "| effective rank on CWRU | 12.3 | 12.3 (12.3-12.3) |",
        "| detection, mean of all conditions | 0.950 / 0.550 | 0.840 / 0.550 (0.830-0.850) |",
        "| **pump**, mean | 0.950 / 0.550 | 0.840 / 0.550 (0.830-0.850) |",
        "| clean | 1.000 / 0.500 | 0.890 / 0.500 (0.880-0.900) |",
        "| 0 dB, gain +-6 dB | 0.900 / 0.600 | 0.790 / 0.600 (0.780-0.800) |",
    ]


def test_a_checkpoint_its_package_and_its_seed_are_the_same_contestant(toy: Echo, tmp_path: Path) -> None:
    save_safetensors(toy, tmp_path / "pump.safetensors")
    export_package(toy, tmp_path, "pump", provenance="a test", licence="none")
    signals = [np.random.default_rng(i).standard_normal(4000).astype(np.float32) for i in range(2)]
    by_torch = contestant(str(tmp_path / "pump.safetensors"))
    by_onnx = contestant(str(tmp_path / "pump.onnx"))
    assert by_torch.name == by_onnx.name == "pump"
    np.testing.assert_allclose(by_torch.vectors(signals, 4000), by_onnx.vectors(signals, 4000), atol=1e-4)
    seeded = contestant("untrained:tiny:7")
    assert seeded.vectors(signals, 4000).shape == (2, 2, 192)
    np.testing.assert_array_equal(seeded.vectors(signals, 4000), contestant("untrained:tiny:7").vectors(signals, 4000))


def test_the_spectrum_by_band_holds_the_bins_of_the_whole_one() -> None:
    signals = [np.random.default_rng(i).standard_normal(16_000).astype(np.float32) for i in range(2)]
    whole, _, by_band = (b.vectors(signals, 16_000) for b in baselines())
    assert whole.shape == (2, 1, 201)
    assert by_band.shape == (2, 7, 32)
    np.testing.assert_allclose(np.abs(by_band).sum(axis=(1, 2)), np.abs(whole).sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["untrained:tiny:0"], "cwru: no such folder"),
        (["untrained:huge:0"], "no size 'huge'; there are tiny, small, base"),
        (["gone.pth"], "gone.pth"),
        (["no-such-package"], "no such file"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_printed(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--data", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert said in err
    assert not out
