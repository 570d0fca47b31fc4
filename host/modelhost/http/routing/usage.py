"""What an answer cost, in the words that OpenAI's clients count with; routes of our own say it in the same."""

from modelhost.contract.structs import Struct
from modelhost.contract.types import Usage


class PromptTokensDetails(Struct):
    """Parts of the prompt's tokens."""

    cached_tokens: int
    """Those that did not have to be computed again."""
    audio_tokens: int = 0
    """Those that stand for sound."""


class CompletionTokensDetails(Struct):
    """Parts of the answer's tokens."""

    reasoning_tokens: int
    """Those spent on reasoning."""


class UsageAnswer(Struct):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails

    @classmethod
    def of(cls, usage: Usage) -> "UsageAnswer":
        """Return a model's own counts in OpenAI's words."""
        return cls(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens, audio_tokens=usage.audio_tokens),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        )


class EmbeddingsUsage(Struct):
    """Tokens the model has read for this answer: those of inputs that were known before cost nothing."""

    prompt_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "EmbeddingsUsage":
        """Tell what calls cost."""
        return cls(prompt_tokens=usage.input_tokens, total_tokens=usage.input_tokens)


USAGE = {
    "prompt_tokens": 22,
    "completion_tokens": 3,
    "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
"""An example."""
