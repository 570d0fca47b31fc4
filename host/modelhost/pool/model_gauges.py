"""The models as they are at the moment the metrics are read."""

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelhost.pool.model import Model
from modelhost.pool.status import State


class ModelGauges(Collector):
    """States, memory, requests, restarts and what backends measure. Asks the kernel for memory, so not for the event loop."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Look at every model."""
        state = GaugeMetricFamily("modelhost_model_state", "1 for the state a model is in.", labels=("model", "state"))
        memory = GaugeMetricFamily("modelhost_worker_memory_bytes", "Memory a model's worker holds.", labels=("model",))
        flight = GaugeMetricFamily("modelhost_in_flight", "Requests a model works on.", labels=("model",))
        restarts = CounterMetricFamily("modelhost_worker_restarts", "Workers started after one died.", labels=("model",))
        measures = GaugeMetricFamily(
            "modelhost_model_measure",
            "What a model's backend measures of itself; its README says what.",
            labels=("model", "measure"),
        )
        for model in self._models:
            for name in get_args(State):
                state.add_metric((model.name, name), float(model.status.state == name))
            memory.add_metric((model.name,), model.memory())
            flight.add_metric((model.name,), model.in_flight)
            restarts.add_metric((model.name,), model.status.restarts)
            for name, value in model.measures().items():
                measures.add_metric((model.name, name), value)
        yield from (state, memory, flight, restarts, measures)
