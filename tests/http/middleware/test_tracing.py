"""Traces reach a collector that speaks OTLP, with the client's trace around them and the backend's below."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from serving import Serve, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Any]:
    """A collector; `spans` is what it got."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            server.spans += [span for one in asked.resource_spans for scope in one.scope_spans for span in scope.spans]  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.spans = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_and_its_models_call_are_spans_of_the_clients_trace(serve: Serve, collector: Any) -> None:
    config = f'[server]\ntracing = "http://127.0.0.1:{collector.server_port}"\n[models.echo]\nplugin = "echo"\n'
    host = serve(config, env={"OTEL_BSP_SCHEDULE_DELAY": "100"})  # milliseconds; five seconds would pass otherwise
    body = {"model": "echo", "messages": [{"role": "user", "content": "a secret of mine"}]}
    for flags in ("01", "00"):  # nobody looks at the second
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
        assert host.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    eventually(lambda: len(collector.spans) >= 3)
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}
    assert set(spans) == {"POST /v1/chat/completions", "load", "generate echo"}
    root = spans["POST /v1/chat/completions"]
    assert root.parent_span_id.hex() == PARENT
    for name in ("load", "generate echo"):
        assert spans[name].parent_span_id == root.span_id
        assert root.start_time_unix_nano <= spans[name].start_time_unix_nano <= spans[name].end_time_unix_nano
    facts = {fact.key: fact.value for fact in spans["generate echo"].attributes}
    assert facts["gen_ai.request.model"].string_value == "echo"
    assert facts["modelhost.output_tokens"].int_value == 4
    assert "secret" not in str(collector.spans)


def test_without_a_clients_trace_a_request_begins_one(serve: Serve, collector: Any) -> None:
    host = serve(f'[server]\ntracing = "http://127.0.0.1:{collector.server_port}"\n[models.echo]\nplugin = "echo"\n')
    host.chat("echo", "hi")
    host.stop()  # what is left is sent before the host ends
    assert any(span.name == "generate echo" and span.trace_id.hex() != TRACE for span in collector.spans)


def test_a_collector_that_is_not_there_costs_nobody_anything(serve: Serve) -> None:
    host = serve('[server]\ntracing = "http://127.0.0.1:9"\n[models.echo]\nplugin = "echo"\n')
    assert host.chat("echo", "hi").status_code == 200
