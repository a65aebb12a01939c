"""The protocol of docs/evaluation.md a second time: naive, slow, in fractions, sharing no code.

Areas are those that docs/evaluation.md documents for polygons that cross themselves: the area of a
polygon is the absolute shoelace sum, the intersection that of the even-odd interiors. The latter is
found along its boundary, where `dld_d2.evaluation.exact` cuts the plane into slabs.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import combinations, pairwise

SPECIAL = "!?.:,*\"()·[]/' "
TINY = Fraction(1, 10**15)  # far less than the distance of any two features on the tests' grids


def counts(gt, submission, task, threshold, lexicon=None):
    """Ground truths that count, detections, those that count, matched pairs, correct ones.

    Args:
        gt, submission: image id -> list of (polygon, text).
        threshold: Fraction.
        lexicon: words in order, or None.
    """
    total = [0, 0, 0, 0, 0]
    for image, truths in gt.items():
        for i, number in enumerate(
            _count_image(truths, submission.get(image, []), task, threshold, lexicon)
        ):
            total[i] += number
    return tuple(total)


def _count_image(truths, detections, task, threshold, lexicon):
    gts = [(_truncated(polygon), text.replace(",", "")) for polygon, text in truths]
    dets = [(_truncated(polygon), _corrected(text, lexicon)) for polygon, text in detections]
    words = [None if text == "###" else text for _, text in gts]
    if task == "word_spotting":
        words = [None if word is None else _dictionary_word(word) for word in words]
    dont_care = []
    for det, _ in dets:
        area = _area(det)
        dont_care.append(
            any(
                area > 0 and _shared(gt, det) / area > threshold
                for (gt, _), word in zip(gts, words, strict=True)
                if word is None
            )
        )
    taken, correct = set(), 0
    for (gt, _), word in zip(gts, words, strict=True):
        if word is None:
            continue
        for d, (det, text) in enumerate(dets):
            if d in taken or dont_care[d]:
                continue
            shared = _shared(gt, det)
            union = _area(gt) + _area(det) - shared
            if union != 0 and shared / union > threshold:
                taken.add(d)
                correct += _is_read(word, text, task)
                break
    care = sum(word is not None for word in words)
    return care, len(dets), len(dets) - sum(dont_care), len(taken), correct


# --- texts


def _is_read(word, text, task):
    forms = {word}
    if task == "end_to_end":
        first = word[:1] and word[0] in SPECIAL
        last = word[:1] and word[-1] in SPECIAL
        if first:
            forms.add(word[1:])
        if last:
            forms.add(word[:-1])
        if first and last:
            forms.add(word[1:-1])
    return text.upper() in {form.upper() for form in forms}


def _dictionary_word(text):
    if text.endswith(("'s", "'S")):
        text = text[:-2]
    text = text.strip("-")
    text = "".join(" " if character in SPECIAL else character for character in text).strip()
    if len(text) < 3:
        return None
    for character in text:
        code = ord(character)
        letter = (
            "a" <= character <= "z"
            or "A" <= character <= "Z"
            or 0x00C0 <= code <= 0x01BF
            or 0x01C4 <= code <= 0x027F
            or 0x0386 <= code <= 0x03FF
            or character == "-"
        )
        if not letter or character in "×÷·":
            return None
    return text


def _corrected(text, lexicon):
    text = text.replace(",", "")
    if lexicon is None or len(text) < 3 or "+" in text or any(c.isdigit() for c in text):
        return text
    distances = [_edits(text.upper(), word.upper()) for word in lexicon]
    return lexicon[distances.index(min(distances))].replace(",", "")


def _edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, above = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


# --- areas


def _truncated(polygon):
    return tuple((int(x), int(y)) for x, y in polygon)


def _edges(ring):
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    return [(p, q) for p, q in pairs if p != q]


def _area(ring):
    return abs(Fraction(sum(p[0] * q[1] - q[0] * p[1] for p, q in _edges(ring)), 2))


@lru_cache(maxsize=1000)  # both tasks ask for the same
def _shared(first, second):
    """Area of the intersection of two even-odd interiors: the sum of p x q / 2 over the pieces of
    edges that have it on one side only, walked with it on the left."""
    for axis in (0, 1):  # what is apart shares nothing
        a, b = [p[axis] for p in first], [p[axis] for p in second]
        if max(a) <= min(b) or max(b) <= min(a):
            return Fraction(0)
    edges = _edges(first) + _edges(second)
    twice = Fraction(0)
    for p, q in _pieces(edges):
        middle = (p[0] + q[0]) / 2, (p[1] + q[1]) / 2
        dx, dy = q[0] - p[0], q[1] - p[1]
        left = middle[0] - TINY * dy, middle[1] + TINY * dx
        right = middle[0] + TINY * dy, middle[1] - TINY * dx
        side = _inside_both(left, first, second) - _inside_both(right, first, second)
        twice += side * (p[0] * q[1] - q[0] * p[1])
    return twice / 2


def _pieces(edges):
    """All edges, cut where any two meet; what several share comes once."""
    cuts = [{p, q} for p, q in edges]
    for i, j in combinations(range(len(edges)), 2):
        for point in _meetings(*edges[i], *edges[j]):
            cuts[i].add(point)
            cuts[j].add(point)
    pieces = set()
    for points in cuts:
        points = sorted((Fraction(x), Fraction(y)) for x, y in points)
        pieces.update(pairwise(points))
    return pieces


def _meetings(a, b, c, d):
    """Where two segments cross or touch; where one lies upon the other, the ends within."""
    ends = [p for p in (a, b) if _on(p, c, d)] + [p for p in (c, d) if _on(p, a, b)]
    turn = (b[0] - a[0]) * (d[1] - c[1]) - (b[1] - a[1]) * (d[0] - c[0])
    if ends or turn == 0:
        return ends
    t = Fraction((c[0] - a[0]) * (d[1] - c[1]) - (c[1] - a[1]) * (d[0] - c[0]), turn)
    u = Fraction((c[0] - a[0]) * (b[1] - a[1]) - (c[1] - a[1]) * (b[0] - a[0]), turn)
    if 0 < t < 1 and 0 < u < 1:
        return [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))]
    return []


def _on(p, a, b):
    return (
        (b[0] - a[0]) * (p[1] - a[1]) == (b[1] - a[1]) * (p[0] - a[0])
        and min(a[0], b[0]) <= p[0] <= max(a[0], b[0])
        and min(a[1], b[1]) <= p[1] <= max(a[1], b[1])
    )


def _inside_both(point, first, second):
    return _is_inside(point, first) and _is_inside(point, second)


def _is_inside(point, ring):
    """By the even-odd rule, for a point that lies on no edge."""
    x, y = point
    inside = False
    for p, q in _edges(ring):
        if (p[1] > y) != (q[1] > y):
            # Whether the edge crosses the row of the point to its right, without a division.
            ahead = (p[0] - x) * (q[1] - p[1]) + (y - p[1]) * (q[0] - p[0])
            inside ^= (ahead > 0) == (q[1] > p[1])
    return inside
