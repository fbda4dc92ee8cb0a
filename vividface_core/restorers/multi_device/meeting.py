"""How processes that work on one clip find each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from vividface_core.errors import InvalidOption


class Place(NamedTuple):
    """A process's place among those that work together."""

    meeting: str
    """Address of a file through which they find each other."""
    rank: int
    count: int


def join(restorer: Any, device: torch.device, place: Place) -> None:
    """Within a process: find the others, and share the denoiser's work with them from now on.

    Raises:
        InvalidOption: the tokens can't be shared.
    """
    import torch.distributed as dist

    from vividface_core.wan.optimizations.context_parallel import share_window

    if not (dist.is_available() and hasattr(restorer, "denoiser")):
        raise InvalidOption("One window can't be shared here: that takes a Wan denoiser, and torch with distribution.")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method=place.meeting, rank=place.rank,
                            world_size=place.count)  # fmt: skip
    share_window(restorer.denoiser)
