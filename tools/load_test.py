r"""Load a running `dld-d2 serve` and tell how it bears that: latency, statuses, memory.

    python tools/load_test.py --images PHOTOS --minutes 10 --report output/load.json

Each request sends a random part of a photograph, so that hardly two are of the same size. Minute by
minute another number of them is in flight, in turn. Some are no photographs: bytes that are no
image, damaged ones, an image whose header promises 10,000 megapixels, and a body that is too large;
each must get its own 4xx. The memory is what the service's /metrics says at the end of each minute.

Exit status: 0 if every answer was one of those that it should have been, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
from load_testing.requests import Request, Requests

from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.console import console, table
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.image_paths import find_images

__all__ = ["main"]

MEMORY = "process_resident_memory_bytes"


class Record:
    """What was seen.

    Attributes:
        seconds: of photographs that were read, by the number of requests in flight.
        statuses: how often a kind of request got a status; 0 where there was no answer.
        unexpected: of these, such as should not be.
        memory: MB at the end of each minute, the first before any request.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self.statuses: dict[str, Counter[int]] = defaultdict(Counter)
        self.unexpected: Counter[str] = Counter()
        self.memory: list[float] = []

    def add(self, request: Request, status: int, seconds: float, in_flight: int) -> None:
        """One more answer."""
        self.statuses[request.kind][status] += 1
        if status not in request.expected:
            self.unexpected[f"{request.kind}: {status}"] += 1
        if status == 200:
            self.seconds[in_flight].append(seconds)


@ends_in_one_line(httpx.HTTPError)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    requests = Requests(find_images(arguments.images), random.Random(0), arguments.hostile)
    record = asyncio.run(load(arguments, requests))
    show(record)
    if arguments.report is not None:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps(as_values(record), indent=1) + "\n")
    return 1 if record.unexpected else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="of the service (default %(default)s)")
    add("--images", nargs="+", required=True, metavar="PATH", help="photographs to send")
    add("--minutes", type=at_least(1), default=10, metavar="N", help="(default %(default)s)")
    add(
        "--in-flight",
        type=at_least(1),
        nargs="+",
        default=[1, 2, 4, 8],
        metavar="N",
        help="requests at once, in turn, a minute each (default 1 2 4 8)",
    )
    add(
        "--hostile",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of requests that are no photographs (default %(default)s)",
    )
    add("--report", type=Path, metavar="FILE", help="all figures as JSON")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.hostile <= 1:
        parser.error(f"--hostile must be between 0 and 1, got {arguments.hostile}")
    return arguments


async def load(arguments: argparse.Namespace, requests: Requests) -> Record:
    """Send requests for some minutes."""
    record = Record()
    async with httpx.AsyncClient(base_url=arguments.url, timeout=120) as client:
        record.memory.append(await memory(client))
        for minute in range(arguments.minutes):
            in_flight = arguments.in_flight[minute % len(arguments.in_flight)]
            end = time.monotonic() + 60
            senders = [send(client, requests, record, in_flight, end) for _ in range(in_flight)]
            await asyncio.gather(*senders)
            record.memory.append(await memory(client))
            console.print(
                f"minute {minute + 1}: {in_flight} in flight, {record.memory[-1]:.0f} MB",
                style="dim",
            )
    return record


async def send(
    client: httpx.AsyncClient, requests: Requests, record: Record, in_flight: int, end: float
) -> None:
    """One request after the other, until the end."""
    while time.monotonic() < end:
        request = requests.next()
        start = time.monotonic()
        try:
            status = (await client.post("/read", content=request.body)).status_code
        except httpx.HTTPError:
            status = 0
        record.add(request, status, time.monotonic() - start, in_flight)
        if status in (0, 503):
            await asyncio.sleep(1)


async def memory(client: httpx.AsyncClient) -> float:
    """Resident, in MB."""
    lines = (await client.get("/metrics")).text.splitlines()
    found = [float(line.split()[1]) for line in lines if line.startswith(f"{MEMORY} ")]
    if not found:
        raise UsageError(f"{client.base_url}/metrics lacks {MEMORY}; is it dld-d2 serve?")
    return found[0] / 1e6


def as_values(record: Record) -> dict:
    """For JSON; latencies in seconds."""
    latency = {}
    for in_flight, seconds in sorted(record.seconds.items()):
        p50, p95 = np.percentile(seconds, [50, 95]).tolist()
        latency[in_flight] = {"read": len(seconds), "p50": round(p50, 3), "p95": round(p95, 3)}
    return {
        "latency": latency,
        "statuses": {kind: dict(counts) for kind, counts in sorted(record.statuses.items())},
        "unexpected": dict(record.unexpected),
        "memory_mb": [round(value, 1) for value in record.memory],
    }


def show(record: Record) -> None:
    """The figures as tables."""
    values = as_values(record)
    latency = table("Photographs that were read", "in flight", "read", "p50 s", "p95 s")
    for in_flight, one in values["latency"].items():
        latency.add_row(str(in_flight), str(one["read"]), f"{one['p50']:.2f}", f"{one['p95']:.2f}")
    statuses = table("Answers", "request", "status", "number", words=["request"])
    for kind, counts in values["statuses"].items():
        for status, number in sorted(counts.items()):
            statuses.add_row(kind, str(status), str(number))
    console.print(latency, statuses)
    console.print("memory, MB:", " ".join(f"{value:.0f}" for value in record.memory))
    for line, number in record.unexpected.items():
        console.print(f"unexpected: {line}, {number} times", style="red")


if __name__ == "__main__":
    sys.exit(main())
