"""`/summarize` and `/v1/summaries`: a text in, a short one out, written by whichever model the summarizer asks."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, ClassVar

from litestar import Request, Response, post
from msgspec import UNSET, Meta, UnsetType

from modelhost.contract.answers import Answer, AnswerBuilder, collect
from modelhost.contract.structs import Struct
from modelhost.contract.types import Blob, Delta, FinishReason, Progress, SummarizeEvent, SummarizeRequest
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.cache_headers import CACHE, may_be_cached
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.dialect import server_sent_event
from modelhost.http.routing.forms import FormReader, one_file
from modelhost.http.routing.json_body import IGNORED, JsonBody
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.sampling import Limit, limited
from modelhost.http.routing.spec import Example
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK
from modelhost.http.routing.streaming import event_stream
from modelhost.http.routing.usage import USAGE, UsageAnswer
from modelhost.running_call import RunningCall


class Summarizing(PluginFields):
    """What both ways to ask for a summary have in common; what is left out, the model's configuration decides."""

    model: str | None = None
    """Who summarises; by default the only one that can, or the route's."""
    generator: str | None = None
    """The model that writes the summary."""
    persona: str | None = None
    """For whom: a name that `GET /v1/personas` lists, or the last part of one. By default as suits the text."""
    language: str | None = None
    """What the text is, such as `Python` or `log`, where its name and beginning do not show it."""
    max_tokens: Limit | None = None
    """Longest summary; -1 is as if nothing were said."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    enable_safety: bool = False
    """Have the generator filter, where it has settings for that; where not, `x-modelhost-ignored` says so."""
    stream: bool = False
    """Answer with events while the summary is being made."""
    cache: bool | None = None
    """`false` has it written anew and keeps nothing; the header `cache-control: no-store` says the same."""

    def to_request(self, text: Blob, filename: str, generator: str | None) -> SummarizeRequest:
        """Return what a backend is asked."""
        return SummarizeRequest(
            text=text,
            filename=filename,
            language=self.language or None,
            persona=self.persona or None,
            generator=generator or None,
            max_tokens=limited(self.max_tokens),
            temperature=self.temperature,
            enable_safety=self.enable_safety,
            options=self.options,
        )


class SummarizeForm(Summarizing):
    """`POST /summarize`. The text is the file `file`; all else may stand in the form or in the URL's query."""

    spelt: ClassVar[Spelt] = {"text": ("file",), "generator": ("generator", "model_name")}

    model_name: str | None = None
    """An older client's word for `generator`."""


class SummaryBody(Summarizing, kw_only=True):
    """`POST /v1/summaries`. A text that is larger than a JSON request may be goes to `/summarize`, as a file."""

    text: str
    """What is to be summarised."""
    filename: str = ""
    """Its name, which says what it is."""


class SummarizeAnswer(Struct):
    """A summary, in an older client's shape."""

    language: str | None
    """What the text is; null where the model does not say."""
    summary: str


class SummaryAnswer(Struct):
    """A summary."""

    summary: str
    language: str | None
    """What the text is; null where the model does not say."""
    model: str
    finish_reason: FinishReason
    """`length` is a summary that was cut off."""
    usage: UsageAnswer
    """Of all steps together."""


class SummaryProgress(Struct, tag_field="type", tag="summary.progress"):
    """How far the work is, before there are words."""

    fraction: float
    """From 0 to 1."""
    step: str


class SummaryDelta(Struct, tag_field="type", tag="summary.delta"):
    """More of the summary."""

    delta: str


class SummaryDone(SummaryAnswer, tag_field="type", tag="summary.done"):
    """The end: the whole summary, and its facts."""

    ignored: list[str] | UnsetType = UNSET
    """Fields of the request that had no effect, where there were any."""


def _short(answer: Answer) -> SummarizeAnswer:
    """Return a summary in an older client's shape."""
    return SummarizeAnswer(language=answer.language, summary=answer.choices[0].text)


def _whole(answer: Answer) -> SummaryAnswer:
    """Return it with all that is known of it."""
    return SummaryAnswer(**_facts(answer))


def _facts(answer: Answer) -> dict[str, Any]:
    (choice,) = answer.choices
    return {
        "summary": choice.text,
        "language": answer.language,
        "model": answer.model,
        "finish_reason": choice.reason,
        "usage": UsageAnswer.of(answer.usage),
    }


