"""All connections of a server: who is there, who waits for its client, and who gives way to whom.

A connection belongs to the key that its last request carried, and before that is known to the address it came from. When there
are too many, one that waits for its client gives way: of whoever has the most, and there the one that has waited longest.
"""

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable

from modelhost.config import ServerConfig
from modelhost.contract.errors import OverloadedError, OverQuotaError
from modelhost.http.server.limits.refusals import FULL, REFUSALS

MAX_LINGERING = 256
"""Refused clients that linger at once; beyond, the oldest is torn down."""
MAX_GUESTS = 64
"""Clients that are heard although there is no room for them: whether the host is alive can always be asked."""
SPARE_FILES = 512
"""Open files that are kept for other things than clients: workers, models, guests, refused clients."""
TICK = 0.25
"""Seconds between two looks at the connections. One look at all of them stands for all the timers: one of the event loop's for
each request would cost more than all else here."""


class Holder:
    """Who has connections: an address, or a key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = 0
        self.handed_over = 0
        """Those of an address that belong to keys by now."""
        self.waiting = Queue()
        self.at_work = 0
        """Requests that are being answered; counted for keys only."""


class Connection(asyncio.Protocol):
    """What is counted here."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    peers: Holder
    """Those that come from the same address."""
    key: Holder | None = None
    """Those whose requests carry the same key, once that is known."""
    guest = False
    """Whether it is one more than there is room for."""

    @property
    def holder(self) -> Holder:
        """Whose it is, when it comes to making room."""
        return self.key or self.peers

    @property
    def upgraded(self) -> bool:
        """Whether it is a WebSocket: others are opened anew without anybody noticing."""
        raise NotImplementedError

    @property
    def at_work(self) -> bool:
        """Whether its client waits for us."""
        raise NotImplementedError

    def used(self) -> None:
        """Note that something has just been said on it."""
        raise NotImplementedError

    def look(self, now: float, since: float) -> None:
        """Do what is due; `since` are the seconds since the last look."""
        raise NotImplementedError

    def drop(self) -> None:
        """Close it to make room."""
        raise NotImplementedError

    def turn_away(self) -> None:
        """Close it, because there is none."""
        raise NotImplementedError


Queue = OrderedDict[Connection, None]
"""Connections by how long they have waited; in a plain dictionary finding the first gets slower with each one taken out."""


