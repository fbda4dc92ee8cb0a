"""VividFace's released script, imported out of two checkouts that the user has.

The repository as published lacks its package ``diffsynth/models``; a checkout of DiffSynth-Studio of that time has it.
Nothing is installed or changed: only the modules that the script's loop runs are imported, the packages around them
(which import dozens of other models at once) are left empty.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

SCRIPT = Path("examples/FaceVR/test_full_no_tile_face.py")
PIPELINE = Path("diffsynth/pipelines/wan_video_one_step.py")
MODELS = Path("diffsynth/models")
NETWORKS = ("wan_video_dit.py", "wan_video_vae.py")
COMMITS = {"VividFace": "9680615", "DiffSynth-Studio": "ef2a7aba"}
"""The commits that belong together: all Python files that both have are equal but ``pipelines/__init__.py``."""


class Absent:
    """Stands for what the script's modules import and its loop doesn't need: loader and tokenizer."""

    def __init__(self, **options: object) -> None: ...


class Restored(NamedTuple):
    """What the script made of a clip.

    Attributes:
        encoded, latent: ``[1, 16, T', h, w]``, before and after the one step.
        frames: ``[3, T, H, W]``, −1…1, what was padded cut off.
        pictures: the same as PIL images, as they are saved.
    """

    encoded: Tensor
    latent: Tensor
    frames: Tensor
    pictures: list[Any]


class ReleasedScript:
    """The script's functions, and its pipeline with given weights, on a CPU.

    Args:
        vividface, diffsynth: the checkouts.

    Attributes:
        commits: of both, by :data:`COMMITS`' names; "no commit": no git checkout.

    Raises:
        SystemExit: a checkout lacks what it should have.
    """

    def __init__(self, vividface: Path, diffsynth: Path) -> None:
        for folder, names in ((vividface, (SCRIPT, PIPELINE)), (diffsynth, [MODELS / name for name in NETWORKS])):
            if lost := [str(name) for name in names if not (folder / name).is_file()]:
                raise SystemExit(f"{folder} lacks {', '.join(lost)}; it should be a checkout, at {COMMITS}.")
        self.commits = {"VividFace": _commit(vividface), "DiffSynth-Studio": _commit(diffsynth)}
        top = _bare_package("diffsynth", vividface / "diffsynth")
        _bare_package("diffsynth.models", diffsynth / MODELS, ModelManager=Absent)
        _bare_package("diffsynth.prompters", vividface / "diffsynth/prompters", WanPrompter=Absent)
        _bare_package("diffsynth.pipelines", vividface / "diffsynth/pipelines")
        self._pipeline = importlib.import_module("diffsynth.pipelines.wan_video_one_step")
        top.ModelManager, top.WanVideoOneStepPipeline = Absent, self._pipeline.WanVideoOneStepPipeline
        self._script = _module(vividface / SCRIPT)

    def load(self, transformer: Mapping[str, Tensor], vae: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
        """Its pipeline with these weights, under Wan's own names, all of them in ``dtype`` as the script keeps them."""
        dit, autoencoder = self._denoiser(transformer), self._pipeline.WanVideoVAE()
        autoencoder.model.load_state_dict(dict(vae), assign=True)
        pipe = self._pipeline.WanVideoOneStepPipeline(device="cpu", torch_dtype=dtype)
        pipe.dit, pipe.vae = dit.to(dtype).eval(), autoencoder.to(dtype).eval()
        return pipe

    def _denoiser(self, state: Mapping[str, Tensor]) -> nn.Module:
        with torch.device("meta"):
            net = self._pipeline.WanModel(
                dim=1536,
                in_dim=16,
                ffn_dim=8960,
                out_dim=16,
                text_dim=4096,
                freq_dim=256,
                eps=1e-6,
                patch_size=(1, 2, 2),
                num_heads=12,
                num_layers=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
                has_image_input=False,
            )
        net.load_state_dict(dict(state), assign=True)
        dit = sys.modules["diffsynth.models.wan_video_dit"]
        net.freqs = dit.precompute_freqs_cis_3d(128)  # plain numbers, which no file holds
        return net

    @torch.no_grad()
    def restore(self, pipe: Any, folder: Path, side: int | None, prompt: Tensor) -> Restored:
        """The body of its loop, for the first folder of pictures in ``folder``.

        Args:
            side: of its direct resize, 512 by default; ``None``: ``--height -1 --width -1``, none.
            prompt: ``[1, 512, 4096]``, the embedding of "".
        """
        with redirect_stdout(StringIO()):  # it tells of every picture that it resizes
            return self._restore(pipe, folder, side, prompt)

    def _restore(self, pipe: Any, folder: Path, side: int | None, prompt: Tensor) -> Restored:
        script = self._script
        clip = script.FaceVideoDataset(str(folder), height=side, width=side)[0]["LRvideo"][None].to(pipe.torch_dtype)
        clip, below, right = script.padding(clip, n=16)
        clip, repeated = script.repeat_last_frame_to_multiple_plus1(clip, multiple=4)
        _, _, frames, height, width = clip.shape
        encoded = pipe.encode_video(clip, tiled=False).to(pipe.torch_dtype)
        latent = pipe(
            prompt="",
            num_inference_steps=50,
            LR=encoded,
            prompt_emb={"context": prompt.to(pipe.torch_dtype)},
            seed=0,
            tiled=False,
            height=height,  # the script says eight times that; it is the size of noise that nobody uses
            width=width,
            num_frames=frames,
            cfg_scale=1.0,
        )
        video = script.remove_repeated_frames(pipe.decode_video(latent, tiled=False), repeated)
        video = script.unpadding(video[0], below, right)
        return Restored(encoded, latent, video, pipe.tensor2video(video))


def _bare_package(name: str, folder: Path, **attributes: object) -> ModuleType:
    """A package that holds the modules of ``folder``, without what its ``__init__`` would import."""
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    vars(package).update(attributes)
    sys.modules[name] = package
    return package


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it is a .py that exists
    module, paths = importlib.util.module_from_spec(spec), list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = paths  # it puts its own checkout first
    return module


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=8", "--exclude=*", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True)
    return told.stdout.strip() if told.returncode == 0 else "no commit"
