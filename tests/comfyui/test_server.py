"""The pack as a guest: quick to import, silent on the network, sparing with memory, whole beside broken libraries."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.assets import run_ffmpeg
from tests.comfyui.conftest import degraded_face
from tests.comfyui.listening import heard
from tests.comfyui.prompts import LOAD, RESTORE, node, restore_video, saved
from tests.comfyui.server import ComfyServer, comfy_python, error_of
from tests.memory import NOTHING_KEPT
from tests.tiny import wan_layout
from vividface_core.pipeline.restore import RestoreOptions, restore_frames
from vividface_core.restorers.one_step_save import save_original
from vividface_core.video.source import VideoFrames

SNAPSHOT = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
"""All nodes."""
WATCHED = """
import socket
connect = socket.socket.connect
def watched(self, address):
    if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
        open({log!r}, "a").write(f"{{address}}\\n")
    return connect(self, address)
socket.socket.connect = watched
"""


def spoil(folder: Path) -> None:
    """What other people leave in shared folders: links to nothing and to themselves, rubbish, files that can't be
    read; and a model two levels below the top."""
    models = folder / "models" / "vividface"
    for place in (
        models,
        models / "sub",
        models / "rubrics",
        folder / "models" / "diffusion_models",
        folder / "models" / "LLM" / "maker",
        folder / "input",
    ):
        place.mkdir(parents=True, exist_ok=True)
        for suffix in (".safetensors", ".json", ".mp4", ""):
            (place / f"gone{suffix}").symlink_to(place / "nowhere")
            if place.name != "input":  # the core's own nodes fail over such a link there
                (place / f"loop{suffix}").symlink_to(f"loop{suffix}")
            (place / f"broken{suffix}").symlink_to("/proc/self/mem")
        (place / "empty.safetensors").write_bytes(b"")
    (models / "sub" / "here").symlink_to(".", target_is_directory=True)  # the core itself loses its way in several
    shutil.copytree(folder / "elsewhere" / "faces" / "tiny", models / "sub" / "deep" / "mine")


@pytest.fixture(scope="module")
def guest(tmp_path_factory, tiny_checkpoint):
    """A server beside a broken diffusers, facexlib and flash-attn, whose connections are written down; a tiny model
    lies in a folder that only its extra_model_paths names."""
    folder = tmp_path_factory.mktemp("guest")
    broken = folder / "broken"
    broken.mkdir()
    for name in ("diffusers", "facexlib", "flash_attn", "peft", "scenedetect"):
        (broken / f"{name}.py").write_text(f"raise ImportError('{name} is broken here')")
    (broken / "sitecustomize.py").write_text(WATCHED.format(log=str(folder / "connections.log")))
    elsewhere = folder / "elsewhere" / "faces"
    elsewhere.mkdir(parents=True)
    shutil.copytree(tiny_checkpoint, elsewhere / "tiny")
    (folder / "paths.yaml").write_text(f"lab:\n    base_path: {folder / 'elsewhere'}\n    vividface: faces\n")
    (folder / "input").mkdir()
    degraded_face(folder / "input" / "face.mp4", 9)
    spoil(folder)
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    with ComfyServer(folder, environment={"PYTHONPATH": str(broken)}, arguments=arguments) as server:
        yield server


def test_nothing_that_lies_in_shared_folders_takes_the_nodes_away(guest):
    nodes = [name for name in guest.get("/object_info") if name.startswith("VividFace")]
    assert set(nodes) == set(SNAPSHOT)
    options = guest.get("/object_info/VividFaceLoadModel")["VividFaceLoadModel"]["input"]["required"]["model"][1]
    assert "sub/deep/mine" in options["options"] and "tiny" in options["options"]
    # It is found by that name: validation passes, and what fails is the broken library.
    entry = guest.wait(guest.queue(restore_video(model={"model": "sub/deep/mine"})))
    assert "scenedetect is broken here" in error_of(entry)


def test_the_pack_imports_in_under_a_second(guest):
    (seconds,) = re.findall(r"([\d.]+) seconds(?: \(.*\))?: .*ComfyUI-VividFace", guest.log)
    # Where the machine is busy or slow, all of the start takes longer: the pack's share of it stays.
    assert float(seconds) < max(1.0, 0.15 * guest.start_seconds)


def test_nothing_is_asked_of_the_network(guest):
    assert not (guest.folder / "connections.log").exists(), (guest.folder / "connections.log").read_text()


def test_every_node_is_there_beside_broken_libraries(guest):
    names = [name for name in guest.get("/object_info") if name.startswith("VividFace")]
    assert set(names) == set(SNAPSHOT)


def test_a_broken_library_is_one_sentence_where_it_is_needed(guest):
    entry = guest.wait(guest.queue(restore_video()))
    # Loading and restoring need no diffusers, which is broken as well; the first library that is wanted is named.
    assert "scenedetect is broken here" in error_of(entry) and "VividFaceOneStepRestore" in error_of(entry)


def test_folders_of_extra_model_paths_are_offered(guest):
    options = guest.get("/object_info/VividFaceLoadModel")["VividFaceLoadModel"]["input"]["required"]["model"][1]
    assert "tiny" in options["options"] and "vividface-nano" in options["options"]


def settled(server: ComfyServer) -> int:
    time.sleep(1.0)
    return server.memory


def test_free_gives_the_memory_back(tmp_path, tiny_checkpoint):
    """The second of two loads is what counts: the first one also loads libraries, which stay."""
    with ComfyServer(tmp_path, environment=NOTHING_KEPT) as server:
        degraded_face(server.folder / "input" / "face.mp4", 9)
        heavy = heavy_checkpoint(server.folder / "models" / "vividface" / "heavy")
        load = {
            "model": node("VividFaceLoadModel", model="vividface-nano", precision="fp32", device="auto"),
            "load": node("VividFaceVideoLoad", **LOAD),
            "restore": node(
                "VividFaceOneStepRestore",
                video=["load", 0],
                restorer=["model", 0],
                **{**RESTORE, "size": 64, "encoding": "h264"},
            ),
            "save": saved(["restore", 0], "free"),
        }
        server.run(load)
        server.free()
        before = settled(server)
        load["model"]["inputs"]["model"] = "heavy"
        load["restore"]["inputs"]["window"] = 5
        server.run(load)
        held = settled(server)
        assert held - before > 0.7 * heavy, f"{heavy / 2**20:.0f} MiB of weights are held"
        server.free()
        after = settled(server)
        assert after < 1.05 * before, f"{before / 2**20:.0f} → {held / 2**20:.0f} → {after / 2**20:.0f} MiB"


def heavy_checkpoint(folder: Path) -> int:
    """The tiny model with wide layers; returns the bytes of its weights."""
    from diffusers import WanTransformer3DModel

    from tests.tiny import LATENTS, tiny_modules
    from vividface_core.restorers.one_step_save import save_checkpoint_folder

    vae, _ = tiny_modules()
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=16,
        attention_head_dim=64,
        in_channels=LATENTS,
        out_channels=LATENTS,
        text_dim=16,
        freq_dim=32,
        ffn_dim=8192,
        num_layers=4,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=1024,
    )
    size = sum(parameter.numel() * 4 for parameter in transformer.parameters())
    folder.parent.mkdir(parents=True, exist_ok=True)
    meta = {"native_size": 64, "native_frames": 17}
    save_checkpoint_folder(folder, vae, transformer, torch.randn(1, 16), meta, dtype=torch.float32)
    del transformer
    gc.collect()
    return size


@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_video(tmp_path, tiny_checkpoint):
    """320 frames need what 80 needed: the highest peak so far hardly rises."""
    peaks, loop = {}, degraded_face(tmp_path / "loop.mp4", 48, 240)
    with ComfyServer(tmp_path / "server", environment=NOTHING_KEPT) as server:
        shutil.copytree(tiny_checkpoint, server.folder / "models" / "vividface" / "tiny")
        for frames in (80, 320):
            film = server.folder / "input" / f"{frames}.mp4"
            run_ffmpeg("-stream_loop", -1, "-i", loop, "-map", "0:v", "-frames:v", frames, "-c", "copy", film)
            prompt = restore_video(
                model={"model": "tiny"}, load={"file": film.name}, size=64, window=33, overlap=8, min_face=64
            )
            (text,) = server.run(prompt, timeout=1000)["report"]["text"]
            assert text.startswith(f"{frames} frames, ")
            peaks[frames] = server.peak_memory
    # 240 more frames of 240×192 would be 133 MB as float tensors.
    assert peaks[320] < 1.10 * peaks[80], {frames: f"{peak / 2**20:.0f} MiB" for frames, peak in peaks.items()}


GIVER = '''
import comfy.utils
from comfy_api.latest import ComfyExtension, io

# A ComfyUI of today leaves out news that come sooner than a tenth of a second after the last: here all are wanted.
comfy.utils.PROGRESS_THROTTLE_MIN_INTERVAL = comfy.utils.PROGRESS_THROTTLE_MIN_PERCENT = 0.0

class Given(io.ComfyNode):
    """The conditioning of a file, as a text encoder would give it."""
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestGiven", inputs=[io.String.Input("path")], outputs=[io.Conditioning.Output()])
    @classmethod
    def execute(cls, path):
        from safetensors.torch import load_file
        return io.NodeOutput([[load_file(path)["prompt"], {}]])

class Skipping(io.ComfyNode):
    """A MODEL whose first block does nothing: a patch as other nodes hang it on."""
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSkipping", inputs=[io.Model.Input("model")], outputs=[io.Model.Output()])
    @classmethod
    def execute(cls, model):
        patched = model.clone()
        patched.set_model_patch_replace(lambda given, more: {"img": given["img"]}, "dit", "double_block", 0)
        return io.NodeOutput(patched)

class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Given, Skipping]

async def comfy_entrypoint():
    return Extension()
'''


KITCHEN = {
    "int8_tensorwise": "TensorWiseINT8Layout",
    "mxfp8": "TensorCoreMXFP8Layout",
    "nvfp4": "TensorCoreNVFP4Layout",
}
"""Formats of ComfyUI's files, and comfy-kitchen's classes for them."""


def quantized(source: Path, target: Path, encoding: str, layout: str) -> bool:
    """Write a denoiser in one of these formats; False where this ComfyUI has no comfy-kitchen for it."""
    script = Path(__file__).with_name("write_quantized.py")
    command = [comfy_python(), str(script), str(source), str(target), encoding, layout]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode in (0, 3), run.stderr[-2000:]
    return run.returncode == 0


def test_comfyuis_own_modules_give_the_engines_result(tmp_path):
    restorer = wan_layout(native_frames=9, plain=True)
    server = ComfyServer(tmp_path)
    for name in ("models/vae", "models/diffusion_models", "custom_nodes/given", "input"):
        (tmp_path / name).mkdir(parents=True)
    save_original(restorer, tmp_path / "models", "wan", torch.float32)
    (tmp_path / "models" / "wan_vae.safetensors").rename(tmp_path / "models" / "vae" / "wan_vae.safetensors")
    (tmp_path / "models" / "wan_dit.safetensors").rename(
        tmp_path / "models" / "diffusion_models" / "wan_dit.safetensors"
    )
    save_file({"prompt": restorer.prompt.padded().contiguous()}, tmp_path / "prompt.safetensors")
    (tmp_path / "custom_nodes" / "given" / "__init__.py").write_text(GIVER)
    degraded_face(tmp_path / "input" / "face.mp4", 9)
    with server:
        options = {**RESTORE, "size": 64, "window": 9, "color": "none"}
        prompt = {
            "load": node("VividFaceVideoLoad", **LOAD),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "vae": node("VAELoader", vae_name="wan_vae.safetensors"),
            "model": node("UNETLoader", unet_name="wan_dit.safetensors", weight_dtype="default"),
            "empty": node("TestGiven", path=str(tmp_path / "prompt.safetensors")),
            "restore": node(
                "VividFaceOneStepRestoreImages",
                images=["parts", 0],
                vae=["vae", 0],
                model=["model", 0],
                conditioning=["empty", 0],
                **options,
            ),
            "save": node("SaveImage", images=["restore", 0], filename_prefix="native"),
            "plain": node("SaveImage", images=["parts", 0], filename_prefix="plain"),
        }
        news, end = heard(server, prompt, "restore")
        assert end == "execution_success" and len(set(news)) > 15, "the core's layers tell how far they are"

        def pictures(prefix):
            paths = sorted((server.folder / "output").glob(f"{prefix}_*.png"))
            return torch.stack([next(VideoFrames(path).read()).rgb() for path in paths])

        got, frames = pictures("native"), pictures("plain")
        prompt["skipping"] = node("TestSkipping", model=["model", 0])
        prompt["restore"]["inputs"]["model"] = ["skipping", 0]
        prompt["save"]["inputs"]["filename_prefix"] = "patched"
        server.run(prompt)
        assert (pictures("patched") - got).abs().max() > 0.02, "patches of the model act"
        prompt["restore"]["inputs"]["model"] = ["model", 0]
        for encoding, layout in KITCHEN.items():
            path = tmp_path / "models" / "diffusion_models" / f"{encoding}.safetensors"
            if not quantized(path.with_name("wan_dit.safetensors"), path, encoding, layout):
                continue  # this ComfyUI is older than the package that makes such files
            prompt["model"]["inputs"]["unet_name"] = path.name
            prompt["save"]["inputs"]["filename_prefix"] = encoding
            server.run(prompt)
            error = (pictures(encoding) - got).abs()
            print(f"{encoding}: mean {error.mean():.2g}, most {error.max():.2g}")
            assert 0 < error.mean() < 2e-3, encoding
        prompt["restore"]["inputs"].pop("conditioning")
        entry = server.wait(server.queue(prompt))
        assert "conditioning is missing" in error_of(entry)
        offered = server.get("/object_info/VividFaceLoadModel")["VividFaceLoadModel"]["input"]["required"]["model"][1]
        assert "diffusion_models/wan_dit.safetensors" in offered["options"], "a Wan denoiser is known by its content"
    wanted, _ = restore_frames(frames, restorer, RestoreOptions(size=64, window=9, color="none"))
    assert (wanted - frames).abs().max() > 0.05
    assert (got - wanted).abs().max() < 0.02 and (got - wanted).abs().mean() < 2e-3
