"""The models: what state each is in, loading and unloading, and how many requests each works on."""

from modelhost.pool.model import Model
from modelhost.pool.pool import Pool
from modelhost.pool.queue import in_time

__all__ = ["Model", "Pool", "in_time"]
