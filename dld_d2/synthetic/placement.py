"""Where blocks of words lie in the image: on a plane in space, or along an arc."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["ARC_POINTS", "Arc", "Placement", "Plane", "box_corners", "convex_apart"]

ARC_POINTS = 7
"""Vertices along each long side of a curved word's polygon, as Total-Text has them."""


@dataclass(frozen=True)
class Plane:
    """A plane seen in perspective: block coordinates to pixels by a homography.

    Attributes:
        matrix: (3, 3) float64.
    """

    matrix: np.ndarray

    @classmethod
    def turned(cls, roll: float, yaw: float = 0.0, pitch: float = 0.0, focal: float = 1.0) -> Plane:
        """A plane through the origin with scale 1 there.

        Args:
            roll, yaw, pitch: rotation in radians within the image, about its vertical and its
                horizontal axis.
            focal: distance of the camera in pixels; only matters with `yaw` or `pitch`.
        """
        cy, sy, cp, sp, cr, sr = (
            f(angle) for angle in (yaw, pitch, roll) for f in (math.cos, math.sin)
        )
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        turn = about_z @ about_x @ about_y
        return cls(
            np.array(
                [
                    [turn[0, 0], turn[0, 1], 0],
                    [turn[1, 0], turn[1, 1], 0],
                    [turn[2, 0] / focal, turn[2, 1] / focal, 1],
                ]
            )
        )

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) block coordinates to (N, 2) pixels."""
        image = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return image[:, :2] / image[:, 2:]

    def moved(self, x: float, y: float) -> Plane:
        return Plane(np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ self.matrix)

    def polygon(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """(4, 2) pixels of a box x0, y0, x1, y1 in block coordinates, from its top left corner."""
        return self(box_corners(*box))

    def hull(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """(4, 2) convex quadrilateral around the box, in pixels."""
        return self.polygon(box)


@dataclass(frozen=True)
class Arc:
    """A block bent so that its line y = 0 becomes an arc.

    Attributes:
        radius: of that arc, in pixels. Negative bends the ends up instead of down.
        roll: rotation in radians.
        x, y: pixel that the block's origin goes to.
    """

    radius: float
    roll: float
    x: float = 0.0
    y: float = 0.0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) block coordinates to (N, 2) pixels."""
        angle = points[:, 0] / self.radius
        distance = self.radius - points[:, 1]
        bent = np.stack([distance * np.sin(angle), self.radius - distance * np.cos(angle)], axis=1)
        return bent @ self._turn().T + (self.x, self.y)

    def inverse(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) pixels to (N, 2) block coordinates."""
        bent = (points - (self.x, self.y)) @ self._turn()
        sign = math.copysign(1.0, self.radius)
        right, up = sign * bent[:, 0], sign * (self.radius - bent[:, 1])
        angle = np.arctan2(right, up)
        return np.stack([angle * self.radius, self.radius - sign * np.hypot(right, up)], axis=1)

    def moved(self, x: float, y: float) -> Arc:
        return Arc(self.radius, self.roll, self.x + x, self.y + y)

    def polygon(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """(14, 2) pixels of a box x0, y0, x1, y1 in block coordinates.

        They go along its upper side from the left, then back along the lower side. The side whose
        chords would cut into the box lies outside of it by as much.
        """
        x0, y0, x1, y1 = box
        step = (x1 - x0) / (ARC_POINTS - 1) / self.radius
        excess = 1 / math.cos(step / 2)
        if self.radius > 0:
            y0 = self.radius - (self.radius - y0) * excess
        else:
            y1 = self.radius - (self.radius - y1) * excess
        x = np.linspace(x0, x1, ARC_POINTS)
        upper = np.stack([x, np.full(ARC_POINTS, y0)], axis=1)
        lower = np.stack([x, np.full(ARC_POINTS, y1)], axis=1)
        return self(np.concatenate([upper, lower[::-1]]))

    def hull(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """(4, 2) rectangle, turned by `roll`, around the box, in pixels."""
        level = (self.polygon(box) - (self.x, self.y)) @ self._turn()
        corners = box_corners(*level.min(axis=0), *level.max(axis=0))
        return corners @ self._turn().T + (self.x, self.y)

    def _turn(self) -> np.ndarray:
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        return np.array([[cos, -sin], [sin, cos]])


Placement = Plane | Arc


def box_corners(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """(4, 2) corners from the top left one, clockwise as images show them."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def convex_apart(a: np.ndarray, b: np.ndarray, gap: float = 0.0) -> bool:
    """Whether a side of one of two convex polygons (K, 2) separates them by more than `gap`.

    For no gap that is so if and only if they are disjoint; otherwise it is a little stricter than
    their distance at corners.
    """
    sides = np.concatenate([np.roll(a, -1, axis=0) - a, np.roll(b, -1, axis=0) - b])
    normals = np.stack([sides[:, 1], -sides[:, 0]], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    on_a, on_b = a @ normals.T, b @ normals.T
    between = np.maximum(on_a.min(axis=0) - on_b.max(axis=0), on_b.min(axis=0) - on_a.max(axis=0))
    return bool((between > gap).any())
