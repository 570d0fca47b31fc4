"""Which other models had a part in an answer.

A model that composes others asks them through the host, by names the caller or its options gave it. So the host sees whom it
asks, and need not be told; what it sees is noted while the answer is made.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelhost.contract.errors import RequestError
from modelhost.contract.types import Ability
from modelhost.pool import Model

Candidates = Callable[[Ability, str | None], list[Model]]
"""Gives the models to try for an ability under a name, in order. Raises `RequestError`."""

PartRevisions = dict[tuple[Ability, str], str]
"""Ability and name, as they were asked for → revision of the model that they stand for."""


class Composition:
    """The parts of one answer that other models made."""

    def __init__(self) -> None:
        self.models: dict[tuple[Ability, str], Model] = {}
        """Ability and name, as they were asked for → the model that they stand for."""
        self.stood_in = False
        """Whether a model was asked in place of another that was not available."""

    def revisions(self) -> PartRevisions:
        """Return what was asked, and of which revisions."""
        return {one: model.revision for one, model in self.models.items()}

    def is_repeatable(self) -> bool:
        """Return whether the same models would make the same parts again: not where they read files that may change."""
        return not self.stood_in and not any(model.card and model.card.reads for model in self.models.values())


class Compositions:
    """Notes what is asked of other models for the answers that are being made.

    Calls are known by their request's id, the one thing that every worker passes on. Should two requests have the same, each is
    taken to be made of the other's parts as well, and is computed again when it need not be.
    """

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._open: dict[str, list[Composition]] = {}

    @contextmanager
    def noted(self, request_id: str) -> Iterator[Composition]:
        """Note what is asked for a call inside the block."""
        composition = Composition()
        together = self._open.setdefault(request_id, [])
        together.append(composition)
        try:
            yield composition
        finally:
            together.remove(composition)
            if not together:
                del self._open[request_id]

    def asks(self, request_id: str, ability: Ability, name: str | None, first: Model) -> None:
        """Note that a model asks another: `first` is whom that name stands for."""
        for composition in self._open.get(request_id, ()):
            composition.models[ability, name or ""] = first

    def falls_back(self, request_id: str) -> None:
        """Note that a model was asked in place of another."""
        for composition in self._open.get(request_id, ()):
            composition.stood_in = True

    def includes(self, request_id: str, revisions: PartRevisions) -> None:
        """Note the parts of a kept answer that holds, which may itself be part of another."""
        for ability, name in revisions:
            self.asks(request_id, ability, name, self._candidates(ability, name)[0])

    def is_current(self, revisions: PartRevisions) -> bool:
        """Return whether all the names stand for the same models as they did."""
        return all(self._revision(*one) == revision for one, revision in revisions.items())

    def _revision(self, ability: Ability, name: str) -> str | None:
        try:
            return self._candidates(ability, name)[0].revision
        except RequestError:
            return None
