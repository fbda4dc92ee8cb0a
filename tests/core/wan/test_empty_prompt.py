"""The text embedding of "", against transformers' own UMT5 encoder."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.memory import numbers_of
from vividface_core.errors import InvalidOutput, MissingWeights, UnsupportedCheckpoint
from vividface_core.wan.empty_prompt import EmptyPrompt, compute_empty_prompt

CONFIG = {"vocab_size": 40, "d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 3}


def make_encoder(**changes):
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(5)
    model = UMT5EncoderModel(UMT5Config(**{**CONFIG, **changes}, feed_forward_proj="gated-gelu")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@torch.no_grad()
def reference(encoder) -> torch.Tensor:
    """The encoder's output for the end mark and 511 masked padding tokens."""
    ids = torch.zeros(1, 512, dtype=torch.long)
    ids[0, 0] = 1
    return encoder(ids, attention_mask=(ids > 0).long()).last_hidden_state[0, :1]


def original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights as Wan publishes them."""
    names = {
        "0.layer_norm": "norm1",
        "0.SelfAttention.q": "attn.q",
        "0.SelfAttention.k": "attn.k",
        "0.SelfAttention.v": "attn.v",
        "0.SelfAttention.o": "attn.o",
        "1.layer_norm": "norm2",
        "0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
        "1.DenseReluDense.wi_0": "ffn.gate.0",
        "1.DenseReluDense.wi_1": "ffn.fc1",
        "1.DenseReluDense.wo": "ffn.fc2",
    }
    out = {"token_embedding.weight": state["shared.weight"], "norm.weight": state["encoder.final_layer_norm.weight"]}
    for key, value in state.items():
        if key.startswith("encoder.block."):
            _, _, number, _, rest = key.split(".", 4)
            out[f"blocks.{number}.{names[rest.removesuffix('.weight')]}.weight"] = value
    return {key: value.clone() for key, value in out.items()}


@pytest.mark.parametrize("form", ["folder", "shards", "pickle", "prefixed"])
def test_it_equals_the_whole_encoder(encoder, form, tmp_path):
    path = tmp_path
    if form == "folder":
        encoder.save_pretrained(tmp_path)
    elif form == "shards":
        encoder.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
    elif form == "pickle":
        path = tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"
        torch.save(original(encoder.state_dict()), path)
    else:
        path = tmp_path / "umt5.safetensors"
        save_file({f"model.{key}": value for key, value in original(encoder.state_dict()).items()}, path)
    shares = []
    prompt = compute_empty_prompt(path, shares.append)
    want = reference(encoder)
    assert prompt.rows.shape == want.shape == (1, 24) and prompt.rows.dtype == torch.float32
    assert (prompt.rows - want).abs().max() < 1e-5 * want.abs().max()
    assert shares == [1 / 3, 2 / 3, 1.0]


def test_padded_rows_are_zero_behind_the_real_one(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    prompt = compute_empty_prompt(tmp_path)
    padded = prompt.padded()
    assert padded.shape == (1, 512, 24)
    assert torch.equal(padded[0, :1], prompt.rows) and not padded[0, 1:].any()


def test_saving_and_loading_keep_every_bit(tmp_path):
    rows = torch.randn(1, 24)
    EmptyPrompt(rows).save(tmp_path / "empty_prompt.safetensors")
    assert torch.equal(EmptyPrompt.load(tmp_path / "empty_prompt.safetensors").rows, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["empty_prompt.safetensors"]


def test_a_length_of_its_own_is_kept(tmp_path):
    """Small denoisers attend to their rows alone; a file without a length is of Wan's 512."""
    path = tmp_path / "empty_prompt.safetensors"
    EmptyPrompt(torch.randn(1, 24), length=1).save(path)
    assert EmptyPrompt.load(path).padded().shape == (1, 1, 24)
    save_file({"rows": torch.randn(2, 24)}, path)
    assert EmptyPrompt.load(path).padded().shape == (1, 512, 24)


def test_encoders_that_cannot_be_used(encoder, tmp_path):
    state = original(encoder.state_dict())
    with pytest.raises(MissingWeights, match="nowhere"):
        compute_empty_prompt(tmp_path / "nowhere.pth")
    quantized = {k: v.to(torch.float8_e4m3fn) if v.ndim == 2 else v for k, v in state.items()}
    torch.save(quantized, tmp_path / "fp8.pth")
    with pytest.raises(UnsupportedCheckpoint, match="quantized"):
        compute_empty_prompt(tmp_path / "fp8.pth")
    torch.save({key: value for key, value in state.items() if key != "blocks.1.ffn.fc2.weight"}, tmp_path / "part.pth")
    with pytest.raises(UnsupportedCheckpoint, match=r"blocks\.1\.ffn\.fc2"):
        compute_empty_prompt(tmp_path / "part.pth")
    torch.save({**state, "norm.weight": state["norm.weight"] * float("nan")}, tmp_path / "nan.pth")
    with pytest.raises(InvalidOutput, match=r"nan\.pth"):
        compute_empty_prompt(tmp_path / "nan.pth")
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(UnsupportedCheckpoint, match="no UMT5"):
        compute_empty_prompt(tmp_path / "other.pth")


MEASURE = """
import sys
from vividface_core.runtime.memory import peak_memory
from vividface_core.wan.empty_prompt import compute_empty_prompt
before = peak_memory()
compute_empty_prompt(sys.argv[1])
print(peak_memory() - before)
"""


def test_memory_is_that_of_one_matrix_not_of_the_encoder(tmp_path):
    encoder = make_encoder(d_model=1024, d_ff=4096, num_layers=10, num_heads=8, d_kv=128, vocab_size=1000)
    path = tmp_path / "large.pth"
    torch.save({key: value.bfloat16() for key, value in original(encoder.state_dict()).items()}, path)
    (used,) = numbers_of(MEASURE, path)
    assert path.stat().st_size > 300 << 20
    assert used < path.stat().st_size / 3, f"{used >> 20} MiB"
