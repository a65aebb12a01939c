"""From a map of text probabilities to words' rectangles."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["regions_of"]


def regions_of(
    score_map: np.ndarray,
    *,
    threshold: float = 0.3,
    box_threshold: float = 0.5,
    unclip_ratio: float | None = None,
    shrink_ratio: float = 0.4,
    min_size: float = 3.0,
    max_candidates: int = 1000,
    dilate: bool = False,
    border: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the words of one image, as Liao et al. (AAAI 2020) form boxes.

    Each connected component of the map's high pixels is taken for a shrunk word. Its rectangle of
    minimum area is moved outwards by D: what an offset with round corners and another rectangle
    around it would give. With an unclip ratio u, as released, D = A u / L of its own area A and
    perimeter L, which is too little for long words; without, it is the distance by which a
    rectangle was shrunk to become this one, see `_distance_of_shrinking`.

    It is what PaddleOCR's post-processing does with its networks, except that

    * that one measures from pixel centre to pixel centre, so that a region of 10 pixels is 9 wide,
      and a word is cut by one pixel and, in unclipping, by up to `unclip_ratio` pixels more. Here
      the pixels 10 to 19 span [10, 20], and `min_size` is that of whole pixels. See `_grown`;
    * its coordinates are those of the pixels' centres, here pixel (0, 0) covers [0, 1] x [0, 1];
    * it cuts coordinates down to integers on the way, and clips corners to the image, which turns
      a rectangle at the image's edge into something else;
    * it takes the outlines of holes for words, too, and of too many candidates the lowest ones in
      the image; here the largest.

    Args:
        score_map: (H, W) float32 probabilities.
        threshold: above which a pixel is high.
        box_threshold: least mean probability in the rectangle of a component.
        unclip_ratio: u above; None to undo the shrinking exactly.
        shrink_ratio: by which words were shrunk in training.
        min_size: least short side in pixels of a component's rectangle; after unclipping it must be
            2 pixels more.
        max_candidates: of which the mean probability is computed.
        dilate: whether high pixels spread to the right and downwards by one, to close gaps.
        border: (H, W) float32, each pixel's own threshold instead of `threshold`.

    Returns:
        Corners (N, 4, 2) float32, x and y in pixels, and mean probabilities (N,) float32. Corners
        are clockwise from the left end of the upper side, which is the one that extends farther
        to the right. They may lie outside of the image. Words written downwards are not told apart:
        their upper side is a short one.
    """
    high = (score_map > (threshold if border is None else border)).view(np.uint8)
    if dilate:
        high = cv2.dilate(high, np.ones((2, 2), dtype=np.uint8))
    centre, sides, axes = _rectangles(high, min_size)
    grown = _grown(sides, axes)
    kept = np.flatnonzero(grown.min(axis=1) >= min_size)
    if len(kept) > max_candidates:
        largest = np.argsort(-grown[kept].prod(axis=1), kind="stable")[:max_candidates]
        kept = kept[np.sort(largest)]
    scores = _mean_scores(score_map, _corners(centre[kept], sides[kept], axes[kept]))
    good = scores >= box_threshold
    kept, scores = kept[good], scores[good]

    sides = grown[kept]
    if unclip_ratio is None:
        distance = _distance_of_shrinking(sides, shrink_ratio)
    else:
        distance = sides.prod(axis=1) * unclip_ratio / (2 * sides.sum(axis=1))
    sides = sides + 2 * distance[:, None]
    good = sides.min(axis=1) >= min_size + 2
    # Until here a pixel was where its centre is.
    corners = _corners(centre[kept] + 0.5, sides, axes[kept])[good]
    return corners.astype(np.float32), scores[good].astype(np.float32)


