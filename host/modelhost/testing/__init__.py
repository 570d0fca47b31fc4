"""The conformance kit: inherit one class an ability, and your backend takes the tests that the host's own plugins pass.

    from modelhost.testing import GeneratesText
    from modelhost_echo import EchoBackend


    class TestEcho(GeneratesText):
        backend = EchoBackend
        options = {"prefix": "You said: "}

Needs pytest. A backend is loaded once a class; set `request` for one that needs more than the simplest. Every step ends by
itself, whatever the backend does, every failure says what to do, and a mistake is told once.
"""

from modelhost.testing.backends import BackendTests
from modelhost.testing.loaded import Loaded
from modelhost.testing.requests import chat, tone
from modelhost.testing.speech import AddsVoices, SynthesizesSpeech, TranscribesSpeech
from modelhost.testing.text import GeneratesText, SummarizesTexts
from modelhost.testing.tokens import TokenizesText
from modelhost.testing.vectors import EmbedsTexts

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
    "chat",
    "tone",
]
