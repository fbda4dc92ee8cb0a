"""A discriminator for whole frames: linear heads on the features of a frozen network (BFVR-STC, stage I).

Only the heads learn. In the generator's step the gradient passes the frozen network to the pictures; the released code
computes its features without gradient, so that its generator learns nothing from this term.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vividface_core.errors import InvalidOption, MissingDependency, MissingWeights, first_line

HEADS = (1, 2, 4)
"""Outputs of the heads, each of which is averaged."""
ALIASES = {
    "dinov2_vits14": "facebook/dinov2-small",
    "dinov2_vitb14": "facebook/dinov2-base",
    "dinov2_vitl14": "facebook/dinov2-large",
    "dinov2_vitg14": "facebook/dinov2-giant",
}
"""DINOv2's own names by those of its weights for ``transformers``."""
TIMM = "timm/"
"""What stands before the name of a network of timm."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Resize = Literal["bilinear", "nearest"]


class FrozenBackboneDiscriminator(nn.Module):
    """Scores frames; its state dict holds the heads alone.

    Args:
        backbone: pictures ``[N, 3, S, S]`` to one vector each, ``[N, D]``; any other result is pooled, see
            :func:`pooled`. It is frozen here, moves with the heads, and isn't a sub-module: it is neither trained,
            averaged nor saved.
        features: D.
        size: side S to which frames are scaled; ``None``: they stay as they are.
        resize: ``bilinear`` with antialiasing, or ``nearest``, as released, which shows the backbone (and gives a
            gradient to) a few of the pixels only.
        normalize: ImageNet's mean and deviation, for which the usual backbones are trained; the release leaves it out.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        *,
        size: int | None = 224,
        resize: Resize = "bilinear",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self._backbone = [backbone.requires_grad_(False).eval()]
        self.heads = nn.ModuleList(nn.Linear(features, outputs) for outputs in HEADS)
        self._size, self._resize, self._normalize = size, resize, normalize

    @property
    def backbone(self) -> nn.Module:
        return self._backbone[0]

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenBackboneDiscriminator:
        self.backbone._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, frames: Tensor) -> Tensor:
        """Scores ``[3·N]``, high for real ones, of frames ``[N, 3, H, W]``, 0…1; with every gradient."""
        features = self.describe(frames)
        return torch.cat([head(features).mean(1) for head in self.heads])

    def describe(self, frames: Tensor) -> Tensor:
        """The frozen network's features ``[N, D]``, with a gradient to the frames."""
        if self._size and frames.shape[-2:] != (self._size, self._size):
            smooth = {"antialias": True, "align_corners": False} if self._resize == "bilinear" else {}
            frames = F.interpolate(frames, (self._size, self._size), mode=self._resize, **smooth)
        if self._normalize:
            mean, std = (torch.tensor(v, dtype=frames.dtype, device=frames.device)[:, None, None] for v in (MEAN, STD))
            frames = (frames - mean) / std
        return pooled(self.backbone(frames))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss that trains the heads: mean relu(1 − D(real)) + mean relu(1 + D(fake)). ``fake`` gets no gradient.

        Frames are ``[N, 3, H, W]`` or clips ``[B, 3, T, H, W]``, 0…1.
        """
        with torch.no_grad():
            described = [self.describe(frames_of(clip)) for clip in (real, fake)]
        real_scores, fake_scores = (torch.cat([head(x).mean(1) for head in self.heads]) for x in described)
        return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        """−mean D(fake); its gradient reaches ``fake`` through the frozen network, and not the heads."""
        features = self.describe(frames_of(fake))
        heads: list[Any] = list(self.heads)
        scores = [F.linear(features, head.weight.detach(), head.bias.detach()).mean(1) for head in heads]
        return -torch.cat(scores).mean()


def frames_of(clip: Tensor) -> Tensor:
    """``[B, 3, T, H, W]`` as ``[B·T, 3, H, W]``; pictures stay as they are."""
    return clip.transpose(1, 2).flatten(0, 1) if clip.ndim == 5 else clip


def pooled(result: Any) -> Tensor:
    """One vector ``[N, D]`` a picture out of what a backbone returns.

    Of a ``transformers`` model its class token (after the last norm), of a list of maps the last one, of a map
    ``[N, D, h, w]`` its mean over places, of tokens ``[N, tokens, D]`` the first.
    """
    if not isinstance(result, Tensor):
        if hasattr(result, "last_hidden_state"):
            result = result.last_hidden_state
        elif isinstance(result, Iterable):
            result = list(result)[-1]
    if not isinstance(result, Tensor) or result.ndim not in (2, 3, 4):
        raise InvalidOption("The discriminator's backbone returns neither a vector, tokens nor a map for a picture.")
    if result.ndim == 4:
        return result.mean((2, 3))
    return result[:, 0] if result.ndim == 3 else result


def load_backbone(name: str) -> tuple[nn.Module, int]:
    """A frozen network by name, and the width of its features.

    Args:
        name: one of DINOv2's own names (``dinov2_vits14`` is the release's), a folder or a name on the Hub for
            ``transformers``, ``timm/…`` for a network of timm, or ``vgg16`` (ImageNet's, from the package that carries
            LPIPS).

    Raises:
        MissingDependency: timm is asked for and isn't installed.
        MissingWeights: nothing of that name can be had from here.
    """
    if name == "vgg16":
        from training.assets.perceptual_weights import load

        lpips: Any = load("lpips-vgg")
        return lpips.features, 512
    return _from_timm(name.removeprefix(TIMM)) if name.startswith(TIMM) else _from_transformers(name)


def _from_transformers(name: str) -> tuple[nn.Module, int]:
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(ALIASES.get(name, name))
    except (OSError, ValueError) as error:
        raise MissingWeights(
            f"The discriminator's backbone {name!r} can't be loaded ({first_line(error)}). Give the path of a folder "
            "with its weights, or another backbone (vgg16 needs no download from the Hub)."
        ) from error
    config = model.config
    return model, config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]


def _from_timm(name: str) -> tuple[nn.Module, int]:
    try:
        import timm
    except Exception as error:  # a broken installation fails in its own ways
        raise MissingDependency(
            f"The backbone {TIMM}{name} needs the package timm, which does not import here ({first_line(error)}). "
            "Install it: pip install timm."
        ) from error
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # unknown names, the Hub's errors and the network's
        raise MissingWeights(f"timm has no weights for {name!r} here ({first_line(error)}).") from error
    return model, model.num_features
