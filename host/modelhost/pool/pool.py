"""All models, and what they share: CPU threads now; a memory budget and eviction belong here too."""

import asyncio
from collections.abc import Iterable, Iterator

from modelhost.contract.types import Ability
from modelhost.pool.model import Model
from modelhost.pool.requirements import Need


class Pool:
    """The models of a host."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = tuple(models)
        for model in self:
            model.who_can = self.who_can

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def who_can(self, ability: Ability, needed: tuple[Need, ...]) -> list[str]:
        """Name the models that have an ability and, of those that have been loaded once, all that a request needs beside it."""
        able = [model for model in self if model.config.enabled and not model.problem and ability in model.abilities]
        return [
            model.name
            for model in able
            if not needed or (model.card is not None and all(need.met_by(model.card) for need in needed))
        ]

    async def preload(self) -> None:
        """Load the models that are to be there from the start; one that fails stops nothing, its state says why."""
        wanted = [model.load() for model in self._models if model.config.preload and model.config.enabled]
        await asyncio.gather(*wanted, return_exceptions=True)

    async def stop(self, patience: float) -> None:
        """Unload everything."""
        await asyncio.gather(*(model.unload(patience) for model in self._models), return_exceptions=True)

    def share_of_threads(self, asking: Model, budget: int) -> int:
        """Return a model that is about to load its share of the budget: two spinning engines on two cores ruin each other."""
        running = sum(1 for model in self._models if model is not asking and model.pid is not None)
        return max(1, budget // (running + 1))
