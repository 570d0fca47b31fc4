"""Puts the cache around calls: innermost, below the extensions."""

from collections.abc import Callable

from modelhost.caching.composition import Candidates, Compositions
from modelhost.caching.embed import CachedEmbed
from modelhost.caching.results import Results
from modelhost.caching.store import Cache
from modelhost.caching.summarize import CachedSummarize
from modelhost.contract.extension import Call
from modelhost.contract.types import Ability
from modelhost.observability.call_record import CallRecord
from modelhost.observability.metrics import Metrics
from modelhost.pool import Model

Around = Callable[[Model, Call, CallRecord], Call]
"""Puts the cache of one ability around a model's call, and says in the record what it had to do with the answer."""


class Caching:
    """The cache of all models' results."""

    def __init__(self, kept: Cache, metrics: Metrics, candidates: Candidates) -> None:
        results = Results(kept, metrics)
        self.compositions = Compositions(candidates)
        """Whom models ask while they answer."""
        embed, summarize = CachedEmbed(results), CachedSummarize(results, self.compositions)
        self._around: dict[Ability, Around] = {"embed": embed.around, "summarize": summarize.around} if kept.max_bytes else {}

    def around(self, model: Model, call: Call, record: CallRecord) -> Call:
        """Put the cache around a model's call, for `record` to tell of; return the call itself where nothing is to be kept."""
        around = self._around.get(record.ability)
        return around(model, call, record) if around else call
