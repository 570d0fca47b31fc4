"""`GET /v1/personas`: for whom a model can summarise."""

from typing import Any

from litestar import Request, get

from modelhost.contract.errors import UnsupportedError
from modelhost.contract.structs import Struct
from modelhost.http.native.dialect import route_spec
from modelhost.http.routing.disconnect import CancelOnDisconnect
from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.json_response import JsonResponse
from modelhost.http.routing.spec import Example


class Persona(Struct, tag_field="object", tag="persona"):
    """A persona, under the name that a request for a summary gives it."""

    id: str


class PersonaList(Struct, tag_field="object", tag="list"):
    """The personas of one model."""

    data: list[Persona]
    model: str


@get(
    "/v1/personas",
    summary="List the personas",
    opt=route_spec(
        "inference",
        tag="Text",
        answer=PersonaList,
        query={"model": "Whose personas; without it those of the model that summarises."},
        response_examples={
            "personas": Example(
                value={
                    "object": "list",
                    "data": [{"object": "persona", "id": "code/developer"}, {"object": "persona", "id": "docs/assistant"}],
                    "model": "summarizer",
                }
            )
        },
    ),
)
async def list_personas(request: Request[Any, Any, Any], model: str | None = None) -> JsonResponse:
    """The personas that the model had when it was loaded; it is loaded if need be. One that was added since can be used, too."""
    chosen = host_of(request).router.candidates("summarize", model)[0]
    if chosen.abilities and "summarize" not in chosen.abilities:  # where they are unknown, loading tells why
        raise UnsupportedError(f"model {chosen.name!r} cannot summarize", param="model")
    with CancelOnDisconnect(request):
        # Also where a card is known from an earlier run of the host: personas are files, which change without the model.
        await chosen.load()
    names = chosen.card.personas if chosen.card else ()
    return JsonResponse(PersonaList(data=[Persona(id=name) for name in names], model=chosen.name))
