"""Encoders that several tests share: making or exporting one takes seconds.

Torch is imported where it is used: without it every module here skips by name, and pytest still has to read this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.shared_data import GOLDEN, recipe_weights

if TYPE_CHECKING:
    from trainer.model.echo import Echo


@pytest.fixture(scope="session")
def golden_models() -> dict[str, Echo]:
    """The two golden encoders: A is 64 wide with its weights stored, B is the true small shape from the recipe."""
    import torch  # noqa: PLC0415

    from trainer.checkpoint import load_checkpoint  # noqa: PLC0415
    from trainer.model.echo import PRESETS, Echo  # noqa: PLC0415

    small = Echo(PRESETS["small"])
    shapes = {key: tuple(value.shape) for key, value in small.state_dict().items()}
    state = {key: torch.from_numpy(value) for key, value in recipe_weights(shapes).items()}
    small.load_state_dict({**state, "pos_embed": small.pos_embed.detach()})
    return {"A": load_checkpoint(GOLDEN / "weights_A_d64_l2_h4.safetensors", heads=4), "B": small.eval()}


@pytest.fixture(scope="session")
def golden_packages(golden_models: dict[str, Echo], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from trainer.export import export_package  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("golden_packages")
    return {
        key: export_package(model, folder, f"golden-{key}", provenance="golden", licence="none")[0]
        for key, model in golden_models.items()
    }


@pytest.fixture
def toy() -> Echo:
    import torch  # noqa: PLC0415

    from trainer.model.echo import Echo, EchoConfig  # noqa: PLC0415

    torch.manual_seed(0)
    return Echo(EchoConfig(64, 2)).eval()
