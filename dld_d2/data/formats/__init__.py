"""One reader per annotation format. Importing this package registers them in `FORMATS`."""

from . import (
    coco_text,
    datalist,
    icdar2013,
    icdar2015,
    mlt2017,
    polygon,
    synthtext,
    totaltext,
)
from .registry import FORMATS, check_options, get_reader, read_records

__all__ = [
    "FORMATS",
    "check_options",
    "coco_text",
    "datalist",
    "get_reader",
    "icdar2013",
    "icdar2015",
    "mlt2017",
    "polygon",
    "read_records",
    "synthtext",
    "totaltext",
]
