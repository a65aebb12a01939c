"""Errors of use, as commands raise and end them."""

from __future__ import annotations

from dld_d2.structures.errors import UsageError, ends_in_one_line

__all__ = ["UsageError", "ends_in_one_line"]
