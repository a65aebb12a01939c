"""Submissions in which every odd case of the protocol is common."""

import random

TEXTS = ["word", "Word", "w0rd", "word!", "(word)", "it's", "Bob's", "ab", "-ab-", "###", "a,b", ""]
LEXICON = ["WORD", "sword", "ward", "it's", "BOB"]

# Ground truth and detection whose IoU is 1/2, where float64 computes a little more.
TIES = [
    ([(47, 46), (50, 46), (47, 57)], [(46, 46), (50, 46), (49, 57)]),
    ([(11, 5), (7, 10), (11, 11)], [(6, 10), (10, 8), (12, 11)]),
    ([(9, 11), (2, 4), (9, 1), (10, 7)], [(6, 12), (4, 4), (9, 2), (9, 6)]),
    ([(0, 0), (5, 0), (10, 6)], [(5, 1), (1, 1), (10, 6)]),
    ([(4, 1), (12, 4), (9, 7)], [(11, 10), (4, 1), (12, 5)]),
    ([(2, 3), (6, 7), (12, 1)], [(9, 6), (1, 4), (9, 2)]),
    ([(9, 10), (10, 4), (4, 4)], [(10, 2), (3, 2), (9, 11), (11, 0)]),
    ([(9, 7), (7, 2), (1, 7)], [(11, 2), (9, 7), (1, 7)]),
    ([(11, 2), (4, 4), (9, 5)], [(10, 6), (6, 4), (11, 2)]),
    ([(9, 6), (3, 9), (1, 7), (1, 5)], [(5, 9), (5, 10), (7, 6), (1, 5)]),
]

# Region and detection, half of which lies in the region, where float64 computes a little more.
HALVES = [
    ([(9, 8), (7, 2), (2, 8)], [(5, 2), (9, 0), (5, 8)]),
    ([(4, 2), (11, 12), (11, 2)], [(5, 1), (10, 5), (0, 1)]),
    ([(5, 2), (4, 5), (10, 11), (9, 4)], [(5, 2), (9, 5), (4, 2), (8, 0)]),
    ([(6, 1), (3, 12), (12, 4)], [(3, 12), (12, 7), (3, 5)]),
    ([(7, 6), (12, 7), (1, 8), (0, 1)], [(2, 5), (10, 3), (8, 5), (6, 7)]),
    ([(0, 1), (1, 4), (5, 11), (9, 10)], [(7, 10), (3, 5), (2, 1), (6, 6)]),
]


def random_case(seed):
    """Ground truth and submission of a few images: image id -> [(polygon, text)]."""
    rng = random.Random(seed)
    gt, submission = {}, {}
    for image in range(rng.randint(1, 2)):
        gt[str(image)] = [(_polygon(rng), rng.choice(TEXTS)) for _ in range(rng.randint(0, 4))]
        dets = []
        for _ in range(rng.randint(0, 5)):
            source, text = rng.choice(gt[str(image)] or [(_polygon(rng), "word")])
            kind = rng.choice([_polygon, *[_relative] * 3])
            polygon = kind(rng) if kind is _polygon else kind(rng, source)
            dets.append((polygon, text if rng.random() < 0.5 else rng.choice(TEXTS)))
        for pairs, text in ((TIES, "word"), (HALVES, "###")):
            if rng.random() < 0.4:
                far = rng.choice([0, 0, 40, 900])
                region, det = ([(x + far, y) for x, y in ring] for ring in rng.choice(pairs))
                gt[str(image)].append((region, text))
                dets.append((det, "word"))
        dets += [rng.choice(dets) for _ in range(rng.randint(0, 2)) if dets]  # duplicates
        submission[str(image)] = dets
    return gt, submission


def _polygon(rng):
    limit = rng.choice([6, 24])
    x, y = rng.randint(-limit // 2, limit), rng.randint(-limit // 2, limit)
    width, height = rng.randint(0, limit), rng.randint(0, limit)  # also without area
    kind = rng.randrange(6)
    if kind < 2:
        points = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    elif kind == 2:  # crosses itself; the lobes cancel
        points = [(x, y), (x + width, y + height), (x + width, y), (x, y + height)]
    else:
        count = rng.choice([3, 3, 4, 4, 5, 7])
        points = [(rng.randint(-3, limit), rng.randint(-3, limit)) for _ in range(count)]
    if rng.random() < 0.3:  # fractions are cut off
        points = [(px + 0.25 if px >= 0 else px - 0.75, py) for px, py in points]
    return points


def _relative(rng, polygon):
    """A polygon whose overlap with another is simple: the same, half or twice of it, shifted."""
    points = [(int(x), int(y)) for x, y in polygon]
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    kind = rng.randrange(5)
    if kind == 0:
        return points[::-1] if rng.random() < 0.5 else polygon
    if kind == 1 and len(points) == 3:  # twice the area, with the triangle in it
        a, b, c = points
        return [b, (2 * c[0] - a[0], 2 * c[1] - a[1]), a]
    if kind == 1:  # of a rectangle the half
        middle = (x0 + x1) // 2
        return [(min(x, middle), y) for x, y in points]
    if kind == 2:  # of a rectangle twice the area
        return [(2 * x - x0, y) for x, y in points]
    if kind == 3:  # a third is shared by a rectangle that is shifted by half
        return [(x + (x1 - x0) // 2, y) for x, y in points]
    return [(x + rng.randint(-1, 1), y + rng.randint(-1, 1)) for x, y in points]
