"""Tiny Gemmas with random weights, made in a blink: what the real ones are, a millionth of the size."""

import contextlib
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from modelhost_gemma_audio.loader import NoVision  # noqa: F401  # registered as Gemma 3n's vision tower, which else wants timm
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3nAudioConfig,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Gemma4AudioConfig,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4UnifiedAudioConfig,
    Gemma4UnifiedAudioFeatureExtractor,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    GemmaTokenizer,
)

VOCABULARY = 512
OLD_TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] | trim }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'audio' %}<audio_soft_token>{% elif c['type'] == 'text' %}{{ c['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma 2, 3 and 3n: turns alternate, and Gemma 2 knows no system."""
NEW_TURNS = (
    "{{ bos_token }}{% if enable_thinking or tools or messages[0]['role'] == 'system' %}<|turn>system\n"
    "{% if enable_thinking %}<|think|>{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}{% endif %}"
    "{% for tool in tools or [] %}<|tool>{{ tool['function']['name'] }}<tool|>{% endfor %}<turn|>\n{% endif %}"
    "{% for m in messages if m['role'] != 'system' %}<|turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for call in m['tool_calls'] or [] %}<|tool_call>call:{{ call['function']['name'] }}<tool_call|>{% endfor %}"
    "{% if m['content'] is string %}{{ m['content'] | trim }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'audio' %}<|audio|>{% elif c['type'] == 'text' %}{{ c['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
"""Gemma 4: a system turn, thinking and tools."""
OLD_NAMES = {"<start_of_turn>": 305, "<end_of_turn>": 306}
NEW_NAMES = {
    "<|image>": 300,
    "<image|>": 302,
    "<|image|>": 303,
    "<|video|>": 304,
    "<|audio>": 301,
    "<audio|>": 305,
    "<|audio|>": 306,
    "<|turn>": 307,
    "<turn|>": 308,
    "<|channel>": 309,
    "<channel|>": 310,
    "<|tool_call>": 311,
    "<tool_call|>": 312,
    "<|think|>": 313,
    "<|tool>": 314,
    "<tool|>": 315,
    '<|"|>': 316,
    "<|tool_response>": 317,
    "<tool_response|>": 318,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


def tokenizer(size: int, fixed: dict[str, int], extra: dict[str, str], template: str) -> GemmaTokenizer:
    """Make a tokenizer as Gemma's are: bytes for what has no token; here every letter is one."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    free = iter(number for number in range(size) if number not in {*vocabulary.values(), *fixed.values()})
    for name in (*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127)), "\n", "\n\n", "\n\n\n"):
        vocabulary[name] = next(free)
    vocabulary |= fixed
    vocabulary |= {f"<unused{number}>": number for number in set(range(size)) - set(vocabulary.values())}
    merges = [("\n", "\n"), ("\n\n", "\n")]  # the real ones have tokens of several line ends too
    made = GemmaTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=extra, chat_template=template)
    made.add_special_tokens({"extra_special_tokens": list(fixed)}, replace_extra_special_tokens=False)
    return made


def born(kind, config):
    """Make a model whose weights are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config)


def save(model, made: GemmaTokenizer, folder: Path, *, ends: list[int], extractor=None) -> Path:
    """Fill the weights with noise and write the files of a checkpoint."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    model.generation_config.update(eos_token_id=ends, pad_token_id=0, do_sample=True, top_k=64, top_p=0.95)
    with contextlib.redirect_stderr(io.StringIO()):
        model.eval().save_pretrained(folder)
    made.save_pretrained(folder)
    if extractor:
        extractor.save_pretrained(folder)
    return folder


def gemma3n(folder: Path) -> Path:
    """Gemma 3n: 188 tokens a clip, the ears' own vocabulary behind the words'."""
    ids = {"boi_token_id": 300, "boa_token_id": 301, "eoi_token_id": 512, "image_token_id": 513}
    ids |= {"eoa_token_id": 520, "audio_token_id": 521}
    names = {"<start_of_image>": 300, "<start_of_audio>": 301, "<end_of_image>": 512, "<image_soft_token>": 513}
    names |= {"<end_of_audio>": 520, "<audio_soft_token>": 521}
    extra = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    extra |= {"audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>"}
    text = Gemma3nTextConfig(
        **TEXT,
        vocab_size=528,
        vocab_size_per_layer_input=512,
        hidden_size_per_layer_input=8,
        laurel_rank=4,
        num_kv_shared_layers=2,
        altup_num_inputs=2,
        sliding_window=64,
        activation_sparsity_pattern=[0.0] * 4,
    )
    audio = Gemma3nAudioConfig(
        vocab_size=8,
        vocab_offset=520,
        hidden_size=32,
        conf_num_attention_heads=2,
        conf_num_hidden_layers=1,
        sscp_conv_channel_size=(8, 4),
    )
    vision = {"model_type": "gemma3n_vision", "vocab_size": 8, "vocab_offset": 512, "hidden_size": 16, "label_names": ["a", "b"]}
    config = Gemma3nConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), vision_config=vision, **ids)
    made = tokenizer(528, names | OLD_NAMES, extra, OLD_TURNS)
    model = born(Gemma3nForConditionalGeneration, config)
    return save(model, made, folder, ends=[1, 306], extractor=Gemma3nAudioFeatureExtractor())


NEW_IDS = {
    "boi_token_id": 300,
    "eoi_token_id": 302,
    "image_token_id": 303,
    "video_token_id": 304,
    "boa_token_id": 301,
    "eoa_token_index": 305,
    "audio_token_id": 306,
}


def new_tokenizer() -> GemmaTokenizer:
    """Gemma 4's kind of tokenizer."""
    extra = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"}
    extra |= {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    return tokenizer(VOCABULARY, NEW_NAMES, extra, NEW_TURNS)


def gemma4(folder: Path, *, text: dict[str, Any] | None = None, audio_features: dict[str, Any] | None = None) -> Path:
    """Gemma 4: 25 tokens a second, thinking and tools; `text` and `audio_features` are for another size."""
    language = {**TEXT, "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8}
    language |= {"num_kv_shared_layers": 2, "global_head_dim": 16, "sliding_window": 64, **(text or {})}
    hearing = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "subsampling_conv_channels": [128, 4]}
    hearing |= {"output_proj_dims": 32, **(audio_features or {})}
    config = Gemma4Config(
        text_config=Gemma4TextConfig(**language).to_dict(),
        audio_config=Gemma4AudioConfig(**hearing).to_dict(),
        vision_config=None,
        **NEW_IDS,
    )
    extractor = Gemma4AudioFeatureExtractor()
    return save(born(Gemma4ForConditionalGeneration, config), new_tokenizer(), folder, ends=[1, 308], extractor=extractor)


def gemma4_unified(folder: Path) -> Path:
    """Gemma 4 12B's kind: no ears of its own, sound goes in as it is, 640 samples a token."""
    language = {**TEXT, "vocab_size": VOCABULARY, "global_head_dim": 16, "sliding_window": 64}
    config = Gemma4UnifiedConfig(
        text_config=Gemma4UnifiedTextConfig(**language).to_dict(),
        audio_config=Gemma4UnifiedAudioConfig().to_dict(),
        vision_config=None,
        **NEW_IDS,
    )
    extractor = Gemma4UnifiedAudioFeatureExtractor()
    return save(born(Gemma4UnifiedForConditionalGeneration, config), new_tokenizer(), folder, ends=[1, 308], extractor=extractor)


def gemma2(folder: Path) -> Path:
    """Gemma 2: text only, and no system turn."""
    config = Gemma2Config(**TEXT, vocab_size=VOCABULARY, sliding_window=64, query_pre_attn_scalar=16)
    return save(born(Gemma2ForCausalLM, config), tokenizer(VOCABULARY, OLD_NAMES, {}, OLD_TURNS), folder, ends=[1, 306])


def gemma3(folder: Path) -> Path:
    """Gemma 3 as its larger sizes are: with eyes, which stay shut."""
    text = Gemma3TextConfig(**TEXT, vocab_size=VOCABULARY, sliding_window=64, query_pre_attn_scalar=16)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    model = born(Gemma3ForConditionalGeneration, config)
    return save(model, tokenizer(VOCABULARY, OLD_NAMES, {}, OLD_TURNS), folder, ends=[1, 306])


def gemma4_that_says(folder: Path, *words: str) -> Path:
    """Gemma 4 with weights by which it answers anything with `words`, each a token, and starts again where one comes again."""
    gemma4(folder)
    made = AutoTokenizer.from_pretrained(folder)
    made.add_tokens([word for word in words if word not in made.get_vocab()])
    model = Gemma4ForConditionalGeneration.from_pretrained(folder, tie_word_embeddings=False, dtype=torch.float32)
    model.resize_token_embeddings(len(made), mean_resizing=False)
    text = model.model.language_model
    with torch.no_grad():
        for name, parameter in text.layers.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "per_layer_projection.weight")):
                parameter.zero_()  # what is left of the layers is the residual: the last token itself
        text.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        chain = made.convert_tokens_to_ids(["\n", *words])
        for number, (token, after) in enumerate(pairwise(chain)):
            text.embed_tokens.weight[token, number] = 1.0
            model.lm_head.weight[after, number] = 5.0
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


MADE = {"gemma3n": gemma3n, "gemma4": gemma4, "gemma4_unified": gemma4_unified, "gemma2": gemma2, "gemma3": gemma3}
