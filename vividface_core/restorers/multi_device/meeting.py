"""How processes that work on one clip find each other."""

from __future__ import annotations

from typing import NamedTuple

import torch

from vividface_core.errors import InvalidOption
from vividface_core.restorers.base import Restorer


class RankInfo(NamedTuple):
    """A process's place among those that work together."""

    init_method: str
    """Address of a file through which they find each other."""
    rank: int
    world_size: int


def init_process_group(restorer: Restorer, device: torch.device, rank_info: RankInfo) -> None:
    """Within a process: find the others, and share the work with them from now on.

    Raises:
        InvalidOption: the tokens can't be shared.
    """
    import torch.distributed as dist

    if not dist.is_available():
        raise InvalidOption("One window can't be shared here: that takes torch with distribution.")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=rank_info.init_method,
        rank=rank_info.rank,
        world_size=rank_info.world_size,
    )
    restorer.share_window()
