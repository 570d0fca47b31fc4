"""Results that are kept to be given again: one cache for all models, around the abilities whose answers are worth keeping."""

from modelhost.caching.around import Caching
from modelhost.caching.store import Cache

__all__ = ["Cache", "Caching"]
