"""Small members of the Qwen-VL families with random weights: real classes, real files, nothing learnt."""

from __future__ import annotations

from pathlib import Path

import torch

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A turn is <|im_start|>role … <|im_end|>, as these models are used to."""


def tokenizer(texts: list[str], whole: tuple[str, ...] = ()):
    """Byte-level BPE trained on ``texts``, with Qwen's special tokens; each of ``whole`` is one token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens(list(SPECIAL))
    backend.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return Qwen2TokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=list(SPECIAL),
    )


def save_tiny_qwen(folder: Path, family: str = "qwen2_5_vl", *, knows: tuple[str, ...] = (), prompt: str = "") -> Path:
    """Write a whole model folder.

    Args:
        family: ``qwen2_5_vl`` or ``qwen3_vl``.
        knows: an answer in pieces. The model's layers then add nothing to a token, and its head leads from the last
            token of any question to the first piece, from each piece to the next, and from the last to the end.
    """
    import transformers

    words = tokenizer([prompt, *knows], knows)
    ids = {name: words.convert_tokens_to_ids(name) for name in SPECIAL}
    torch.manual_seed(0)
    shared = {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
    }
    text = {
        "vocab_size": len(words),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "initializer_range": 0.3,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    }
    if family == "qwen2_5_vl":
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        }
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **shared)
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
        patch, pipe, kind = 14, transformers.Qwen2_5_VLProcessor, transformers.Qwen2VLVideoProcessor
    else:
        text |= {"head_dim": 16}
        text["rope_parameters"] |= {"mrope_interleaved": True}
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 256,
        }
        config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **shared)
        model = transformers.Qwen3VLForConditionalGeneration(config)
        patch, pipe, kind = 16, transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor
    if knows:
        _teach(
            model,
            [words.convert_tokens_to_ids(piece) for piece in knows],
            ids["<|im_end|>"],
            words("<|im_start|>assistant\n")["input_ids"][-1],
        )
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = ids["<|im_end|>"], ids["<|endoftext|>"]
    model.save_pretrained(folder)
    pictures = transformers.Qwen2VLImageProcessor(patch_size=patch)
    pipe(pictures, words, kind(patch_size=patch), chat_template=TEMPLATE).save_pretrained(folder)
    return folder


@torch.no_grad()
def _teach(model, answer: list[int], end: int, last: int) -> None:
    for name, weight in model.named_parameters():
        if ".layers." in name and name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
    embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
    head.zero_()
    # Directions that have nothing to do with each other, so that each token calls up its successor alone.
    basis = torch.linalg.qr(torch.randn(64, 64)).Q
    for number, (before, after) in enumerate(zip([last, *answer], [*answer, end])):
        embedding[before] = basis[number]
        head[after] = basis[number]
