"""How much of strangers a service takes."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from dld_d2.structures.errors import UsageError

__all__ = ["Limits", "RequestError"]

# Pillow refuses files of more by itself, before they can be measured.
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What is refused.

    Attributes:
        body_bytes: of a request, at most.
        pixels: of an image, at most: a megabyte of PNG may hold a hundred million.
        seconds: that a request may take, from its arrival to its answer.
        requests: that are there at once, at most: being received, waiting, or being read.

    Raises:
        UsageError: for a limit that is not above 0, or of more pixels than Pillow takes.
    """

    body_bytes: int = 20_000_000
    pixels: int = 40_000_000
    seconds: float = 30.0
    requests: int = 16

    def __post_init__(self) -> None:
        for name in ("body_bytes", "pixels", "seconds", "requests"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"the limit of {name} must be above 0 and finite, not {value}")
        if self.pixels > _MOST_PIXELS:
            raise UsageError(
                f"the limit of pixels must be at most {_MOST_PIXELS}, above which Pillow refuses "
                f"images, not {self.pixels}"
            )
