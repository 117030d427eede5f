"""Encoders that several tests share: making or exporting one takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.shared_data import GOLDEN, recipe_weights  # noqa: E402
from trainer.checkpoint import load_checkpoint  # noqa: E402
from trainer.export import export_package  # noqa: E402
from trainer.model.echo import PRESETS, Echo, EchoConfig  # noqa: E402


@pytest.fixture(scope="session")
def golden_models() -> dict[str, Echo]:
    """The two golden encoders: A is 64 wide with its weights stored, B is the true small shape from the recipe."""
    weights = GOLDEN / "weights_A_d64_l2_h4.safetensors"
    small = Echo(PRESETS["small"])
    shapes = {key: tuple(value.shape) for key, value in small.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in recipe_weights(shapes).items()}
    small.load_state_dict({**state, "pos_embed": small.pos_embed.detach()})
    assert len(load_file(weights)) == 30
    return {"A": load_checkpoint(weights, heads=4), "B": small.eval()}


@pytest.fixture(scope="session")
def golden_packages(golden_models: dict[str, Echo], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("golden_packages")
    return {
        key: export_package(model, folder, f"golden-{key}", provenance="golden", licence="none")[0]
        for key, model in golden_models.items()
    }


@pytest.fixture
def toy() -> Echo:
    torch.manual_seed(0)
    return Echo(EchoConfig(64, 2)).eval()
