"""Which voices the server keeps, remembered for a short while.

The server itself refuses no name: for one it does not know it makes a folder, and speaks with a voice of chance.
"""

import time

from modelhost import BadInputError, VoiceSample

from modelhost_openaudio.client import FishClient
from modelhost_openaudio.options import check_name, check_new_name

REMEMBERED_SECONDS = 10.0
"""Seconds a list of voices is believed. Chosen, because others may delete voices, and asking before every request would cost a
round trip."""

UNKNOWN = "unknown_voice"
"""The code of an error for a voice that there is not, also of a name that no voice can have."""

NAMED_AT_MOST = 20
"""Voices named in an error. Chosen, because it has to stay readable."""


class Voices:
    """The server's list of voices, and changes to it."""

    def __init__(self, client: FishClient) -> None:
        self._client = client
        self._names: tuple[str, ...] = ()
        self._until = 0.0

    async def listed(self) -> tuple[str, ...]:
        """Ask the server for its list."""
        self._names = await self._client.voices()
        self._until = time.monotonic() + REMEMBERED_SECONDS
        return self._names

    async def check(self, name: str) -> None:
        """Raise `BadInputError`, which lists the voices there are, for one the server does not have."""
        _valid(name, "voice")
        if name in self._names and time.monotonic() < self._until:
            return
        if name not in await self.listed():
            raise BadInputError(f"there is no such voice; there are {self._known()}", param="voice", code=UNKNOWN)

    async def add(self, name: str, samples: tuple[VoiceSample, ...]) -> None:
        """Make a voice of the one sample a server takes. Raises `BadInputError` where it cannot be made of that."""
        try:
            check_new_name(name)
        except ValueError as error:
            raise BadInputError(str(error), param="add") from None
        if len(samples) != 1:
            raise BadInputError("this model makes a voice of one sample; join the recordings or choose one", param="samples")
        audio, text = samples[0].audio.read(), samples[0].text
        if not audio or not text.strip():
            raise BadInputError("a new voice takes a recording and the words it says, in `text`", param="samples")
        expected_errors = {
            400: BadInputError("the speech server cannot make a voice of this sample", param="samples"),
            409: BadInputError("there is a voice of this name already; delete it first, or choose another name", param="add"),
        }
        await self._client.add(name, audio, text, expected_errors=expected_errors)

    async def delete(self, name: str) -> None:
        """Delete a voice. Raises `BadInputError` where the server has none of that name."""
        _valid(name, "delete")
        unknown = BadInputError("there is no such voice", param="delete", code=UNKNOWN)
        await self._client.delete(name, expected_errors={404: unknown})

    def _known(self) -> str:
        names = self._names[:NAMED_AT_MOST]
        more = len(self._names) - len(names)
        return (", ".join(map(repr, names)) or "none") + (f" and {more} more" if more else "")


def _valid(name: str, param: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise BadInputError(str(error), param=param, code=UNKNOWN) from None
