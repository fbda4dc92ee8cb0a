"""Writes a denoiser's blocks in a format of comfy-kitchen, as ComfyUI's own files have it.

Run with ComfyUI's Python: ``write_quantized.py SOURCE TARGET FORMAT LAYOUT``; ends with 3 where it has no such layout.
"""

from __future__ import annotations

import json
import sys

import torch
from safetensors.torch import load_file, save_file


def main(source: str, target: str, encoding: str, layout: str) -> None:
    try:
        import comfy_kitchen.tensor as kitchen

        kind = getattr(kitchen, layout)
    except (ImportError, AttributeError):
        sys.exit(3)
    tensors = load_file(source)
    for name in [name for name in tensors if name.startswith("blocks.") and tensors[name].ndim == 2]:
        if not name.endswith(".weight"):
            continue
        layer = name.removesuffix(".weight")
        for end, value in kind.state_dict_tensors(*kind.quantize(tensors[name])).items():
            tensors[name + end] = value.contiguous()
        tensors[f"{layer}.comfy_quant"] = torch.tensor(
            list(json.dumps({"format": encoding}).encode()), dtype=torch.uint8
        )
    save_file(tensors, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
