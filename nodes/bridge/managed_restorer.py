"""A restorer whose weights live in ComfyUI's own model management."""

from __future__ import annotations

from typing import Any

import comfy.model_management as management
import torch
from comfy.model_patcher import ModelPatcher

from vividface_core.restorers.base import Restorer
from vividface_core.weights import load_restorer

from .paths import model_path, search_folders


class ManagedRestorer:
    """A restorer in ComfyUI's hands: loaded on demand, counted, and unloaded like any core model.

    Attributes:
        name: of the checkpoint.
        restorer: use it only after :meth:`load`.
    """

    def __init__(self, restorer: Restorer, name: str, load_device: torch.device, offload_device: torch.device) -> None:
        self.restorer, self.name = restorer, name
        # A list of its own around each module: the patcher notes things on its model, which diffusers' modules refuse.
        self._patchers = [
            ModelPatcher(torch.nn.ModuleList([module]), load_device, offload_device)
            for module in restorer.modules.values()
        ]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all modules."""
        return sum(patcher.model_size() for patcher in self._patchers)

    def load(self, window: int, size: int) -> Restorer:
        """The restorer, on its device, with room for a window of ``size``×``size``."""
        wanted = self.restorer.memory_for(window, size, size) - self.weight_bytes
        management.load_models_gpu(self._patchers, memory_required=max(0, wanted), force_full_load=True)
        return self.restorer


def load_managed(
    name: str,
    load_device: torch.device,
    offload_device: torch.device,
    dtype: torch.dtype | None,
    options: dict[str, Any],
) -> ManagedRestorer:
    """Load one of the loader's names.

    Args:
        load_device: where ComfyUI will put it to use it; decides the number type where ``dtype`` is ``None``.
        options: of its system.
    """
    restorer = load_restorer(
        model_path(name),
        device=offload_device,
        dtype=dtype,
        runs_on=load_device,
        folders=search_folders(name),
        **options,
    )
    return ManagedRestorer(restorer, name, load_device, offload_device)
