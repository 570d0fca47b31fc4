"""Guards every connection: uvicorn reads for ever what comes slowly, and keeps whatever comes without an end.

A connection waits for its client, or its client waits for us. While it waits for its client there is a time by which something
must be done, and it may be closed to make room for another; while a request is at work, neither. `connections` knows who is
there and who gives way to whom, `tls` is a connection before its handshake, `connection` speaks HTTP/1.1, `websocket` is what
it has become after an upgrade.
"""

from modelhost.http.server.limits.connection import FAST, MAX_PIPELINED, MIN_RATE, LimitedConnection
from modelhost.http.server.limits.connections import Connections
from modelhost.http.server.limits.files import open_files
from modelhost.http.server.limits.refusals import MAX_HEAD, MAX_HEADERS, MAX_URL, REFUSALS
from modelhost.http.server.limits.tls import TlsHandshake
from modelhost.http.server.limits.websocket import LimitedWebSocket

__all__ = [
    "FAST",
    "MAX_HEAD",
    "MAX_HEADERS",
    "MAX_PIPELINED",
    "MAX_URL",
    "MIN_RATE",
    "REFUSALS",
    "Connections",
    "LimitedConnection",
    "LimitedWebSocket",
    "TlsHandshake",
    "open_files",
]
