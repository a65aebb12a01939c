"""Geometry that Detectron2 lacks."""

from .polygons import Polygons, points_in_polygons
from .sizes import scaled_size

__all__ = ["Polygons", "points_in_polygons", "scaled_size"]
