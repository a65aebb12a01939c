"""Names of the lexicons that a data set may have and an evaluation may use."""

from __future__ import annotations

__all__ = ["LEXICONS"]

LEXICONS = ("none", "strong", "weak", "generic", "full")
"""What the ICDAR protocols correct readings with, in the order of tables: "none" corrects nothing,
"strong" has a list for each image, "weak" the words of the whole set, "generic" those of a
dictionary besides, and "full" is Total-Text's list of its test set."""
