"""What a training step takes at its true shapes, told without weights, data or a GPU.

``python -m training.dry_run training/configs/vividface-1.3b-decoder.toml [--memory 24] [table.key=value …]``

The stage is built as the trainer builds it and takes one micro-batch forwards and backwards, with tensors that have
shapes but no values. Counted are parameters, floating-point operations, and the bytes that live at the same time. The
shapes of a base that isn't here are those of the released model, if it is that, or of the configuration beside this
one that trains it.

The operators are those of a CPU; a GPU's may need other scratch. What they take beside tensors is an allowance.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

from training.command import exit_status
from training.config import Config, Model, load_config
from training.stages.base import Batch, Stage
from training.stages.modules import Parts
from training.stages.registry import make_stage
from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.io.atomic import read_json
from vividface_core.metrics.networks.perceptual import Dists, Lpips
from vividface_core.restorers.one_step_files import DECODER, ENCODER
from vividface_core.wan.conditional_decoder import ConditionalDecoder, DecoderConfig
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.tiny_encoder import EncoderConfig, TinyEncoder
from vividface_core.wan.vae import latent_frames, spatial_ratio, temporal_ratio
from vividface_core.weights import where

RELEASED = ("vividface", "wan2.1-t2v-1.3b")
WAN_1_3B = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
"""Wan2.1-T2V-1.3B; its autoencoder is diffusers' default."""
ALLOWANCE = 1.5 * 2**30
"""Bytes that a GPU's context, libraries and a fragmented allocator take beside tensors."""
TRAINED_BYTES = 8
"""A trained parameter has two moments of AdamW in fp32; averaged weights come on top."""


@dataclass(frozen=True)
class Shapes:
    """Arguments of the modules of a checkpoint; ``None``: it has no such part."""

    vae: dict[str, Any] | None = None
    transformer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    encoder: dict[str, Any] | None = None
    prompt_length: int = 1


def shapes_of(model: Model, configs: Path) -> Shapes:
    """Shapes of what a run begins with.

    Args:
        configs: folder of the configurations that may train its base.

    Raises:
        InvalidOption: a checkpoint isn't here, and nothing tells its shapes.
    """
    base = _checkpoint(model.base, configs) if model.base else Shapes()
    for part in ("vae", "transformer"):
        wanted = getattr(model, part)
        if wanted:
            found = wanted if isinstance(wanted, dict) else getattr(_checkpoint(wanted, configs), part)
            changed: dict[str, Any] = {part: found}
            base = replace(base, **changed)
    return base


def _checkpoint(name: str, configs: Path) -> Shapes:
    if name in RELEASED:
        return Shapes(vae={}, transformer=WAN_1_3B, prompt_length=512)
    for path in sorted(configs.glob("*.toml")):
        config = load_config(path)
        if (config.run.output / "model").as_posix() == name and isinstance(config.model, Model):
            made = {part: found for part in (DECODER, ENCODER) if (found := getattr(config.model, part)) is not None}
            return replace(shapes_of(config.model, configs), **made)
    try:
        folder = where(name)
    except VividFaceError:
        folder = Path(name)
    parts = {
        part: read_json(folder / part / "config.json")
        for part in ("vae", "transformer", DECODER, ENCODER)
        if (folder / part / "config.json").is_file()
    }
    if not parts:
        raise InvalidOption(f"{name} isn't here, and no configuration in {configs} writes it: its shapes aren't known.")
    known: dict[str, Any] = {**parts}
    return Shapes(**known)


