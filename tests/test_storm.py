"""Loading, unloading and giving up at once, for as long as one likes: nobody beside it notices, and every request is answered.

The long form runs where SOAK_MINUTES says for how long.
"""

import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from serving import Serve, Served, eventually

MODELS = 4
CONFIG = "[server]\ndrain_seconds = 1.0\n" + "".join(
    f'[models.{name}]\nplugin = "echo"\n' for name in ("innocent", *(f"e{number}" for number in range(MODELS)))
)

ANSWERS = {
    "unload": {200},
    "load": {200, 503},  # unloaded again while it was loading
    "chat": {200, 502, 503},  # the same, and: while it was answered
}
"""What may come of each thing the storm does."""


class Storm:
    """Clients that load, unload, ask and give up at random, and innocents beside them who only ask another model."""

    def __init__(self, host: Served, *, clients: int, goes_on: Callable[[int], bool]) -> None:
        self._address = ("127.0.0.1", httpx.URL(host.url).port)
        self._goes_on = goes_on
        self._over = threading.Event()
        self.seen: Counter[tuple[str, int | str]] = Counter()
        self.wrongs: list[str] = []
        storming = [threading.Thread(target=self._storm, args=(number,)) for number in range(clients)]
        innocents = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]
        for thread in storming + innocents:
            thread.start()
        for thread in storming:
            thread.join()
        self._over.set()
        for thread in innocents:
            thread.join()

    def _storm(self, number: int) -> None:
        dice = random.Random(number)
        for turn in itertools.count():
            if not self._goes_on(turn):
                return
            model = f"e{dice.randrange(MODELS)}"
            what = dice.choice(["unload", "load", "chat", "give up", "give up on loading"])
            try:
                if what == "unload":
                    status, _ = self._request("DELETE", f"/v1/models/{model}")
                elif what == "load":
                    status, _ = self._request("POST", "/v1/models/load", {"model": model})
                elif what == "chat":
                    status, _ = self._request("POST", "/v1/chat/completions", _chat(model, f"{number} {turn}"))
                else:
                    self._give_up(model, what, dice)
                    status = 0
            except (OSError, http.client.HTTPException) as error:
                self.wrongs.append(f"{what}: {type(error).__name__}")
                continue
            self.seen[what, status] += 1
            if status and status not in ANSWERS[what]:
                self.wrongs.append(f"{what}: {status}")

    def _give_up(self, model: str, what: str, dice: random.Random) -> None:
        """Leave before the answer, at any moment of the load that is under way."""
        body = json.dumps(_chat(model, "nobody waits") if what == "give up" else {"model": model}).encode()
        path = "/v1/chat/completions" if what == "give up" else "/v1/models/load"
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        with socket.create_connection(self._address, timeout=60) as line:
            line.sendall(head.encode() + body)
            line.settimeout(dice.random() * 0.2 + 0.001)
            with contextlib.suppress(TimeoutError):
                line.recv(1)

    def _ask(self, number: int) -> None:
        """Ask the innocents' model, on one connection that is kept and on new ones."""
        kept = http.client.HTTPConnection(*self._address, timeout=60)
        for turn in itertools.count():
            if self._over.is_set():
                kept.close()
                return
            said = f"{number} {turn} "
            try:
                fresh = turn % 2 == 0
                status, body = self._request("POST", "/v1/chat/completions", _chat("innocent", said), None if fresh else kept)
                answer = json.loads(body)["choices"][0]["message"]["content"] if status == 200 else ""
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.wrongs.append(f"innocent: {type(error).__name__}")
                kept.close()
                continue
            self.seen["innocent", status] += 1
            if answer != said:
                self.wrongs.append(f"innocent: {status} {answer!r} for {said!r}")

    def _request(
        self, method: str, path: str, body: object = None, kept: http.client.HTTPConnection | None = None
    ) -> tuple[int, bytes]:
        line = kept or http.client.HTTPConnection(*self._address, timeout=60)
        try:
            line.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"} if body else {})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            if kept is None:
                line.close()


def _chat(model: str, said: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": said}]}


def check(host: Served, storm: Storm) -> None:
    assert not Counter(storm.wrongs)
    assert storm.seen["innocent", 200] > 0
    assert host.process.poll() is None
    assert host.chat("e0", "on it goes").json()["choices"][0]["message"]["content"] == "on it goes "
    assert host.worker("innocent")["restarts"] == 0
    # Nothing of it is left: no request in flight, and of descriptors no more than a handful that are kept anyway.
    eventually(lambda: not host.client.get("/v1/requests").json()["data"])
    for number in range(MODELS):
        host.client.delete(f"/v1/models/e{number}")
    eventually(lambda: len(list(Path(f"/proc/{host.process.pid}/fd").iterdir())) < 60)
    eventually(lambda: len(list((host.folder / "tmp").rglob("modelhost-worker-*"))) == 1)


def test_a_storm_of_loading_and_unloading_hurts_nobody_beside_it(serve: Serve) -> None:
    host = serve(CONFIG)
    host.chat("innocent", "warm")
    check(host, Storm(host, clients=8, goes_on=lambda turn: turn < 6))


@pytest.mark.soak
@pytest.mark.skipif("SOAK_MINUTES" not in os.environ, reason="runs for as many minutes as SOAK_MINUTES says")
@pytest.mark.timeout(0)
def test_minutes_of_storm_hurt_nobody_beside_it(serve: Serve) -> None:
    host = serve(CONFIG)
    host.chat("innocent", "warm")
    until = time.monotonic() + 60 * float(os.environ["SOAK_MINUTES"])
    storm = Storm(host, clients=12, goes_on=lambda turn: time.monotonic() < until)
    print(sorted(storm.seen.items(), key=str))
    check(host, storm)
