"""The folded denoiser against diffusers' own module, in the widths of the full model."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import weakref

import pytest
import torch
from torch import Tensor

from tests.full_size import TRANSFORMER, parameters_of_all, true_prompt, true_transformer
from tests.tiny import tiny_modules
from vividface_core.errors import InvalidOption, MissingDependency, UnsupportedCheckpoint
from vividface_core.wan import folded_transformer as folded_module
from vividface_core.wan.attention import BACKENDS, Attention
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.optimizations.compile import CompiledDenoiser
from vividface_core.wan.optimizations.fp8_linear import Fp8Linear, check_linears, use_linears
from vividface_core.wan.transformer import cast
from vividface_core.weights import load_restorer


@pytest.fixture(scope="module")
def two_layers():
    """Two of the 30 blocks, in fp32."""
    return true_transformer(torch.float32, layers=2)


@pytest.fixture(scope="module")
def latent() -> Tensor:
    return torch.randn(1, 16, 2, 16, 16, generator=torch.Generator().manual_seed(5))


def by_diffusers(transformer, latent: Tensor, prompt: EmptyPrompt, t_star: float = 400.0) -> Tensor:
    """The pass as a pipeline calls it, with every text token there."""
    text = torch.zeros(len(latent), prompt.length, prompt.rows.shape[1])
    text[:, : len(prompt.rows)] = prompt.rows
    dtype = transformer.patch_embedding.weight.dtype
    moment = torch.full((len(latent),), t_star)
    with torch.inference_mode():
        return transformer(latent.to(dtype), moment, text.to(dtype)).sample.float()


def difference(output: Tensor, wanted: Tensor) -> float:
    """Largest, as a share of the range."""
    return float((output - wanted).abs().max() / (wanted.max() - wanted.min()))


def psnr(output: Tensor, wanted: Tensor) -> float:
    """With the range as the peak."""
    return float(20 * torch.log10((wanted.max() - wanted.min()) / (output - wanted).square().mean().sqrt()))


@pytest.mark.parametrize("rows, length", [(1, 512), (3, 512), (1, 1), (4, 4)])
def test_fp32_equals_diffusers(two_layers, latent, rows, length):
    prompt = true_prompt(rows, length)
    wanted = by_diffusers(two_layers, latent, prompt)
    output = FoldedDenoiser(two_layers, prompt)(latent)
    assert output.shape == latent.shape and output.dtype == torch.float32
    assert difference(output, wanted) < 1e-5


def test_text_and_timestep_matter(two_layers, latent):
    # Else the test above would also pass without cross attention or modulation.
    output = FoldedDenoiser(two_layers, true_prompt())(latent)
    assert difference(FoldedDenoiser(two_layers, true_prompt(), 800.0)(latent), output) > 0.01
    assert difference(FoldedDenoiser(two_layers, true_prompt(2))(latent), output) > 0.01


def test_the_512_keys_are_two(two_layers):
    # Attention written out in double precision, over all 512 keys.
    block, prompt, heads = two_layers.blocks[0], true_prompt(), 12
    x = torch.randn(1, 40, 1536)
    with torch.inference_mode():
        moment, modulation, text, counts = folded_module._conditions(two_layers, prompt, 400.0)
        ours = x.clone()
        folded_module.FoldedCrossAttention(block, text, counts)(ours)
        own, words = block.attn2.double(), text[[0] + [1] * 511].double()
        try:
            query = own.norm_q(own.to_q(block.norm2(x).double())).unflatten(-1, (heads, -1))
            key = own.norm_k(own.to_k(words)).unflatten(-1, (heads, -1))
            value = own.to_v(words).unflatten(-1, (heads, -1))
            share = (torch.einsum("bthd,nhd->bhtn", query, key) / math.sqrt(128)).softmax(-1)
            mixed = torch.einsum("bhtn,nhd->bthd", share, value).flatten(2)
            wanted = x + own.to_out[0](mixed)
        finally:
            own.float()
    assert counts.tolist() == [1, 511] and share[..., 0].max() > 0.5 > share[..., 0].min()
    assert (ours - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("batch, frames, height, width", [(2, 1, 2, 6), (1, 3, 10, 4)])
def test_batches_and_odd_grids(batch, frames, height, width):
    transformer, prompt = tiny_modules()[1], EmptyPrompt(torch.randn(1, 16))
    latent = torch.randn(batch, 8, frames, height, width)
    assert difference(FoldedDenoiser(transformer, prompt)(latent), by_diffusers(transformer, latent, prompt)) < 1e-5


def test_sizes_in_turn_and_chunks_of_tokens(monkeypatch):
    transformer, prompt = tiny_modules()[1], EmptyPrompt(torch.randn(1, 16))
    denoiser = FoldedDenoiser(transformer, prompt)
    monkeypatch.setattr(folded_module, "TOKENS", 7)
    for shape in ((1, 4, 6), (2, 6, 4), (1, 4, 6)):
        latent = torch.randn(1, 8, *shape)
        assert difference(denoiser(latent), by_diffusers(transformer, latent, prompt)) < 1e-5


def test_bf16_is_as_near_to_fp32_as_diffusers_is(two_layers, latent):
    prompt, narrow = true_prompt(), true_transformer(torch.bfloat16, layers=2)
    exact, plain = by_diffusers(two_layers, latent, prompt), by_diffusers(narrow, latent, prompt)
    output = cast(FoldedDenoiser(narrow, prompt), torch.bfloat16)(latent)
    assert psnr(output, plain) > 55 and psnr(output, exact) > 55
    assert psnr(output, exact) > psnr(plain, exact) - 1


def test_six_blocks_in_bf16(latent):
    """Errors that grow from block to block would show; the weights of all thirty are counted without memory."""
    layers, prompt = 6, true_prompt()
    transformer = true_transformer(torch.bfloat16, layers)
    plain = by_diffusers(transformer, latent, prompt)
    denoiser = cast(FoldedDenoiser(transformer, prompt), torch.bfloat16)
    assert psnr(denoiser(latent), plain) > 45
    total, kept = (sum(t.numel() for t in module.parameters()) for module in (transformer, denoiser))
    width, words = 1536, 4096
    text, time = width * (words + width + 2), width * (256 + width + 2) + 6 * width * (width + 1)
    # Keys, values and output with their biases, two norms of queries and keys, one of tokens, six modulations.
    block = 3 * width * (width + 1) + (2 + 2 + 6) * width
    assert total - kept == text + time + layers * block + 2 * width
    assert parameters_of_all() == 1_418_996_800


def test_what_is_folded_in_is_not_kept():
    transformer, prompt = true_transformer(torch.bfloat16, layers=1), true_prompt()
    block, embedder = transformer.blocks[0], transformer.condition_embedder
    gone = [*embedder.parameters(), block.scale_shift_table, transformer.scale_shift_table]
    for layer in (block.attn2.to_k, block.attn2.to_v, block.attn2.to_out[0], block.attn2.norm_k):
        gone += layer.parameters()
    large = [weakref.ref(tensor) for tensor in gone]
    before = sum(t.numel() * t.element_size() for t in transformer.parameters())
    denoiser = FoldedDenoiser(transformer, prompt)
    width, words = 1536, 4096
    saved = 2 * (words * width + width * width + 2 * width)  # the text's projection, bf16
    saved += 2 * (6 * width * (width + 1)) + 4 * (256 * width + width * width + 2 * width)  # the time's, partly fp32
    saved += 2 * 3 * width * (width + 1)  # a block's keys, values and output
    kept = sum(t.numel() * t.element_size() for t in denoiser.parameters())
    constants = sum(t.numel() * t.element_size() for t in denoiser.buffers())
    assert before - kept >= saved and constants < saved / 50
    del transformer, block, embedder, layer, gone
    assert not [reference for reference in large if reference() is not None]
    assert torch.isfinite(denoiser(torch.randn(1, 16, 1, 4, 4))).all()


def test_constants_go_where_the_weights_go_and_stay_exact():
    denoiser = cast(FoldedDenoiser(tiny_modules()[1], EmptyPrompt(torch.randn(1, 16))), torch.bfloat16)
    assert {t.dtype for t in denoiser.buffers()} == {torch.float32}
    assert denoiser.blocks[0].to_q.weight.dtype == denoiser.blocks[0].to_q.bias.dtype == torch.bfloat16
    # A host moves what a module's state tells; the tables of positions are made anew.
    told = {name for name in denoiser.state_dict()}
    assert {name for name, _ in denoiser.named_buffers() if not name.startswith("rope")} <= told
    assert {t.device.type for t in (*denoiser.to("meta").parameters(), *denoiser.buffers())} == {"meta"}
    assert denoiser(torch.empty(1, 8, 1, 4, 4, device="meta")).device.type == "meta"


def test_progress_counts_blocks(two_layers, latent):
    seen = []
    FoldedDenoiser(two_layers, true_prompt())(latent, seen.append)
    assert seen == [1, 2]


def test_denoisers_with_an_image_branch_are_refused():
    from diffusers import WanTransformer3DModel

    small = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 32, "num_layers": 1, "text_dim": 16}
    model = WanTransformer3DModel(**{**TRANSFORMER, **small}, image_dim=8, added_kv_proj_dim=32)
    with pytest.raises(UnsupportedCheckpoint, match="image"):
        FoldedDenoiser(model, EmptyPrompt(torch.randn(1, 16)))


def test_the_restorer_folds_unless_told_not_to(tiny_checkpoint):
    folded, plain = (load_restorer(str(tiny_checkpoint), plain=choice) for choice in (False, True))
    clip = torch.rand(9, 3, 64, 64)
    assert (folded.restore(clip) - plain.restore(clip)).abs().max() < 1e-5
    assert type(plain.transformer).__name__ == "WanTransformer3DModel" and isinstance(folded.denoiser, FoldedDenoiser)
    with pytest.raises(InvalidOption, match="plain=True"):
        _ = folded.transformer
    for name, value in (("prompt", plain.prompt), ("t_star", 100.0)):  # they are folded in
        with pytest.raises(AttributeError):
            setattr(folded, name, value)
    with pytest.raises(InvalidOption, match="plain"):
        load_restorer(str(tiny_checkpoint), plain=True, attention="math")
    with pytest.raises(InvalidOption, match="CUDA graphs need a CUDA device; this is cpu"):
        load_restorer(str(tiny_checkpoint), graphs=True)


@pytest.mark.parametrize("name", ["flash", "math"])
def test_attention_kernels_agree(two_layers, latent, name):
    prompt = true_prompt()
    output = FoldedDenoiser(two_layers, prompt, attention=Attention(name))(latent)
    assert difference(output, by_diffusers(two_layers, latent, prompt)) < 1e-5


def test_attention_that_cannot_be_is_refused(tiny_checkpoint):
    with pytest.raises(InvalidOption, match="auto, flash, cudnn"):
        Attention("fast")
    for name in ("cudnn", "efficient"):
        with pytest.raises(InvalidOption, match=rf"{name}.* does not run on cpu in float32 .*16 channels"):
            load_restorer(str(tiny_checkpoint), attention=name)
    try:
        import sageattention  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match="sageattention"):
            load_restorer(str(tiny_checkpoint), attention="sage")
    assert BACKENDS[0] == "auto"


def test_fp8_rounds_to_three_bits_of_mantissa():
    layer = torch.nn.Linear(64, 48)
    x = torch.randn(2, 5, 64)
    stored, multiplied = (Fp8Linear(layer, multiply=choice) for choice in (False, True))
    assert stored.weight.dtype == torch.float8_e4m3fn and stored.weight.element_size() == 1
    weight = stored.weight.float() * stored.scale
    # Half a step of 2⁻³ relative, or of the smallest number near zero.
    assert ((weight - layer.weight).abs() <= layer.weight.abs() / 16 + stored.scale * 2**-10).all()
    assert torch.allclose(stored(x), x @ weight.t() + layer.bias, atol=1e-5)
    # The emulation in plain arithmetic: each token and each channel of the output has its own scale.
    scale = x.abs().amax(-1, keepdim=True) / 448
    rounded = (x / scale).to(torch.float8_e4m3fn).float() * scale
    try:
        product = multiplied(x)
    except (RuntimeError, NotImplementedError):
        with pytest.raises(InvalidOption, match="fp8-weights"):
            check_linears("fp8", torch.device("cpu"), torch.float32)
        return
    assert torch.allclose(product, rounded @ weight.t() + layer.bias, atol=1e-4)


def test_fp8_weights_halve_the_blocks_and_stay_near(two_layers, latent):
    prompt = true_prompt()
    wanted = FoldedDenoiser(two_layers, prompt)
    narrow = cast(use_linears(FoldedDenoiser(two_layers, prompt), "fp8-weights"), torch.float32)
    size = [sum(t.numel() * t.element_size() for t in m.blocks.parameters()) for m in (wanted, narrow)]
    assert size[1] < size[0] / 3.9
    assert narrow.blocks[0].up.weight.dtype == torch.float8_e4m3fn
    assert 25 < psnr(narrow(latent), wanted(latent)) < 60
    with pytest.raises(InvalidOption, match="fp8-weights"):
        check_linears("int4", torch.device("cpu"), torch.float32)


def test_a_compiler_that_fails_costs_nothing_but_a_warning(tmp_path, caplog, monkeypatch):
    prompt, latent = EmptyPrompt(torch.randn(1, 16)), torch.randn(1, 8, 2, 4, 4)
    denoiser = FoldedDenoiser(tiny_modules()[1], prompt)
    from torch._inductor import config

    torch.compiler.reset()
    monkeypatch.setattr(config, "force_disable_caches", True)
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    compiled, seen = CompiledDenoiser(denoiser, tmp_path), []
    with caplog.at_level(logging.WARNING):
        output = compiled(latent, seen.append)
    assert not compiled.works and "could not be compiled" in caplog.text
    assert torch.equal(output, denoiser(latent)) and seen[-2:] == [1, 2]


def test_stopping_a_compiled_pass_is_no_failure_of_the_compiler(tmp_path):
    denoiser = FoldedDenoiser(tiny_modules()[1], EmptyPrompt(torch.randn(1, 16)))
    compiled = CompiledDenoiser(denoiser, tmp_path)
    compiled._compiled = lambda block, x, table: block(x, table)

    def stop(done: int) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        compiled(torch.randn(1, 8, 2, 4, 4), stop)
    assert compiled.works


TWO = """
import os, sys
import torch
import torch.distributed as dist
from tests.tiny import tiny_modules
from vividface_core.errors import InvalidOption
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.folded_transformer import FoldedDenoiser
from vividface_core.wan.optimizations.context_parallel import enable_context_parallel
from vividface_core.wan.transformer import one_step_velocity

