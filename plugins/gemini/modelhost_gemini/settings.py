"""How a request wants its answer, in Gemini's words."""

from typing import Any

import msgspec
from google.genai import types
from modelhost import GenerateRequest, ImagePart, ResponseFormat, Tool, ToolChoice

from modelhost_gemini.options import Effort, GeminiOptions

_BUDGETS: dict[Effort, int] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Tokens of thought. 1024, 8192 and 24,576 are what Google's own OpenAI-compatible API makes of low, medium and high; the
last is the most that every model with a budget takes."""

_LEVELS: dict[Effort, types.ThinkingLevel] = {
    "none": types.ThinkingLevel.MINIMAL,
    "minimal": types.ThinkingLevel.MINIMAL,
    "low": types.ThinkingLevel.LOW,
    "medium": types.ThinkingLevel.MEDIUM,
    "high": types.ThinkingLevel.HIGH,
    "xhigh": types.ThinkingLevel.HIGH,
    "max": types.ThinkingLevel.HIGH,
}
"""Models with levels cannot be kept from thinking, only from thinking much."""

_DETAILS = {
    "low": types.MediaResolution.MEDIA_RESOLUTION_LOW,
    "high": types.MediaResolution.MEDIA_RESOLUTION_HIGH,
}

_MODES = {
    "auto": types.FunctionCallingConfigMode.AUTO,
    "none": types.FunctionCallingConfigMode.NONE,
    "required": types.FunctionCallingConfigMode.ANY,
}


def config_of(request: GenerateRequest, options: GeminiOptions, system: list[types.Part] | None) -> types.GenerateContentConfig:
    """Return the settings, with the options' where the request has none."""
    given = {name: value for name, value in _settings(request, options).items() if value is not None}
    instruction = types.Content(parts=system) if system else None
    return types.GenerateContentConfig(system_instruction=instruction, **given)


def _settings(request: GenerateRequest, options: GeminiOptions) -> dict[str, Any]:
    return {
        "max_output_tokens": request.max_tokens or options.max_tokens,
        "temperature": options.temperature if request.temperature is None else request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k or None,  # 0 switches it off, which to Gemini is to leave it out
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": request.seed,
        "stop_sequences": list(request.stop) or None,
        "candidate_count": request.n if request.n > 1 else None,
        "response_logprobs": request.logprobs or None,
        "logprobs": request.top_logprobs or None,
        "safety_settings": _safety(options) if request.enable_safety else None,
        "thinking_config": _thinking(request, options),
        "media_resolution": _resolution(request),
        **(_form(request.response_format) if request.response_format else {}),
        **(_tools(request) if request.tools else {}),
    }


def _safety(options: GeminiOptions) -> list[types.SafetySetting]:
    return [
        types.SafetySetting(
            category=types.HarmCategory(f"HARM_CATEGORY_{category.upper()}"), threshold=types.HarmBlockThreshold(threshold)
        )
        for category, threshold in msgspec.structs.asdict(options.safety).items()
    ]


def _thinking(request: GenerateRequest, options: GeminiOptions) -> types.ThinkingConfig | None:
    effort = request.reasoning_effort or options.reasoning_effort
    if effort is None:
        return None
    by_name = "budget" if "gemini-2" in options.model else "level"
    include_thoughts = effort != "none"
    if (options.thinking or by_name) == "budget":
        return types.ThinkingConfig(thinking_budget=_BUDGETS[effort], include_thoughts=include_thoughts)
    return types.ThinkingConfig(thinking_level=_LEVELS[effort], include_thoughts=include_thoughts)


def _resolution(request: GenerateRequest) -> types.MediaResolution | None:
    """Return the finest detail that a picture asks for: Gemini has one for the whole request."""
    details = {part.detail for message in request.messages for part in message.content if isinstance(part, ImagePart)}
    return _DETAILS["high"] if "high" in details else _DETAILS["low"] if details == {"low"} else None


def _form(form: ResponseFormat) -> dict[str, Any]:
    return {"response_mime_type": "application/json", "response_json_schema": form.schema}


def _tools(request: GenerateRequest) -> dict[str, Any]:
    choice = request.tool_choice or ToolChoice()
    offered = [tool for tool in request.tools if not choice.names or tool.name in choice.names]
    mode = _MODES[choice.mode]
    if choice.mode == "auto" and any(tool.strict for tool in offered):
        mode = types.FunctionCallingConfigMode.VALIDATED
    return {
        "tools": [types.Tool(function_declarations=[_declaration(tool) for tool in offered])],
        "tool_config": types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode)),
        "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
    }


def _declaration(tool: Tool) -> types.FunctionDeclaration:
    return types.FunctionDeclaration(name=tool.name, description=tool.description or None, parameters_json_schema=tool.parameters)
