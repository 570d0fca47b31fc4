"""What was said before: a session's earlier turns, which go to the model with each new one."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from modelhost.contract.types import Message

MOST_CHARACTERS = 32_000
"""Characters of one session. Chosen, because it is far more than small models can be told at once, and little to keep."""

Exchange = tuple[Message, ...]
"""What was said and what was replied to it."""


class Memory(Protocol):
    """Keeps sessions. A session belongs to the API key that began it: another key's, by the same name, is another."""

    async def recall(self, caller: str, session: str) -> Exchange:
        """Return the messages of a session's earlier turns, oldest first; none of one that is not known."""
        ...

    async def remember(self, caller: str, session: str, turn: Exchange) -> None:
        """Add a turn that is complete."""
        ...

    async def forget(self, caller: str, session: str) -> bool:
        """Drop a session; returns whether there was one."""
        ...


class _Session:
    def __init__(self) -> None:
        self.turns: deque[Exchange] = deque()
        self.used = 0.0

    def add(self, turn: Exchange, most: int) -> None:
        """Add a turn and drop the oldest that are too many or too long."""
        self.turns.append(turn)
        while self.turns and (len(self.turns) > most or sum(map(_characters, self.turns)) > MOST_CHARACTERS):
            self.turns.popleft()


class InProcessMemory:
    """Keeps sessions in the host's own memory, until it ends."""

    def __init__(self, *, sessions: int, turns: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep so many of a caller's sessions, so many turns of each, and for `seconds` after its last use.

        Where there are too many, the session that has not been used for longest makes room.
        """
        self._most_sessions = sessions
        self._most_turns = turns
        self._seconds = seconds
        self._clock = clock
        self._callers: dict[str, OrderedDict[str, _Session]] = {}

    async def recall(self, caller: str, session: str) -> Exchange:
        """Return the messages of a session's earlier turns, oldest first; none of one that is not known."""
        self._drop_old()
        own = self._callers.get(caller)
        if own is None or session not in own:
            return ()
        self._use(own, session)
        return tuple(message for turn in own[session].turns for message in turn)

    async def remember(self, caller: str, session: str, turn: Exchange) -> None:
        """Add a turn that is complete."""
        self._drop_old()
        own = self._callers.setdefault(caller, OrderedDict())
        own.setdefault(session, _Session()).add(turn, self._most_turns)
        self._use(own, session)
        while len(own) > self._most_sessions:
            own.popitem(last=False)

    async def forget(self, caller: str, session: str) -> bool:
        """Drop a session; returns whether there was one."""
        self._drop_old()
        own = self._callers.get(caller)
        return own is not None and own.pop(session, None) is not None

    def _use(self, own: OrderedDict[str, _Session], session: str) -> None:
        own[session].used = self._clock()
        own.move_to_end(session)

    def _drop_old(self) -> None:
        """Drop what has not been used for too long; each caller's sessions are in the order of their use."""
        oldest = self._clock() - self._seconds
        for own in self._callers.values():
            while own and next(iter(own.values())).used < oldest:
                own.popitem(last=False)


def _characters(turn: Exchange) -> int:
    return sum(len(message.text) for message in turn)
