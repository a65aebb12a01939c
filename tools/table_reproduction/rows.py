"""What is trained and evaluated: the rows of the table and the points of its plots."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FIXED_SCALES",
    "MULTI_SCALE_TEACHER",
    "ROWS",
    "SECOND_ROUND",
    "SELECTOR",
    "TEACHER",
    "TEACHER_SHARE",
    "TEXT_PERCEPTRON",
    "Row",
    "find_rows",
]

TEACHER = "vanilla_h"
MULTI_SCALE_TEACHER = "teacher_multiscale"
SELECTOR = "text_size"
TEXT_PERCEPTRON = "text_perceptron_dld"
FIXED_SCALES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""At which Table 8 reads all images, beside the full resolution."""
SECOND_ROUND = (
    *("MODEL.DISTILL.FREEZE_STUDENT", "True", "MODEL.DISTILL.SELECTOR.BATCH_FRACTION", "1.0"),
    *("MODEL.DISTILL.SELECTOR.LR_FACTOR", "1.0", "MODEL.DISTILL.BEST_SCALE.REGRET_POWER", "0.5"),
    *("DATASETS.TRAIN", "('synthetic_train',)", "SEED", "8"),
    *("SOLVER.MAX_ITER", "400", "SOLVER.BASE_LR", "0.0009", "SOLVER.WARMUP_ITERS", "20"),
)
"""How every selector goes on, alone, where the row's configuration ends. Crowded scenes teach
reading sooner, but few small words beside a large one, which it must not overlook, are not among
them."""
TEACHER_SHARE = 0.5
"""Of the teacher's weights in a student's after its training, before its selector goes on."""
_FULL = 512
"""Short side of the scenes, at which the teacher reads them."""


@dataclass(frozen=True)
class Row:
    """One model in one setting.

    Attributes:
        name: of its folder, and on the command line.
        title: in the table.
        config: below configs/tiny.
        opts: overrides of the configuration.
        group: "table"; "table3" (the paper's Table 3, other ways to distil); or what plot alone
            shows it: "curve" (the teacher at other scales), "sweep" (other gammas); "table8" and
            "text_perceptron" (what the paper's Table 8 alone shows); or "needed" (trained because
            others start from it).
        weights_of: the row whose weights it evaluates; itself if empty.
        starts_from: the row whose student it takes; only the selector learns then. Of a teacher,
            the one that it goes on from.
        cost_of: the row whose mean cost a cost bias must meet, on synthetic_val.
        teacher: the row that teaches it, if it is distilled.
        given: whether its weights must be given, since they are trained by other commands.
        alone: whether a student's network reads without its selector.
    """

    name: str
    title: str
    config: str
    opts: tuple[str, ...] = ()
    group: str = "table"
    weights_of: str = ""
    starts_from: str = ""
    cost_of: str = ""
    teacher: str = TEACHER
    given: bool = False
    alone: bool = False

    @property
    def trained(self) -> bool:
        return not self.weights_of and not self.given

    @property
    def distils(self) -> bool:
        """Whether its training needs the teacher."""
        return self.trained and self.name not in (TEACHER, MULTI_SCALE_TEACHER, SELECTOR)

    @property
    def chooses(self) -> bool:
        """Whether its training needs a selector that knows text sizes."""
        return self.distils and self.name != "skd_only" and self.group != "table3"


def _gamma(value: float, cost_bias: float = 1.0) -> tuple[str, ...]:
    """Overrides for a gamma. The bias gives back some of the caution that REGRET_POWER teaches in
    the second round, as much as costs 0.2 points or so on synthetic_val."""
    gamma = ("MODEL.DISTILL.SELECTOR.GAMMA", f"{value:g}")
    return (*gamma, "MODEL.DYNAMIC.COST_BIAS", f"{cost_bias:g}")


def _vanilla(scale: float) -> Row:
    return Row(
        f"vanilla_{scale:g}",
        f"vanilla, {scale:g}",
        "teacher_synthetic.yaml",
        ("INPUT.MIN_SIZE_TEST", str(round(scale * _FULL))),
        group="curve",
        weights_of=TEACHER,
    )


