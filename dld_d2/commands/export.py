r"""Write a trained model as one file that needs nothing else.

    dld-d2 export --config-file configs/dld_mixed.yaml \
        --weights output/dld_mixed/model_final.pth --output student.pth
    dld-d2 export --model student.pth --format onnx --output student_onnx

The file holds the student's spotter and resolution selector, the costs of its scales, vocabulary
and configuration; of a spotter that is not distilled, the spotter. docs/deployment.md says how to
use it. With `--format onnx` it is a folder of networks that need no PyTorch. They are tried on
synthetic scenes, and kept if they read there what the model reads. A network that looks first
(meta-architecture FocusMap) is one .onnx file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from dld_d2.commands.arguments import add_overrides, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.deployment.model_file import configured_spotter, export_spotter, load_spotter
from dld_d2.deployment.pretrained import find_model, focus_file
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.dynamic_spotter import DynamicSpotter, is_dynamic
from dld_d2.modeling.focus.focus_map import FocusMap
from dld_d2.modeling.spotters.contract import Spotter

__all__ = ["main"]


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    if arguments.model is not None:
        cfg, model = load_spotter(find_model(arguments.model), arguments.opts)
        return write_onnx(cfg, model, arguments)
    opts = [*arguments.opts, "MODEL.WEIGHTS", arguments.weights]
    if arguments.cost_bias is not None:
        opts += ["MODEL.DYNAMIC.COST_BIAS", str(arguments.cost_bias)]
    cfg = setup_cfg(arguments.config_file, opts)
    dynamic = is_dynamic(cfg.MODEL.META_ARCHITECTURE)
    chooses = dynamic and cfg.MODEL.DYNAMIC.POLICY == "selector"
    if arguments.cost_bias is not None and not chooses:
        raise UsageError("--cost-bias: this model has no resolution selector that it could bias")
    if arguments.format == "onnx":
        model = configured_spotter(cfg)
        write = write_focus if isinstance(model, FocusMap) else write_onnx
        return write(cfg, model, arguments)
    if FocusMap.__name__ == cfg.MODEL.META_ARCHITECTURE:
        raise UsageError("--format file: a network that looks first is a file of --format onnx")
    model = export_spotter(cfg, arguments.output, half=arguments.half)
    size = arguments.output.stat().st_size / 2**20
    console.print(f"{arguments.output}: {size:.1f} MiB, {cfg.MODEL.META_ARCHITECTURE}")
    if chooses:
        scales = ", ".join(f"{scale:g}" for scale in model.scales)
        console.print(f"scales {scales}; cost bias {model.policy.cost_bias:g}")
    return 0


def write_onnx(cfg: CfgNode, model: Spotter | DynamicSpotter, arguments: argparse.Namespace) -> int:
    """The folder of networks; returns the exit status."""
    if arguments.output.is_file():
        raise UsageError(f"--output: {arguments.output} is a file; name a folder for the networks")
    # ONNX Runtime, with which the networks are checked, is for this format alone.
    from dld_d2.deployment.onnx_check import export_networks

    description, comparison = export_networks(
        cfg, model, arguments.output, half=arguments.half, focus=focus_of(arguments)
    )
    for name in description.graphs:
        file = arguments.output / f"{name}.onnx"
        console.print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")
    console.print(
        f"they read what the model reads: {comparison.words} words on {comparison.images} images"
    )
    return 0


def focus_of(arguments: argparse.Namespace) -> Path | None:
    """The file of the network that looks first, if there is to be one."""
    return arguments.focus or (focus_file(arguments.model) if arguments.model else None)


def write_focus(cfg: CfgNode, model: FocusMap, arguments: argparse.Namespace) -> int:
    """The file of a network that looks first; returns the exit status."""
    if arguments.focus is not None:
        raise UsageError("--focus: is for the networks of a spotter")
    if arguments.output.suffix != ".onnx":
        raise UsageError(f"--output: {arguments.output}: name an .onnx file for this network")
    # ONNX Runtime, with which it is checked, is for this format alone.
    from dld_d2.deployment.focus_file import save_focus

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_focus(model, arguments.output, image_format=cfg.INPUT.FORMAT, half=arguments.half)
    console.print(f"{arguments.output}: {arguments.output.stat().st_size / 2**20:.1f} MiB")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--config-file", metavar="FILE", help="of the training")
    add("--weights", metavar="FILE", help="checkpoint, such as model_final.pth")
    add(
        "--model",
        metavar="NAME",
        help="instead of the two, for --format onnx: an exported file, or the name of a model that "
        "comes with this package",
    )
    add(
        "--format",
        choices=("file", "onnx"),
        default="file",
        help="one file for PyTorch, or a folder of networks for ONNX Runtime (default: file)",
    )
    add(
        "--output",
        required=True,
        type=Path,
        metavar="FILE",
        help=".pth or .safetensors file; with --format onnx the folder",
    )
    add(
        "--cost-bias",
        type=float,
        metavar="B",
        help="how much cost weighs in choosing scales, unless asked otherwise when the file is "
        "used (default: as configured; tools/choose_cost_bias.py finds one for a wanted cost)",
    )
    add(
        "--focus",
        type=Path,
        metavar="FILE",
        help="with --format onnx: a network that looks first, which the folder gets too (default: "
        "that of --model, where it has one)",
    )
    add(
        "--half",
        action="store_true",
        help="store kernels and matrices in float16: half the size, computed in float32 as ever",
    )
    add_overrides(parser, of="of the configuration, those of the training")
    arguments = parser.parse_args(argv)
    trained = arguments.config_file is not None and arguments.weights is not None
    if arguments.model is None and not trained:
        parser.error("name the training's --config-file and --weights")
    if arguments.model is not None and (arguments.config_file or arguments.weights):
        parser.error("--model is instead of --config-file and --weights")
    if arguments.focus is not None and arguments.format != "onnx":
        parser.error("--focus: a network that looks first goes with --format onnx")
    if arguments.model is not None and arguments.format != "onnx":
        parser.error("--model is exported already; it can be made --format onnx")
    if arguments.model is not None and arguments.cost_bias is not None:
        parser.error("--cost-bias: set cost_bias where the networks are used")
    return arguments
