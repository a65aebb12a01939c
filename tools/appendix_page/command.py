"""The appendix of the DLD paper from your models and data: which images got which scale, what was
lost and won against the teacher, where the selector was wrong, what budget would change it.

    python tools/appendix.py --dataset synthetic_test --vanilla tiny_teacher --dld tiny_dld
    python tools/appendix.py --vanilla output/my_teacher --dld output/my_dld --dataset my_test \\
        --opts DATASETS.REGISTER my_data.yaml

A MODEL is the name of a shipped one, a file that `dld-d2 export` made, CONFIG.yaml:WEIGHTS, or the
OUTPUT_DIR of a training or an evaluation, whose finished evaluations are taken as they are. A
folder with a `matches.jsonl` of `dld-d2 evaluate --details` serves, too. What else is needed is
evaluated now. Items for which something is missing are left out, and the page says which and why.
docs/appendix.md says how to read each.
"""

from __future__ import annotations

import dld_d2.commands  # first: it silences what others warn of when they are loaded

# isort: split
import argparse
import logging
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

import dld_d2
from appendix_page.accuracy import accuracy
from appendix_page.budget import budget, remedies
from appendix_page.evaluations import Evaluations
from appendix_page.feature_items import Found, figure_a5_or_a6, table_a2
from appendix_page.feature_study import study_features
from appendix_page.galleries import figure_a1, figure_a2, figure_a3, figure_a4, figure_a7
from appendix_page.images import heights, image_list
from appendix_page.item import Item, Missing
from appendix_page.page import PageData, Section, build_page, write_files
from appendix_page.settings import Settings, open_settings
from appendix_page.study import Study, register_part
from appendix_page.tables import headline, scores, table_a1, table_a3, tiles
from dld_d2.commands.arguments import add_overrides, at_least, described_parser
from dld_d2.commands.console import console
from dld_d2.commands.datasets import open_text_dataset
from dld_d2.commands.errors import UsageError, ends_in_one_line
from dld_d2.engine.evaluation.truth import read_truth
from dld_d2.engine.setup import default_cfg, set_key

__all__ = ["main", "parse_arguments"]


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("--dataset", required=True, nargs="+", metavar="NAME", help="registered, with annotations")
    add("--vanilla", required=True, metavar="MODEL", help="the teacher")
    add("--dld", required=True, nargs="+", metavar="MODEL", help="students that choose; the first "
        "is looked at, the others are in the tables of scores and scales")  # fmt: skip
    add("--skd-only", metavar="MODEL", help="a student of one scale; of one that chooses, the "
        "student is held at --low-scale")  # fmt: skip
    add("--drs-only", metavar="MODEL", help="a student that chooses, trained without distillation")
    add("--vanilla-low", metavar="MODEL", help="the teacher at the low scale, where --vanilla is "
        "an evaluation alone; else it is evaluated now")  # fmt: skip
    add("--low-scale", type=_scale, default=0.5, metavar="S", help="(0.5)")
    add("--images", type=at_least(1), metavar="N", help="of each data set, spread evenly (all)")
    add("--every-scale", action="store_true", help="evaluate the first student at each of its "
        "scales, too: accuracy by any budget, and the scale that each image needed")  # fmt: skip
    add("--exhibits", type=at_least(1), default=3, metavar="N", help="images of a gallery (3)")
    add("--words", type=at_least(1), default=8, metavar="N", help="words of Figure A4 (8)")
    add("--points", type=at_least(3), default=2000, metavar="N", help="words of Figures A5 and A6, "
        "at most (2000)")  # fmt: skip
    add("--seed", type=int, default=0, help="of what is drawn at random (0)")
    add("--output", type=Path, default=Path("output/appendix"), metavar="DIR",
        help="(output/appendix)")  # fmt: skip
    add_overrides(parser, of="of the configuration of all models")
    return parser.parse_args(argv)


