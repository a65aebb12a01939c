"""One ONNX network in a file of its own, which knows what it is for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from dld_d2.structures.files import check_regular_file

__all__ = ["METADATA_KEY", "checked_card", "open_network"]

METADATA_KEY = "dld_d2"
"""In the network's metadata, where its card is, as JSON."""


def open_network(
    path: str | os.PathLike[str], what: str, remedy: str, *, threads: int = 1
) -> tuple[onnxruntime.InferenceSession, str]:
    """
    Args:
        path: of the file.
        what: the network is, for messages.
        remedy: the command that makes one.
        threads: within the network.

    Returns:
        The network, and the text of its card; "{}" if it has none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is damaged or something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {what} at {str(path)!r}; `{remedy}` makes one")
    check_regular_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    # Else a plan of the memory would be kept for every size of image.
    options.enable_mem_pattern = False
    try:
        network = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common class
        raise ValueError(f"{path}: ONNX Runtime does not take it: {error}") from None
    return network, network.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "{}")


def checked_card(text: str, form: str, version: int, what: str, remedy: str) -> Mapping[str, Any]:
    """What the text of a card says.

    Args:
        text: as `open_network` gives it.
        form: what its "format" is to be.
        version: the one that this package reads.
        what: the file should be, with its article.
        remedy: how to get another one.

    Raises:
        ValueError: if it is none, without the file's name.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"its card is no JSON; {remedy}") from None
    if not isinstance(content, dict) or content.get("format") != form:
        raise ValueError(f"is no {what}")
    if content.get("version") != version:
        raise ValueError(
            f"is of version {content.get('version')!r}, and this dld_d2 reads {version}; update "
            f"it, or {remedy}"
        )
    return content
