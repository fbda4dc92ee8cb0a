"""The text embedding of "": one vector, computed once, so that the 11 GB text encoder is never needed again.

The empty prompt is a single token, the end mark; the other 511 positions are masked for the encoder and zero for the
denoiser. A softmax over one key is 1, so in every layer attention hands the token its own value, and the position
bias, which only moves the softmax, drops out. What is left of UMT5 for this token is, in each layer,

    x ← x + O·V·norm(x),    x ← x + W₂(gelu(G·norm(x)) ⊙ W₁·norm(x)),

five products of a matrix and a vector. The matrices are mapped, used and let go one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOutput, MissingWeights, UnsupportedCheckpoint
from vividface_core.io.tensors import find_prefix, read_tensors, write_tensors
from vividface_core.wan.state_dict import KINDS, describe, kind_of, read_state_dict
from vividface_core.wan.transformer import PROMPT_LENGTH

FILE_NAME = "empty_prompt.safetensors"
END_TOKEN = 1
"""UMT5's id of ``</s>``, all that is left of an empty text."""
EPSILON = 1e-6

LAYERS = {
    "umt5-original": (
        "blocks.{}.",
        "norm1",
        "attn.v",
        "attn.o",
        "norm2",
        "ffn.gate.0",
        "ffn.fc1",
        "ffn.fc2",
    ),
    "umt5-hf": (
        "encoder.block.{}.layer.",
        "0.layer_norm",
        "0.SelfAttention.v",
        "0.SelfAttention.o",
        "1.layer_norm",
        "1.DenseReluDense.wi_0",
        "1.DenseReluDense.wi_1",
        "1.DenseReluDense.wo",
    ),
}
"""A layer's name, then in it: norm, value, output, norm, gate, up, down."""
EMBEDDINGS = {
    "umt5-original": ("token_embedding.weight",),
    # Both names are one tied tensor; a file keeps either.
    "umt5-hf": ("shared.weight", "encoder.embed_tokens.weight"),
}
FINAL_NORMS = {"umt5-original": "norm.weight", "umt5-hf": "encoder.final_layer_norm.weight"}


@torch.no_grad()
def compute_empty_prompt(path: str | Path, progress: Callable[[float], None] | None = None) -> EmptyPrompt:
    """The text embedding of "", in the memory of one matrix.

    Args:
        path: a UMT5 encoder: Wan's own ``models_t5_umt5-xxl-enc-bf16.pth``, or a file or folder of
            ``transformers.UMT5EncoderModel``.
        progress: called with the share done, 0…1, after every layer.

    Returns:
        One row (4096 channels for UMT5-XXL).

    Raises:
        MissingWeights: the file, or a shard of it, isn't there.
        UnsupportedCheckpoint: no UMT5 encoder, a quantized one, or one with weights missing.
        InvalidOutput: the encoder holds NaN or infinite values.
    """
    encoder = _Encoder.open(Path(path))
    block, *parts = LAYERS[encoder.kind]
    x = encoder.read(encoder.embedding)[END_TOKEN].float()
    for index in range(encoder.layers):
        norm1, value, out, norm2, gate, up, down = (f"{block.format(index)}{part}.weight" for part in parts)
        normed = _norm(x, encoder.read(norm1))
        x = x + encoder.product(out, encoder.product(value, normed))
        normed = _norm(x, encoder.read(norm2))
        gated = F.gelu(encoder.product(gate, normed), approximate="tanh") * encoder.product(up, normed)
        x = x + encoder.product(down, gated)
        if progress is not None:
            progress((index + 1) / encoder.layers)
    x = _norm(x, encoder.read(FINAL_NORMS[encoder.kind]))
    if not torch.isfinite(x).all():
        raise InvalidOutput(f"{path}: its embedding of the empty prompt is NaN or infinite; fetch the file again.")
    return EmptyPrompt(x[None].clone())


@dataclass(frozen=True)
class EmptyPrompt:
    """The text embedding of "", without its zeros.

    Attributes:
        rows: ``[tokens, d_model]`` float32; one token for a real UMT5.
        length: positions that the denoiser attends to: Wan's 512, or as many as there are rows for a small denoiser
            that was trained without Wan's text encoder.
    """

    rows: Tensor
    length: int = PROMPT_LENGTH

    def padded(self, device: torch.device | str = "cpu") -> Tensor:
        """``[1, length, d_model]``: the rows, then zeros."""
        return F.pad(self.rows.to(device), (0, 0, 0, self.length - len(self.rows)))[None]

    def save(self, path: Path) -> None:
        """Write an :data:`FILE_NAME`, at once or not at all."""
        rows = self.rows.detach().float().cpu().contiguous()
        write_tensors(path, {"rows": rows, "length": torch.tensor([self.length])})

    @classmethod
    def load(cls, path: Path) -> EmptyPrompt:
        """Read a stored embedding; a padded one (``[512, d_model]``, also in a batch of one) is cut to its real rows.

        Raises:
            MissingWeights: the file isn't there.
            UnsupportedCheckpoint: it holds something else.
        """
        if not path.is_file():
            raise MissingWeights(f"{path} is missing; make it with 'vividface models convert … --umt5 ENCODER'.")
        stored = dict(read_tensors(path))
        length = int(stored.pop("length", torch.tensor([PROMPT_LENGTH])))
        tensors = list(stored.values())
        if len(tensors) == 1 and tensors[0].is_floating_point() and 0 < tensors[0].ndim < 4:
            rows = tensors[0].float().reshape(-1, tensors[0].shape[-1])
            real = int(rows.any(dim=1).nonzero().max()) + 1 if rows.any() else 0
            if 0 < real <= length <= PROMPT_LENGTH and rows.isfinite().all():
                return cls(rows[:real].clone(), length)
        raise UnsupportedCheckpoint(f"{path} is no text embedding: one tensor of rows that aren't all zero is needed.")


@dataclass(frozen=True)
class _Encoder:
    """Where a UMT5 lies, and under which names."""

    path: Path
    kind: str
    prefix: str
    embedding: str
    layers: int

    @staticmethod
    def open(path: Path) -> _Encoder:
        state = read_state_dict(path, "umt5")
        kind = kind_of(state)
        if kind not in LAYERS:
            raise UnsupportedCheckpoint(f"{path} holds no UMT5 encoder, but {describe(state)}.")
        prefix = find_prefix(read_tensors(path), KINDS[kind][0], path) or ""
        block, norm, *_ = LAYERS[kind]
        layers = 0
        while f"{block.format(layers)}{norm}.weight" in state:
            layers += 1
        embedding = next((name for name in EMBEDDINGS[kind] if name in state), EMBEDDINGS[kind][0])
        return _Encoder(path, kind, prefix, embedding, layers)

    def read(self, name: str) -> Tensor:
        # Opened anew each time: pages of a memory map count as this process's own until it is closed.
        name = self.prefix + name
        tensor = read_tensors(self.path, [name]).get(name)
        if tensor is None:
            raise UnsupportedCheckpoint(f"{self.path} lacks {name}; it may be incomplete, fetch it again.")
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise UnsupportedCheckpoint(
                f"{self.path} is quantized ({name} is {tensor.dtype}); take a bf16 or fp16 file."
            )
        return tensor

    def product(self, name: str, x: Tensor) -> Tensor:
        return self.read(name).float() @ x


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean() + EPSILON) * weight.float()
