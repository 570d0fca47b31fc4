"""Which fields a body may have, in its fields too: derived from its type, so that no list of names is written twice."""

import re
import types
from collections.abc import Callable, Iterable
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from modelhost.contract.errors import BadInputError
from modelhost.contract.structs import Struct
from modelhost.http.routing.json.text import decoded

T = TypeVar("T")

Unknown = dict[str, Any]
"""Path of a field that nobody knows → what it was given."""

_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_NAMED = re.compile(r"field `([^`]*)`")
_VALUE = re.compile(r"Invalid (?:enum )?value '?(.*?)'?$", re.DOTALL)


class Field(Struct):
    """A field of an object; one that is not required may be null, and then it is as if it had been left out."""

    shape: "Shape"
    required: bool


class Shape:
    """What JSON of a type looks like, as far as there is something to put right in it."""

    def __init__(self) -> None:
        self.nullable = False
        self.whole = False
        """Whether it is a number without a fraction."""
        self.tag = ""
        """The field that says which of `objects` is meant, where there are several."""
        self.objects: dict[Any, dict[str, Field]] = {}
        self.items: Shape | None = None
        self.values: Shape | None = None
        """Of an object whose names are anybody's."""
        self.allowed: list[Any] = []

    @property
    def deep(self) -> bool:
        """Whether anything in it may have to be put right."""
        return self.whole or bool(self.objects) or any(part is not None and part.deep for part in (self.items, self.values))

    def add(self, kind: inspect.Type, known: "dict[type, dict[str, Field]]") -> None:
        """Let it be of this type as well; `known` are the objects that have been described before."""
        match kind:
            case inspect.Metadata():
                self.add(kind.type, known)
            case inspect.UnionType():
                for part in kind.types:
                    self.add(part, known)
            case inspect.NoneType() | inspect.AnyType() | inspect.RawType():
                self.nullable = True
            case inspect.IntType():
                self.whole = True
            case inspect.LiteralType():
                self.allowed += kind.values
            case inspect.StructType():
                self.tag = kind.tag_field or ""
                self.objects[kind.tag] = _fields_of(kind, known)
            case inspect.ListType() | inspect.VarTupleType():
                self.items = shape_of(kind.item_type, known)
            case inspect.DictType():
                self.values = shape_of(kind.value_type, known)

    def tidied(self, value: Any, path: str, unknown: Unknown) -> Any:
        """Return a value without what is as good as absent, and note in `unknown` what nobody knows."""
        match value:
            case dict():
                fields = self._fields_for(value)
                if fields is not None:
                    return self._tidied(value, fields, path, unknown)
                if self.values and not self.values.nullable:
                    given = ((name, one) for name, one in value.items() if one is not None)
                    return {name: self.values.tidied(one, f"{path}.{name}", unknown) for name, one in given}
            case list() if self.items and self.items.deep:
                return [self.items.tidied(one, f"{path}[{number}]", unknown) for number, one in enumerate(value)]
            case float() if self.whole and value.is_integer():
                return int(value)
        return value

    def _fields_for(self, value: dict[str, Any]) -> "dict[str, Field] | None":
        tag = value.get(self.tag) if self.tag else None
        return self.objects.get(tag) if tag is None or isinstance(tag, (str, int)) else None

    def _tidied(self, value: dict[str, Any], fields: "dict[str, Field]", path: str, unknown: Unknown) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, one in value.items():
            field, at = fields.get(name), f"{path}.{name}" if path else name
            if field is None:
                if name == self.tag:
                    kept[name] = one
                elif one is not None:
                    unknown[at] = one
            elif one is not None or field.required or field.shape.nullable:
                kept[name] = field.shape.tidied(one, at, unknown)
        return kept

    def at(self, steps: Iterable[str | None]) -> "list[Shape]":
        """Return what may be found at a place: names of fields, and None for an item of a list or of a dictionary."""
        found: list[Shape] = [self]
        for step in steps:
            found = [after for shape in found for after in shape._after(step)]
        return found

    def _after(self, step: str | None) -> "list[Shape]":
        if step is None:
            return [part for part in (self.items, self.values) if part]
        if self.tag and step == self.tag:
            tags = Shape()
            tags.allowed = [*self.objects]
            return [tags]
        return [fields[step].shape for fields in self.objects.values() if step in fields]


