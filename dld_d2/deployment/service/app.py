"""What answers requests: an ASGI application.

POST /read      an image file's bytes as the body; its words as JSON
GET  /health    whether it can read
GET  /metrics   counters, for Prometheus
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import dld_d2
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.result_entry import result_entry
from dld_d2.deployment.service.images import check, decode
from dld_d2.deployment.service.limits import Limits, RequestError
from dld_d2.deployment.service.metrics import CONTENT_TYPE, Metrics
from dld_d2.deployment.service.options import ImageReader, ReadingOptions
from dld_d2.deployment.service.pool import Overloaded, ReaderPool
from dld_d2.structures.errors import is_error_of_use, one_line

__all__ = ["create_app"]

_logger = logging.getLogger(__name__)


def create_app(
    readers: Sequence[ImageReader], limits: Limits | None = None, *, chooses: bool = False
) -> Starlette:
    """The application.

    Args:
        readers: each reads one image at a time, in a thread of its own.
        limits: of requests; None for the defaults.
        chooses: whether the readers choose scales by a selector, so that requests may have a cost
            bias of their own.
    """
    service = _Service(readers, limits or Limits(), chooses)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.pool.close)

    return Starlette(
        routes=[
            Route("/read", service.read, methods=["POST"]),
            Route("/health", service.health),
            Route("/metrics", service.tell_metrics),
        ],
        exception_handlers={HTTPException: _told},
        lifespan=lifespan,
    )


class _Service:
    def __init__(self, readers: Sequence[ImageReader], limits: Limits, chooses: bool) -> None:
        self.pool = ReaderPool(readers, limits.requests)
        self._limits = limits
        self._chooses = chooses
        self._metrics = Metrics(lambda: self.pool.late)

    async def read(self, request: Request) -> Response:
        """POST /read: every outcome is an answer, and is counted."""
        start = monotonic()
        with self._metrics.in_progress.track_inprogress():
            try:
                answer = JSONResponse(await self._words(request, start))
            except Overloaded as error:
                answer = _error(503, str(error), {"Retry-After": str(error.retry_after)})
            except RequestError as error:
                # A sender that is slow may be so for ever. What is left of a body that is too large
                # is received and thrown away: a sender that is cut off would not see the answer.
                close = {"Connection": "close"} if error.status == 408 else {}
                answer = _error(error.status, str(error), close)
            except ClientDisconnect:
                answer = _error(400, "the connection was closed before the body ended")
            except Exception as error:
                _logger.exception("a request failed")
                answer = _error(500, f"internal error ({type(error).__name__}); the log has more")
        self._metrics.answered(answer.status_code, monotonic() - start)
        return answer

    async def health(self, _: Request) -> Response:
        """GET /health: 503 if all readers are at work on what nobody waits for any more."""
        late, number = self.pool.late, self.pool.readers
        state = {"version": dld_d2.__version__, "readers": number, "late": late}
        if late < number:
            return JSONResponse({"status": "ok", **state})
        return JSONResponse({"status": "no reader is free", **state}, 503)

    async def tell_metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _words(self, request: Request, start: float) -> dict:
        options = ReadingOptions.of(request.query_params, chooses=self._chooses)
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RequestError(415, "send the bytes of the image as the body, not a form")
        slot = self.pool.admit()
        try:
            async with asyncio.timeout(self._limits.seconds):
                body = await self._body(request)
                # What is none need not wait for a reader.
                await asyncio.to_thread(check, body, self._limits.pixels)
        except TimeoutError:
            slot.release()
            raise RequestError(408, "the body did not arrive in time") from None
        except BaseException:
            slot.release()
            raise
        left = self._limits.seconds - (monotonic() - start)
        try:
            result = await self.pool.run(
                slot, lambda reader: self._read(reader, body, options), left
            )
        except TimeoutError:
            raise RequestError(
                504, f"the words were not read within {self._limits.seconds:g} s"
            ) from None
        return result_entry(result)

    async def _body(self, request: Request) -> bytes:
        limit = self._limits.body_bytes
        message = f"the body has more than {limit} bytes"
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise RequestError(413, message)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise RequestError(413, message)
        return bytes(body)

    def _read(self, reader: ImageReader, body: bytes, options: ReadingOptions) -> SpottingResult:
        """Decode and read, in a reader's thread."""
        start = monotonic()
        image = decode(body, self._limits.pixels)
        try:
            result = options.read(reader, image)
        except MemoryError:
            raise RequestError(413, "the image does not fit into memory") from None
        except ValueError as error:
            if not is_error_of_use(error):
                raise
            raise RequestError(422, one_line(error, 300)) from None
        self._metrics.was_read(result, monotonic() - start)
        return result


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


async def _told(_: Request, error: HTTPException) -> Response:
    """Another path, or another method."""
    return _error(error.status_code, error.detail, error.headers)
