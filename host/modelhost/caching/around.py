"""Puts the cache around calls: innermost, below the extensions."""

from modelhost.caching.composition import Candidates, Compositions
from modelhost.caching.embed import CachedEmbed
from modelhost.caching.results import Results
from modelhost.caching.store import Cache
from modelhost.caching.summarize import CachedSummarize
from modelhost.contract.types import Ability
from modelhost.observability.metrics import Metrics
from modelhost.plugins.extensions import Call
from modelhost.pool import Model


class Caching:
    """The cache of all models' results."""

    def __init__(self, kept: Cache, metrics: Metrics, candidates: Candidates) -> None:
        results = Results(kept, metrics)
        self.compositions = Compositions(candidates)
        """Whom models ask while they answer."""
        embed, summarize = CachedEmbed(results), CachedSummarize(results, self.compositions)
        self._around = {"embed": embed.around, "summarize": summarize.around} if kept.max_bytes else {}

    def around(self, ability: Ability, model: Model, call: Call) -> Call:
        """Put the cache around a model's call; returns the call itself where nothing is to be kept."""
        around = self._around.get(ability)
        return around(model, call) if around else call
