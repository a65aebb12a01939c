"""How many words a training step sees, in the log."""

from __future__ import annotations

import torch
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage, has_event_storage

__all__ = ["log_words"]


def log_words(targets: list[Instances]) -> None:
    """Log the number of words of a batch, and of those among them that train detection only;
    nothing outside a training loop."""
    if not has_event_storage():
        return
    words = torch.cat([~t.gt_ignore for t in targets])
    readable = torch.cat([t.gt_readable for t in targets])
    storage = get_event_storage()
    storage.put_scalar("recognition/num_words", int(words.sum()))
    storage.put_scalar("recognition/num_unreadable", int((words & ~readable).sum()))
