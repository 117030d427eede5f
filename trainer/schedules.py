"""What changes with the step: learning rate, gradient clip, the teacher's momentum. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.config import PretrainConfig

BASE_CLIPS = 256  # the effective batch for which ``base_lr`` holds as it is (the rule of MAE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values of one run at step 1, 2, ... ``run.steps``."""

    config: PretrainConfig

    @property
    def peak_rate(self) -> float:
        """The highest learning rate: in proportion to the clips that one step averages over."""
        optimiser = self.config.optimiser
        return optimiser.base_lr * self.config.data.clips_per_batch * optimiser.accumulate / BASE_CLIPS

    def rate(self, step: int) -> float:
        """Return the learning rate: a linear rise, then half a cosine down to ``min_lr``."""
        optimiser, total = self.config.optimiser, self.config.run.steps
        warmup = round(optimiser.warmup_share * total)
        if step < warmup:
            return self.peak_rate * step / warmup
        progress = (step - warmup) / max(1, total - warmup)
        return optimiser.min_lr + (self.peak_rate - optimiser.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))

    def clip(self, step: int) -> float:
        """Return the largest gradient norm allowed."""
        first, later = self.config.optimiser.clip_norm
        return first if step <= round(self.config.optimiser.clip_switch_share * self.config.run.steps) else later

    def momentum(self, step: int) -> float:
        """Return the teacher's momentum: from the first to the last, linear, then constant."""
        first, last = self.config.objective.ema
        anneal = max(1, round(self.config.objective.ema_anneal_share * self.config.run.steps))
        return first + (last - first) * min(1.0, step / anneal)