def _alone(name: str, title: str, config: str, student: str, scale: float, group: str) -> Row:
    """A student's network at one scale for all images; the configuration is its teacher's."""
    side = ("INPUT.MIN_SIZE_TEST", str(round(scale * _FULL)))
    return Row(name, title, config, side, group, weights_of=student, alone=True)


def _text_perceptron(name: str, title: str, config: str) -> Row:
    config = f"../text_perceptron/tiny/{config}"
    return Row(name, title, config, group="text_perceptron", given=True)


def _table3(name: str, title: str, teacher: str = TEACHER) -> Row:
    return Row(name, title, f"table3/{name}.yaml", group="table3", teacher=teacher)


ROWS = (
    Row(SELECTOR, "(text sizes)", "text_size.yaml", group="needed"),
    Row(TEACHER, "Vanilla multi-scale, H", "teacher_synthetic.yaml"),
    Row(
        MULTI_SCALE_TEACHER,
        "(teacher of two resolutions)",
        "table3/teacher_multiscale.yaml",
        group="needed",
        starts_from=TEACHER,
    ),
    Row("vanilla_l", "Vanilla multi-scale, L", "vanilla_half.yaml", weights_of=TEACHER),
    Row("skd_only", "SKD-only", "skd_only.yaml"),
    Row("drs_only", "DRS-only, gamma 0.1", "drs_only.yaml", _gamma(0.1, 2)),
    Row("drs_only_gamma0.3", "DRS-only, gamma 0.3", "drs_only.yaml", _gamma(0.3)),
    Row("dld", "DLD, gamma 0.1", "dld.yaml", _gamma(0.1, 2)),
    Row("dld_gamma0.3", "DLD, gamma 0.3", "dld_gamma0.3.yaml", _gamma(0.3)),
    Row(
        "drs_only_as_dld",
        "DRS-only at DLD's cost",
        "drs_only.yaml",
        weights_of="drs_only",
        cost_of="dld",
    ),
    _table3("bhunia", "Bhunia et al."),
    _table3("skd_logits", "SKD, logits for L_seq"),
    _table3("skd_logits_released", "the same, as released"),
    _table3("qi", "Qi et al."),
    _table3("qi_fused", "Qi et al., fused", MULTI_SCALE_TEACHER),
    _table3("skd_qi", "SKD + Qi et al."),
    _table3("skd_qi_fused", "SKD + Qi et al., fused", MULTI_SCALE_TEACHER),
    *(_vanilla(scale) for scale in (0.3, 0.4, 0.6, 0.7, 0.8)),
    *(
        Row(
            f"dld_gamma{gamma:g}",
            f"DLD, gamma {gamma:g}",
            "dld.yaml",
            _gamma(gamma),
            group="sweep",
            starts_from=start,
        )
        for gamma, start in ((0.2, "dld"), (0.4, "dld_gamma0.3"), (0.5, "dld_gamma0.3"))
    ),
    _alone(
        "dld_at_1", "DLD's student at full scale", "teacher_synthetic.yaml", "dld", 1.0, "table8"
    ),
    _text_perceptron(TEXT_PERCEPTRON, "Text Perceptron, DLD, gamma 0.1", "dld.yaml"),
    _text_perceptron(
        f"{TEXT_PERCEPTRON}_gamma0.3", "Text Perceptron, DLD, gamma 0.3", "dld_gamma0.3.yaml"
    ),
    *(
        _alone(
            f"text_perceptron_{scale:g}",
            f"Text Perceptron, {scale:g}",
            "../text_perceptron/tiny/teacher.yaml",
            TEXT_PERCEPTRON,
            scale,
            "text_perceptron",
        )
        for scale in (1.0, *FIXED_SCALES)
    ),
)


def find_rows(names: list[str]) -> list[Row]:
    """Rows in the order of `ROWS`.

    Args:
        names: of rows or groups.

    Raises:
        ValueError: for a name that there is not.
    """
    known = {row.name for row in ROWS} | {row.group for row in ROWS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no row {name!r}; known are {', '.join(sorted(known))}")
    return [row for row in ROWS if row.name in names or row.group in names]
