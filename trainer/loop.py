"""The training loop: draw, forward, stop if not finite, backward, step, EMA, log, save; top to bottom, one page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from trainer.bands import bands_of
from trainer.config import PretrainConfig
from trainer.data.dataset import Batch, Batches
from trainer.distributed import World
from trainer.metrics import Log, Stopwatch, peak_flops
from trainer.model.echo import Echo
from trainer.objective import Objective, Outcome, step_flops
from trainer.schedules import Schedule
from trainer.snapshot import Snapshot, save_snapshot

Evaluate = Callable[[Echo], dict[str, float]]
MOST_LEFT_OUT = 3
PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStopped(Exception):  # noqa: N818 - it says what happened to the run
    """The run must not go on: the loss is not finite, or the targets have collapsed. Checkpoints are as they were."""


def train(  # noqa: PLR0912, PLR0915 - one page, read from top to bottom
    config: PretrainConfig,
    objective: Objective,
    data: Batches,
    snapshot: Snapshot,
    out: Path,
    world: World,
    evaluate: Evaluate,
) -> None:
    """Train ``objective`` from step ``snapshot.step`` to the last.

    Raises:
        TrainingStopped: before the step that would have harmed the weights.
        DecodeError: a recording of the manifest cannot be read any more.
    """
    run, total, accumulate, schedule = config.run, config.run.steps, config.optimiser.accumulate, Schedule(config)
    optimiser, first = snapshot.optimiser, snapshot.step
    dtype = PRECISION[run.precision]
    scaler = torch.amp.GradScaler(world.device.type, enabled=run.precision == "fp16")
    if snapshot.scaler:
        scaler.load_state_dict(snapshot.scaler)
    model: nn.Module = torch.compile(objective) if run.compile else objective  # type: ignore[assignment]
    if world.size > 1:
        model = DistributedDataParallel(model)
    batches = iter(
        DataLoader(
            data, batch_size=None, sampler=range(first * accumulate, total * accumulate),
            num_workers=config.data.workers, prefetch_factor=4 if config.data.workers else None,
            pin_memory=world.device.type == "cuda",
        )
    )  # fmt: skip
    per_clip = config.data.bands_per_batch / config.data.clips_per_batch
    fastest = peak_flops(world.device, dtype) if world.leads else 1.0
    watch, bands_seen, flops = Stopwatch(), 0, 0.0
    in_a_row = left_out = 0

    with Log(out, first, total) if world.leads else nullcontext() as log:
        for step in range(first + 1, total + 1):
            # Masks and noise follow from seed, step and rank: a resumed run needs no state of a random generator.
            torch.manual_seed(int(np.random.SeedSequence((run.seed, step, world.rank)).generate_state(1)[0]))
            clips: tuple[str, ...] = ()
            for part in range(accumulate):
                asked = time.perf_counter()
                batch: Batch = next(batches)
                watch.waiting(asked)
                clips += batch.clips
                if isinstance(model, DistributedDataParallel):
                    model.require_backward_grad_sync = part == accumulate - 1
                bands = bands_of(batch, world.device)
                with torch.autocast(world.device.type, dtype, enabled=run.precision != "fp32"):
                    outcome: Outcome = model(bands, per_clip)
                if not math.isfinite(mean := float(world.mean(outcome.loss.detach().clone()))):  # all stop, or none
                    raise _not_finite(f"loss is {mean}", batch.clips, step, world)
                loss: torch.Tensor = scaler.scale(outcome.loss / accumulate)
                loss.backward()  # type: ignore[no-untyped-call]
                bands_seen += len(bands.seen)
                flops += step_flops(objective, len(bands.seen), bands.seen.shape[-1], per_clip)
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(step)
            scaler.unscale_(optimiser)
            norm = float(nn.utils.clip_grad_norm_(objective.parameters(), schedule.clip(step)))
            # A finite loss can have a gradient that is not (seen once, in 2,821 bf16 steps): that step is left out.
            lost = not math.isfinite(norm)
            left_out += lost
            in_a_row = in_a_row + 1 if lost and not scaler.is_enabled() else 0
            if in_a_row == MOST_LEFT_OUT:
                raise _not_finite(f"norm of the gradient is {norm}, {in_a_row} times in a row", clips, step, world)
            if not in_a_row:
                scaler.step(optimiser)  # which leaves such a step out itself, and halves its scale
                scaler.update()
            optimiser.zero_grad(set_to_none=True)
            if not lost:
                objective.update_teacher(schedule.momentum(step))

            if step % run.log_every == 0 or step == total:
                names, numbers = zip(*sorted({**outcome.parts, "loss": outcome.loss.detach()}.items()), strict=True)
                values = dict(zip(names, world.mean(torch.stack(numbers).float()).tolist(), strict=True))
                seconds, waited_s = watch.lap()
                if log is not None:
                    speed = {"bands_per_s": world.size * bands_seen / seconds, "data_wait_share": waited_s / seconds}
                    speed |= {
                        "flop_utilisation": flops / seconds / fastest,
                        "lr": schedule.rate(step),
                        **({} if lost else {"grad_norm": norm}),
                        "steps_left_out": left_out,
                    }
                    log.write(step, values | speed)
                _stop_if_collapsed(values, config, step)
                bands_seen, flops, left_out = 0, 0.0, 0
            if log is not None:
                log.advance(step)
            if run.evaluate_every and (step % run.evaluate_every == 0 or step == total):
                if log is not None:
                    log.write(step, evaluate(objective.student))
                world.wait()
                watch.lap()
            if step % run.save_every == 0 or step == total:
                if world.leads:
                    save_snapshot(out, objective, Snapshot(step, optimiser, snapshot.run, scaler.state_dict()))
                world.wait()


def _not_finite(what: str, clips: tuple[str, ...], step: int, world: World) -> TrainingStopped:
    everywhere = world.gather(", ".join(clips))
    return TrainingStopped(f"step {step}: the {what}; the weights are as before. The batch: {', '.join(everywhere)}")


def _stop_if_collapsed(values: dict[str, float], config: PretrainConfig, step: int) -> None:
    limit = config.run.collapse_below
    for name in ("cls_deviation", "target_deviation"):
        if step >= config.run.collapse_after and values.get(name, limit) < limit:
            raise TrainingStopped(
                f"step {step}: collapse: {name} {values[name]:.4f} is below run.collapse_below {limit}; a lower "
                "learning rate, or reconstruction beside eat, keeps vectors apart"
            )
