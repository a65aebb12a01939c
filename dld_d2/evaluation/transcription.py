"""When two transcriptions are the same word (ICDAR RRC, Robust Reading Competition, end to end)."""

from __future__ import annotations

import re

SPECIAL_CHARACTERS = "!?.:,*\"()·[]/' "
"""Characters that the protocol forgives at the ends of a ground-truth word."""

MIN_DICTIONARY_WORD_LENGTH = 3

# Latin letters, Latin-1 Supplement to the end of Latin Extended-B without the African clicks
# (U+01C0..U+01C3), IPA to U+027F, Greek, and the hyphen; the two signs inside are no letters.
_DICTIONARY_WORD = re.compile(r"(?:(?![×÷])[a-zA-Z\u00c0-\u01bf\u01c4-\u027f\u0386-\u03ff-])*")
_SPECIAL_TO_SPACE = str.maketrans(dict.fromkeys(SPECIAL_CHARACTERS, " "))


def strip_commas(text: str) -> str:
    """Remove commas: the files separate fields by commas and the protocol scores words without."""
    return text.replace(",", "")


def accepted_readings(truth: str, task: str) -> list[str]:
    """Every reading, in upper case, that counts as correct for a scored ground truth.

    In "end_to_end" the ground truth may lose its first character, its last one, or both, where
    they are special. In "word_spotting" nothing is forgiven: `truth` is what `dictionary_word`
    returned. Comparison ignores case, so compare with the prediction in upper case.
    """
    truth = truth.upper()
    return [truth] if task == "word_spotting" else _accepted_forms(truth)


def _accepted_forms(truth: str) -> list[str]:
    forms = [truth]
    if truth:
        leading = truth[0] in SPECIAL_CHARACTERS
        trailing = truth[-1] in SPECIAL_CHARACTERS
        if leading:
            forms.append(truth[1:])
        if trailing:
            forms.append(truth[:-1])
        if leading and trailing:
            forms.append(truth[1:-1])
    return forms


def dictionary_word(text: str) -> str | None:
    """The word a spotter must find in word spotting, or None where it is no dictionary word.

    A final 's or 'S goes, then hyphens at both ends, then special characters become spaces and
    outer spaces go. What is left must hold no space, have at least 3 characters, and only letters
    of the protocol's ranges and hyphens. Ground truth that gives None becomes don't-care.
    """
    if text.endswith(("'s", "'S")):
        text = text[:-2]
    word = text.strip("-").translate(_SPECIAL_TO_SPACE).strip()
    if len(word) < MIN_DICTIONARY_WORD_LENGTH or not _DICTIONARY_WORD.fullmatch(word):
        return None
    return word