def make_parts(shapes: Shapes) -> Parts:
    """Modules of these shapes, on the device that is set."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    known = {
        key: {k: v for k, v in (getattr(shapes, key) or {}).items() if not k.startswith("_")}
        for key in ("vae", "transformer")
    }
    channels = known["vae"].get("z_dim", 16)
    statistics = {} if channels == 16 else {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    vae = AutoencoderKLWan(**{**statistics, **known["vae"]})
    transformer = WanTransformer3DModel(**{**known["transformer"], "in_channels": channels, "out_channels": channels})
    prompt = EmptyPrompt(torch.randn(1, transformer.config.text_dim), shapes.prompt_length)
    fits = {"latent_channels": channels, "temporal_ratio": temporal_ratio(vae.config)}
    decoder, encoder = None, None
    if shapes.decoder is not None:
        decoder = ConditionalDecoder(DecoderConfig.from_dict({**fits, **shapes.decoder}))
    if shapes.encoder is not None:
        encoder = TinyEncoder(EncoderConfig.from_dict({**fits, **shapes.encoder}))
    return Parts(vae, transformer, prompt, decoder, None, encoder, perceptual_net)


def perceptual_net(name: str) -> nn.Module:
    """``dists`` or ``lpips`` without its weights, frozen."""
    return (Dists() if name == "dists" else Lpips("vgg")).eval().requires_grad_(False)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within it and still live.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given: set[int] = set()
        tree_map_only(Tensor, lambda x: given.add(id(x.untyped_storage())), (args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, lambda x: self._note(x, given), out)
        return out

    def _note(self, x: Tensor, given: set[int]) -> None:
        storage = x.untyped_storage()
        number = id(storage)
        # A view, or an operation in place, makes nothing.
        if number in self._known or number in given:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            self._known.pop(number, None)
            self.now -= size

        self._known[number] = weakref.ref(storage, gone)


@dataclass(frozen=True)
class Cost:
    """What a step of one micro-batch takes.

    Attributes:
        parameters, trained: counts. weights, batch: bytes.
        step: bytes that live beside them at the worst moment: activations and gradients.
        optimizer: bytes of moments and averaged weights.
        forward, backward: floating-point operations.
    """

    parameters: int
    trained: int
    weights: int
    batch: int
    step: int
    optimizer: int
    forward: int
    backward: int

    @property
    def memory(self) -> float:
        """Bytes in all, with :data:`ALLOWANCE`."""
        return self.weights + self.batch + self.step + self.optimizer + ALLOWANCE


def measure(config: Config, shapes: Shapes) -> Cost:
    """Build the stage without values and take a step.

    Raises:
        InvalidOption: the autoencoder stage, which starts from data.
    """
    if config.stage == "autoencoder":
        raise InvalidOption("The autoencoder stage measures its data before it begins; it has no dry run.")
    # How channels are weighed is measured on values, and changes nothing here.
    config = config.model_copy(update={"loss": config.loss.model_copy(update={"channels": "equal"})})
    with torch.device("meta"):
        control = config.stage == "control"
        nothing: Any = None
        no_parts = Parts(nothing, nothing, nothing, load_perceptual=perceptual_net)
        parts = no_parts if control else make_parts(shapes)
        stage = make_stage(config, parts)
    # On the meta device operators aren't those that run; these are, with shapes alone.
    with FakeTensorMode():
        _move_from_meta(stage)
        return cost_of(stage, make_batch(config, stage))


def _move_from_meta(stage: Stage) -> None:
    made: dict[int, tuple[Tensor, Tensor]] = {}

    def moved(x: Tensor) -> Any:
        if id(x) not in made:  # the old one is kept, so that no other gets its number
            new = torch.empty(x.shape, dtype=x.dtype)
            made[id(x)] = x, nn.Parameter(new, x.requires_grad) if isinstance(x, nn.Parameter) else new
        return made[id(x)][1]

    for module in (part for top in _modules(stage) for part in top.modules()):
        held: dict[str, Any]
        for held in (module._parameters, module._buffers):
            held.update({name: moved(x) for name, x in held.items() if x is not None})
    for name, value in vars(stage).items():
        if isinstance(value, Tensor):
            setattr(stage, name, moved(value))


def make_batch(config: Config, stage: Any) -> Batch:
    """A micro-batch as the stage's source would give it, of noise."""
    count, data = config.optimizer.micro_batch_size, config.data
    frames, size = data.frames or config.model.native_frames, data.size
    batch = {"uniform": torch.rand(count, 4)}
    if data.kind == "shards" and config.stage != "control":
        vae = stage.vae.config
        cells = size // spatial_ratio(vae)
        latent = count, vae.z_dim, latent_frames(vae, frames), cells, cells
        batch |= {
            "low": torch.randn(latent),
            "high": torch.randn(latent),
            "mask": torch.ones(count, 1, *latent[2:], dtype=torch.uint8),
        }
        if not stage.pixels:
            return batch
    pixels = count, 3, frames, size, size
    return {
        **batch,
        "clean": torch.rand(pixels),
        "degraded": torch.rand(pixels),
        "pixel_mask": torch.ones(count, 1, *pixels[2:], dtype=torch.uint8),
    }


