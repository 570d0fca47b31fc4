"""The voices a model can speak with, and new ones made from recordings."""

from modelhost.contract.types.events import Done, Event
from modelhost.contract.types.request import Request
from modelhost.contract.types.synthesize import VoiceSample


class VoicesRequest(Request):
    """Which voices there are; before that, at most one may be added or deleted."""

    add: str | None = None
    """Name of a voice to make from `samples`."""
    samples: tuple[VoiceSample, ...] = ()
    delete: str | None = None
    """Name of a voice to forget."""

    def __post_init__(self) -> None:
        """Raise ValueError for a request that adds and deletes, and for a new voice without a recording of it."""
        if self.add is not None and self.delete is not None:
            raise ValueError("add a voice or delete one, not both at once")
        if (self.add is not None) != bool(self.samples):
            raise ValueError("a new voice has a name and at least one sample")


class Voices(Event):
    """The whole answer: the names of all voices there are now, each good for `SynthesizeRequest.voice`."""

    names: tuple[str, ...]


VoicesEvent = Voices | Done
