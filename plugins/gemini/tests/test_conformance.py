from collections.abc import Iterator

import pytest
from modelhost.testing import GeneratesText, Loaded
from modelhost_gemini import GeminiBackend


class TestGemini(GeneratesText):
    backend = GeminiBackend
    options = {"model": "gemini-2.5-flash", "api_key": "a-key", "features": ["tools"]}  # what the stand-in can do

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, stand_in_url: str) -> Iterator[Loaded]:
        loaded = cls.load({**cls.options, "base_url": stand_in_url})
        yield loaded
        loaded.close()
