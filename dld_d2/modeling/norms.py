"""Names of normalisations."""

from __future__ import annotations

__all__ = ["NORMS"]

NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "LN")
"""Those that Detectron2 has; "" is none."""