torch.set_num_threads(1)
child = os.fork()  # what is imported is imported once
rank = int(child == 0)
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
transformer = tiny_modules()[1]
prompt = EmptyPrompt(torch.randn(1, 16))
denoiser = FoldedDenoiser(transformer, prompt)
latents = [torch.randn(batch, 8, *size) for batch, *size in ((1, 3, 6, 10), (2, 1, 4, 8), (1, 2, 4, 4))]
alone = [denoiser(latent) for latent in latents]
enable_context_parallel(denoiser)
tokens = []
denoiser.blocks[0].up.register_forward_pre_hook(lambda layer, inputs: tokens.append(inputs[0].shape[1]))
shared = [denoiser(latent) for latent in latents]
assert max(float((a - b).abs().max()) for a, b in zip(alone, shared)) < 1e-5
assert tokens == [23 - rank, 4, 4], tokens  # of 45, 8 and 8
if not torch.accelerator.is_available():
    plain = tiny_modules()[1]
    try:  # diffusers 0.42 deals processes out to accelerators and divides by their number
        enable_context_parallel(plain)
    except InvalidOption as error:
        assert "diffusers" in str(error)
        torch.accelerator.device_count = lambda: 1
        plain = tiny_modules()[1]
        enable_context_parallel(plain)
    with torch.no_grad():
        for latent, wanted in list(zip(latents, alone))[1:]:  # gloo gathers what is of one size
            assert float((one_step_velocity(plain, latent, prompt.padded()) - wanted).abs().max()) < 1e-5
dist.destroy_process_group()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its second process by fork")
def test_two_processes_share_a_window(tmp_path, request):
    command = [sys.executable, "-W", "ignore", "-c", TWO, str(tmp_path / "meeting")]
    done = subprocess.run(command, cwd=request.config.rootpath, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
