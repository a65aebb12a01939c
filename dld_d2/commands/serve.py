r"""Read photographs for others, over HTTP, by networks that need no PyTorch.

    dld-d2 export --model photo_student --format onnx --output photo_onnx
    dld-d2 serve --model photo_onnx --host 0.0.0.0 --port 8000

POST /read takes the bytes of an image file and answers with its words as JSON, GET /health tells
whether it can read, GET /metrics counts for Prometheus. docs/service.md says all of it.

It runs until it gets SIGTERM or SIGINT, and then answers what is there first.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dld_d2.commands.arguments import at_least, described_parser
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.service.limits import Limits

__all__ = ["main"]

_KEEP_ALIVE = 15  # seconds that a connection may be idle between requests


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    limits = Limits(
        body_bytes=round(arguments.max_megabytes * 1e6),
        pixels=round(arguments.max_megapixels * 1e6),
        seconds=arguments.timeout,
        requests=arguments.max_requests,
    )
    try:
        import onnxruntime  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(
            f"{error.name} is not installed, which serving needs: pip install 'dld_d2[serve]'"
        ) from None
    from dld_d2.deployment.runtime import OnnxSpotter
    from dld_d2.deployment.service.app import create_app

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    cv2.setNumThreads(arguments.threads)
    readers = [
        OnnxSpotter(arguments.model, threads=arguments.threads) for _ in range(arguments.workers)
    ]
    for reader in readers:
        # The first image takes longer; and a model that cannot read shall not answer at all.
        reader(first_image())
    choice = readers[0].description.choice
    app = create_app(readers, limits, chooses=choice is not None and choice.fixed is None)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=arguments.host,
            port=arguments.port,
            access_log=arguments.access_log,
            server_header=False,
            limit_concurrency=arguments.max_connections,
            timeout_keep_alive=_KEEP_ALIVE,
            # Requests that are there end in this time, with their words or without.
            timeout_graceful_shutdown=round(limits.seconds) + 1,
        )
    )
    server.run()
    return 0 if server.started else 2


def first_image() -> np.ndarray:
    """(720, 1280, 3) uint8, with something to find and to read."""
    image = np.full((720, 1280, 3), 230, dtype=np.uint8)
    return cv2.putText(image, "ready", (400, 400), cv2.FONT_HERSHEY_SIMPLEX, 4, (40, 20, 90), 6)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    usual = Limits()
    parser = described_parser(__doc__)
    add = parser.add_argument
    add(
        "--model",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder that `dld-d2 export --format onnx` made",
    )
    add("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    add("--port", type=at_least(0), default=8000, help="(default 8000; 0 for any that is free)")
    add(
        "--workers",
        type=at_least(1),
        default=1,
        metavar="N",
        help="images that are read at once, each by a reader of its own (default 1)",
    )
    add(
        "--threads",
        type=at_least(1),
        default=1,
        metavar="N",
        help="of each reader's networks (default 1); workers times threads should not be more "
        "than the machine's cores",
    )
    add(
        "--max-megabytes",
        type=float,
        default=usual.body_bytes / 1e6,
        metavar="N",
        help="millions of bytes of a request, at most (default %(default).3g)",
    )
    add(
        "--max-megapixels",
        type=float,
        default=usual.pixels / 1e6,
        metavar="N",
        help="millions of pixels of an image, at most (default %(default).3g)",
    )
    add(
        "--timeout",
        type=float,
        default=usual.seconds,
        metavar="S",
        help="seconds from a request to its answer, at most (default %(default).3g)",
    )
    add(
        "--max-requests",
        type=at_least(1),
        default=usual.requests,
        metavar="N",
        help="requests that are read or wait at once; more are told to come again (default "
        "%(default)s)",
    )
    add(
        "--max-connections",
        type=at_least(1),
        default=256,
        metavar="N",
        help="open at once (default %(default)s)",
    )
    add("--access-log", action="store_true", help="a line on standard output for each request")
    return parser.parse_args(argv)