def shape_of(kind: inspect.Type, known: "dict[type, dict[str, Field]]") -> Shape:
    """Describe a type."""
    shape = Shape()
    shape.add(kind, known)
    return shape


def _fields_of(kind: inspect.StructType, known: "dict[type, dict[str, Field]]") -> "dict[str, Field]":
    if kind.cls not in known:
        fields = known[kind.cls] = {}
        for field in kind.fields:
            fields[field.encode_name] = Field(shape=shape_of(field.type, known), required=field.required)
    return known[kind.cls]


def strict(kind: Any) -> Any:
    """Return a type that is the same but for refusing what it does not know, in its fields too."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _strict_struct(kind)
    parts, origin = get_args(kind), get_origin(kind)
    if not parts or origin is Literal:
        return kind
    if origin is Annotated:
        return Annotated[strict(kind.__origin__), *kind.__metadata__]
    rebuilt = tuple(strict(part) for part in parts)
    if origin in (Union, types.UnionType):
        return reduce(or_, rebuilt)
    return origin[rebuilt]


@cache
def _strict_struct(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    config = kind.__struct_config__
    namespace: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__annotations__": {}}
    for field in msgspec.structs.fields(kind):
        namespace["__annotations__"][field.name] = strict(field.type)
        namespace[field.name] = msgspec.field(name=field.encode_name, **_default_of(field))
    tags = {"tag": config.tag, "tag_field": config.tag_field} if config.tag is not None else {}
    meta: Any = type(kind)  # that of `Struct`, which makes what is derived frozen too
    made: type[msgspec.Struct] = meta(kind.__name__, (kind,), namespace, forbid_unknown_fields=True, **tags)
    return made


def _default_of(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if field.default is not msgspec.NODEFAULT:
        return {"default": field.default}
    return {} if field.default_factory is msgspec.NODEFAULT else {"default_factory": field.default_factory}


class Reader(Generic[T]):
    """Reads values of one type, strictly in what they say and leniently in how."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._shape = shape_of(inspect.type_info(kind), {})
        self._plain_cases = msgspec.json.Decoder(strict(kind))

    def read(self, body: bytes) -> tuple[T, Unknown]:
        """Read JSON. Raises `BadInputError` that says where it is wrong, and what is allowed there.

        What has nothing unknown in it, and no null where another would leave a field out, is read in one go.
        """
        try:
            return decoded(self._plain_cases.decode, body), {}
        except msgspec.ValidationError as error:
            first = error.with_traceback(None)  # else it and this call would keep each other, and the body
        try:
            plain = decoded(msgspec.json.decode, body)
        except msgspec.ValidationError:  # a number beyond what anybody computes with: the type knows the field's name
            raise self._invalid(first) from None
        return self.convert(plain)

    def convert(self, plain: Any, *, strict: bool = True) -> tuple[T, Unknown]:
        """Read a value that has been decoded already. Raises `BadInputError`."""
        unknown: Unknown = {}
        tidied = self._shape.tidied(plain, "", unknown)
        try:
            return msgspec.convert(tidied, self._kind, strict=strict), unknown
        except msgspec.ValidationError as error:
            raise self._invalid(error) from None

    def _invalid(self, error: msgspec.ValidationError) -> BadInputError:
        """Name the field as OpenAI does, `messages[0].content`, and the values it may have."""
        return invalid(error, self._shape.at)


@cache
def reader_of(kind: Any) -> Reader[Any]:
    """Return the reader of a type; describing one takes longer than reading."""
    return Reader(kind)


def invalid(error: msgspec.ValidationError, at: Callable[[Iterable[str | None]], list[Shape]] | None = None) -> BadInputError:
    """Tell what does not fit; `at` finds what would."""
    problem, _, place = str(error).partition(" - at `$")
    param = place.rstrip("`").lstrip(".") or None
    if match := _NAMED.search(problem):
        param = f"{param}.{match[1]}" if param else match[1]
    if at and (found := _VALUE.match(problem)):
        steps = [name or None for name, _ in _STEP.findall(place.rstrip("`"))]
        allowed = list(dict.fromkeys(str(value) for shape in at(steps) for value in shape.allowed))
        if allowed:
            problem = f"Invalid value {found[1][:100]!r}; it may be {', '.join(map(repr, allowed))}"
    code = "missing_required_parameter" if "missing required field" in problem else "invalid_value"
    return BadInputError(problem, param=param, code=code)
