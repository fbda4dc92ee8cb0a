"""A restorer whose weights live in ComfyUI's own model management, a stage at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import comfy.model_management as management
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from vividface_core.restorers.base import Restorer, module_bytes
from vividface_core.wan.optimizations.offload import onload
from vividface_core.weights import load_restorer

from .paths import model_path, search_folders

STREAMED = "denoiser"
"""The stage whose weights may be on the device a layer at a time; the others, small ones, are there as a whole."""
LAYERS_AHEAD = 2
"""Layers of a streamed module that are on the device at once: one computes, the next one comes."""


class ComfyHost:
    """ComfyUI's model management as the :class:`~vividface_core.restorers.hosting.Host` of a restorer's stages.

    Args:
        modules: by stage; the layers of the streamed one become ComfyUI's.
        keep: after a stage its weights stay on the device until ComfyUI wants the room; else they leave at once.
        by_stage: :meth:`placed` will be asked before each stage; only then can a module be streamed.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        device: torch.device,
        offload_device: torch.device,
        *,
        keep: bool = True,
        by_stage: bool = True,
    ) -> None:
        self.device, self._keep = device, keep
        self._layers = _with_comfy_layers(modules[STREAMED]) if by_stage and STREAMED in modules else []
        # A list of its own around each module: the patcher notes things on its model, which diffusers' modules refuse.
        self.patchers = {
            stage: ModelPatcher(nn.ModuleList([module]), device, offload_device) for stage, module in modules.items()
        }

    @contextmanager
    def placed(self, stage: str, memory: int) -> Iterator[None]:
        patcher = self.patchers[stage]
        streams = stage == STREAMED and self._layers
        management.load_models_gpu([patcher], memory_required=memory, force_full_load=not streams)
        try:
            # What ComfyUI leaves where it is (all of a plain module where weights may not stay on the device,
            # constants of one that is streamed) is on the device for as long as the stage takes.
            with onload(patcher.model, self.device, _is_plain):
                yield
        finally:
            if not self._keep:
                _unload(patcher)

    def resident_bytes(self, sizes: Mapping[str, int]) -> int:
        if self.device.type == "cpu":
            return sum(sizes.values())
        streamed = sum(self._layers) - sum(sorted(self._layers)[-LAYERS_AHEAD:])
        return max((size - (streamed if stage == STREAMED else 0) for stage, size in sizes.items()), default=0)

    def load_all(self, memory: int) -> None:
        """Place all modules, with room for ``memory`` bytes of work."""
        management.load_models_gpu(list(self.patchers.values()), memory_required=memory, force_full_load=True)

    def make_room(self, memory: int) -> int:
        """Let ComfyUI unload other models for a stage.

        Returns:
            Bytes that a stage and its weights may fill.
        """
        if self.device.type == "cpu":
            return management.get_free_memory(self.device) + sum(p.model_size() for p in self.patchers.values())
        own = [loaded for loaded in management.current_loaded_models if loaded.model in self.patchers.values()]
        management.free_memory(memory, self.device, keep_loaded=own)
        return management.get_free_memory(self.device) + sum(loaded.model.loaded_size() for loaded in own)


class ManagedRestorer:
    """A restorer in ComfyUI's hands: loaded on demand, counted, and unloaded like any core model.

    Attributes:
        name: of the checkpoint.
        restorer: its weights come and go with the stages.
        patcher: of the largest module: by it ComfyUI knows that this output holds a model, which an old one may go.
    """

    def __init__(
        self,
        restorer: Restorer,
        name: str,
        load_device: torch.device,
        offload_device: torch.device,
        *,
        keep: bool = True,
    ) -> None:
        self.restorer, self.name = restorer, name
        by_stage = restorer.takes_host
        self.host = ComfyHost(restorer.modules, load_device, offload_device, keep=keep, by_stage=by_stage)
        if by_stage:
            restorer.host = self.host
        patchers = self.host.patchers.values()
        self.patcher = max(patchers, key=lambda patcher: patcher.model_size(), default=None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all modules."""
        return sum(patcher.model_size() for patcher in self.host.patchers.values())

    def ready(self, window: int, size: int) -> Restorer:
        """The restorer, able to restore a window of ``size``×``size``."""
        if not self.restorer.takes_host:
            self.host.load_all(max(0, self.restorer.memory_for(window, size, size) - self.weight_bytes))
        return self.restorer

    def get_ram_usage(self) -> int:
        """For ComfyUI's cache, which lets go of large outputs where memory is short."""
        return self.weight_bytes


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
        options: of its system. ``offload`` is done by ComfyUI.
    """
    options = dict(options)
    keep = not options.pop("offload", False)
    restorer = load_restorer(
        model_path(name),
        device=offload_device,
        dtype=dtype,
        runs_on=load_device,
        folders=search_folders(name),
        **options,
    )
    return ManagedRestorer(restorer, name, load_device, offload_device, keep=keep)


def _with_comfy_layers(module: nn.Module) -> list[int]:
    """Make ComfyUI's layers of a module's products, so that it can stream them; returns the bytes of each."""
    theirs = comfy.ops.disable_weight_init.Linear
    for layer in module.modules():
        if type(layer) is nn.Linear:
            # The same layer with another forward: whoever else holds it goes on holding it.
            layer.__class__ = theirs
    return [module_bytes(layer) for layer in module.modules() if isinstance(layer, theirs)]


def _is_plain(layer: nn.Module) -> bool:
    return not hasattr(layer, "comfy_cast_weights")


def _unload(patcher: ModelPatcher) -> None:
    """Off the device at once."""
    for loaded in [loaded for loaded in management.current_loaded_models if loaded.model is patcher]:
        loaded.model_unload()
        management.current_loaded_models.remove(loaded)
