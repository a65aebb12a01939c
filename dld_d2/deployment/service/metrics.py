"""What a service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from dld_d2.deployment.result import SpottingResult

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60)


class Metrics:
    """Counters of one service; labels have few values, so that they never grow.

    Args:
        late: tells how many readers work for requests whose time is over.
    """

    def __init__(self, late: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        # Memory, processor time and open files of the process.
        ProcessCollector(registry=self._registry)
        into = {"registry": self._registry}
        self._requests = Counter(
            "dld_d2_read_requests",
            "Requests to read, by the status of the answer",
            ["status"],
            **into,
        )
        self._request_seconds = Histogram(
            "dld_d2_read_request_seconds",
            "From a request to its answer, words or not",
            buckets=_SECONDS,
            **into,
        )
        self._reading_seconds = Histogram(
            "dld_d2_reading_seconds", "Decoding and reading an image", buckets=_SECONDS, **into
        )
        self._words = Counter("dld_d2_words", "Words that were found", **into)
        self._scales = Counter("dld_d2_images", "Images read, by their scale", ["scale"], **into)
        self.in_progress = Gauge(
            "dld_d2_read_requests_in_progress", "Requests to read that are being answered", **into
        )
        Gauge(
            "dld_d2_late_readers", "Readers at work for requests whose time is over", **into
        ).set_function(late)

    def answered(self, status: int, seconds: float) -> None:
        """A request to read was answered."""
        self._requests.labels(str(status)).inc()
        self._request_seconds.observe(seconds)

    def was_read(self, result: SpottingResult, seconds: float) -> None:
        """An image was read."""
        self._reading_seconds.observe(seconds)
        self._words.inc(len(result))
        # Of parts there is a mean, which is another one for each image.
        self._scales.labels("parts" if result.focused else f"{result.scale:g}").inc()

    def text(self) -> bytes:
        """All of it, as `CONTENT_TYPE` says."""
        return generate_latest(self._registry)
