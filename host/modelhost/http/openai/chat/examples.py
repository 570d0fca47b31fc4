"""Chat requests and answers to copy; the tests send the ones and compare the others."""

from modelhost.http.routing.spec import Example
from modelhost.http.routing.usage import USAGE

ASKS = {
    "question": Example(
        summary="A question",
        value={
            "model": "chat",
            "messages": [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Say hello."}],
            "max_tokens": 32,
        },
    ),
    "stream": Example(
        summary="The same as a stream, with token counts at its end",
        value={
            "model": "chat",
            "messages": [{"role": "user", "content": "Say hello."}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
}

ANSWERS = {
    "answer": Example(
        summary="The answer",
        value={
            "id": "chatcmpl-req_4f1e9c0b7a3d5e6f8a9b0c1d",
            "object": "chat.completion",
            "created": 1795000000,
            "model": "smollm2-135m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello!", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
            "system_fingerprint": None,
        },
    )
}

_HEAD = (
    '{"id":"chatcmpl-req_4f1e9c0b7a3d5e6f8a9b0c1d","object":"chat.completion.chunk","created":1795000000,"model":"smollm2-135m",'
)


def _event(delta: str, reason: str) -> str:
    return f'data: {_HEAD}"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}\n\n'


EVENTS = (
    _event('{"role":"assistant","content":"","refusal":null}', "null")
    + _event('{"content":"Hello"}', "null")
    + _event("{}", '"stop"')
    + "data: [DONE]\n\n"
)
