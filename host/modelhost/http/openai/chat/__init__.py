"""`POST /v1/chat/completions`: OpenAI's chat, as its SDKs send and read it."""

from modelhost.http.openai.chat.route import chat_completions

__all__ = ["chat_completions"]
