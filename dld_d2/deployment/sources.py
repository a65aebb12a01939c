"""What is read as one image: a file, a page of a document, a moment of a video."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from dld_d2.data.images import ImageLike
from dld_d2.deployment.documents import count_pages, is_document, read_pages
from dld_d2.deployment.result import SpottingResult
from dld_d2.deployment.video import is_video, read_video

__all__ = ["PLACES", "Found", "Source", "find_sources", "images_of", "read_sources"]

PLACES = ("page", "start", "end")
"""What `Source.place` may hold."""


@dataclass(frozen=True)
class Source:
    """Where an image comes from.

    Attributes:
        file: its name.
        page: of a document, from 1; None for a file that is one image.
        start, end: of a moment of a video, in seconds.
    """

    file: str
    page: int | None = None
    start: float | None = None
    end: float | None = None

    @property
    def name(self) -> str:
        """For people: the file, and which part of it."""
        if self.page is not None:
            return f"{self.file}, page {self.page}"
        if self.start is not None:
            return f"{self.file}, {self.start:.2f} to {self.end:.2f} s"
        return self.file

    @property
    def stem(self) -> str:
        """For files: without folder and ending."""
        stem = Path(self.file).stem
        if self.page is not None:
            return f"{stem}_page{self.page}"
        return stem if self.start is None else f"{stem}_{self.start:.2f}s"

    @property
    def place(self) -> dict[str, int | float]:
        """For JSON: which part of the file; empty for a file that is one image."""
        if self.page is not None:
            return {"page": self.page}
        if self.start is not None:
            return {"start": round(self.start, 3), "end": round(self.end, 3)}
        return {}


class Found(NamedTuple):
    """What was found in a source.

    Attributes:
        source: where.
        image: the page or frame; of a file that is one image its name.
        result: words, or why there are none.
    """

    source: Source
    image: ImageLike
    result: SpottingResult | Exception


def find_sources(files: Iterable[str]) -> list[Source]:
    """The files, documents of several pages page by page; videos are one, as yet.

    A document that cannot be opened is one as well, and reading it says why.

    Raises:
        UsageError: for a PDF file, if what reads it is not installed.
    """
    sources = []
    for file in files:
        number = 0
        if is_document(file):
            try:
                number = count_pages(file)
            except OSError:
                number = 0
        is_pdf = Path(file).suffix.lower() == ".pdf"
        if number > 1 or (number and is_pdf):
            sources += [Source(file, page) for page in range(1, number + 1)]
        else:
            sources.append(Source(file))
    return sources


def read_sources(
    reader, sources: Sequence[Source], batch_size: int, frames_per_second: float
) -> Iterator[Found]:
    """Read them in order.

    Args:
        reader: `TextSpotter`, or what reads like it.
        sources: as `find_sources` gives them.
        batch_size: images, or pages, that run together, at most; frames run one by one, since each
            depends on the last one.
        frames_per_second: of videos, see `read_video`.
    """
    for moving, some in groupby(sources, key=lambda source: is_video(source.file)):
        if not moving:
            yield from _read_images(reader, some, batch_size)
            continue
        for source in some:
            yield from _read_moments(reader, source.file, frames_per_second)


def images_of(sources: Iterable[Source]) -> Iterator[tuple[Source, ImageLike | OSError]]:
    """The images of sources that are no videos: names of files, and pages; a page that cannot be
    read is the error that says so. Documents are opened once for all their pages."""
    for (file, is_page), some in groupby(sources, key=lambda one: (one.file, one.page is not None)):
        if is_page:
            yield from zip(some, read_pages(file), strict=True)
        elif Path(file).suffix.lower() == ".pdf":
            # There is no page in it; this says why.
            yield from ((source, _why_not(file)) for source in some)
        else:
            yield from ((source, file) for source in some)


def _why_not(file: str) -> OSError:
    try:
        count_pages(file)
    except OSError as error:
        return error
    return OSError(f"{file}: has no pages")


def _read_images(reader, sources: Iterable[Source], batch_size: int) -> Iterator[Found]:
    waiting: deque[tuple[Source, ImageLike | OSError]] = deque()

    def readable() -> Iterator[ImageLike]:
        for source, image in images_of(sources):
            waiting.append((source, image))
            if not isinstance(image, OSError):
                yield image

    def unreadable() -> Iterator[Found]:
        while waiting and isinstance(waiting[0][1], OSError):
            source, error = waiting.popleft()
            yield Found(source, source.file, error)

    # Results come in order, but later than images are asked for.
    for result in reader.predict_many(readable(), batch_size):
        yield from unreadable()
        yield Found(*waiting.popleft(), result)
    yield from unreadable()


def _read_moments(reader, file: str, frames_per_second: float) -> Iterator[Found]:
    try:
        for moment in read_video(reader, file, frames_per_second):
            source = Source(file, start=moment.start, end=moment.end)
            yield Found(source, moment.image, moment.result)
    except (OSError, ValueError) as error:
        yield Found(Source(file), file, error)
