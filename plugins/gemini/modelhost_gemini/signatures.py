"""What a model signs its tool calls with, kept until the calls come back in the conversation."""

from collections import OrderedDict

MOST = 4096
"""Calls remembered. Chosen, because signatures take a few KB each."""


class Signatures:
    """Remembers signatures by the call's id.

    Models that think want a call back with the signature they gave it, and OpenAI's messages have no room for one, so that
    `ToolCall.signature` comes back from clients of other dialects only. Of calls
    that are not remembered (any more) nothing is sent, which older models take well and newer ones may refuse.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, call: str, signature: bytes) -> None:
        """Remember a signature; the oldest is forgotten where there are too many."""
        self._kept[call] = signature
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def of(self, call: str) -> bytes | None:
        """Return the signature of a call, if there was one."""
        return self._kept.get(call)
