"""Names that other servers have for what would change an answer: who sends one is told what to send here."""

from typing import Any

from modelhost.contract.errors import UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.http.routing.json.fields import Unknown

_OFF: tuple[Any, ...] = (False, 0, -1, "", [], {})
"""What asks for nothing, of most fields."""


class Elsewhere(Struct):
    """A field of another server's."""

    way: str
    """What to send here."""
    off: tuple[Any, ...] = _OFF
    """Values with which it is as good as left out."""


_SCHEMA = 'send response_format: {"type": "json_schema", "json_schema": {"name": …, "schema": …}}, of models with json_schema'
_NO_GRAMMAR = "no model here takes a grammar or a pattern; response_format with a json_schema is the way to a form"
_SAMPLER = "no model here has this sampler; there are temperature, top_p, top_k, min_p, repeat_penalty and the two penalties"
_RAW = "continue a text of your own with /v1/completions"
_WHOLE = "an answer is what the model says, without its control tokens"
_THINKING = 'send reasoning_effort: "none" for no thinking, or how much of it'
_PROMPT = "texts are never cut without a word; shorten the messages"
_BEAMS = "nothing is generated to be thrown away"

GENERATING = {
    # vLLM, SGLang
    "guided_json": Elsewhere(way=_SCHEMA),
    "guided_regex": Elsewhere(way=_NO_GRAMMAR),
    "guided_choice": Elsewhere(way="send a response_format with a json_schema whose enum has the choices"),
    "guided_grammar": Elsewhere(way=_NO_GRAMMAR),
    "structured_outputs": Elsewhere(way=_SCHEMA),
    "regex": Elsewhere(way=_NO_GRAMMAR),
    "ebnf": Elsewhere(way=_NO_GRAMMAR),
    "min_tokens": Elsewhere(way="ignore_eos goes on until max_tokens, of models with ignore_eos"),
    "min_new_tokens": Elsewhere(way="ignore_eos goes on until max_tokens, of models with ignore_eos"),
    "stop_token_ids": Elsewhere(way="send the texts of these tokens as stop"),
    "include_stop_str_in_output": Elsewhere(way="the stop string is not part of the answer"),
    "skip_special_tokens": Elsewhere(way=_WHOLE, off=(True,)),
    "spaces_between_special_tokens": Elsewhere(way=_WHOLE, off=(True, False)),
    "use_beam_search": Elsewhere(way=_BEAMS),
    "length_penalty": Elsewhere(way=_BEAMS, off=(1, 0)),
    "early_stopping": Elsewhere(way=_BEAMS),
    "prompt_logprobs": Elsewhere(way="logprobs are those of the answer"),
    "truncate_prompt_tokens": Elsewhere(way=_PROMPT),
    "allowed_token_ids": Elsewhere(way="send logit_bias, of models with logit_bias"),
    "bad_words": Elsewhere(way="send logit_bias, of models with logit_bias"),
    "documents": Elsewhere(way="put the documents into a message"),
    "chat_template": Elsewhere(way="the model's template is configured by the operator; " + _RAW),
    "thinking_token_budget": Elsewhere(way=_THINKING),
    # llama.cpp
    "grammar": Elsewhere(way=_NO_GRAMMAR),
    "json_schema": Elsewhere(way=_SCHEMA),
    "n_probs": Elsewhere(way="send logprobs and top_logprobs, of models with logprobs"),
    "n_keep": Elsewhere(way=_PROMPT),
    "typical_p": Elsewhere(way=_SAMPLER, off=(1,)),
    "tfs_z": Elsewhere(way=_SAMPLER, off=(1,)),
    "top_n_sigma": Elsewhere(way=_SAMPLER, off=(-1, 0)),
    "mirostat": Elsewhere(way=_SAMPLER),
    "dynatemp_range": Elsewhere(way=_SAMPLER),
    "xtc_probability": Elsewhere(way=_SAMPLER),
    "dry_multiplier": Elsewhere(way=_SAMPLER),
    "samplers": Elsewhere(way=_SAMPLER),
    "lora": Elsewhere(way="name a model that has the adapter"),
    # Text Generation Inference
    "inputs": Elsewhere(way="send prompt, or messages"),
    "parameters": Elsewhere(way="send its fields themselves, beside the others"),
    "stop_sequences": Elsewhere(way="send stop"),
    "do_sample": Elsewhere(way="send temperature: 0 for the likeliest words", off=(True,)),
    "watermark": Elsewhere(way="no model here marks its texts"),
    "decoder_input_details": Elsewhere(way="logprobs are those of the answer"),
    "return_full_text": Elsewhere(way="send echo to /v1/completions, of models with echo"),
    "adapter_id": Elsewhere(way="name a model that has the adapter"),
    # Ollama
    "options": Elsewhere(way="send its fields themselves, beside the others"),
    "num_predict": Elsewhere(way="send max_tokens"),
    "num_ctx": Elsewhere(way="the context's length is configured by the operator"),
    "format": Elsewhere(way=_SCHEMA),
    "think": Elsewhere(way=_THINKING, off=(False,)),
    "template": Elsewhere(way="the model's template is configured by the operator; " + _RAW),
    "raw": Elsewhere(way=_RAW),
    "images": Elsewhere(way="send pictures as parts of a message: image_url with a data: URL"),
    # OpenRouter, DashScope, Anthropic and those who speak like them
    "reasoning": Elsewhere(way=_THINKING),
    "thinking": Elsewhere(way=_THINKING, off=({"type": "disabled"},)),
    "thinking_budget": Elsewhere(way=_THINKING),
    "enable_thinking": Elsewhere(way=_THINKING),
    "chat_template_kwargs": Elsewhere(way=_THINKING),
    "top_a": Elsewhere(way=_SAMPLER),
    "models": Elsewhere(way="send one model; the operator configures what stands in for it"),
    "extra_body": Elsewhere(way="send its fields themselves, beside the others"),
    # Text generation web UI, KoboldCpp
    "rep_pen": Elsewhere(way="send repeat_penalty", off=(1,)),
    "smoothing_factor": Elsewhere(way=_SAMPLER),
    "guidance_scale": Elsewhere(way=_SAMPLER, off=(1,)),
    "banned_tokens": Elsewhere(way="send logit_bias, of models with logit_bias"),
    "custom_token_bans": Elsewhere(way="send logit_bias, of models with logit_bias"),
    "ban_eos_token": Elsewhere(way="send ignore_eos, of models with ignore_eos"),
}
"""For routes that generate text."""

