"""An UPSCALE_MODEL of ComfyUI as the engine's upscaler."""

from __future__ import annotations

from typing import Any

import comfy.model_management as management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.pipeline.canvas import SCALES

TILE, SMALLEST_TILE, OVERLAP = 512, 128, 32
"""Pixels; a tile that doesn't fit into memory is halved."""
WORK = 384 * 512 * 512 * 3
"""Numbers that such a model takes for a tile, over its factor, as ComfyUI's own node estimates."""


def upscale_input() -> io.Input:
    """Appended to the restore node, as older prompts lack it."""
    return io.UpscaleModel.Input(
        "upscale_model",
        optional=True,
        tooltip="Enlarges the frames instead of Lanczos' filter, one at a time; the restored faces are put into them. "
        "scale says how large; at 1 the model's own factor is taken, 4 at most.",
    )


class ModelUpscaler:
    """What Load Upscale Model gives, frame by frame and tile by tile, in ComfyUI's memory management.

    Args:
        model: a descriptor of spandrel.

    Attributes:
        factor: by which it enlarges.
    """

    def __init__(self, model: Any) -> None:
        self._model, self.factor = model, float(model.scale)
        self.name = f"{model.architecture.name} x{model.scale}"

    def __call__(self, picture: Tensor) -> Tensor:
        device = self._placed()
        tile = TILE
        while True:
            try:
                return self._in_tiles(picture[None].to(device), tile)[0]
            except management.OOM_EXCEPTION:
                tile //= 2
                if tile < SMALLEST_TILE:
                    raise

    def _placed(self) -> torch.device:
        """The model on its device. Newer ComfyUIs host it; in older ones its node moves it there itself."""
        work = int(WORK * max(self.factor, 1.0) * 4)
        if patcher := getattr(self._model, "patcher", None):
            management.load_models_gpu([patcher], memory_required=work, force_full_load=True)
            return patcher.load_device
        device = management.get_torch_device()
        if self._model.device != device:
            management.free_memory(management.module_size(self._model.model) + work, device)
            self._model.to(device)
        return device

    @torch.inference_mode()
    def _in_tiles(self, picture: Tensor, tile: int) -> Tensor:
        return comfy.utils.tiled_scale(
            picture,
            lambda part: self._model(part.float()).float(),
            tile_x=tile,
            tile_y=tile,
            overlap=OVERLAP,
            upscale_amount=self.factor,
            output_device="cpu",
        )


def upscaler_of(model: Any, scale: float) -> tuple[ModelUpscaler | None, float]:
    """The upscaler and the factor of the result; without a model the factor as it is.

    Raises:
        InvalidOption: a model that doesn't enlarge.
    """
    if model is None:
        return None, scale
    upscaler = ModelUpscaler(model)
    scale = min(upscaler.factor, SCALES[1]) if scale == 1 else scale
    if scale == 1:
        raise InvalidOption(f"The upscale model {upscaler.name} doesn't enlarge; take another one, or set scale.")
    return upscaler, scale
