"""From what a person types about lexicons to the files they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dld_d2.evaluation.words import EvaluationInputError

KINDS = ("none", "strong", "weak", "generic", "full")

_KNOWN_FILES = {
    "strong": ("strong_lexicon.zip", "strong_lexicon", "*test_vocabularies_per_image.zip"),
    "weak": ("*test_vocabulary.txt",),
    "generic": ("GenericVocabulary.txt",),
    "full": ("full_lexicons.txt",),
}


def choose_lexicons(kinds: Sequence[str], paths: Sequence[str]) -> dict[str, Path | None]:
    """Pair lexicon kinds with paths.

    Args:
        kinds: of `KINDS`, each may hold several separated by commas; none asked for means "none".
        paths: one for each kind but "none", in order, or a single folder that holds them under
            the names they are published by (`ch4_test_vocabularies_per_image.zip` or
            `strong_lexicon.zip`, `ch4_test_vocabulary.txt`, `GenericVocabulary.txt`,
            `full_lexicons.txt`); commas separate as well.

    Returns:
        Kind -> path, None for "none".

    Raises:
        EvaluationInputError: an unknown kind, too few or too many paths, or nothing there.
    """
    wanted = [kind.strip() for some in kinds for kind in some.split(",")] or ["none"]
    for kind in wanted:
        if kind not in KINDS:
            raise EvaluationInputError(f"--lexicon {kind!r}: choose from {', '.join(KINDS)}")
    wanted = list(dict.fromkeys(wanted))
    real = [kind for kind in wanted if kind != "none"]
    given = [
        Path(path)
        for some in paths
        for path in ([some] if Path(some).exists() else some.split(","))
    ]
    if len(given) == 1 and given[0].is_dir():
        given *= len(real)
    if len(given) != len(real):
        raise EvaluationInputError(
            f"--lexicon {','.join(wanted)} needs {len(real)} --lexicon-path, one for each in the "
            f"same order, or one folder that holds them all; got {len(given)}"
        )
    chosen = {kind: _find(kind, path) for kind, path in zip(real, given, strict=True)}
    return {kind: chosen.get(kind) for kind in wanted}


def _find(kind: str, path: Path) -> Path:
    if path.is_dir():
        if kind == "strong" and any(path.glob("voc_*.txt")):
            return path
        for pattern in _KNOWN_FILES[kind]:
            for found in sorted(path.glob(pattern)):
                return found
        raise EvaluationInputError(
            f"--lexicon {kind}: {path} holds no {' or '.join(_KNOWN_FILES[kind])}"
        )
    if not path.exists():
        raise EvaluationInputError(f"--lexicon {kind}: no such file or folder: {path}")
    if (kind == "strong") != (path.suffix.lower() == ".zip"):
        form = "a folder or zip of voc_img_N.txt" if kind == "strong" else "one text file"
        raise EvaluationInputError(f"--lexicon {kind} is {form}, not {path}")
    return path
