#!/usr/bin/env python
"""Train or evaluate a text spotter, or distil one.

    python train_net.py --config-file configs/teacher_mixed.yaml --num-gpus 8
    python train_net.py --config-file configs/dld_tt.yaml --num-gpus 8
    python train_net.py --config-file configs/teacher_mixed.yaml --eval-only MODEL.WEIGHTS FILE.pth

docs/training.md tells the rest.
"""

from __future__ import annotations

import argparse
import sys

from detectron2.config import CfgNode

import dld_d2.data.builtin
import dld_d2.modeling  # noqa: F401
from dld_d2.data.registration_file import register_configured_datasets
from dld_d2.data.report import AnnotationError
from dld_d2.engine.distill_trainer import DistillTrainer
from dld_d2.engine.launch import check_gpus, launch
from dld_d2.engine.setup import ConfigError, prepare_run, setup_cfg
from dld_d2.engine.trainer import SpotterTrainer


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="override configuration keys"
    )
    return parser.parse_args()


def main(cfg: CfgNode, args: argparse.Namespace) -> None:
    cfg = prepare_run(cfg, args)
    register_configured_datasets(cfg)
    distills = cfg.MODEL.META_ARCHITECTURE == "DynamicResolutionDistiller"
    trainer_class = DistillTrainer if distills else SpotterTrainer
    if args.eval_only:
        trainer_class.evaluate(cfg, resume=args.resume)
        return
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


if __name__ == "__main__":
    arguments = parse_args()
    try:
        num_gpus = check_gpus(arguments.num_gpus)
        device = ["MODEL.DEVICE", "cpu"] if arguments.num_gpus == 0 else []
        launch(
            main,
            setup_cfg(arguments.config_file, arguments.opts + device),
            (arguments,),
            num_gpus=num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
        )
    except (ConfigError, AnnotationError, FileNotFoundError) as error:
        sys.exit(f"train_net.py: {error}")
