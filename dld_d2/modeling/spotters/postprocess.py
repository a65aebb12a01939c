"""From pixels of the network's input to pixels of another size of the same image."""

from __future__ import annotations

from detectron2.structures import Instances

__all__ = ["rescale_instances"]


def rescale_instances(instances: Instances, size: tuple[int, int]) -> Instances:
    """What `Spotter.inference` returns, in pixels of an image of another size (height, width)."""
    scale_y, scale_x = size[0] / instances.image_size[0], size[1] / instances.image_size[1]
    result = Instances(size, **instances.get_fields())
    result.pred_boxes = instances.pred_boxes.clone()
    result.pred_boxes.scale(scale_x, scale_y)
    result.pred_boxes.clip(size)
    result.pred_polygons = [
        (p * (scale_x, scale_y)).astype(p.dtype) for p in instances.pred_polygons
    ]
    return result