_form = FormReader(SummarizeForm, files=("file",), query=True)
_body = JsonBody(SummaryBody)

_QUERY = {
    "model_name": "The model that writes the summary.",
    "persona": "For whom.",
    "max_tokens": "Longest summary.",
    "temperature": "0 for the likeliest words, more for variety.",
    "enable_safety": "Have the generator filter.",
    "cache": "`false` has it written anew and keeps nothing.",
}
_FACTS = {"language": "Python", "model": "summarizer", "finish_reason": "stop", "usage": USAGE}
_EVENTS = (
    'data: {"type":"summary.progress","fraction":0.0,"step":"part 1 of 2"}\n\n'
    'data: {"type":"summary.delta","delta":"Adds two "}\n\n'
    'data: {"type":"summary.delta","delta":"numbers."}\n\n'
    'data: {"type":"summary.done","summary":"Adds two numbers.","language":"Python","model":"summarizer","finish_reason":"stop",'
    '"usage":{"prompt_tokens":22,"completion_tokens":3,"total_tokens":25,"prompt_tokens_details":{"cached_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":0}}}\n\n'
)


@post(
    "/summarize",
    status_code=OK,
    summary="Summarise a file",
    opt=route_spec(
        "inference",
        tag="Text",
        form=SummarizeForm,
        files=("file",),
        query=_QUERY,
        answer=SummarizeAnswer,
        event=(SummaryProgress, SummaryDelta, SummaryDone),
        response_examples={"summary": Example(value={"language": "Python", "summary": "Adds two numbers."})},
        events=_EVENTS,
    ),
)
async def summarize(request: Request[Any, Any, Any]) -> Response[Any]:
    """Code, a log or a document, as a file of up to `max_audio_mb`; UTF-8. Large logs are condensed before they are read."""
    payload, files, headers = await _form.read(request)
    upload = one_file(files, "a text", "file")
    model_request = payload.to_request(upload.audio, upload.filename, payload.generator or payload.model_name)
    return await _answer(request, payload, model_request, headers, _short)


@post(
    "/v1/summaries",
    status_code=OK,
    summary="Summarise a text",
    opt=route_spec(
        "inference",
        tag="Text",
        body=SummaryBody,
        answer=SummaryAnswer,
        event=(SummaryProgress, SummaryDelta, SummaryDone),
        request_examples={
            "code": Example(
                summary="A file of code",
                value={
                    "text": "def add(a, b):\n    return a + b\n",
                    "filename": "add.py",
                    "persona": "developer",
                    "max_tokens": 100,
                },
            )
        },
        response_examples={"summary": Example(value={"summary": "Adds two numbers.", **_FACTS})},
        events=_EVENTS,
    ),
)
async def summaries(request: Request[Any, Any, Any]) -> Response[Any]:
    """The same for a text in JSON, answered with what it took."""
    payload, headers = await _body.read(request)
    model_request = payload.to_request(Blob(payload.text.encode()), payload.filename, payload.generator)
    return await _answer(request, payload, model_request, headers, _whole)


async def _answer(
    request: Request[Any, Any, Any],
    payload: Summarizing,
    model_request: SummarizeRequest,
    headers: dict[str, str],
    shape: Callable[[Answer], Struct],
) -> Response[Any]:
    call = start_call(request, "summarize", payload.model, model_request, cached=may_be_cached(request, payload.cache))
    if payload.stream:
        stream = await event_stream(request, _as_events(call), headers)
        stream.set_header(CACHE, call.record.cache)
        return stream
    async with reading(request, call) as events:
        answer = await collect(events)
    if answer.ignored:  # beside those that nobody knows
        headers = {**headers, IGNORED: ", ".join([*filter(None, (headers.get(IGNORED),)), *answer.ignored])}
    return JsonResponse(shape(answer), headers={**headers, CACHE: call.record.cache})


async def _as_events(call: RunningCall[SummarizeEvent]) -> AsyncGenerator[bytes, None]:
    summary = AnswerBuilder()
    async with aclosing(call) as events:
        async for one in events:
            summary.take(one)
            if isinstance(one, Progress):
                yield server_sent_event(SummaryProgress(fraction=one.fraction, step=one.step))
            elif isinstance(one, Delta) and one.text:
                yield server_sent_event(SummaryDelta(delta=one.text))
    answer = summary.answer(call.model)
    yield server_sent_event(SummaryDone(**_facts(answer), ignored=[*answer.ignored] or UNSET))
