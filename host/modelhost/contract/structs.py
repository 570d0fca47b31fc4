"""The base of every value in the host: frozen, keyword-only, checked by msgspec."""

from collections.abc import Iterator
from typing import Any, Literal, dataclass_transform, get_args, get_origin

import msgspec


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class FrozenMeta(msgspec.StructMeta):
    """Makes `frozen` and `kw_only` hold for subclasses too, which msgspec alone does not inherit."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> type:
        """Create the class with both settings on."""
        config.setdefault("frozen", True)
        config.setdefault("kw_only", True)
        cls: type = super().__new__(mcls, name, bases, namespace, **config)
        return cls


class Struct(msgspec.Struct, metaclass=FrozenMeta):
    """A frozen, keyword-only value."""


class Wire(Struct, omit_defaults=True):
    """A value that crosses the border to a worker; fields the reader does not know are ignored."""


def literals(kind: Any) -> Iterator[str]:
    """Return the values that a type allows, where it is or holds `Literal`s."""
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    else:
        for part in get_args(kind):
            yield from literals(part)