def _rectangles(high: np.ndarray, min_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectangles of minimum area around the centres of each component's pixels.

    Args:
        high: (H, W) uint8, not 0 where the components are.
        min_size: short side that matters; rectangles that are certainly less may be left out.

    Returns:
        Centres (M, 2), with pixel (0, 0) at 0; both sides (M, 2); and their directions (M, 2, 2),
        unit vectors. All float64.
    """
    contours, hierarchy = cv2.findContours(high, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2, 2))
    # Holes are the contours that have a parent.
    contours = [contours[i] for i in np.flatnonzero(hierarchy[0, :, 3] < 0)]
    # The area is not above that of the bounding box, nor the short side, then, above the root of
    # it: this keeps a noisy map's thousands of specks out of the loop.
    lengths = np.array([len(contour) for contour in contours])
    first = np.cumsum(lengths) - lengths
    points = np.concatenate(contours)[:, 0]
    extent = np.maximum.reduceat(points, first) - np.minimum.reduceat(points, first)
    large = np.flatnonzero(np.sqrt(extent.prod(axis=1, dtype=np.float64)) + 1 >= min_size)
    found = [cv2.minAreaRect(contours[i]) for i in large]
    found = np.array([(*centre, *sides, turn) for centre, sides, turn in found]).reshape(-1, 5)
    angle = np.deg2rad(found[:, 4])
    # Rounded, so that right angles are exact and sides of whole pixels stay so.
    cosine, sine = np.cos(angle).round(6), np.sin(angle).round(6)
    axes = np.stack([cosine, sine, -sine, cosine], axis=1).reshape(-1, 2, 2)
    return found[:, :2], found[:, 2:4], axes


def _grown(sides: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Sides (M, 2) of the shapes whose pixels' centres span rectangles.

    A shape has those pixels whose centres are in it. If a side of it is parallel to a row of pixels
    the outermost centres are anywhere between 0 and 1 pixel inside of that side, half a pixel on
    average. On a slanting side there is always some centre that is close to it, as soon as it rises
    by a pixel over its length. Adding half a pixel there, too, would make words of 12 pixels, the
    shrunk height of which is about 4, 2 pixels too high once they are unclipped.
    """
    rise = np.abs(axes).min(axis=2) * sides
    # A side moves along the other one's direction.
    return sides + np.maximum(1 - rise[:, ::-1], 0)


def _distance_of_shrinking(sides: np.ndarray, shrink_ratio: float) -> np.ndarray:
    """(M,) the distance D by which rectangles were shrunk whose sides are now w and h, (M, 2).

    D = A (1 - r^2) / L, with the area A = (w + 2 D) (h + 2 D) and the perimeter L = 2 (w + h + 4 D)
    of before: a quadratic equation of D.
    """
    k = 1 - shrink_ratio**2
    product, total = sides.prod(axis=1), sides.sum(axis=1)
    a, b, c = 8 - 4 * k, 2 * total * (1 - k), -k * product
    return (-b + np.sqrt(b**2 - 4 * a * c)) / (2 * a)


def _corners(centre: np.ndarray, sides: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Corners (M, 4, 2) of rectangles, in the order that `regions_of` promises."""
    edges = axes * sides[:, :, None]
    rows = np.arange(len(edges))
    upper = np.abs(edges[:, :, 0]).argmax(axis=1)
    right, down = edges[rows, upper], edges[rows, 1 - upper]
    right = np.where(right[:, :1] < 0, -right, right) / 2
    # Clockwise, as y points downwards, is where the cross product is positive.
    cross = right[:, :1] * down[:, 1:] - right[:, 1:] * down[:, :1]
    down = np.where(cross < 0, -down, down) / 2
    corners = [-right - down, right - down, right + down, down - right]
    return centre[:, None] + np.stack(corners, axis=1)


def _mean_scores(score_map: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Means (M,) of a map over rectangles, given by the pixels at their corners (M, 4, 2)."""
    height, width = score_map.shape
    corners = np.rint(corners).astype(np.int32)
    lowest = np.clip(corners.min(axis=1), 0, (width - 1, height - 1))
    highest = np.clip(corners.max(axis=1), 0, (width - 1, height - 1)) + 1
    corners -= lowest[:, None].astype(np.int32)
    means = np.zeros(len(corners))
    for i, ((left, top), (right, bottom)) in enumerate(
        zip(lowest.tolist(), highest.tolist(), strict=True)
    ):
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        cv2.fillPoly(mask, corners[i : i + 1], 1)
        means[i] = cv2.mean(score_map[top:bottom, left:right], mask)[0]
    return means
