"""Geometric structures that Detectron2 lacks."""

from .polygons import Polygons, points_in_polygons

__all__ = ["Polygons", "points_in_polygons"]
