"""A spotter that reads every image at a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from dld_d2.modeling.build import build_policy, build_spotter, relative_cost
from dld_d2.modeling.selection.policies import ScalePolicy
from dld_d2.modeling.selection.views import scale_images
from dld_d2.modeling.spotter_cost import SpotterCost
from dld_d2.modeling.spotters.contract import Spotter
from dld_d2.modeling.spotters.rescale import scale_targets

__all__ = ["DynamicSpotter", "cost_of", "is_dynamic"]


@META_ARCH_REGISTRY.register()
class DynamicSpotter(nn.Module):
    """Looks at each image once, cheaply, chooses the scale for it, and reads it there.

    This is what is configured, evaluated, measured and deployed;
    `dld_d2.distillation.distiller.Distiller` trains it.

    Args:
        spotter: finds and reads words.
        policy: chooses scales.
        scales: the k candidates, in (0, 1].
        relative_cost: (k,) forward cost of each in units of the full resolution's: the T_i of the
            paper's L_flops. Part of the state, so that a trained model keeps what it learnt by.
    """

    inference_keys = (
        "MODEL.DYNAMIC.SPOTTER",
        "MODEL.DYNAMIC.SCALES",
        "MODEL.DYNAMIC.POLICY",
        "MODEL.DYNAMIC.FIXED_SCALE",
        "MODEL.DYNAMIC.COST_BIAS",
        "MODEL.DYNAMIC.SELECTOR.*",
    )
    """As `Spotter.inference_keys`, beyond those of the spotter in it."""

    @configurable
    def __init__(
        self,
        *,
        spotter: Spotter,
        policy: ScalePolicy,
        scales: Sequence[float],
        relative_cost: Tensor,
    ) -> None:
        super().__init__()
        self.spotter = spotter
        self.policy = policy
        self.scales = tuple(scales)
        self.register_buffer("relative_cost", relative_cost)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        spotter = build_spotter(cfg)
        return {
            "spotter": spotter,
            "policy": build_policy(cfg),
            "scales": tuple(float(scale) for scale in cfg.MODEL.DYNAMIC.SCALES),
            "relative_cost": relative_cost(cfg, spotter),
        }

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """Detectron2's interface, in evaluation.

        Args:
            batched_inputs: what `dld_d2.data.mapper.TextDatasetMapper` gives, at full resolution.

        Returns:
            Per input what the spotter's `forward` gives, and "scale", at which it looked, and
            "relative_cost" of that scale.

        Raises:
            RuntimeError: in training mode.
        """
        if self.training:
            raise RuntimeError(
                "a DynamicSpotter is trained by distillation: use DistillTrainer, or train the "
                "spotter by itself (MODEL.META_ARCHITECTURE)"
            )
        images, _ = self.spotter.preprocess(batched_inputs)
        choice = self.policy.choose(images, self.relative_cost)
        cost = self.relative_cost[choice]
        # Together: the host waits for the device here.
        choice, cost = torch.stack([choice.to(cost), cost]).tolist()
        choice = [int(candidate) for candidate in choice]
        outputs: list[dict] = [{}] * len(batched_inputs)
        for candidate in set(choice):  # images of equal scale together
            members = [image for image, chosen in enumerate(choice) if chosen == candidate]
            view = self.view([images[i] for i in members], [candidate] * len(members))
            found = self.spotter.outputs(view, [batched_inputs[i] for i in members])
            for i, output in zip(members, found, strict=True):
                outputs[i] = output | {
                    "scale": self.scales[candidate],
                    "relative_cost": cost[i],
                }
        return outputs

    def read_regions(self, inputs: list[dict], outputs: list[dict]) -> list[list[str]]:
        """See `Spotter.read_regions`; each image is read at the scale that was chosen for it."""
        return self.spotter.read_regions(inputs, outputs)

    def view(self, images: Sequence[Tensor] | ImageList, choice: Sequence[int]) -> ImageList:
        """The images, each at the scale of its choice, as a batch."""
        return self.spotter.batch(scale_images(images, [self.scales[i] for i in choice]))

    def view_with_targets(
        self, images: ImageList, targets: Sequence[Instances], choice: Sequence[int]
    ) -> tuple[ImageList, list[Instances]]:
        """As `view`, with the ground truth in pixels of the view."""
        view = self.view(images, choice)
        return view, scale_targets(targets, view.image_sizes)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Version 0.1 left the costs to the configuration.
        state_dict.setdefault(f"{prefix}relative_cost", self.relative_cost)
        super()._load_from_state_dict(state_dict, prefix, *args)


def is_dynamic(architecture: str) -> bool:
    """Whether a meta-architecture is `DynamicSpotter`, or derives from it."""
    found = META_ARCH_REGISTRY.get(architecture) if architecture in META_ARCH_REGISTRY else None
    return isinstance(found, type) and issubclass(found, DynamicSpotter)


def cost_of(model: Spotter | DynamicSpotter) -> SpotterCost:
    """What measures a model."""
    if isinstance(model, DynamicSpotter):
        return SpotterCost(model.spotter, model.policy)
    return SpotterCost(model)
