"""Load VividFace Model."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management as management
import torch
from comfy_api.latest import io

from vividface_core.errors import MissingWeights, VividFaceError
from vividface_core.runtime.cpu_types import emulation_notice
from vividface_core.weights import where

from .bridge.managed_restorer import load_managed
from .bridge.model_options import DTYPES, chosen_options, option_inputs, precisions
from .bridge.paths import fingerprint, model_folders, model_names, model_path
from .bridge.schema import Restorer, advanced, schema


class LoadModel(io.ComfyNode):
    """A checkpoint becomes a restorer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="VividFaceLoadModel",
            display_name="Load VividFace Model",
            description="Loads a model that restores faces or takes flicker away. vividface-nano is part of the pack "
            "and needs no download.",
            search_aliases=["face restore model", "face enhancer", "vividface", "restorer", "upscale face"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=model_names(),
                    default="vividface-nano",
                    tooltip="Everything in models/vividface, Wan denoisers in models/diffusion_models, and "
                    "the known checkpoints. One that isn't here is fetched by Download VividFace Model.",
                ),
                io.Combo.Input(
                    "precision",
                    options=[*DTYPES, *precisions()],
                    default="auto",
                    tooltip="Number type of the computation. auto: bf16 where the device computes in it, "
                    "else fp32. fp8 weights: half the memory of bf16 for the denoiser, less exact.",
                ),
                advanced(
                    io.Combo.Input(
                        "device",
                        options=["auto", "cpu"],
                        default="auto",
                        tooltip="auto: where ComfyUI puts its models; cpu: main memory, slow.",
                    )
                ),
                *option_inputs(),
            ],
            outputs=[
                Restorer.Output("restorer", display_name="restorer", tooltip="For the restore and Deflicker nodes."),
                io.String.Output(
                    "tasks",
                    display_name="trained for",
                    tooltip="What the model was trained for: restore, deflicker brightness or deflicker pixel.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str) -> bool | str:
        try:
            if model is not None:  # None: another node tells it
                where(model_path(model), model_folders())
        except MissingWeights as error:
            return f"{model} isn't here: run the node Download VividFace Model once. In detail: {error}"
        except (VividFaceError, OSError) as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str, precision: str, device: str, **options: Any) -> str:
        return fingerprint(where(model_path(model), model_folders()), blocks=2)

    @classmethod
    def execute(cls, model: str, precision: str, device: str, **options: Any) -> io.NodeOutput:
        on_cpu = device == "cpu"
        load_device = torch.device("cpu") if on_cpu else management.get_torch_device()
        offload_device = torch.device("cpu") if on_cpu else management.unet_offload_device()
        dtype, wanted = DTYPES.get(precision), chosen_options(precision, options)
        if dtype is not None and (told := emulation_notice(dtype, load_device)):
            logging.warning("VividFace: %s", told)
        managed = load_managed(model, load_device, offload_device, dtype, wanted)
        return io.NodeOutput(managed, ", ".join(managed.restorer.tasks))
