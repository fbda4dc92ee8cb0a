"""Stage II: codes of the sharp clip predicted from the degraded one, by a transformer for each codebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.bfvr_stc.autoencoder import RELEASED_RESOLUTION, Attention, SpatialBranch, VQAutoEncoder3D
from vividface_core.bfvr_stc.layers import LookupLayer, frame_residual, released_residual
from vividface_core.bfvr_stc.quantizer import Fusion
from vividface_core.errors import InvalidOption

Branch = Literal["s", "t"]
"""Of the codebook: spatial, temporal."""
Residual = Literal["frames", "released"]
RESIDUALS = get_args(Residual)


class Prediction(NamedTuple):
    """Attributes:
    z: the degraded clip's latent, ``[B, C, t, h, w]``.
    z_t: input of the temporal transformer, TA(z) + R(z), ``[B, C, t, h, w]``.
    logits_s, logits_t: scores of the codes, ``[B·t, h·w, codes]``.
    """

    z: Tensor
    z_t: Tensor
    logits_s: Tensor
    logits_t: Tensor


class Restoration(NamedTuple):
    """:class:`Prediction`'s values, the best codes ``indices_s``, ``indices_t`` ``[B·t, h·w]``, and ``out``, the clip
    ``[B, 3, 2 t, H, W]``, 0…1."""

    out: Tensor
    z: Tensor
    z_t: Tensor
    logits_s: Tensor
    logits_t: Tensor
    indices_s: Tensor
    indices_t: Tensor


class CodeFormer3D(VQAutoEncoder3D):
    """A :class:`VQAutoEncoder3D` with the two lookup transformers. The state dict has the names and shapes of the
    release, without its weights that no computation uses.

    The transformers see one latent frame at a time; time enters by the encoder, TA and R alone.
    """

    def __init__(
        self,
        nf: int = 32,
        ch_mult: Sequence[int] = (1, 2, 4, 8),
        emb_dim: int = 256,
        codebook_size: int = 1024,
        *,
        n_head: int = 2,
        n_layers: int = 9,
        img_size: int = 512,
        residual: Residual = "frames",
        res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (32,),
        resolution: int = RELEASED_RESOLUTION,
        fusion: Fusion = "addition",
        attention: Attention = "clip",
        spatial_branch: SpatialBranch = "direct",
    ) -> None:
        """
        Args:
            n_head: heads of each transformer layer; divides ``emb_dim``. Released: 2 with 9 layers, 4 with 6.
            n_layers: layers of each transformer.
            img_size: side in pixels of the square pictures that the position tables were made for.
            residual: R of the temporal branch. ``frames``: differences of latent frames, as in stage I. ``released``:
                what the released weights were trained with (:func:`~vividface_core.bfvr_stc.layers.released_residual`).
            others: as :class:`VQAutoEncoder3D`.

        Raises:
            InvalidOption: values that don't go together.
        """
        super().__init__(
            nf,
            ch_mult,
            emb_dim,
            codebook_size,
            res_blocks=res_blocks,
            attn_resolutions=attn_resolutions,
            resolution=resolution,
            fusion=fusion,
            attention=attention,
            spatial_branch=spatial_branch,
        )
        self.config |= {"n_head": n_head, "n_layers": n_layers, "img_size": img_size, "residual": residual}
        if residual not in RESIDUALS:
            raise InvalidOption(f"residual is {residual!r}; choose {' or '.join(RESIDUALS)}.")
        if n_head < 1 or emb_dim % n_head or n_layers < 1:
            raise InvalidOption(f"{n_layers} layers with {n_head} heads can't share {emb_dim} channels.")
        if img_size < 1 or img_size % self.size_multiple:
            raise InvalidOption(f"img_size is {img_size}; it must be a multiple of {self.size_multiple}.")
        self.residual: Residual = residual
        self.table_side = img_size // self.size_multiple
        for branch in "st":
            setattr(self, f"position_emb_{branch}", nn.Parameter(torch.zeros(self.table_side**2, emb_dim)))
            layers = nn.ModuleList(LookupLayer(emb_dim, n_head) for _ in range(n_layers))
            setattr(self, f"{branch}_ft_layers", layers)
            head = nn.Sequential(nn.LayerNorm(emb_dim), nn.Linear(emb_dim, codebook_size, bias=False))
            setattr(self, f"{branch}_idx_pred_layer", head)

    def start_from(self, autoencoder: VQAutoEncoder3D) -> None:
        """Take over stage I's weights, and freeze its quantizer and generator: stage II trains the rest.

        Raises:
            InvalidOption: the two have different shapes.
        """
        for name in ("encoder", "quantize", "generator"):
            part = getattr(self, name)
            try:
                part.load_state_dict(getattr(autoencoder, name).state_dict())
            except RuntimeError as error:
                raise InvalidOption(
                    f"Stage I's {name} has other shapes than stage II's: {autoencoder.config} against {self.config}."
                ) from error
            part.requires_grad_(name == "encoder")

    def temporal_input(self, z: Tensor) -> Tensor:
        """TA(z) + R(z), ``[B, C, t, h, w]``, with the residual of :attr:`residual`."""
        if self.residual == "frames":
            return self.quantize.SA(z) + frame_residual(z)
        return self.quantize.SA(z) + torch.cat([released_residual(sample) for sample in z.split(1)])

    def fits_table(self, height: int, width: int) -> bool:
        """Whether the position tables hold for frames of this size as they are, not interpolated."""
        side = self.table_side * self.size_multiple
        return (height, width) == (side, side)

    def position_table(self, branch: Branch, height: int, width: int) -> Tensor:
        """Positions ``[height·width, C]`` of a latent frame.

        For another size than the table's own they are interpolated bicubically. The release has no such thing: it
        squeezes every clip to 512×512.
        """
        table, side = getattr(self, f"position_emb_{branch}"), self.table_side
        if (height, width) == (side, side):
            return table
        # On the CPU, as not every device has this filter; it is as small as a thumbnail.
        grid = table.float().cpu().T.reshape(1, -1, side, side)
        grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False, antialias=True)
        return grid.flatten(2)[0].T.to(table)

    def frame_logits(self, branch: Branch, frame: Tensor, position: Tensor) -> Tensor:
        """Scores ``[B, h·w, codes]`` of the codes for one latent frame ``[B, C, h, w]``."""
        x = frame.flatten(2).transpose(1, 2)
        for layer in getattr(self, f"{branch}_ft_layers"):
            x = layer(x, position)
        return getattr(self, f"{branch}_idx_pred_layer")(x)

    def predict(self, x: Tensor) -> Prediction:
        """Scores of the codes for a degraded clip ``[B, 3, T, H, W]``, 0…1, T ≥ 2; differentiable."""
        z = self.encode(x)
        z_t = self.temporal_input(z)
        logits = []
        branches: tuple[tuple[Branch, Tensor], ...] = (("s", self.quantize.spatial_input(z)), ("t", z_t))
        for branch, source in branches:
            position = self.position_table(branch, *z.shape[3:])
            frames = [self.frame_logits(branch, frame, position) for frame in source.unbind(2)]
            logits.append(torch.stack(frames, 1).flatten(0, 1))
        return Prediction(z, z_t, *logits)

    @torch.no_grad()
    def codes(self, z: Tensor, on_frame: Callable[[int], None] | None = None) -> tuple[Tensor, Tensor]:
        """The best codes, spatial and temporal, ``[B·t, h·w]`` each, for a latent ``[B, C, t, h, w]``.

        ``on_frame`` is called with 1 … 2 t as the frames of both branches finish.
        """
        found: list[Tensor] = []
        done = 0
        spatial, temporal = self.quantize.spatial_input(z), self.temporal_input(z)
        branches: tuple[tuple[Branch, Tensor], ...] = (("s", spatial), ("t", temporal))
        for branch, source in branches:
            # A host may have moved the lookup's modules without this table.
            position = self.position_table(branch, *z.shape[3:]).to(z.device)
            # Frame by frame: the scores of all codes at all places of one frame are as much as a picture.
            best = []
            for frame in source.unbind(2):
                best.append(self.frame_logits(branch, frame, position).argmax(-1))
                done += 1
                if on_frame is not None:
                    on_frame(done)
            found.append(torch.stack(best, 1).flatten(0, 1))
        return found[0], found[1]

    def decode(self, indices_s: Tensor, indices_t: Tensor, shape: torch.Size) -> Tensor:
        """The clip ``[B, 3, 2 t, H, W]``, 0…1, of codes ``[B·t, h·w]`` for a latent of ``shape``."""
        return self.generator(self.quantize.vectors(indices_s, indices_t, shape))

    def forward(self, x: Tensor) -> Restoration:  # type: ignore[override]  # it tells more than the autoencoder
        """Restore ``[B, 3, T, H, W]``, 0…1, T ≥ 2, keeping the scores; an odd last frame has no frame in the result."""
        prediction = self.predict(x)
        indices_s, indices_t = prediction.logits_s.argmax(-1), prediction.logits_t.argmax(-1)
        out = self.decode(indices_s, indices_t, prediction.z.shape)
        return Restoration(out, *prediction, indices_s, indices_t)


def table_side(rows: int) -> int | None:
    """Side of a square position table of ``rows`` places; ``None`` if it isn't square."""
    side = math.isqrt(rows)
    return side if side * side == rows else None
