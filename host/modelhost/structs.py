"""The base of every value in the host: frozen, keyword-only, checked by msgspec."""

from typing import Any, dataclass_transform

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
