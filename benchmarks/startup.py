"""How long `modelhost --help` and a start without preloading take, beside what their imports alone cost."""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measurement import environment, interleaved, ratio, tell, wall

ROUNDS = 15


def ready(folder: Path) -> float:
    """Return the seconds from starting `modelhost serve` to the first answer of `/readyz`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", "modelhost", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.DEVNULL) as host:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    client.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    if b" 200 " in client.recv(100):
                        break
            except OSError:
                time.sleep(0.001)
        took = time.perf_counter() - began
        host.terminate()
    return took


def main() -> None:
    """Measure both."""
    values = interleaved(
        ROUNDS,
        help=lambda: wall(sys.executable, "-m", "modelhost", "--help"),
        imports=lambda: wall(sys.executable, "-c", "import click, rich"),
    )
    tell("help", "ratio < 1.3", ratio=ratio(values, "help", "imports"), seconds=sorted(values["help"])[ROUNDS // 2])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = ready(folder)
        values = interleaved(
            ROUNDS,
            ready=lambda: ready(folder),
            imports=lambda: wall(sys.executable, "-c", "import litestar, uvicorn"),
        )
    allowed = [1.6 * seconds + 0.5 for seconds in values["imports"]]
    values["allowed"] = allowed
    tell(
        "ready without preload",
        "ratio < 1 to 1.6 x `import litestar, uvicorn` + 0.5 s",
        ratio=ratio(values, "ready", "allowed"),
        seconds=sorted(values["ready"])[ROUNDS // 2],
        seconds_of_the_very_first_start=first,
    )


if __name__ == "__main__":
    main()
