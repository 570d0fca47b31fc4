"""What the query of a line's URL says: the same fields as the message that begins its work, for clients that only have a URL."""

from typing import Any

import msgspec
from litestar.datastructures import MultiDict

from modelhost.contract.errors import BadInputError

_OTHER_NAMES = {"voice": "reference_id", "reference_id": "voice"}


def settings_in(query: MultiDict[Any], kind: type[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a struct that a query names, as what they are, and the names that are none of its fields.

    An empty value is no value. Raises `BadInputError` for one that cannot be read, and for what is there twice and is no list.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    settings: dict[str, Any] = {}
    for name in dict.fromkeys(query):
        values = [value for value in query.getall(name) if value != ""]
        if values and (field := fields.get(name.removesuffix("[]"))):
            settings[field.name] = _value(field, values)
    return settings, sorted({name for name in query if name.removesuffix("[]") not in fields})


def merged(settings: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with what the URL says where it says nothing itself, under that name or another."""
    given = {name: value for name, value in message.items() if value is not None}
    return {**{name: value for name, value in settings.items() if _OTHER_NAMES.get(name) not in given}, **given}


def _value(field: msgspec.structs.FieldInfo, values: list[str]) -> Any:
    is_list = any(
        getattr(part, "__origin__", part) in (list, tuple) for part in (field.type, *getattr(field.type, "__args__", ()))
    )
    if len(values) > 1 and not is_list:
        raise BadInputError(f"{field.encode_name} is there {len(values)} times in the URL", param=field.encode_name)
    try:
        return msgspec.convert(values if is_list else values[0], field.type, strict=False)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{field.encode_name} in the URL: {error}", param=field.encode_name) from None
