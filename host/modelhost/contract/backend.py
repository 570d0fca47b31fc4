"""What a plugin brings: a class whose instances run one model each."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

import msgspec

from modelhost.contract.card import ModelCard
from modelhost.contract.compute import ComputeThread
from modelhost.contract.errors import NotReadyError, PluginError
from modelhost.contract.log import Log, silent
from modelhost.contract.request_options import RequestOptions
from modelhost.contract.source import Source
from modelhost.contract.structs import Struct
from modelhost.contract.types import Ability

Device = str
"""`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; what a plugin cannot use it refuses in `load`."""

Run = Literal["inline", "process"]
"""Where a backend runs: in the host's process, or in a worker process of its own."""


class Options(Struct, forbid_unknown_fields=True):
    """Base of a plugin's options: what may stand under `[models.NAME.options]`.

    Frozen, keyword-only, and unknown keys are refused. A docstring under a field is its description in the schema.
    """


_NEVER_SET = object()
"""Stands in `loaded` where `load` has returned and not set it."""


class _Loaded:
    """The attribute `loaded`: it cannot be read before `load` has set it, and who forgets to is told so."""

    def __get__(self, backend: "Backend[Any] | None", owner: type["Backend[Any]"]) -> Any:
        made = self if backend is None else backend.__dict__.get("loaded")
        if made is _NEVER_SET:
            raise PluginError(
                f"load of {owner.__name__} has not set self.loaded, which this reads; set it there, before the card"
            )
        if made is None:
            raise NotReadyError("this model is not loaded; wait until it is ready and send the request again")
        return made

    def __set__(self, backend: "Backend[Any]", made: Any) -> None:
        backend.__dict__["loaded"] = made


O = TypeVar("O", bound=Options)  # noqa: E741  # the one type variable of the contract


class Backend(Generic[O]):
    """One model, loaded. Subclass it as `Backend[YourOptions]` and implement at least one hook.

    The host makes one instance a model, calls `load` once before any hook and `unload` once after the last.
    """

    run: ClassVar[Run] = "process"
    """Where it runs unless the configuration says otherwise; `inline` suits only what talks to another server."""
    request_options: ClassVar[type[RequestOptions] | None] = None
    """What requests may carry for this plugin alone, under its name in `plugin_options`; None for nothing."""
    loaded: Any = _Loaded()
    """What `load` makes for the hooks, and sets; a subclass says its type. Raises `NotReadyError` before, and after `unload`, and
    `PluginError` where `load` has not set it."""

    def __init__(self, options: O, *, model: str = "", threads: int = 1, log: Log | None = None) -> None:
        self.options = options
        self.model = model
        """The model's name in the configuration."""
        self.threads = threads
        """CPU threads this model may keep busy: its share of the host's budget."""
        self.log = log or Log(silent)
        self.compute = ComputeThread(f"compute {model}".strip())
        """The thread on which `load` is called, and on which whatever computes should compute, an engine's loop included."""

    @classmethod
    def leaves_machine(cls, options: O) -> bool:
        """Whether these options make requests leave this machine; `local_only` forbids that."""
        return False

    @classmethod
    def abilities_of(cls, options: O) -> tuple[Ability, ...] | None:
        """Return what a model with these options can do, where they tell it before it is loaded; None for every hook there is."""
        return None

    @classmethod
    def problems(cls, options: O) -> Iterable[str]:
        """Name what keeps these options from working on this machine, as far as it can be told without loading anything.

        `modelhost config check` and `doctor` say it; `load` refuses it too, whoever asked before.
        """
        return ()

    @classmethod
    def asks(cls, options: O) -> Mapping[str, tuple[str, Ability]]:
        """Name the other models it will call: for an option the model that it names, and what that must be able to do."""
        return {}

    def load(self) -> ModelCard:
        """Make the model ready; may block for minutes. Heavy imports belong in here. Called on the thread of `compute`.

        Raise `NotReadyError` for missing weights, `BadInputError` for options that cannot work here.
        """
        raise NotImplementedError

    def measures(self) -> Mapping[str, float]:
        """Return figures of its own, by name (`[a-z][a-z0-9_]*`), such as `tokens_per_second`: the host shows them in /metrics.

        Called every few seconds while the model is loaded, on any thread; it must not block.
        """
        return {}

    def unload(self) -> None:
        """Let go of the model: close what is `loaded`, where it has a `close`. In a worker the process ends right after."""
        close = getattr(self.__dict__.pop("loaded", None), "close", None)
        if close is not None:
            close()


def has_loaded(backend: Backend[Any]) -> None:
    """Note that `load` has returned: from here on, a `loaded` that was not set is the plugin's mistake."""
    if isinstance(inspect.getattr_static(type(backend), "loaded"), _Loaded):
        backend.__dict__.setdefault("loaded", _NEVER_SET)


def options_type(owner: type, base: str = "Backend") -> type[Options]:
    """Find the `O` in a class's `Backend[O]` or `Extension[O]`."""
    for cls in owner.__mro__:
        for parent in getattr(cls, "__orig_bases__", ()):
            for arg in get_args(parent):
                if isinstance(arg, type) and issubclass(arg, Options):
                    return arg
    raise PluginError(f"{owner.__name__} must subclass {base}[...] with its options in the brackets")


def read_options(kind: type[Options], values: dict[str, Any]) -> Options:
    """Check values against a plugin's options. Raises `msgspec.ValidationError`, which names the key."""

    def convert(wanted: type, value: Any) -> Any:
        if wanted is Source:
            return Source.from_option(value)
        raise NotImplementedError(f"options of type {wanted!r} are not supported")

    return msgspec.convert(values, kind, dec_hook=convert)
