"""`/v1/audio/voices`: what a model can speak with, and voices made from recordings."""

from typing import Any, ClassVar

from litestar import Request, delete, get, post

from modelhost.contract.structs import Struct
from modelhost.contract.types import Voices, VoiceSample, VoicesRequest
from modelhost.http.openai.dialect import route_spec
from modelhost.http.routing.calls import reading, start_call
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.forms import FormReader, one_file
from modelhost.http.routing.in_flight import in_flight_of
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.plugin_options import PluginFields
from modelhost.http.routing.spelling import Spelt
from modelhost.http.routing.statuses import OK


class Voice(Struct, tag_field="object", tag="audio.voice"):
    """A voice, under the name that a request for speech gives it."""

    id: str
    name: str


class VoiceList(Struct, tag_field="object", tag="list"):
    """The voices of one model."""

    data: list[Voice]
    voices: list[Voice]
    """The same under the name by which Open WebUI looks for it."""
    model: str


class DeletedVoice(Struct, tag_field="object", tag="audio.voice"):
    """A voice that is no more."""

    id: str
    deleted: bool


class VoiceForm(PluginFields, kw_only=True):
    """`POST /v1/audio/voices`. The recording is the file `audio_sample` (or `file`), or base64 in `audio`."""

    spelt: ClassVar[Spelt] = {"add": ("name",), "samples": ("audio_sample", "file", "audio")}

    name: str
    model: str | None = None
    text: str = ""
    """The words the recording says, for models that want them."""
    consent: str | None = None


_form = FormReader(VoiceForm, files=("audio_sample", "file", "audio"), base64_as="audio")

_MODEL = {"model": "Whose voices; without it those of the model that speaks."}


@get("/v1/audio/voices", summary="List the voices", opt=route_spec("inference", tag="Audio", answer=VoiceList, query=_MODEL))
async def list_voices(request: Request[Any, Any, Any], model: str | None = None) -> JsonResponse:
    """The voices of the model that `?model=` names, or of the one that speaks where none is named."""
    host = host_of(request)
    chosen = host.router.candidates("synthesize", model)[0]
    if chosen.card is None:
        with CancelOnDisconnect(request):
            await chosen.load()
    if "voices" in chosen.abilities:
        names = await _ask(request, chosen.name, VoicesRequest())
    else:
        names = chosen.card.voices if chosen.card else ()
    voices = [Voice(id=name, name=name) for name in names]
    return JsonResponse(VoiceList(model=chosen.name, data=voices, voices=voices))


@post(
    "/v1/audio/voices",
    status_code=OK,
    summary="Make a voice from a recording",
    opt=route_spec("admin", tag="Audio", form=VoiceForm, files=("audio_sample",), answer=Voice),
)
async def add_voice(request: Request[Any, Any, Any]) -> JsonResponse:
    """A new voice, for all who use the model; it takes a model that clones voices."""
    payload, files, headers = await _form.read(request)
    sample = VoiceSample(audio=one_file(files, "a recording", "audio_sample", "file", "audio").audio, text=payload.text)
    model = host_of(request).router.candidates("voices", payload.model)[0]
    await _ask(request, model.name, VoicesRequest(add=payload.name, samples=(sample,), options=payload.options))
    return JsonResponse(Voice(id=payload.name, name=payload.name), headers=headers)


@delete(
    "/v1/audio/voices/{name:path}",
    status_code=OK,
    summary="Forget a voice",
    opt=route_spec("admin", tag="Audio", answer=DeletedVoice, query=_MODEL),
)
async def delete_voice(request: Request[Any, Any, Any], name: str, model: str | None = None) -> JsonResponse:
    """A voice that was made here is made no longer; those a model came with stay."""
    named = name.removeprefix("/")
    in_flight_of(request.scope).spelt = {"delete": "name"}
    chosen = host_of(request).router.candidates("voices", model)[0]
    await _ask(request, chosen.name, VoicesRequest(delete=named))
    return JsonResponse(DeletedVoice(id=named, deleted=True))


async def _ask(request: Request[Any, Any, Any], model: str, model_request: VoicesRequest) -> tuple[str, ...]:
    names: tuple[str, ...] = ()
    async with reading(request, start_call(request, "voices", model, model_request)) as events:
        async for event in events:
            if isinstance(event, Voices):
                names = event.names
    return names
