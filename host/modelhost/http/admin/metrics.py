"""The counts of everything, for Prometheus."""

import asyncio
from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, get
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelhost.http.routing.json_body import host_of
from modelhost.http.routing.spec import route_spec
from modelhost.http.server.limits import Connections
from modelhost.observability.metrics import CONTENT_TYPE


class ConnectionCounts(Collector):
    """The connections as they are at the moment of asking, and those that were refused."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        """Look at the guard's own counts."""
        yield GaugeMetricFamily("modelhost_connections", "Open connections, WebSockets among them.", self._connections.open)
        refused = CounterMetricFamily("modelhost_connections_refused", "Connections closed by the guard.", labels=("reason",))
        for reason, count in self._connections.refused.items():
            refused.add_metric((reason,), count)
        yield refused


@get("/metrics", summary="Read the metrics", opt=route_spec("metrics", text="text/plain"))
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Everything that is counted, in Prometheus' text format."""
    text = await asyncio.to_thread(host_of(request).metrics.text)
    return Response(text, media_type=CONTENT_TYPE)
