"""Stage I: the 3D-VQGAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from torch import Tensor, nn

from vividface_core.bfvr_stc.blocks import Encoder, Generator, OnBlock, attended_levels
from vividface_core.bfvr_stc.quantizer import Fusion, SpatialTemporalQuantizer
from vividface_core.errors import InvalidOption

RELEASED_RESOLUTION = 256
"""Side for which the blocks with attention were chosen, in both stages and for every input."""

Attention = Literal["clip", "frame"]
SpatialBranch = Literal["direct", "convolution"]


class Reconstruction(NamedTuple):
    """Attributes:
    out: the clip, ``[B, 3, 2·(T // 2), H, W]``, 0…1.
    z: latent before quantization, ``[B, C, t, h, w]``.
    z_q, z_t, indices_s, indices_t: see :class:`~vividface_core.bfvr_stc.quantizer.Quantized`.
    """

    out: Tensor
    z: Tensor
    z_q: Tensor
    z_t: Tensor
    indices_s: Tensor
    indices_t: Tensor


class VQAutoEncoder3D(nn.Module):
    """Encoder, quantizer and generator. The state dict has the names and shapes of the release.

    Everything sees the whole clip (attention and GroupNorm over all frames and places), so a frame's result depends
    on the clip's length and content.

    Attributes:
        generates: whether it has a generator.
    """

    generates: ClassVar[bool] = True

    def __init__(
        self,
        nf: int = 32,
        ch_mult: Sequence[int] = (1, 2, 4, 8),
        emb_dim: int = 256,
        codebook_size: int = 1024,
        *,
        res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (32,),
        resolution: int = RELEASED_RESOLUTION,
        fusion: Fusion = "addition",
        attention: Attention = "clip",
        spatial_branch: SpatialBranch = "direct",
    ) -> None:
        """
        Args:
            nf: width of the first level.
            ch_mult: width of each level as a multiple of ``nf``. The first step down halves time as well.
            emb_dim: channels of the latent and of the codes.
            codebook_size: codes in each of the two codebooks.
            res_blocks: residual blocks a level.
            attn_resolutions: sides of the maps that get attention, for pictures of side ``resolution``.
            resolution: chooses the blocks with attention and nothing else; any input size can be passed.
            fusion: of the two codebooks' entries; see
                :class:`~vividface_core.bfvr_stc.quantizer.SpatialTemporalQuantizer`.
            attention: over the whole ``clip``, as released, or within each latent ``frame``, as DVFace's priors.
            spatial_branch: what the spatial codebook is asked for: the latent (``direct``, as released) or a
                ``convolution`` of it (DVFace).
        """
        super().__init__()
        self.config: dict[str, Any] = {
            "nf": nf,
            "ch_mult": list(ch_mult),
            "emb_dim": emb_dim,
            "codebook_size": codebook_size,
            "res_blocks": res_blocks,
            "attn_resolutions": list(attn_resolutions),
            "resolution": resolution,
            "fusion": fusion,
        }
        for name, value, known in (
            ("attention", attention, get_args(Attention)),
            ("spatial_branch", spatial_branch, get_args(SpatialBranch)),
        ):
            if value not in known:
                raise InvalidOption(f"{name} is {value!r}; choose {' or '.join(known)}.")
            if value != known[0]:
                self.config[name] = value
        if len(ch_mult) < 2 or min(nf, emb_dim, codebook_size, res_blocks, *ch_mult) < 1:
            raise InvalidOption(f"A 3D-VQGAN of {self.config} can't be built: two levels at least, no width below 1.")
        attended = attended_levels(len(ch_mult), resolution, attn_resolutions)
        within_frames = attention == "frame"
        self.encoder = Encoder(nf, ch_mult, emb_dim, res_blocks, attended, within_frames)
        self.quantize = SpatialTemporalQuantizer(codebook_size, emb_dim, fusion, spatial_branch == "convolution")
        if self.generates:
            self.generator = Generator(nf, ch_mult, emb_dim, res_blocks, attended, within_frames)

    @property
    def size_multiple(self) -> int:
        """Heights and widths are multiples of this: 8 with four levels."""
        return 2 ** (len(self.config["ch_mult"]) - 1)

    def encode(self, x: Tensor, on_block: OnBlock | None = None) -> Tensor:
        """Clip ``[B, 3, T, H, W]``, 0…1, T ≥ 2, to latent ``[B, C, T // 2, h, w]``.

        ``on_block`` is called with 1, 2, … as the encoder's blocks finish.

        Raises:
            InvalidOption: another shape, fewer than two frames, or a side that isn't a multiple of
                :attr:`size_multiple`.
        """
        if x.ndim != 5 or x.shape[1] != 3:
            raise InvalidOption(f"A clip for this network is [B, 3, frames, height, width]; this is {list(x.shape)}.")
        frames, height, width = x.shape[2:]
        if frames < 2:
            raise InvalidOption(f"The network joins frames in pairs; it needs at least 2 frames, not {frames}.")
        if not height or not width or height % self.size_multiple or width % self.size_multiple:
            raise InvalidOption(
                f"Frames of {width}×{height} don't fit the network: both sides must be multiples of "
                f"{self.size_multiple}. Pad or scale them."
            )
        return self.encoder(x, on_block)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode, quantize with a straight-through gradient, decode. ``[B, 3, T, H, W]``, 0…1."""
        z = self.encode(x)
        quantized = self.quantize(z)
        out = self.generator(z + (quantized.z_q - z).detach())
        return Reconstruction(out, z, *quantized)
