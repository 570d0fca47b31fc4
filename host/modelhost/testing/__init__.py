"""The conformance kit: inherit one class an ability, and your backend takes the tests that the host's own plugins pass.

    from modelhost.testing import GeneratesText
    from modelhost_echo import EchoBackend


    class TestEcho(GeneratesText):
        backend = EchoBackend
        options = {"prefix": "You said: "}

Needs pytest. A backend is loaded once a class; set `request` for one that needs more than the simplest.
"""

from modelhost.testing.abilities import (
    AddsVoices,
    EmbedsTexts,
    GeneratesText,
    SummarizesTexts,
    SynthesizesSpeech,
    TokenizesText,
    TranscribesSpeech,
)
from modelhost.testing.backends import BackendTests, Loaded

__all__ = [
    "AddsVoices",
    "BackendTests",
    "EmbedsTexts",
    "GeneratesText",
    "Loaded",
    "SummarizesTexts",
    "SynthesizesSpeech",
    "TokenizesText",
    "TranscribesSpeech",
]
