"""What a generator is asked, in the words of OpenAI's chat and completions."""

from base64 import b64encode
from typing import Any

from modelhost import (
    AudioPart,
    DocumentPart,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolChoice,
    UnsupportedError,
)

from modelhost_openai_api.options import OpenaiApiOptions
from modelhost_openai_api.recording import spoken

_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)
"""Fields both sides call the same. Those that OpenAI lacks are asked for only where the card has them."""


def chat_body(request: GenerateRequest, options: OpenaiApiOptions) -> dict[str, Any]:
    """Return the body of a chat, but for the model. Raises `UnsupportedError` for a field the upstream has no word for."""
    if request.language and not options.extensions:
        raise UnsupportedError("the upstream has no field for the language of sound; say it in the messages", param="language")
    body = _sampling(request) | {
        "messages": [_message(message, options.extensions) for message in request.messages],
        options.max_tokens_field: request.max_tokens,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs or None,
        "response_format": request.response_format and _format(request.response_format),
        "reasoning_effort": request.reasoning_effort,
        "enable_safety": request.enable_safety or None,
        "language": request.language,
    }
    if "prefill" in (options.features or ()):
        body |= _prefill(request)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["tool_choice"] = request.tool_choice and _choice(request.tool_choice)
        body["parallel_tool_calls"] = None if request.parallel_tool_calls else False
    return _given(body)


def _prefill(request: GenerateRequest) -> dict[str, Any]:
    """Return, in vLLM's words, whether the answer goes on with the last message; it would begin a turn by itself."""
    if request.continues:
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {"add_generation_prompt": request.add_generation_prompt}


def completion_body(request: GenerateRequest) -> dict[str, Any]:
    """Return the body of a completion, but for the model. Raises `UnsupportedError` for what an answer has no room for."""
    if request.echo and request.logprobs:
        raise UnsupportedError("logprobs together with echo are not supported; leave one of them out", param="logprobs")
    body = _sampling(request) | {
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "logprobs": request.top_logprobs if request.logprobs else None,
        "echo": request.echo or None,
        "suffix": request.suffix,
    }
    return _given(body)


def _sampling(request: GenerateRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in _SAME} | {
        "logit_bias": {str(token): bias for token, bias in (request.logit_bias or {}).items()} or None,
        "stop": request.stop or None,
        "ignore_eos": request.ignore_eos or None,
        "n": request.n if request.n > 1 else None,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _message(message: Message, extensions: bool) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    turn = _given(
        {
            "role": message.role,
            "name": message.name,
            "tool_calls": calls or None,
            "tool_call_id": message.tool_call_id,
            "reasoning_content": message.thoughts if extensions else None,
        }
    )
    return turn | {"content": _content(message)}


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    """Return plain words where there is nothing else: every server reads those."""
    content = [part for part in message.content if not isinstance(part, ReasoningPart)]
    match content:
        case []:
            return None if message.tool_calls else ""
        case [TextPart(text=text)]:
            return text
    return [_part(part) for part in content]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case AudioPart():
            return {"type": "input_audio", "input_audio": spoken(part)}
        case ImagePart():
            image = {"url": f"data:{part.media_type};base64,{b64encode(part.image.read()).decode()}"}
            return {"type": "image_url", "image_url": image if part.detail == "auto" else {**image, "detail": part.detail}}
        case DocumentPart():
            data = f"data:{part.media_type};base64,{b64encode(part.document.read()).decode()}"
            return {"type": "file", "file": {"filename": part.name or "document", "file_data": data}}
    raise UnsupportedError("an upstream of OpenAI's kind takes no such part of a message", param="messages")


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters,
        "strict": tool.strict or None,
    }
    return {"type": "function", "function": _given(function)}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    names = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if not names:
        return choice.mode
    if choice.mode == "required" and len(names) == 1:
        return names[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": names}}


def _format(form: ResponseFormat) -> dict[str, Any]:
    if form.kind == "json_object":
        return {"type": form.kind}
    schema = {"name": form.name, "schema": form.schema, "strict": form.strict or None}
    return {"type": form.kind, "json_schema": _given(schema)}
