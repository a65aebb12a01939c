"""Train or evaluate a text spotter, or distil one.

    dld-d2 train --config-file configs/teacher_mixed.yaml --num-gpus 8
    dld-d2 train --config-file configs/dld_mixed.yaml --num-gpus 8
    dld-d2 train --config-file configs/teacher_mixed.yaml --eval-only MODEL.WEIGHTS FILE.pth

torchrun takes the script train_net.py, which is the same. docs/training.md tells the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from dld_d2.commands.arguments import add_overrides, described_parser
from dld_d2.commands.errors import ends_in_one_line
from dld_d2.data.registration_file import register_configured_datasets
from dld_d2.engine.launch import check_gpus, launch
from dld_d2.engine.setup import prepare_run, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer
from dld_d2.engine.trainers import trainer_for

__all__ = ["main", "parse_arguments", "run"]


_MISUSED = 2  # exit status


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    num_gpus = check_gpus(arguments.num_gpus)
    device = ["MODEL.DEVICE", "cpu"] if arguments.num_gpus == 0 else []
    several = num_gpus > 1 or arguments.num_machines > 1
    try:
        launch(
            run_in_one_of_several if several else run,
            setup_cfg(arguments.config_file, arguments.opts + device),
            (arguments,),
            num_gpus=num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
        )
    except ProcessExitedException as error:
        if error.exit_code != _MISUSED:
            raise
        return _MISUSED  # the process has told why
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR; with --eval-only, evaluate that",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="GPUs of this machine; 0 is the CPU. Default: one if there is any",
    )
    parser.add_argument("--num-machines", type=int, default=1, metavar="N")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="I", help="from 0")
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="tcp://HOST:PORT of the first machine, needed for several",
    )
    add_overrides(parser, "opts")
    return parser.parse_args(argv)


def run(
    cfg: CfgNode,
    arguments: argparse.Namespace,
    trainer_class: type[SpotterTrainer] | None = None,
) -> None:
    """Train or evaluate in one process of the run; at the top level for those that others start.

    Args:
        cfg: as `setup_cfg` gives it.
        arguments: as `parse_arguments` gives them.
        trainer_class: that of the configuration if None.
    """
    register_configured_datasets(cfg)
    trainer_class = trainer_class or trainer_for(cfg)
    if not arguments.eval_only:
        # What a user can mend is told before anything is written.
        trainer_class.check_start(cfg, resume=arguments.resume)
    cfg = prepare_run(cfg, arguments)
    if arguments.eval_only:
        trainer_class.evaluate(cfg, resume=arguments.resume)
        return
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=arguments.resume)
    trainer.train()


def run_in_one_of_several(cfg: CfgNode, arguments: argparse.Namespace) -> None:
    """As `run`, in a process that was started for it: what a user can mend ends it in one line,
    before the others tell the same."""
    os.environ["RANK"] = str(comm.get_rank())

    @ends_in_one_line()
    def run_here() -> int:
        run(cfg, arguments)
        return 0

    if status := run_here():
        sys.exit(status)
