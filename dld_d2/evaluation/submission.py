"""Zips and folders of the RRC (Robust Reading Competition): one text file for each image."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from pathlib import Path

from dld_d2.evaluation.archive import decode, read_members
from dld_d2.evaluation.lines import format_line, parse_line
from dld_d2.evaluation.words import EvaluationInputError, EvaluationWarning, Images, as_words
from dld_d2.structures.limits import MAX_VERTICES, MAX_WORDS
from dld_d2.structures.word import Word

GT_NAMES = {  # pattern: the same for people
    r"gt_img_([0-9]+)\.txt": "gt_img_N.txt",
    r"poly_gt_img([0-9]+)\.txt": "poly_gt_imgN.txt",
    r"([0-9]+)\.txt": "N.txt",
}
DET_NAMES = {
    r"img_([0-9]+)\.txt": "img_N.txt",
    r"res_img_([0-9]+)\.txt": "res_img_N.txt",
    r"img([0-9]+)\.txt": "imgN.txt",
    r"res_img([0-9]+)\.txt": "res_imgN.txt",
    r"([0-9]+)\.txt": "N.txt",
    r"res_([0-9]+)\.txt": "res_N.txt",
}
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # equal words make equal bytes


def image_id(file: str | os.PathLike[str]) -> str:
    """The id that an image has in ground truths and results: N of img_N.jpg; of names of another
    form what is before the ending."""
    stem = Path(os.fsdecode(file)).stem
    for pattern in DET_NAMES:
        if match := re.fullmatch(pattern, f"{stem}.txt"):
            return match.group(1)
    return stem


def read_ground_truth(
    path: str | Path, pattern: str | None = None, points: int | None = None
) -> dict[str, list[Word]]:
    """Read the ground truth of a data set.

    Args:
        path: a zip, or a folder, of one text file for each image.
        pattern: regular expression of the whole file name with one group, the image id; None
            accepts the names of ICDAR2013, ICDAR2015 (`gt_img_1.txt`), Total-Text
            (`poly_gt_img1.txt`) and plain numbers (`1.txt`).
        points: number of vertices of every polygon, for transcriptions that hold commas; None
            finds it out line by line.

    Returns:
        Image id -> words. A file without lines is an image without words.

    Raises:
        EvaluationInputError: anything wrong, with its file and line.
    """
    return _read(path, GT_NAMES, pattern, points, scores=False, option="--gt-points")


def read_submission(
    path: str | Path,
    pattern: str | None = None,
    points: int | None = None,
    scores: bool = False,
) -> dict[str, list[Word]]:
    """Read a spotter's results.

    Args:
        path, points: see `read_ground_truth`.
        pattern: likewise; None accepts `img_1.txt`, `img1.txt` and `1.txt`, each also with `res_`
            before it.
        scores: whether the field before each transcription is its confidence, in [0, 1].

    Returns, raises: see `read_ground_truth`. A file without lines is an image without detections.
    """
    return _read(path, DET_NAMES, pattern, points, scores, option="--det-points")


def write_submission(
    path: str | Path, images: Images, name: str = "res_img_{}.txt", scores: bool = False
) -> None:
    """Write words in the form the RRC takes; ground truth likewise, under another `name`.

    Coordinates are cut to whole pixels and commas leave the transcriptions, as the protocol has
    it, so that the file scores exactly as the words in memory do.

    Args:
        path: a name ending in `.zip` makes a zip, any other a folder.
        images: image id -> words; an image without words makes an empty file.
        name: file name with `{}` for the image id.
        scores: write each word's confidence before its transcription.

    Raises:
        EvaluationInputError: words that no file can hold; nothing is written then.
    """
    if name.count("{}") != 1 or set("/\\") & set(name):
        raise EvaluationInputError(f"name {name!r}: expected a file name with one {{}}")
    contents = {}
    for image_id, words in as_words(images, "write_submission").items():
        if set("/\\") & set(image_id) or image_id in ("", ".", ".."):
            raise EvaluationInputError(f"image id {image_id!r} makes no file name")
        lines = []
        for number, word in enumerate(words, 1):
            try:
                lines.append(format_line(word, scores) + "\n")
            except EvaluationInputError as error:
                raise EvaluationInputError(f"image {image_id}, word {number}: {error}") from error
        contents[name.format(image_id)] = "".join(lines).encode("utf-8")

    path = Path(path)
    if path.suffix.lower() != ".zip":
        path.mkdir(parents=True, exist_ok=True)
        for file_name, content in contents.items():
            (path / file_name).write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for file_name, content in contents.items():
            entry = zipfile.ZipInfo(file_name, _ZIP_TIME)
            archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED)
    os.replace(unfinished, path)


def _read(
    path: str | Path,
    known_names: dict[str, str],
    pattern: str | None,
    points: int | None,
    scores: bool,
    option: str,
) -> dict[str, list[Word]]:
    if points is not None and not 3 <= points <= MAX_VERTICES:
        raise EvaluationInputError(
            f"{path}: number of points is {points} ({option}); a polygon has 3 to {MAX_VERTICES}"
        )
    contents = dict(read_members(path))
    ids = _image_ids(path, list(contents), known_names, pattern)
    images: dict[str, list[Word]] = {}
    guesses: list[str] = []
    for name, image_id in ids.items():
        words = []
        where = f"{path}: {name}"
        for number, line in enumerate(decode(contents.pop(name), where).split("\n"), 1):
            line = line.replace("\r", "")
            if not line:
                continue
            if len(words) == MAX_WORDS:
                raise EvaluationInputError(
                    f"{where}, line {number}: an image has at most {MAX_WORDS} words; is this the "
                    "file of one image?"
                )
            try:
                word, guessed = parse_line(line, points, scores)
            except EvaluationInputError as error:
                raise EvaluationInputError(f"{where}, line {number}: {error}") from None
            words.append(word)
            if guessed:
                guesses.append(f"{where}, line {number}: {word.text!r}")
        images[image_id] = words
    if guesses:
        warnings.warn(
            f"{len(guesses)} transcriptions were taken to hold commas, the first in {guesses[0]}; "
            f"fix the number of points ({option} 4) to be sure",
            EvaluationWarning,
            stacklevel=3,
        )
    return images


def _image_ids(
    path: str | Path, names: list[str], known_names: dict[str, str], pattern: str | None
) -> dict[str, str]:
    """File name -> image id, after the pattern, or the known one that most names follow."""
    if pattern is None:
        expected = " or ".join(known_names.values())
        candidates = [re.compile(known) for known in known_names]
        matches = max(
            ([regex.fullmatch(name) for name in names] for regex in candidates),
            key=lambda found: sum(match is not None for match in found),
        )
        if any(matches):
            expected = known_names[next(m.re.pattern for m in matches if m)] + " like the others"
    else:
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise EvaluationInputError(f"pattern {pattern!r}: {error}") from None
        if regex.groups != 1:
            raise EvaluationInputError(
                f"pattern {pattern!r} has {regex.groups} groups; one must hold the image id, "
                r"as in gt_img_([0-9]+)\.txt"
            )
        expected = pattern
        matches = [regex.fullmatch(name) for name in names]

    ids: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name, match in zip(names, matches, strict=True):
        if match is None or match.group(1) is None:
            hint = "; the zip holds a zip, pass the inner one" if name.endswith(".zip") else ""
            raise EvaluationInputError(
                f"{path}: unexpected file {name!r}; expected {expected}, or give your own pattern "
                f"(--gt-pattern, --det-pattern){hint}"
            )
        image_id = match.group(1)
        if image_id in taken:
            raise EvaluationInputError(
                f"{path}: {taken[image_id]!r} and {name!r} are both image {image_id}; keep one"
            )
        taken[image_id] = name
        ids[name] = image_id
    return ids
