"""Terms of the distillation loss: found by name, with keys and adapters of their own."""

import sys

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from distiller_to_train import make_batch, tiny_distiller
from tiny_spotter import CONFIGS, SMALL
from torch import nn

from dld_d2.distillation.distiller import Distiller
from dld_d2.distillation.terms import term as terms
from dld_d2.distillation.terms.term import Term, find_term, known_terms, mean_squared_distance
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.setup import setup_cfg
from dld_d2.modeling.build import build_spotter

MODULE = """
from dld_d2.distillation.terms.term import Term, mean_squared_distance, register_term


@register_term("sharpness")
class SharpnessTerm(Term):
    needs = frozenset({"attention"})

    def __init__(self, *, weight, power):
        super().__init__(weight=weight)
        self.power = power

    @classmethod
    def add_config(cls, node):
        super().add_config(node)
        # Of attention.
        node.POWER = 2.0

    @classmethod
    def from_config(cls, node, student, teacher):
        return cls(weight=node.WEIGHT, power=node.POWER)

    def forward(self, student, teacher):
        a, b = (x.features["attention"] ** self.power for x in (student, teacher))
        return {"loss_sharpness": self.weight * mean_squared_distance(a, b, "attention")}


@register_term("scores")
class ScoresTerm(Term):
    needs = frozenset({"score_map", "heat"})

    def forward(self, student, teacher):
        return {}
"""
NAME = "terms_of_somebody"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's file outside of the package; forgotten after the test."""
    (tmp_path / f"{NAME}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(terms, "_TERMS", known_terms())
    yield tmp_path
    sys.modules.pop(NAME, None)


def config(folder, content, *opts):
    """The small configuration with what a file of the user's says, and overrides."""
    file = folder / "config.yaml"
    base = CONFIGS / "tiny" / "Base-dld.yaml"
    file.write_text(f"_BASE_: {base}\n{content}")
    small = [str(part) for item in SMALL.items() for part in item]
    return setup_cfg(str(file), [*small, "MODEL.DYNAMIC.COST", "power", *opts])


def build(cfg):
    torch.manual_seed(0)
    return Distiller(cfg, build_model(cfg), build_spotter(cfg))


def naming(*names):
    return f"MODEL:\n  DISTILL:\n    TERMS: {list(names)}\n"


def test_a_term_of_a_users_own_is_one_word_and_its_keys(module):
    """Its section may stand before the word that asks for it, and is overridden as any other."""
    assert "sharpness" not in known_terms()
    content = (
        "MODEL:\n  DISTILL:\n    SHARPNESS: {WEIGHT: 0.5, POWER: 3}\n"
        f'    TERMS: ["roi", "{NAME}.sharpness"]\n'
    )
    cfg = config(module, content)
    section = cfg.MODEL.DISTILL.SHARPNESS
    assert (section.WEIGHT, section.POWER) == (0.5, 3.0)
    assert config(module, content, "MODEL.DISTILL.SHARPNESS.POWER", "4").MODEL.DISTILL[
        "SHARPNESS"
    ] == {"WEIGHT": 0.5, "POWER": 4.0}
    distiller = build(cfg)
    roi, own = distiller.terms
    assert (roi.name, own.name, own.weight, own.power) == ("roi", "sharpness", 0.5, 3.0)
    assert distiller.want == {"roi", "attention"}
    distiller.train()
    with EventStorage(0):
        losses = distiller(make_batch())
    assert losses["loss_sharpness"].item() > 0 and losses["loss_sharpness"].requires_grad
    assert "loss_roi" in losses and "loss_con" not in losses


def test_it_is_named_on_the_command_line_as_well(module):
    words = f"('{NAME}.sharpness',)"
    cfg = config(module, "MODEL: {DEVICE: cpu}\n", "MODEL.DISTILL.TERMS", words)
    assert cfg.MODEL.DISTILL.SHARPNESS == {"WEIGHT": 1.0, "POWER": 2.0}


def test_keys_of_a_term_that_nobody_asks_for_are_unknown(module):
    with pytest.raises(ConfigError, match=r"no configuration key MODEL\.DISTILL\.SHARPNESS"):
        config(module, "MODEL: {DISTILL: {SHARPNESS: {POWER: 3}}}\n")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["roi", "shape"],
            r"there is no term 'shape'; registered are affinity, attention, .*, score_map, seq",
        ),
        (["nowhere.sharpness"], r"nowhere\.sharpness: No module named 'nowhere'"),
        ([f"{NAME}.blur"], rf"there is no term '{NAME}\.blur'; registered are .*, sharpness$"),
    ],
    ids=str,
)
def test_what_is_no_term_is_named_with_its_file(module, names, message):
    with pytest.raises(ConfigError, match=rf"config\.yaml: MODEL\.DISTILL\.TERMS: {message}"):
        config(module, naming(*names))


