#!/usr/bin/env python3
"""The whole way in a few minutes on a CPU, as `make demo` does it.

Draws a handful of scenes with words, writes them in ICDAR form with the YAML file that registers
them, then runs the commands that a user would: train_net.py, which trains and evaluates the small
spotter on them, and tools/demo.py, which reads them with what was learnt.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "demo_scenes"
SCENES = 8
SIZE = 256
SEED = 11


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/demo"),
        metavar="DIR",
        help="where everything goes (output/demo); what an earlier demo left there is replaced",
    )
    parser.add_argument(
        "--iterations", type=int, metavar="N", help="of training (default: as configured)"
    )
    return parser.parse_args()


def write_scenes(folder: Path) -> Path:
    """Scenes as files in ICDAR form.

    Returns:
        The YAML file that registers them.
    """
    from dld_d2.data.synthetic import Population, Regime, SceneConfig, SyntheticDataset
    from dld_d2.data.synthetic.writer import write_annotations, write_scene

    # Few and large words, which can be learnt by heart in a minute or two.
    few_words = Regime(1.0, (Population((24, 44), (2, 4)),))
    config = SceneConfig(height=SIZE, width=SIZE, regimes={"demo": few_words})
    scenes = SyntheticDataset(SCENES, SEED, config)
    (folder / "images").mkdir(parents=True)
    for index in range(len(scenes)):
        write_scene(scenes, index, folder)
    write_annotations(scenes, folder)
    registration = folder / "data.yaml"
    registration.write_text(
        f"datasets:\n  {NAME}:\n    image_root: images\n    annotations: gt\n    format: polygon\n"
    )
    return registration


def run(title: str, *command: str) -> None:
    """Run one of the project's own commands; its output is the user's to see.

    Raises:
        SystemExit: if it fails.
    """
    print(f"\n== {title}\n$ python {' '.join(command)}", flush=True)
    # Threads that wait without spinning: a demo is often not alone on the machine.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore", **os.environ}
    status = subprocess.call([sys.executable, *command], cwd=ROOT, env=environment)
    if status:
        sys.exit(f"make_demo.py: {command[0]} failed with status {status}, see above")


def report(output: Path, seconds: float) -> None:
    results = json.loads((output / "run" / "inference" / NAME / "results.json").read_text())
    metrics = results["metrics"]
    print(
        f"\n== Done in {seconds / 60:.1f} minutes\n"
        f"On the {SCENES} scenes that it learnt by heart, the spotter finds words with hmean "
        f"{metrics['det_hmean']:.2f} and finds and reads them with hmean "
        f"{metrics['e2e_none_hmean']:.2f},\nat {metrics['fps']:.1f} images per second. "
        "(On other images it would read nothing: that takes more than a few minutes.)\n"
        f"  pictures, ground truth beside result: {output}/run/inference/{NAME}/pictures/\n"
        f"  pictures and JSON of tools/demo.py:   {output}/read/\n"
        f"  losses, for tensorboard --logdir:     {output}/run/"
    )


def main() -> None:
    arguments = parse_arguments()
    start = time.monotonic()
    print(f"== Drawing {SCENES} scenes of {SIZE} x {SIZE} pixels with words", flush=True)
    output = arguments.output.resolve()
    for part in ("data", "run", "read"):
        shutil.rmtree(output / part, ignore_errors=True)
    registration = write_scenes(output / "data")
    config = "configs/tiny/demo.yaml"
    options = ["DATASETS.REGISTER", str(registration), "DATASETS.TRAIN", f"('{NAME}',)"]
    options += ["DATASETS.TEST", f"('{NAME}',)", "OUTPUT_DIR", str(output / "run")]
    if arguments.iterations:
        options += ["SOLVER.MAX_ITER", str(arguments.iterations)]
    run("Training and evaluating", "train_net.py", "--config-file", config, *options)
    weights = str(output / "run" / "model_final.pth")
    run(
        "Reading photographs",
        *("tools/demo.py", "--config-file", config, "--input", str(output / "data" / "images")),
        *("--output", str(output / "read"), "--opts", "MODEL.WEIGHTS", weights),
    )
    report(output, time.monotonic() - start)


if __name__ == "__main__":
    main()
