"""kill -9 of a worker under eight streams, twenty times: how soon its callers are told, how soon it serves again."""

import json
import os
import signal
import statistics
import threading
import time

import httpx
from measurement import serving, tell

TIMES = 20
STREAMS = 8

CONFIG = """
[models.victim]
plugin = "echo"
options = { pace = 20 }

[models.bystander]
plugin = "echo"
options = { pace = 20 }
"""


class Stream:
    """A stream read in a thread: when it ended, and with what."""

    def __init__(self, url: str, model: str, words: int) -> None:
        self.started = threading.Event()
        self.ended = 0.0
        self.last = ""
        self._body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "word " * words}]}
        self.thread = threading.Thread(target=self._read, args=(f"{url}/v1/chat/completions",))
        self.thread.start()

    def _read(self, url: str) -> None:
        with httpx.stream("POST", url, json=self._body, timeout=30) as response:
            for line in response.iter_lines():
                self.started.set()
                self.last = line or self.last
        self.ended = time.perf_counter()


def main() -> None:
    """Kill, and look."""
    delays, again, untyped, disturbed = [], [], 0, 0
    with serving(CONFIG) as host, httpx.Client(base_url=host.url, timeout=30) as client:

        def ask() -> float:
            began = time.perf_counter()
            body = {"model": "victim", "messages": [{"role": "user", "content": "hi"}]}
            while client.post("/v1/chat/completions", json=body).status_code != 200:
                time.sleep(0.005)
            return time.perf_counter() - began

        load_seconds = ask()
        for _ in range(TIMES):
            bystander = Stream(host.url, "bystander", 30)
            streams = [Stream(host.url, "victim", 400) for _ in range(STREAMS)]
            for stream in (bystander, *streams):
                stream.started.wait()
            killed = time.perf_counter()
            os.kill(client.get("/v1/workers/victim").json()["pid"], signal.SIGKILL)
            again.append(ask())
            for stream in (bystander, *streams):
                stream.thread.join()
            delays.append(max(stream.ended for stream in streams) - killed)
            untyped += sum(json.loads(s.last.removeprefix("data: "))["error"]["code"] != "backend_crashed" for s in streams)
            disturbed += bystander.last != "data: [DONE]"
    tell(
        "worker death",
        "every stream told within 0.2 s, others unaffected, serving again within load time + 1 s, 20 times",
        told_seconds_worst=max(delays),
        serving_again_seconds_worst=max(again),
        serving_again_seconds=statistics.median(again),
        load_seconds=load_seconds,
        streams_without_typed_error=untyped,
        bystanders_disturbed=disturbed,
        times=TIMES,
    )


if __name__ == "__main__":
    main()
