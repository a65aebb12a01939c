"""Tables A1 and A3, and what all settings score."""

from __future__ import annotations

from collections.abc import Sequence

from appendix_page.evaluations import Evaluation
from appendix_page.item import Item, Missing, Table
from appendix_page.study import Study
from dld_d2.analysis.appendix.outcomes import count_outcomes
from dld_d2.analysis.appendix.scales import scale_shares

__all__ = ["headline", "scores", "table_a1", "table_a3", "tiles"]


def scores(studies: Sequence[Study]) -> Table:
    """Each setting on each set: hmean, cost, mean scale."""
    rows = []
    for study in studies:
        full = study.vanilla.cost
        for evaluation in _settings(study):
            cost = evaluation.cost
            share = f" ({cost / full:.0%})" if cost and full else ""
            mean = evaluation.mean_scale
            rows.append(
                [
                    evaluation.label,
                    study.name,
                    f"{100 * evaluation.hmean:.1f}",
                    "-" if cost is None else f"{cost:.2f}{share}",
                    "-" if mean is None else f"{mean:.2f}",
                ]
            )
    header = ["setting", "data set", "end-to-end hmean, %", "GFLOPs", "mean scale"]
    return Table(header, rows)


def table_a1(studies: Sequence[Study], candidates: Sequence[float] = ()) -> Item:
    """Shares of the scales.

    Args:
        studies: data sets.
        candidates: scales that have a column even if no image got them.
    """
    choosing = [
        (study, evaluation)
        for study in studies
        for evaluation in (study.drs_only, *study.dld)
        if evaluation is not None
    ]
    chosen = (s for _, evaluation in choosing for s in evaluation.scales.values())
    scales = sorted({*candidates, *chosen})
    rows = []
    for study, evaluation in choosing:
        found = scale_shares(list(evaluation.scales.values()), scales)
        shares = [f"{100 * found.shares[scale]:.1f}" for scale in scales]
        means = f"{found.mean:.3f}", f"{found.mean_square:.3f}"
        rows.append([evaluation.label, study.name, *shares, *means])
    header = ["setting", "data set", *(f"{scale:g}" for scale in scales), "mean s", "mean s²"]
    table = Table(header, rows)
    return Item(
        "table_a1",
        "Table A1: scales that were chosen",
        "Share of the images in % at each scale. The mean of s² is about the cost in units of the "
        "full resolution&rsquo;s. A column near 100 means that one scale would do for all images.",
        table.html("Scales that were chosen"),
        {"table_a1.md": table.markdown()},
    )


def table_a3(studies: Sequence[Study]) -> Item | Missing:
    """What became of the words under vanilla and DLD."""
    counts = [
        (study, count_outcomes(study.pairs(study.vanilla, study.dld[0]))) for study in studies
    ]
    if not all(table.total for _, table in counts):
        return Missing("Table A3: what became of the words", "a data set has no word that counts")
    rows = []
    for study, found in counts:
        shares = [f"{share:.2f}" for share in found.percentages()]
        split = found.missed_by_both, found.misread_by_both, found.one_misread
        shares += [f"{100 * number / found.total:.2f}" for number in split]
        rows.append([study.name, str(found.total), *shares, f"{found.p_value():.2g}"])
    header = [
        *("data set", "words", "both right", "vanilla only", "DLD only", "neither"),
        *("found by neither", "misread by both", "found by one, misread", "p"),
    ]
    table = Table(header, rows)
    return Item(
        "table_a3",
        "Table A3: what became of the words",
        f"{studies[0].vanilla.label} against {studies[0].dld[0].label}, in % of the words that "
        "count, end-to-end, without lexicon; the three columns after <em>neither</em> add up to "
        "it. <em>p</em> is McNemar&rsquo;s, exact: below 0.05 the words that only one of the two "
        "has right are too unequal to be chance. Words found where there are none play no part.",
        table.html("What became of the words"),
        {"table_a3.md": table.markdown()},
    )


def _settings(study: Study) -> list[Evaluation]:
    settings = (study.vanilla, study.vanilla_low, study.skd_only, study.drs_only, *study.dld)
    return [evaluation for evaluation in settings if evaluation is not None]


def headline(studies: Sequence[Study]) -> str:
    """A sentence on each data set, whatever came out."""
    return " ".join(_sentence(study) for study in studies)


def tiles(study: Study) -> list[tuple[str, str]]:
    """Large figures of a data set, each with what it is."""
    dld, vanilla = study.dld[0], study.vanilla
    table = count_outcomes(study.pairs(vanilla, dld))
    change = 100 * (dld.hmean - vanilla.hmean)
    found = [
        (f"{change:+.1f}", f"points of end-to-end hmean against vanilla, on {study.name}"),
        (f"{table.first_only} / {table.second_only}", "words lost / won against vanilla"),
    ]
    if dld.mean_scale is not None:
        found.append((f"{dld.mean_scale:.2f}", "mean scale"))
    if dld.cost and vanilla.cost:
        found.insert(1, (f"{dld.cost / vanilla.cost:.0%}", "of vanilla's GFLOPs"))
    return found


def _sentence(study: Study) -> str:
    dld, vanilla = study.dld[0], study.vanilla
    table = count_outcomes(study.pairs(vanilla, dld))
    cost = f" with {dld.cost / vanilla.cost:.0%} of its GFLOPs" if dld.cost and vanilla.cost else ""
    return (
        f"{study.name}, {len(study.items)} images, {table.total} words: {dld.label} reads "
        f"{100 * dld.hmean:.1f}% (end-to-end hmean) where {vanilla.label} reads "
        f"{100 * vanilla.hmean:.1f}%{cost}; {table.first_only} words are lost and "
        f"{table.second_only} won (p {table.p_value():.2g})."
    )