EMBEDDING = {
    "input_type": Elsewhere(way='send prompt_name: "query" or "document", of models that know them'),
    "task": Elsewhere(way='send prompt_name: "query" or "document", of models that know them'),
    "task_type": Elsewhere(way='send prompt_name: "query" or "document", of models that know them'),
    "instruction": Elsewhere(way="send prompt_name, of models that have prompts"),
    "output_dimension": Elsewhere(way="send dimensions"),
    "output_dtype": Elsewhere(way="vectors are float32; encoding_format says how they are written", off=("float",)),
    "embedding_types": Elsewhere(way="vectors are float32; encoding_format says how they are written", off=(["float"],)),
    "truncation": Elsewhere(way="send truncate"),
    "truncate_prompt_tokens": Elsewhere(way="send truncate"),
    "late_chunking": Elsewhere(way="each input is a text of its own"),
    "normalized": Elsewhere(way="vectors have the length 1", off=(True,)),
    "normalize": Elsewhere(way="vectors have the length 1", off=(True,)),
}
"""For routes that embed."""


def refuse_what_others_know(value: Any, unknown: Unknown) -> None:
    """Raise `UnsupportedError` for a field that means something elsewhere; take out those that ask for nothing.

    Which those are, a body's type says: its class variable `elsewhere`.
    """
    elsewhere: dict[str, Elsewhere] = getattr(value, "elsewhere", {})
    for name in [name for name in unknown if name in elsewhere]:
        found = elsewhere[name]
        if any(unknown[name] == nothing for nothing in found.off):
            del unknown[name]
        else:
            raise UnsupportedError(f"{name} is another server's field; here: {found.way}", param=name)
