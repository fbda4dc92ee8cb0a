"""Train vividface-nano, first edition.

Two stages, each a plain loop that can be stopped and resumed:

1. ``autoencoder``: the VAE alone, clean clips in and out.
2. ``restore``: degraded clips through the encoder, one denoiser step at t* = 400 and the decoder, against the clean
   ones (latent and pixel loss as in Eq. 7–8 of VividFace, without masks). Unlike in the paper the decoder, and with
   ``--encoder`` the encoder, is trained along at a lower rate: at this size the autoencoder is the bottleneck.

``python -m training.train_nano autoencoder --data data/nano --out runs/nano --minutes 30`` and then
``python -m training.train_nano restore --data data/nano --out runs/nano --minutes 60``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.nano_data import RandomClips
from training.nano_model import (
    LATENT_CHANNELS,
    PROMPT_LENGTH,
    TEXT_WIDTH,
    decode,
    encode,
    make_autoencoder,
    make_transformer,
    velocity,
)


class NanoModel(nn.Module):
    """Autoencoder, denoiser, the learned row of the empty prompt, and the latent statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = make_autoencoder()
        self.transformer = make_transformer()
        self.prompt_row = nn.Parameter(torch.randn(1, TEXT_WIDTH) * 0.02)
        self.register_buffer("latent_mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("latent_std", torch.ones(LATENT_CHANNELS))

    def encode(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised posterior mean and raw log-variance."""
        mean, log_variance = encode(self.vae, clip).float().chunk(2, dim=1)
        shape = (1, -1, 1, 1, 1)
        return (mean - self.latent_mean.view(shape)) / self.latent_std.view(shape), log_variance

    def decode(self, latent: Tensor) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        return decode(self.vae, latent * self.latent_std.view(shape) + self.latent_mean.view(shape)).float()

    def step(self, latent: Tensor) -> Tensor:
        """ẑ_h = z_l − DiT(z_l, 400, "")."""
        padding = self.prompt_row.new_zeros(PROMPT_LENGTH - 1, TEXT_WIDTH)
        return latent - velocity(self.transformer, latent, torch.cat([self.prompt_row, padding])).float()


def pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 of the values plus L1 of their spatial differences, which keeps edges."""
    loss = (output - target).abs().mean()
    for axis in (-1, -2):
        loss = loss + 0.5 * (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    return loss


def autoencoder_loss(model: NanoModel, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    clean = batch["clean"]
    latent, log_variance = model.encode(clean)
    output = model.decode(latent)
    divergence = 0.5 * (latent**2 + log_variance.exp() - 1 - log_variance).mean()
    return pixel_loss(output, clean) + 1e-5 * divergence, {"psnr": psnr(output, clean)}


def restore_loss(model: NanoModel, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    clean, degraded = batch["clean"], batch["degraded"]
    with torch.no_grad():
        high = model.encode(clean)[0]
    low = model.encode(degraded)[0]
    restored_latent = model.step(low)
    restored = model.decode(restored_latent)
    latent_error = (restored_latent - high).pow(2).mean()
    return pixel_loss(restored, clean) + 0.05 * latent_error, {
        "psnr": psnr(restored, clean),
        "psnr_input": psnr(degraded, clean),
        "latent": latent_error.detach(),
    }


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch, in dB, for −1…1 tensors."""
    error = (output.detach().clamp(-1, 1) - target).pow(2).mean(dim=(1, 2, 3, 4)) / 4
    return (-10 * torch.log10(error + 1e-10)).mean()


class Optimizers:
    """Muon for the matrices and kernels, AdamW for the rest (norms, biases, tables).

    Muon takes matrices only, so each kernel is handed to it as a ``[out, everything else]`` view of the same storage.
    On this autoencoder it needs about a fifth of AdamW's steps to the first 20 dB.
    """

    def __init__(self, parameters: list[nn.Parameter], rate: float) -> None:
        kernels = [p for p in parameters if p.ndim >= 2 and p.shape[0] > 1 and p.numel() > 2 * p.shape[0]]
        known = set(map(id, kernels))
        self.views = [(p, nn.Parameter(p.data.view(p.shape[0], -1))) for p in kernels]
        self.rest = [p for p in parameters if id(p) not in known]
        self.muon = torch.optim.Muon([view for _, view in self.views], lr=20 * rate, weight_decay=0.0)
        self.adam = torch.optim.AdamW(self.rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.base = (20 * rate, rate)

    def step(self, share: float) -> None:
        """One step at ``share`` of the base rate; clears the gradients. Skipped where a gradient isn't finite."""
        norm = nn.utils.clip_grad_norm_([p for p, _ in self.views] + self.rest, 1.0)
        for parameter, view in self.views:
            view.grad = None if parameter.grad is None else parameter.grad.view_as(view)
        for optimizer, base in zip((self.muon, self.adam), self.base):
            for group in optimizer.param_groups:
                group["lr"] = base * share
            if torch.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad()
        for parameter, _ in self.views:
            parameter.grad = None


AUTOENCODER_SHARE = 0.25
"""Rate of the autoencoder in the restore stage, over the denoiser's."""

LOSSES = {"autoencoder": autoencoder_loss, "restore": restore_loss}


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    model, ema = NanoModel(), NanoModel()
    start = args.out / "nano.pt"
    if start.exists():
        model.load_state_dict(torch.load(start, weights_only=True))
    if args.stage == "restore" and bool((model.latent_std == 1).all()):
        measure_statistics(model, args)
    ema.load_state_dict(model.state_dict())
    if args.stage == "restore":
        model.vae.encoder.requires_grad_(args.encoder)
        model.vae.quant_conv.requires_grad_(args.encoder)
        slow = [p for p in model.vae.parameters() if p.requires_grad]
        fast = [*model.transformer.parameters(), model.prompt_row]
        optimizers = [Optimizers(fast, args.lr), Optimizers(slow, AUTOENCODER_SHARE * args.lr)]
    else:
        optimizers = [Optimizers(list(model.vae.parameters()), args.lr)]
    loader = DataLoader(
        RandomClips(args.data, frames=args.frames, size=args.size, seed=args.seed, degrade=args.stage == "restore",
                    faces=args.faces, zoom=tuple(args.zoom), canvas=args.canvas),
        batch_size=args.batch, num_workers=1, prefetch_factor=4,
    )
    loss_of = torch.compile(LOSSES[args.stage], dynamic=False) if args.compile else LOSSES[args.stage]
    began, log, means = time.monotonic(), (args.out / "log.jsonl").open("a"), {}
    for number, batch in enumerate(loader):
        share = (time.monotonic() - began) / (60 * args.minutes)
        if share >= 1:
            break
        rate = min(1, (number + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss, values = loss_of(model, batch)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step(rate)
        decay = min(0.998, (number + 1) / (number + 10))
        with torch.no_grad():
            for slow, fast in zip(ema.parameters(), model.parameters()):
                slow.lerp_(fast, 1 - decay)
        for name, value in {"loss": float(loss.detach()), **values}.items():
            means[name] = means.get(name, value) * 0.97 + value * 0.03
        if number % 20 == 0:
            entry = {"stage": args.stage, "step": number, "minutes": round(60 * share * args.minutes / 60, 2),
                     "rate": round(rate, 4), **{k: round(float(v), 4) for k, v in means.items()}}
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print(entry, flush=True)
        if number % 200 == 199:
            save(ema, args.out)
    save(ema, args.out)


@torch.no_grad()
def measure_statistics(model: NanoModel, args: argparse.Namespace) -> None:
    """Set the latent mean and std of each channel from clean clips."""
    loader = DataLoader(
        RandomClips(args.data, frames=args.frames, size=args.size, seed=7, degrade=False, faces=args.faces,
                    zoom=tuple(args.zoom), canvas=args.canvas),
        batch_size=8,
    )
    latents = torch.cat([model.encode(batch["clean"])[0] for batch, _ in zip(loader, range(12))])
    flat = latents.transpose(0, 1).flatten(1)
    model.latent_mean.copy_(flat.mean(1))
    model.latent_std.copy_(flat.std(1).clamp_min(1e-3))


def save(model: NanoModel, folder: Path) -> None:
    """Write under a temporary name, then rename: a kill never leaves half a file."""
    torch.save(model.state_dict(), folder / "nano.pt.partial")
    (folder / "nano.pt.partial").rename(folder / "nano.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=LOSSES)
    parser.add_argument("--data", type=Path, default=Path("data/nano"))
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--frames", type=int, default=9, help="4k+1")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--canvas", type=int, default=0, help="side of a whole face, of which --size is cut")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--faces", type=float, default=0.0, help="share of the samples cut around a face")
    parser.add_argument("--zoom", type=float, nargs=2, default=(0.3, 0.8), help="side of a cut over the short side")
    parser.add_argument("--lr", type=float, default=1e-3, help="of AdamW; Muon takes 20 times this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", action="store_true", help="train the encoder too in the restore stage")
    parser.add_argument("--bf16", action="store_true", help="autocast; pays on processors with AVX512-BF16 or AMX")
    parser.add_argument("--compile", action="store_true", help="two minutes of compiling, then 1.5 times as fast")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    main()