@ends_in_one_line()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = parse_arguments(argv)
    # Evaluators tell at length what the page shows.
    for name in ("detectron2", "dld_d2", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    cfg = _overridden(arguments.opts)
    for name in arguments.dataset:
        open_text_dataset(cfg, name)
    settings = open_settings(arguments)
    match_iou = (settings.vanilla.cfg or cfg).TEST.MATCH_IOU
    arguments.output.mkdir(parents=True, exist_ok=True)
    studies, at_scales, features = [], [], []
    for name in arguments.dataset:
        part = register_part(name, arguments.images) if arguments.images else name
        evaluations = Evaluations(
            part, name, read_truth(part), arguments.output / "evaluations", match_iou
        )
        studies.append(settings.study(name, DatasetCatalog.get(part), evaluations))
        if arguments.every_scale:
            at_scales.append(_at_every_scale(settings, evaluations))
        features.append(_features(settings, studies[-1], arguments))
    sections = _sections(settings, studies, at_scales, features, arguments)
    page = build_page(
        PageData(
            headline(studies),
            tiles(studies[0]),
            settings.told(),
            scores(studies),
            sections,
            _versions(),
        )
    )
    path = arguments.output / "index.html"
    path.write_text(page, encoding="utf-8")
    names = write_files(sections, arguments.output)
    console.print(headline(studies))
    for section in sections:
        for item in section.items:
            if isinstance(item, Missing):
                console.print(f"left out: {item.title}: {item.why}")
    console.print(f"{path} ({len(page) / 1e6:.1f} MB), and beside it {len(names)} files")
    return 0


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {value:g}")
    return value


def _overridden(opts: Sequence[str]) -> CfgNode:
    """The default configuration with the overrides, for what is no model's own."""
    if len(opts) % 2:
        raise UsageError(f"--opts takes keys and values in turn; {opts[-1]} has no value")
    cfg = default_cfg()
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        set_key(cfg, key, value, "--opts")
    return cfg


def _at_every_scale(settings: Settings, evaluations: Evaluations) -> dict:
    student = settings.dld[0]
    if not student.chooses:
        raise UsageError("--every-scale needs the model of the first --dld, not its evaluation")
    return {scale: evaluations.of(student, scale) for scale in student.model.scales}


def _features(settings: Settings, study: Study, arguments: argparse.Namespace) -> Found | str:
    if settings.vanilla.model is None:
        return "it needs the model of --vanilla, not its evaluation alone"
    sources = {"vanilla": settings.vanilla}
    if settings.skd_only is not None and settings.skd_only.model is not None:
        sources["student"] = settings.skd_only
    return study_features(study, study.name, sources, most=arguments.points, seed=arguments.seed)


def _by_scale(
    studies: Sequence[Study], candidates: Sequence[float], seed: int
) -> list[Item | Missing]:
    first = studies[0]
    if all(not e.tells_scales for e in (first.drs_only, *first.dld) if e is not None):
        why = f"{first.dld[0].label} tells no scale of the whole image"
        titles = "Table A1: scales that were chosen", "Figure A1: images by the scale that they got"
        return [Missing(title, why) for title in titles]
    return [table_a1(studies, candidates), figure_a1(studies, seed), heights(studies)]


def _sections(
    settings: Settings,
    studies: Sequence[Study],
    at_scales: Sequence[dict],
    features: Sequence[Found | str],
    arguments: argparse.Namespace,
) -> list[Section]:
    most, seed, selection = arguments.exhibits, arguments.seed, settings.selection
    found = features if settings.vanilla.model is not None else features[0]
    student = "" if studies[0].skd_only is None else studies[0].skd_only.label
    changes: list[Item | Missing] = [
        figure_a7(studies, most, [remedies(study, selection) for study in studies]),
        budget(studies, selection),
    ]
    if at_scales:
        changes.append(accuracy(studies, selection, at_scales))
    return [
        Section(
            "Which images got which scale, and why",
            [
                *_by_scale(studies, () if selection is None else selection.scales, seed),
                image_list(studies, selection),
            ],
        ),
        Section(
            "What was lost and won against the teacher",
            [
                *(table_a3(studies), figure_a2(studies, most), figure_a3(studies, most)),
                figure_a4(studies, arguments.words, seed),
            ],
        ),
        Section("Where the selector was wrong, and what would change it", changes),
        Section(
            "What distillation does to the features",
            [
                table_a2(studies, found, settings.low),
                figure_a5_or_a6("roi", studies, found, student),
                figure_a5_or_a6("context", studies, found, student),
            ],
        ),
    ]


def _versions() -> str:
    python = platform.python_version()
    return f"dld_d2 {dld_d2.__version__}, PyTorch {torch.__version__}, Python {python}"
