"""Training and evaluating rows with the project's own commands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from dld_d2.commands.errors import UsageError
from dld_d2.deployment.predictor import TextSpotter
from dld_d2.engine.average_weights import average_weights
from dld_d2.engine.checkpoint import read_weights
from dld_d2.engine.setup import setup_cfg
from dld_d2.engine.whole_files import write_whole
from dld_d2.modeling.selection.selector import select
from table_reproduction.rows import ROWS, SECOND_ROUND, SELECTOR, TEACHER, TEACHER_SHARE, Row

__all__ = ["Runs"]

_ROOT = Path(__file__).resolve().parents[2]
_BY_NAME = {row.name: row for row in ROWS}


class Runs:
    """The folder of an experiment: a folder for each row.

    Args:
        folder: where everything goes.
        dataset: that is evaluated on, registered.
        weights: row -> file with its weights, of those that are not to be trained.
        processes: that a training is shared among, on a CPU.
        opts: overrides for all trainings and evaluations.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dataset: str,
        weights: Mapping[str, Path],
        processes: int = 1,
        opts: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self._given = dict(weights)
        self._processes = processes
        self._opts = list(opts)
        self._cost_biases: dict[str, float] = {}

    def weights(self, row: Row) -> Path:
        """Where the weights of a row are, or will be."""
        owner = row.weights_of or row.name
        return self._given.get(owner, self.folder / owner / "model_final.pth")

    def train(self, row: Row) -> None:
        """Train a row unless its weights are there; a training that was cut off goes on.

        A student learns in the folder "first" of the row's; its weights are averaged with the
        teacher's, and then its selector goes on alone. A row that starts from another one's
        student learns nothing but that.

        Raises:
            UsageError: for a row whose weights must be given.
            SystemExit: if the training fails.
        """
        if self.weights(row).exists():
            return
        if row.given:
            raise UsageError(
                f"{row.name} is not trained here: --shipped takes the weights that come with this "
                f"package, if there are some, and --weights {row.name} FILE others"
            )
        folder = self.folder / row.name
        opts = [*row.opts, "DATASETS.TEST", "()"]
        if row.distils:
            opts += ["MODEL.DISTILL.TEACHER_WEIGHTS", str(self.weights(_BY_NAME[row.teacher]))]
        if row.chooses:
            opts += ["MODEL.DISTILL.SELECTOR.WEIGHTS", str(self.weights(_BY_NAME[SELECTOR]))]
        title = f"Training {row.name}"
        if not row.distils:
            if row.starts_from:
                opts += ["MODEL.WEIGHTS", str(self.weights(_BY_NAME[row.starts_from]))]
            self._run(title, row, "--resume", opts, folder)
            return
        if row.starts_from:
            start = self.weights(_BY_NAME[row.starts_from])
        else:
            first = folder / "first" / "model_final.pth"
            if not first.exists():
                self._run(title, row, "--resume", opts, first.parent)
            start = first.with_name("averaged.pth") if row.chooses else self.weights(row)
            self._average(first, start)
        if row.chooses:
            opts += [*SECOND_ROUND, "MODEL.WEIGHTS", str(start)]
            self._run(f"{title}'s selector", row, "--resume", opts, folder)

    def evaluate(self, row: Row) -> dict:
        """The contents of a row's results.json; it is made unless one of these weights and
        overrides is there.

        Raises:
            SystemExit: if the evaluation fails.
        """
        results = self.folder / row.name / "inference" / self.dataset / "results.json"
        # Beside the results, since they do not tell what they are of.
        identity_file = results.with_name("evaluated.json")
        identity = self._identity(row)
        if not results.exists() or _read_json(identity_file) != identity:
            opts = self.inference_opts(row)
            self._run(f"Evaluating {row.name}", row, "--eval-only", opts, self.folder / row.name)
            identity_file.write_text(json.dumps(identity), encoding="utf-8")
        return json.loads(results.read_text())

    def short_side(self, name: str) -> int:
        """Short side in pixels that a row's images have at full resolution."""
        row = _BY_NAME[name]
        return setup_cfg(self._config(row), [*row.opts, *self._opts]).INPUT.MIN_SIZE_TEST

    def inference_opts(self, row: Row) -> list[str]:
        """Overrides of a row's configuration with which it is evaluated."""
        weights = self._alone(row) if row.alone else self.weights(row)
        opts = [*row.opts, "MODEL.WEIGHTS", str(weights)]
        opts += ["DATASETS.TEST", f'("{self.dataset}",)', "MODEL.DISTILL.TEACHER_WEIGHTS", ""]
        if row.cost_of:
            opts += ["MODEL.DYNAMIC.COST_BIAS", str(self._cost_bias(row, opts))]
        return opts

    def spotter(self, row: Row) -> TextSpotter:
        """The model of a row, as it is evaluated."""
        return TextSpotter(setup_cfg(self._config(row), [*self.inference_opts(row), *self._opts]))

    def _identity(self, row: Row) -> dict:
        """What an evaluation depends on, but for this package."""
        rows = [row, _BY_NAME[row.cost_of]] if row.cost_of else [row]
        return {
            "weights": [_sha256(self.weights(r)) for r in rows],
            "opts": [row.config, *row.opts, *self._opts],
        }

    def _cost_bias(self, row: Row, opts: list[str]) -> float:
        """Found on other images than those that are scored."""
        if row.name not in self._cost_biases:
            self._cost_biases[row.name] = self._find_cost_bias(row, opts)
        return self._cost_biases[row.name]

    def _find_cost_bias(self, row: Row, opts: list[str]) -> float:
        wanted = self.spotter(_BY_NAME[row.cost_of])
        biased = TextSpotter(setup_cfg(self._config(row), [*opts, *self._opts]))
        images = [item["read_image"]("BGR") for item in DatasetCatalog.get("synthetic_val")]
        logits = torch.stack(list(wanted.scale_logits(images)))
        choice = select(logits, wanted.cost_bias, wanted.model.relative_cost)
        cost = wanted.model.relative_cost[choice].mean().item()
        return biased.set_target_cost(images, cost).cost_bias

    def _config(self, row: Row) -> str:
        return str(_ROOT / "configs" / "tiny" / row.config)

    def _alone(self, row: Row) -> Path:
        """A file of what a student's weights have beside its selector's."""
        weights = read_weights(self.weights(row))
        prefix = "spotter."
        part = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        output = self.folder / row.name / "spotter.pth"
        write_whole(output, lambda stream: torch.save({"model": part}, stream))
        return output

    def _average(self, student: Path, output: Path) -> None:
        """The student's weights with those that all students come from."""
        files = [student, self.weights(_BY_NAME[TEACHER])]
        weights = average_weights(files, [1 - TEACHER_SHARE, TEACHER_SHARE])
        write_whole(output, lambda stream: torch.save({"model": weights}, stream))

    def _run(self, title: str, row: Row, flag: str, opts: list[str], folder: Path) -> None:
        processes = 1 if flag == "--eval-only" else self._processes
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        command += [str(_ROOT / "train_net.py"), "--config-file", self._config(row), flag]
        command += [*opts, "OUTPUT_DIR", str(folder), *self._opts]
        log = folder / f"{flag.strip('-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{title}; its output is in {log}", flush=True)
        # Threads that wait without spinning: several processes share the cores.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore", **os.environ}
        if processes > 1:
            environment.setdefault("OMP_NUM_THREADS", "1")
        with log.open("w") as stream:
            status = subprocess.call(command, env=environment, stdout=stream, stderr=stream)
        if status:
            tail = "\n".join(log.read_text().splitlines()[-5:])
            sys.exit(f"reproduce_table.py: {title.lower()} failed with status {status}:\n{tail}")


def _read_json(file: Path) -> dict | None:
    """None if there is no such file, or it was cut off."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
