"""ArcFace's IR-SE50, the network with which papers report identity.

Deng et al.: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019. facexlib carries the
architecture. Its weights are those of InsightFace_Pytorch, which BFVR-STC's script loads: ``model_ir_se50.pth`` there
and :data:`FILE` of facexlib have one SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vividface_core.errors import MissingDependency, UnsupportedCheckpoint, first_line
from vividface_core.faces.facexlib_modules import facexlib_module
from vividface_core.io.tensors import misfits, read_tensors

FILE = "recognition_arcface_ir_se50.pth"
ADDRESS = f"https://github.com/xinntao/facexlib/releases/download/v0.1.0/{FILE}"


class ArcFace:
    """Embeds aligned faces."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    @torch.inference_mode()
    def vectors(self, faces: Tensor) -> Tensor:
        """Unit vectors float32 [N,512] of aligned faces [N,3,112,112] RGB 0…1; see ``faces.embed.align``."""
        weight = next(self.net.parameters())
        # Red first, as BFVR-STC's script feeds it, although the network was trained on pictures with blue first.
        return self.net(faces.to(weight) * 2 - 1).float()


def load_arcface(path: Path, device: str | torch.device = "cpu") -> ArcFace:
    """IR-SE50 with the weights of ``path``, frozen.

    Raises:
        MissingWeights: the file isn't there.
        MissingDependency: facexlib is absent or broken.
        UnsupportedCheckpoint: the file holds other weights than IR-SE50's.
    """
    try:
        backbone = facexlib_module("recognition.arcface_arch").Backbone
    except Exception as error:  # a broken torchvision or OpenCV beside it raises anything
        raise MissingDependency(
            f"ArcFace needs facexlib ({first_line(error)}); run `pip install facexlib`, or measure with the embedded "
            "network (metrics named -mobile)."
        ) from error
    net = backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
    fill(net, read_tensors(path), f"{path} doesn't hold ArcFace's IR-SE50", ADDRESS)
    return ArcFace(net.eval().requires_grad_(False).to(device))


def fill(net: nn.Module, tensors: Mapping[str, Tensor], complaint: str, address: str) -> None:
    """Load ``tensors`` into ``net``, all that it has and nothing else.

    Raises:
        UnsupportedCheckpoint: they don't fit; ``complaint`` and the names at fault.
    """
    # A counter that PyTorch before 0.4.1 did not save and that nothing here reads.
    wanted = {
        key: value
        for key, value in net.state_dict().items()
        if key in tensors or not key.endswith("num_batches_tracked")
    }
    if told := misfits(wanted, tensors):
        raise UnsupportedCheckpoint(f"{complaint}: {told}. Fetch it again from {address}.")
    net.load_state_dict(dict(tensors), strict=False)
