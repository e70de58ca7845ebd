"""Clients that ask a server over kept connections, in a process of its own.

As a script, that process: it takes a plan as JSON on stdin, and prints what it measured as JSON.
"""

import json
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """Which paths `n_clients` ask for, in random order by `seed`, for how many seconds."""

    port: int
    paths: list[str]
    n_clients: int
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Latencies in milliseconds, requests per second, and answers that were no success."""

    p50: float
    p95: float
    p99: float
    per_second: float
    n_requests: int
    n_errors: int


def ask(plan: Plan) -> Measured:
    """Have clients in another process ask a server, each its next request after an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.http_clients"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        check=True,
        text=True,
    )
    return Measured(**json.loads(done.stdout))


class Client:
    """One connection, opened again where the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connected()

    def get(self, path: str) -> int:
        """Ask for a path and read the whole answer; return its status."""
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode()
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._received()
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        n_missing = length - len(body)
        while n_missing > 0:
            n_missing -= len(self._received())
        return int(lines[0].split()[1])

    def _received(self) -> bytes:
        chunk = self._socket.recv(2**18)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        return chunk

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _ask_on(plan: Plan, number: int, latencies: list[float], errors: list[str]) -> None:
    generator = random.Random(f"{plan.seed} {number}")
    client = Client(plan.port)
    ends = time.perf_counter() + plan.seconds
    while (started := time.perf_counter()) < ends:
        path = generator.choice(plan.paths)
        status = client.get(path)
        latencies.append(1000 * (time.perf_counter() - started))
        if status != 200:
            errors.append(f"{status} {path}")


def _measure(plan: Plan) -> Measured:
    latencies: list[float] = []
    errors: list[str] = []
    clients = [
        threading.Thread(target=_ask_on, args=(plan, number, latencies, errors))
        for number in range(plan.n_clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist()
    return Measured(
        p50=p50,
        p95=p95,
        p99=p99,
        per_second=len(latencies) / plan.seconds,
        n_requests=len(latencies),
        n_errors=len(errors),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(Plan(**json.load(sys.stdin))))))  # noqa: T201
