"""The scales that a model chose, and what its passes cost."""

from __future__ import annotations

from collections.abc import Sequence

from dld_d2.analysis.image_costs import SeenImage, decoding_steps, image_costs, mean_costs
from dld_d2.engine.evaluation.part import PartEvaluator, Summary
from dld_d2.modeling.dynamic_spotter import DynamicSpotter
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["CostEvaluator"]


class CostEvaluator(PartEvaluator):
    """Counts scales and multiply-adds, image by image and on average.

    Metrics: `mean_scale`, `mean_relative_cost`, `share_scale_<scale>`, of the scales that a model
    chose; `cost_published`, `cost_released`, `cost_whole`, mean cost of an image in 2^30
    multiply-adds, of backbone, FPN and RPN head as the paper's FLOPs column counts, of these and
    the selector as the authors' code counts, and of everything.

    Args:
        model: that is evaluated; None if only its scales are wanted.
    """

    def __init__(self, model: Spotter | DynamicSpotter | None) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        self._images: dict[str, SeenImage] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: with `image_id` and `image`.
            outputs: with "instances", and "scale" and "relative_cost" if the model chooses scales.
        """
        for item, output in zip(inputs, outputs, strict=True):
            texts = output["instances"].pred_texts
            image = SeenImage(
                size=tuple(item["image"].shape[-2:]) if "image" in item else None,
                scale=output.get("scale"),
                relative_cost=output.get("relative_cost"),
                num_words=len(texts),
                num_steps=decoding_steps(texts),
            )
            self._images.setdefault(str(item["image_id"]), image)

    def seen(self) -> dict[str, SeenImage]:
        return self._images

    def summarize(self, seen: Sequence[dict[str, SeenImage]]) -> Summary:
        images = {name: image for part in reversed(seen) for name, image in part.items()}
        rows = image_costs(images, self._model)
        scales = self._model.scales if isinstance(self._model, DynamicSpotter) else ()
        return Summary(mean_costs(rows.values(), scales), rows)
