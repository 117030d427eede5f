"""Writes ``dasheng_golden.json``: what the published Dasheng says of two signals, with weights from the recipe.

    python -m tests.trainer.siren.make_dasheng_golden PACKAGE [EINOPS]

PACKAGE is the folder the wheel of PyPI ``dasheng`` 0.0.9 was unpacked into, EINOPS the wheel of einops where that is
not installed. The package asks for torchaudio, of which it uses two small classes; they are written out below, in
numpy and by another road than the encoder under test, so that no torchaudio is needed and no mistake is shared.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.trainer.siren.recipe import LENGTHS_S, recipe_weights, signal

PLACE = Path(__file__).with_name("dasheng_golden.json")
KEPT = 48  # numbers of each embedding that are written down


class Spectrogram(nn.Module):
    def __init__(self, n_fft: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(np.hanning(n_fft + 1)[:-1]).float())


class MelScale(nn.Module):
    def __init__(self, n_fft: int, n_mels: int, low_hz: float, high_hz: float, rate: int) -> None:
        super().__init__()
        low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (low_hz, high_hz))
        corners = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
        bins = np.arange(n_fft // 2 + 1) * rate / n_fft
        triangles = [np.interp(bins, corners[m : m + 3], [0, 1, 0], left=0, right=0) for m in range(n_mels)]
        self.register_buffer("fb", torch.from_numpy(np.stack(triangles, axis=1)).float())


class MelSpectrogram(nn.Module):
    """Frames cut and transformed one by one."""

    def __init__(
        self,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        f_min: float,
        f_max: float,
        n_mels: int,
        *,
        center: bool,
    ) -> None:
        super().__init__()
        assert center
        assert win_length == n_fft
        self.n_fft, self.hop = n_fft, hop_length
        self.spectrogram = Spectrogram(n_fft)
        self.mel_scale = MelScale(n_fft, n_mels, f_min, f_max, sample_rate)

    def forward(self, samples: Tensor) -> Tensor:
        half = self.n_fft // 2
        padded = np.pad(samples.double().numpy(), ((0, 0), (half, half)), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=1)[:, :: self.hop]
        power = np.abs(np.fft.rfft(frames * self.spectrogram.window.numpy(), axis=2)) ** 2
        return torch.from_numpy(np.swapaxes(power @ self.mel_scale.fb.double().numpy(), 1, 2)).float()


class AmplitudeToDB(nn.Module):
    """One maximum for the whole batch, as torchaudio has it: a batch of one here."""

    def __init__(self, top_db: float) -> None:
        super().__init__()
        self.top_db = top_db

    def forward(self, power: Tensor) -> Tensor:
        level = 10 * power.clamp(min=1e-10).log10()
        return level.clamp(min=float(level.max()) - self.top_db)


def published(package: Path, *wheels: Path) -> type[nn.Module]:
    """Import the package's encoder with the stand-in for torchaudio in place."""
    sys.path[:0] = [str(package), *map(str, wheels)]
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    transforms = types.ModuleType("torchaudio.transforms")
    vars(transforms).update(MelSpectrogram=MelSpectrogram, AmplitudeToDB=AmplitudeToDB)
    vars(sys.modules["torchaudio"])["transforms"] = sys.modules["torchaudio.transforms"] = transforms
    from dasheng.pretrained.pretrained import Dasheng  # noqa: PLC0415

    return Dasheng


def main(package: str, *wheels: str) -> None:
    encoder = published(Path(package), *map(Path, wheels))(embed_dim=768, depth=12, num_heads=12).eval()
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    own = {key: shape for key, shape in shapes.items() if not key.startswith("front_end.")}
    drawn = {key: torch.from_numpy(value) for key, value in recipe_weights(own).items()}
    encoder.load_state_dict({**encoder.state_dict(), **drawn})
    with torch.inference_mode():
        tokens = {length_s: encoder(torch.from_numpy(signal(length_s))[None])[0] for length_s in LENGTHS_S}
    said = {
        str(length_s): {
            "tokens": len(found),
            "norm": float(found.mean(0).norm()),
            "first": [round(float(x), 7) for x in found.mean(0)[:KEPT]],
            "last_token": [round(float(x), 7) for x in found[-1, :KEPT]],
        }
        for length_s, found in tokens.items()
    }
    about = {"package": "dasheng", "version": sys.modules["dasheng"].__version__, "size": "base"}
    eps = {key: module.eps for key, module in encoder.named_modules() if hasattr(module, "eps")}
    PLACE.write_text(json.dumps({**about, "embeddings": said, "shapes": shapes, "eps": eps}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
