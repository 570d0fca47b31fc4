"""The models: what state each is in, loading and unloading, and how many requests each works on."""

from modelhost.pool.model import Model
from modelhost.pool.pool import Pool

__all__ = ["Model", "Pool"]
