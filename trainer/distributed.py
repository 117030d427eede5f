"""One process or many: what ``torchrun`` tells, and the few words the processes exchange."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class World:
    """Which process this is, of how many, and on what it computes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes, prints and evaluates."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Average over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def gather(self, words: str) -> list[str]:
        """Collect a text of every process, on every process."""
        if self.size == 1:
            return [words]
        collected: list[str] = [""] * self.size
        dist.all_gather_object(collected, words)
        return collected

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world() -> Iterator[World]:
    """Join the processes ``torchrun`` started, one GPU each or all on the CPU; alone without it."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    # The other processes wait while the first one evaluates and saves.
    dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=30))
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()
