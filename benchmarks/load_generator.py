"""A load generator for one HTTP service: a process of its own, raw sockets, kept alive, one request at a time on each.

    python benchmarks/load_generator.py PORT PATH BODIES.jsonl --connections N --seconds S [--rate R] [--token T]

Each line of BODIES.jsonl is sent as a body, in turn, under a request id of its own. Without a rate every connection
sends as soon as it has its answer; with one, requests are due at fixed times and their latency counts from then, so
that a service that stalls is not spared. The first second is not counted. Prints one JSON object, also when it is ended
before its time by SIGTERM.
"""

import argparse
import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import uvloop

WARM_UP_S = 1.0
RECONNECT_S = 0.02
DRAIN_S = 5.0


class Load:
    """What has been sent and what came back, over all connections."""

    def __init__(self, bodies: Sequence[bytes], arguments: argparse.Namespace) -> None:
        """Prepare the requests; nothing is sent yet."""
        self.arguments = arguments
        head = f"POST {arguments.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        if arguments.token:
            head += f"Authorization: Bearer {arguments.token}\r\n"
        self._requests = [
            (f"{head}Content-Length: {len(body)}\r\nX-Request-Id: ".encode(), b"\r\n\r\n" + body) for body in bodies
        ]
        self.begun = time.perf_counter()
        self.end = self.begun + WARM_UP_S + arguments.seconds
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.acknowledged: list[str] = []
        self.answers: list[tuple[float, float, float, bytes]] = []
        """Of what was answered with 200, if it is asked for: clock times of sending and receiving, seconds since it was
        due, and the body."""
        self.problem = ""

    def next_request(self) -> tuple[str, bytes]:
        """The id and the bytes of the next request."""
        self.sent += 1
        request_id = f"{self.arguments.name}-{self.sent}"
        head, body = self._requests[self.sent % len(self._requests)]
        return request_id, head + request_id.encode() + body

    def answered(self, request_id: str, status: bytes, since: float, sent: float, body: bytes) -> None:
        """Note an answer to what was due, and what was sent."""
        now = time.perf_counter()
        if status == b"200":
            self.acknowledged.append(request_id)
            if self.arguments.answers:
                self.answers.append((sent, time.time(), now - since, body))
        elif not self.problem:
            self.problem = body.decode(errors="replace")[:300]
        if self.begun + WARM_UP_S <= since and now <= self.end:
            self.statuses[status.decode()] += 1
            self.latencies.append(now - since)

    def stop(self) -> None:
        """Send no more."""
        self.end = min(self.end, time.perf_counter())

    def report(self) -> dict[str, object]:
        """What there is to say: latencies in milliseconds."""
        ordered = sorted(self.latencies)
        at = {f"p{share:g}": _quantile(ordered, share / 100) * 1000 for share in (50, 90, 99, 99.9)}
        per_second = len(ordered) / (self.end - self.begun - WARM_UP_S)
        return {"per_second": per_second, **at, "statuses": self.statuses, "sent": self.sent, "problem": self.problem}


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


class Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next."""

    def __init__(self, load: Load, number: int) -> None:
        """Bind to a load; `number` spaces the due times of the connections evenly."""
        self._load, self._loop = load, asyncio.get_running_loop()
        rate = load.arguments.rate
        self._interval = load.arguments.connections / rate if rate else 0.0
        self._due = load.begun + self._interval * number / load.arguments.connections
        self._request_id, self._since, self._sent = "", 0.0, 0.0
        self._received = b""
        self.over: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._plan()

    def data_received(self, data: bytes) -> None:
        """Collect one answer."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lowered = head.lower()
        start = lowered.index(b"content-length:") + len(b"content-length:")
        if len(body) < int(lowered[start:].split(b"\r\n", 1)[0]):
            return
        request_id, self._request_id, self._received = self._request_id, "", b""
        self._load.answered(request_id, head[9:12], self._since, self._sent, body)
        if b"connection: close" in lowered:
            self._transport.close()
        else:
            self._plan()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio passes it
        """Count a request that was under way, and connect again."""
        if self._request_id:
            self._load.statuses["lost"] += 1
            self._request_id = ""
        self._received = b""
        if time.perf_counter() < self._load.end:
            self._loop.call_later(RECONNECT_S, lambda: self._loop.create_task(self.connect()))
        elif not self.over.done():
            self.over.set_result(None)

    async def connect(self) -> None:
        """Connect, and try again as long as there is time."""
        while time.perf_counter() < self._load.end:
            try:
                await self._loop.create_connection(lambda: self, "127.0.0.1", self._load.arguments.port)
            except OSError:
                await asyncio.sleep(RECONNECT_S)
            else:
                return
        if not self.over.done():
            self.over.set_result(None)

    def _plan(self) -> None:
        now = time.perf_counter()
        if now >= self._load.end:
            self._transport.close()
        elif self._interval:
            self._since = self._due
            self._due += self._interval
            self._loop.call_later(max(self._since - now, 0.0), self._send)
        else:
            self._since = now
            self._send()

    def _send(self) -> None:
        if time.perf_counter() >= self._load.end:
            self._transport.close()
        elif not self._transport.is_closing():
            self._request_id, request = self._load.next_request()
            self._sent = time.time()
            self._transport.write(request)


async def _run(load: Load) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
    connections = [Connection(load, number) for number in range(load.arguments.connections)]
    await asyncio.gather(*(connection.connect() for connection in connections))
    pending = {connection.over for connection in connections}
    while pending and time.perf_counter() < load.end + DRAIN_S:
        _, pending = await asyncio.wait(pending, timeout=0.5)


def main() -> None:
    """Send the load and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; as fast as answers come by default")
    parser.add_argument("--token", default="")
    parser.add_argument("--name", default="load", help="first part of the request ids")
    parser.add_argument(
        "--acknowledged", type=Path, help="file for the ids of all requests that were answered with 200"
    )
    parser.add_argument("--answers", type=Path, help="file for when each of them was sent and received, and the body")
    arguments = parser.parse_args()
    load = Load(arguments.bodies.read_bytes().splitlines(), arguments)
    uvloop.run(_run(load))
    if arguments.acknowledged:
        arguments.acknowledged.write_text("\n".join(load.acknowledged))
    if arguments.answers:
        lines = (
            f'{{"sent": {sent}, "received": {got}, "latency": {latency}, "body": {body.decode()}}}'
            for sent, got, latency, body in load.answers
        )
        arguments.answers.write_text("\n".join(lines))
    print(json.dumps(load.report()))


if __name__ == "__main__":
    main()
