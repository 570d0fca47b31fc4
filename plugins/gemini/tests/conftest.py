"""A stand-in for Google's API: speaks its wire format, notes what it is asked, and fails when it is told to."""

from collections.abc import Iterator
from typing import Any

import pytest
from modelhost.testing import Loaded
from modelhost.testing.upstream import CUT, HOLD, Answer, FakeUpstream, ReceivedRequest, event
from modelhost_gemini import GeminiBackend


def refusal(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    """Google's error envelope."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def candidate(*parts: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A chunk with a piece of one answer."""
    found: dict[str, Any] = {"index": index, **more}
    if parts:
        found["content"] = {"role": "model", "parts": list(parts)}
    if reason:
        found["finishReason"] = reason
    return {"candidates": [found], "modelVersion": "stand-in"}


def usage(prompt: int, answer: int, **more: int) -> dict[str, Any]:
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": answer, **more}
    return {"usageMetadata": {**counts, "totalTokenCount": sum(counts.values())}}


class StandIn(FakeUpstream):
    """Google's API."""

    CUT, HOLD = CUT, HOLD
    candidate = staticmethod(candidate)
    usage = staticmethod(usage)
    refusal = staticmethod(refusal)

    def answer(self, request: ReceivedRequest) -> Answer:
        """Return the last words again, as Gemini would stream them."""
        return Answer("text/event-stream", [event(chunk) for chunk in repeated(request.json)])


def repeated(body: dict[str, Any]) -> list[Any]:
    config = body.get("generationConfig", {})
    words = body["contents"][-1]["parts"][-1]["text"].split()
    words = words[: min((words.index(stop) for stop in config.get("stopSequences", []) if stop in words), default=len(words))]
    kept = words[: config.get("maxOutputTokens")]
    pieces = [candidate({"text": f"{word} "}) for word in kept]
    return [*pieces, {**candidate(reason="STOP" if kept == words else "MAX_TOKENS"), **usage(len(words), len(kept))}]


@pytest.fixture(scope="session")
def _stand_in() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.stop()


@pytest.fixture(scope="session")
def stand_in_url(_stand_in: StandIn) -> str:
    return _stand_in.url


@pytest.fixture
def stand_in(_stand_in: StandIn) -> StandIn:
    """Google's API, with nothing of other tests."""
    _stand_in.forget()
    return _stand_in


@pytest.fixture
def load(stand_in: StandIn) -> Iterator[Any]:
    """Load models of the stand-in: `load(max_tokens=10)`."""
    loaded: list[Loaded] = []

    def load(**options: Any) -> Loaded:
        found = {"model": "gemini-2.5-flash", "api_key": "a-key", "base_url": stand_in.url, **options}
        loaded.append(Loaded(GeminiBackend, found))
        return loaded[-1]

    yield load
    for one in loaded:
        one.close()
