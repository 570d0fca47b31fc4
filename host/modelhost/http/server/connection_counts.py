"""Connections as metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelhost.http.server.limits import Connections


class ConnectionCounts(Collector):
    """The connections as they are at the moment of asking, and those that were refused."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        """Look at the limits' own counts."""
        yield GaugeMetricFamily("modelhost_connections", "Open connections, WebSockets among them.", self._connections.open)
        refused = CounterMetricFamily(
            "modelhost_connections_refused", "Connections refused or closed by limits.", labels=("reason",)
        )
        for reason, count in self._connections.refused.items():
            refused.add_metric((reason,), count)
        yield refused
