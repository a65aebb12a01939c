#!/usr/bin/env python3
r"""Write a trained model as one file that needs nothing else.

    python tools/export_student.py --config-file configs/dld_tt.yaml \
        --weights output/dld_tt/model_final.pth --output student.pth

The file holds student, resolution selector, configuration, vocabulary and costs of the scales; of a
spotter that is not distilled, the spotter. docs/deployment.md says how to use it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import dld_d2.modeling  # noqa: F401 (registers the models)
from dld_d2.engine.export import export_spotter
from dld_d2.engine.setup import ConfigError, setup_cfg

console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a trained model as one file.")
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the training")
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="checkpoint, such as model_final.pth"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help=".pth or .safetensors"
    )
    parser.add_argument(
        "--cost-bias",
        type=float,
        metavar="B",
        help="how much cost weighs in choosing scales, unless asked otherwise when the file is "
        "used (default: as configured; tools/choose_cost_bias.py finds one for a wanted cost)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store kernels and matrices in float16: half the size, computed in float32 as ever",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of the configuration, those of the training; must come last",
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    opts = [*arguments.opts, "MODEL.WEIGHTS", arguments.weights]
    if arguments.cost_bias is not None:
        opts += ["MODEL.DISTILL.SELECTOR.COST_BIAS", str(arguments.cost_bias)]
    cfg = setup_cfg(arguments.config_file, opts)
    distills = cfg.MODEL.META_ARCHITECTURE == "DynamicResolutionDistiller"
    chooses = distills and cfg.MODEL.DISTILL.SELECTION == "dynamic"
    if arguments.cost_bias is not None and not chooses:
        raise ConfigError("--cost-bias: this model has no resolution selector that it could bias")
    model = export_spotter(cfg, arguments.output, half=arguments.half)
    size = arguments.output.stat().st_size / 2**20
    console.print(
        f"{arguments.output}: {size:.1f} MiB, {cfg.MODEL.META_ARCHITECTURE}", markup=False
    )
    if chooses:
        scales = ", ".join(f"{scale:g}" for scale in model.scales)
        console.print(f"scales {scales}; cost bias {model.policy.cost_bias:g}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