def test_a_key_of_another_type_is_named(module):
    content = naming(f"{NAME}.sharpness")
    with pytest.raises(ConfigError, match=r"SHARPNESS\.POWER is 'high', which is text"):
        config(module, content, "MODEL.DISTILL.SHARPNESS.POWER", "high")


@pytest.mark.parametrize("weight", [0.0, -1.0])
@pytest.mark.parametrize("name", ["roi", "context", "sequence", f"{NAME}.sharpness"])
def test_a_weight_that_leaves_a_term_out_is_refused(module, name, weight):
    short = name.rpartition(".")[2]
    key = f"MODEL.DISTILL.{short.upper()}.WEIGHT"
    message = rf"{key} is {weight}.*above 0.*{short}. out of .*TERMS"
    with pytest.raises(ConfigError, match=message):
        config(module, naming(name), key, str(weight))
    # As by a script that sets keys itself.
    cfg = config(module, naming(name))
    cfg.defrost()
    cfg.merge_from_list([key, weight])
    with pytest.raises(ValueError, match=message):
        build(cfg)


def test_what_a_spotter_does_not_offer_is_listed(module):
    cfg = config(module, naming(f"{NAME}.scores"))
    with pytest.raises(
        ValueError,
        match=r"TERMS: scores needs the features heat, score_map, which the student, a "
        r"MaskRCNNSpotter, does not offer; it offers attention, context, glimpses, pyramid, roi$",
    ):
        build(cfg)


def test_what_a_teacher_does_not_offer_is_listed(module):
    cfg = config(module, naming(f"{NAME}.sharpness"))
    student, teacher = build_model(cfg), build_spotter(cfg)

    class Parallel(type(teacher)):
        """Its decoder looks nowhere in particular."""

        feature_shapes = {"context": (1, 33, 16)}  # noqa: RUF012

    teacher.__class__ = Parallel
    message = r"sharpness needs the features attention, which the teacher, a Parallel, does not"
    with pytest.raises(ValueError, match=rf"{message} offer; it offers context$"):
        Distiller(cfg, student, teacher)


def test_a_name_is_taken_once(module):
    find_term(f"{NAME}.sharpness")
    with pytest.raises(ValueError, match="there is a term 'sharpness' already: SharpnessTerm"):

        @terms.register_term("sharpness")
        class Another(Term):
            pass

    # A module that is imported again, under a debugger or in a notebook, is no other one.
    del sys.modules[NAME]
    find_term(f"{NAME}.sharpness")


class CellTerm(Term):
    """An adapter that is a recurrent cell, over the characters of all words."""

    name, needs = "cell", frozenset({"glimpses"})

    def __init__(self):
        super().__init__(weight=0.5)
        self.adapter = nn.LSTMCell(16, 16)

    def forward(self, student, teacher):
        rows, target = (x.features["glimpses"].flatten(0, 1) for x in (student, teacher))
        hidden, _ = self.adapter(rows, (rows, rows))
        return {"loss_cell": self.weight * mean_squared_distance(hidden, target, "glimpses")}