class Connections:
    """The connections of one server: how many there are, who is waiting, and who has been refused.

    `refused` counts by reason: `silent` sent nothing, `late_handshake` did not end that of TLS, `unread` did not take its answer,
    `dropped` made room for another, `full` came when nothing could make room; the others are told why. Addresses for which
    `exempt` is true have no limit of their own.
    """

    def __init__(self, config: ServerConfig, *, exempt: Callable[[str], bool] = lambda address: False) -> None:
        self.refused = dict.fromkeys(REFUSALS, 0)
        self.config = config
        self.most = config.max_connections
        """How many there may be."""
        self._most_guests = MAX_GUESTS
        self._most_lingering = MAX_LINGERING
        self._exempt = exempt
        self._open: set[Connection] = set()
        self._waiting = Queue()
        self._holders: dict[str, Holder] = {}
        self._guests = Queue()
        self._lingering = Queue()
        self._looking = False
        self._looked = 0.0

    @property
    def open(self) -> int:
        """How many there are, WebSockets among them; guests and those on their way out are not counted."""
        return len(self._open)

    def fit(self, files: float) -> bool:
        """Take fewer than configured where the process may not open as many `files`; returns whether that is so."""
        spare = min(SPARE_FILES, int(min(files, 65_536)) // 2)
        self.most = int(max(1, min(self.most, files - spare)))
        self._most_guests = max(1, min(MAX_GUESTS, spare // 8))
        self._most_lingering = max(1, min(MAX_LINGERING, spare // 4))
        return self.most < self.config.max_connections

    # Who comes and goes.

    def take(self, connection: Connection, address: str) -> None:
        """Let a newcomer in, closing for it whoever gives way where there are too many; a guest where all are at work."""
        exempt = self._exempt(address)
        peers = self._holder("proxies" if exempt else f"address {_network_of(address)}")
        connection.peers = peers
        self._watch(connection.loop)
        if not exempt and peers.open >= self.config.max_connections_per_address:
            crowd = peers.waiting
        elif len(self._open) >= self.most:
            crowd = self._waiting
        else:
            self._let_in(connection)
            return
        if crowd:
            _who_gives_way(crowd).drop()
            self._let_in(connection)
        else:
            self._receive(connection)

    def _let_in(self, connection: Connection) -> None:
        connection.guest = False
        connection.peers = self._holder(connection.peers.name)  # it may have been forgotten meanwhile
        connection.peers.open += 1
        self._open.add(connection)

    def _receive(self, guest: Connection) -> None:
        """Hear what somebody wants for whom there is no room."""
        guest.guest = True
        if len(self._guests) >= self._most_guests:
            next((waiting for waiting in self._guests if not waiting.at_work), guest).turn_away()
        self._guests[guest] = None

    def linger(self, connection: Connection) -> None:
        """Count a connection no longer, but see that it ends."""
        self.forget(connection)
        self._lingering[connection] = None
        if len(self._lingering) > self._most_lingering:
            self._lingering.popitem(last=False)[0].transport.abort()

    def forget(self, connection: Connection) -> None:
        """Count a connection no longer; once or more often."""
        self._lingering.pop(connection, None)
        self._guests.pop(connection, None)
        if connection in self._open:
            self.works(connection)
            self._open.discard(connection)
            self._leave_key(connection)
            connection.peers.open -= 1
            self._forget_holder(connection.peers)

    def _leave_key(self, connection: Connection) -> None:
        if key := connection.key:
            connection.key = None
            connection.peers.handed_over -= 1
            key.open -= 1
            self._forget_holder(key)

    def _holder(self, name: str) -> Holder:
        holder = self._holders.get(name)
        if holder is None:
            holder = self._holders[name] = Holder(name)
        return holder

    def _forget_holder(self, holder: Holder) -> None:
        if not holder.open and not holder.at_work:
            self._holders.pop(holder.name, None)

    # Who waits, and who is at work.

    def waits(self, connection: Connection) -> None:
        """Put a connection behind all that wait for their clients."""
        if connection in self._open:
            for queue in (self._waiting, *_queues_of(connection)):
                queue[connection] = None
                queue.move_to_end(connection)

    def works(self, connection: Connection) -> None:
        """Keep a connection from being closed to make room."""
        for queue in (self._waiting, *_queues_of(connection)):
            queue.pop(connection, None)

    def identify(self, connection: Connection, key: str) -> None:
        """Note whose key a request carries; empty where there is none, or none but one.

        A guest with a key comes in if there is room but at its address, or if nothing of that key is at work; for others
        raises `OverloadedError`.
        """
        if connection.guest:
            known = self._holders.get(f"key {key}")
            if not key or (len(self._open) >= self.most and known and known.at_work):
                raise OverloadedError(FULL)
            self._guests.pop(connection, None)
            self._let_in(connection)
        before = connection.key
        if (before.name if before else "") == (key and f"key {key}") or connection not in self._open:
            return
        waiting = connection in self._waiting
        self.works(connection)
        self._leave_key(connection)
        if key:
            connection.key = self._holder(f"key {key}")
            connection.key.open += 1
            connection.peers.handed_over += 1
        if waiting:
            self.waits(connection)

    def begin(self, connection: Connection) -> Callable[[], None]:
        """Count a piece of work for the connection's key; returns what is to be called once at its end.

        Raises `OverQuotaError` where the key has its share of the connections at work.
        """
        key = connection.key
        if key is None:
            return _nothing
        most = self.config.max_connections_per_key or max(1, self.config.max_connections // 2)
        if key.at_work >= most:
            raise OverQuotaError(
                f"this key has {most} requests at work, which is its share of the host; wait for one to end", retry_after=1
            )
        key.at_work += 1

        def end() -> None:
            key.at_work -= 1
            self._forget_holder(key)

        return end

    # Time.

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._looking:
            self._looking = True
            self._looked = loop.time()
            loop.call_later(TICK, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        since, self._looked = now - self._looked, now
        for connection in (*self._open, *self._guests, *self._lingering):
            connection.look(now, since)
        self._looking = bool(self._open or self._guests or self._lingering)
        if self._looking:
            loop.call_later(TICK, self._look, loop)


def _who_gives_way(crowd: Iterable[Connection]) -> Connection:
    """Choose among connections that wait, the longest first: of who has the most, and there rather not a WebSocket."""
    return max(crowd, key=lambda waiting: (waiting.holder.open - waiting.holder.handed_over, not waiting.upgraded))


def _queues_of(connection: Connection) -> list[Queue]:
    return [holder.waiting for holder in (connection.peers, connection.key) if holder]


def _network_of(address: str) -> str:
    """Return what is one client: an IPv4 address, or the 64 bits of an IPv6 address that its provider gave it."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())


def _nothing() -> None:
    """End what was not counted."""