def cost_of(stage: Stage, batch: Batch) -> Cost:
    """One step, forwards and backwards, with tensors of any kind."""
    config = stage.config
    everything = _parameters(stage)
    trained = sum(p.numel() for p in everything if p.requires_grad)
    live, counter = LiveBytes(), FlopCounterMode(display=False, custom_mapping=_COUNTS)
    narrow = torch.autocast("cpu", torch.bfloat16) if config.run.precision == "bf16" else nullcontext()
    with counter, live:
        with narrow:
            loss = stage.loss(stage.net, batch)["loss"]
        forward = counter.get_total_flops()
        loss.backward()
    return Cost(
        parameters=sum(p.numel() for p in everything),
        trained=trained,
        weights=sum(map(_bytes, everything)),
        batch=sum(map(_bytes, batch.values())),
        step=live.peak,
        optimizer=trained * (TRAINED_BYTES + (4 if config.optimizer.ema else 0)),
        forward=forward,
        backward=counter.get_total_flops() - forward,
    )


def _convolution_backward(gradient: Any, x: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """As many operations as forwards for each gradient that is wanted; torch's own count forgets groups."""
    transposed, wanted = rest[4], rest[7]
    return sum(wanted[:2]) * conv_flop_count(list(x), list(weight), list(gradient), transposed=transposed)


_COUNTS = {
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
"""Operators that torch counts wrongly or not at all."""


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _parameters(stage: Stage) -> list[nn.Parameter]:
    """Of the net and of what the stage brings along, each once."""
    return list({id(p): p for module in _modules(stage) for p in module.parameters()}.values())


def _modules(stage: Stage) -> list[nn.Module]:
    perceptual = getattr(stage, "_perceptual", None)
    modules = [value for value in vars(stage).values() if isinstance(value, nn.Module)]
    return modules + (perceptual.nets if perceptual is not None else [])


def report(config: Config, cost: Cost, memory: float) -> str:
    """The figures, a line each; ``memory``: GiB of the card."""
    gib = lambda size: f"{size / 2**30:8.2f} GiB"  # noqa: E731
    fits = "fits" if cost.memory <= memory * 2**30 else "does NOT fit"
    accumulated = config.optimizer.global_batch_size // config.optimizer.micro_batch_size
    lines = [
        f"stage {config.stage}: {cost.trained / 1e6:.2f} M parameters trained of {cost.parameters / 1e6:.2f} M",
        f"a micro-batch of {config.optimizer.micro_batch_size}: {cost.forward / 1e12:.2f} TFLOP forwards, "
        f"{cost.backward / 1e12:.2f} backwards; {accumulated} of them a step on one GPU: "
        f"{(cost.forward + cost.backward) * accumulated / 1e12:.1f} TFLOP",
        f"{gib(cost.weights)}  weights",
        f"{gib(cost.optimizer)}  moments and averaged weights",
        f"{gib(cost.batch)}  batch",
        f"{gib(cost.step)}  activations and gradients at the worst moment (estimate)",
        f"{gib(ALLOWANCE)}  allowance for the GPU's context and libraries",
        f"{gib(cost.memory)}  in all: {fits} into {memory:g} GiB",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, 1 after an error or where the step doesn't fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("changes", nargs="*", metavar="table.key=value", help="go before the file's values")
    parser.add_argument("--memory", type=float, default=24.0, help="of the GPU, GiB")
    args = parser.parse_args(argv)
    costs: list[Cost] = []

    def work() -> None:
        config = load_config(args.config, tuple(args.changes))
        if not isinstance(config.model, Model):
            raise InvalidOption(
                f"A dry run knows no shapes of {config.system}; it is for the one-step restorer's stages."
            )
        costs.append(measure(config, shapes_of(config.model, args.config.parent)))
        print(report(config, costs[0], args.memory))

    status = exit_status(work)
    return status or int(costs[0].memory > args.memory * 2**30)


if __name__ == "__main__":
    sys.exit(main())