class EnlargingTerm(Term):
    """An adapter that is a deconvolution, over regions."""

    name, needs = "enlarging", frozenset({"roi"})

    def __init__(self):
        super().__init__(weight=2.0)
        self.adapter = nn.ConvTranspose2d(16, 16, kernel_size=4, stride=2, padding=1)

    def forward(self, student, teacher):
        target = teacher.features["roi"].repeat_interleave(2, 2).repeat_interleave(2, 3)
        features = self.adapter(student.features["roi"])
        return {"loss_enlarging": self.weight * mean_squared_distance(features, target, "roi")}


class PyramidTerm(Term):
    """An adapter over whole images, which are there without words as well."""

    name, needs = "maps", frozenset({"pyramid"})

    def __init__(self):
        super().__init__(weight=1.0)
        self.adapter = nn.Conv2d(16, 16, kernel_size=1)

    def forward(self, student, teacher):
        a, b = (
            nn.functional.adaptive_avg_pool2d(x.features["pyramid"].levels["p4"], 2)
            for x in (student, teacher)
        )
        return {"loss_maps": mean_squared_distance(self.adapter(a), b, "maps")}


def with_terms(*terms, **changes):
    """The tiny distiller with these terms."""
    distiller = tiny_distiller(MODEL__DISTILL__TERMS=(), **changes)
    return Distiller(
        student=distiller.student,
        teacher=distiller.teacher,
        terms=terms,
        learning=distiller.learning,
    ).train()


@pytest.mark.parametrize("words", [True, False], ids=["words", "no words"])
@pytest.mark.parametrize("policy", ["selector", "fixed"])
def test_adapters_learn_and_none_waits_for_a_gradient(words, policy):
    distiller = with_terms(
        CellTerm(), EnlargingTerm(), PyramidTerm(), MODEL__DYNAMIC__POLICY=policy
    )
    torch.manual_seed(0)
    with EventStorage(0):
        losses = distiller(make_batch() if words else make_batch([[], [], []]))
    of_words = [losses["loss_cell"].item(), losses["loss_enlarging"].item()]
    assert all(loss > 0 for loss in of_words) if words else of_words == [0, 0]
    sum(losses.values()).backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in distiller.parameters())
    for term in distiller.terms:
        learns = words or isinstance(term, PyramidTerm)
        for name, parameter in term.named_parameters():
            assert bool(parameter.grad.abs().sum() > 0) is learns, (term.name, name)


def test_adapters_are_no_part_of_the_student():
    distiller = with_terms(CellTerm(), EnlargingTerm())
    own = {id(p) for p in distiller.student.parameters()}
    adapters = [p for term in distiller.terms for p in term.parameters()]
    assert len(adapters) == 6 and own.isdisjoint(map(id, adapters))
    names = {n for n in distiller.state_dict() if n.startswith("terms.")}
    assert {f"terms.1.adapter.{name}" for name in ("weight", "bias")} <= names


def test_a_frozen_student_freezes_adapters():
    distiller = with_terms(CellTerm())
    frozen = Distiller(
        student=distiller.student,
        teacher=distiller.teacher,
        terms=[CellTerm()],
        learning=distiller.learning,
        freeze_student=True,
    ).train()
    assert not any(p.requires_grad for p in frozen.terms.parameters()) and not frozen.want
    with EventStorage(0):
        losses = frozen(make_batch())
    assert set(losses) == {"loss_flops", "loss_acc"}
    sum(losses.values()).backward()
    learning = [(n, p) for n, p in frozen.named_parameters() if p.requires_grad]
    assert learning and all(p.grad is not None for _, p in learning)


def test_a_term_that_occurs_twice_is_refused(module):
    with pytest.raises(ConfigError, match=r"MODEL\.DISTILL\.TERMS.*expected each term once"):
        config(module, naming("roi", "context", "roi"))
    cfg = config(module, naming("roi", "context"))
    cfg.defrost()
    cfg.MODEL.DISTILL.TERMS = ("roi", "context", "roi")
    with pytest.raises(ValueError, match=r"MODEL\.DISTILL\.TERMS: roi occurs twice"):
        build(cfg)


def test_losses_of_one_name_do_not_replace_each_other():
    distiller = with_terms(CellTerm(), CellTerm())
    with EventStorage(0), pytest.raises(ValueError, match="two losses are called loss_cell"):
        distiller(make_batch())
