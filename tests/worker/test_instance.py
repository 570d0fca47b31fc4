"""What is wrong with a backend is told when its instance is made, in words for its author."""

from collections.abc import Iterator

import pytest
from modelhost import Backend, Context, GenerateEvent, GenerateRequest, ModelCard, Options, PluginError, hookimpl
from modelhost.contract.log import Log, silent
from modelhost.worker.instance import Instance


class Plain(Backend[Options]):
    def load(self) -> ModelCard:
        return ModelCard()

    @hookimpl
    def generate(self, request: GenerateRequest, context: Context) -> Iterator[GenerateEvent]:
        yield from ()


class OneTooMany(Plain):
    @hookimpl
    def generate(self, request: GenerateRequest, context: Context, speed: float) -> Iterator[GenerateEvent]:  # type: ignore[override]
        yield from ()


class AnotherName(Plain):
    @hookimpl
    def generate(self, request: GenerateRequest, ctx: Context) -> Iterator[GenerateEvent]:  # type: ignore[override]
        yield from ()


class TheRequestAlone(Plain):
    @hookimpl
    def generate(self, request: GenerateRequest) -> Iterator[GenerateEvent]:  # type: ignore[override]
        yield from ()


def made(backend: type[Plain]) -> Instance:
    return Instance(backend, {}, model="m", threads=1, log=Log(silent))


@pytest.mark.parametrize(
    ("backend", "argument"),
    [(OneTooMany, "speed"), (AnotherName, "ctx")],
)
def test_a_hook_with_an_argument_that_there_is_not_is_told_which_there_are(backend: type[Plain], argument: str) -> None:
    with pytest.raises(PluginError) as told:
        made(backend)
    assert str(told.value) == f"generate has the argument {argument!r}: a hook takes request, context or both, and nothing else"


def test_a_hook_may_name_only_what_it_wants() -> None:
    assert made(TheRequestAlone).load().abilities == ("generate",)
