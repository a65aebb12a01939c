r"""Write a trained model as one file that needs nothing else.

    dld-d2 export --config-file configs/dld_mixed.yaml \
        --weights output/dld_mixed/model_final.pth --output student.pth

The file holds the student's spotter and resolution selector, the costs of its scales, vocabulary
and configuration; of a spotter that is not distilled, the spotter. docs/deployment.md says how to
use it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dld_d2.commands.arguments import add_overrides, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.model_file import export_spotter
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import is_dynamic

__all__ = ["main"]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    opts = [*arguments.opts, "MODEL.WEIGHTS", arguments.weights]
    if arguments.cost_bias is not None:
        opts += ["MODEL.DYNAMIC.COST_BIAS", str(arguments.cost_bias)]
    cfg = setup_cfg(arguments.config_file, opts)
    dynamic = is_dynamic(cfg.MODEL.META_ARCHITECTURE)
    chooses = dynamic and cfg.MODEL.DYNAMIC.POLICY == "selector"
    if arguments.cost_bias is not None and not chooses:
        raise UsageError("--cost-bias: this model has no resolution selector that it could bias")
    model = export_spotter(cfg, arguments.output, half=arguments.half)
    size = arguments.output.stat().st_size / 2**20
    console.print(f"{arguments.output}: {size:.1f} MiB, {cfg.MODEL.META_ARCHITECTURE}")
    if chooses:
        scales = ", ".join(f"{scale:g}" for scale in model.scales)
        console.print(f"scales {scales}; cost bias {model.policy.cost_bias:g}")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="of the training")
    add("--weights", required=True, metavar="FILE", help="checkpoint, such as model_final.pth")
    add("--output", required=True, type=Path, metavar="FILE", help=".pth or .safetensors")
    add(
        "--cost-bias",
        type=float,
        metavar="B",
        help="how much cost weighs in choosing scales, unless asked otherwise when the file is "
        "used (default: as configured; tools/choose_cost_bias.py finds one for a wanted cost)",
    )
    add(
        "--half",
        action="store_true",
        help="store kernels and matrices in float16: half the size, computed in float32 as ever",
    )
    add_overrides(parser, of="of the configuration, those of the training")
    return parser.parse_args(argv)
