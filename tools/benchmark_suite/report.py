"""Measurements as tables."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from benchmark_suite.stages import REGION_PARTS
from dld_d2.commands.console import console, table

__all__ = [
    "print_inference",
    "print_losses",
    "print_memory",
    "print_selector",
    "print_terms",
    "print_training",
]

_PARTS = ("backbone", "FPN", "RPN", "box and mask heads", *REGION_PARTS)


def print_losses(losses: dict[str, tuple[float, float]]) -> None:
    rows = _table("losses, RoI masking's convolution on the map", "ours", "released", "difference")
    for name, (ours, theirs) in losses.items():
        rows.add_row(name, f"{ours:.6f}", f"{theirs:.6f}", f"{abs(ours - theirs):.1e}")
    console.print(rows)


def print_training(result: dict[str, Any]) -> None:
    seconds, speed = result["seconds"], result["released_over_ours"]
    rows = _table("a training step with all candidates", "seconds", "released / it")
    for name in seconds:
        faster = f"{speed[name]:.2f}" if name in speed else ""
        rows.add_row(name, f"{seconds.median(name):.3f}", faster)
    console.print(rows)
    console.print(
        f"ours / teacher's pass: {result['ours_over_teacher']:.2f}; the cost model says "
        f"{result['bound_over_teacher']:.2f}: {result['ours_over_bound']:.2f} times that, and "
        f"{result['ours_over_bound_with_regions']:.2f} times what it says with parts per region"
    )
    _print_stages(result)


def _print_stages(result: dict[str, Any]) -> None:
    stages, teacher = result["stages"], result["stages"]["teacher"]
    expected = {
        "teacher": 1.0,
        "candidates": sum(s**2 for s in result["scales"]),
        "selected": result["selected"] ** 2,
        "backward": 2 * result["selected"] ** 2,
    }
    rows = _table("where the step's time goes", "seconds", "/ teacher", "cost model")
    order = ("teacher", "selector", "views", "selected", "beam search", "sequence decoder")
    for stage in (*order, "candidates", "backward"):
        if stage not in stages:  # of a term that is left out
            continue
        model = f"{expected[stage]:.2f}" if stage in expected else ""
        rows.add_row(stage, f"{stages[stage]:.3f}", f"{stages[stage] / teacher:.2f}", model)
        for part in _PARTS:
            if (key := f"{stage}/{part}") in stages:
                rows.add_row(f"  {part}", f"{stages[key]:.3f}", f"{stages[key] / teacher:.2f}", "")
    rows.add_section()
    rows.add_row("step", f"{stages['step']:.3f}", f"{stages['step'] / teacher:.2f}", "")
    console.print(rows)


def print_terms(result: dict[str, Any]) -> None:
    seconds = result["seconds"]
    rows = _table("a training step of SKD-only with one term", "seconds", "over none", "loss")
    for name in seconds:
        more, loss = (result[kind].get(name) for kind in ("over_none", "losses"))
        cells = ("", "") if loss is None else (f"{more:+.1%}", f"{loss:.3g}")
        rows.add_row(name, f"{seconds.median(name):.3f}", *cells)
    console.print(rows)
    for name, reason in result["refused"].items():
        console.print(f"{name}: {reason}")


def print_inference(result: dict[str, Any]) -> None:
    for words, found in result["words"].items():
        title = (
            f"a photograph with {words} words; of the time at full resolution, regions take "
            f"{found['regions_over_full']:.1%}, the selector {found['selector_over_full']:.1%}"
        )
        rows = _table(title, "scale^2", "seconds", "/ full", "predicted", "measured / predicted")
        rows.add_row("full", "1", f"{found['seconds'].median('full'):.3f}", "1", "", "")
        for row in found["scales"]:
            rows.add_row(
                f"{row['scale']:g}",
                f"{row['scale'] ** 2:.2f}",
                *(f"{row[k]:.3f}" for k in ("seconds", "measured", "predicted")),
                f"{row['measured_over_predicted']:.2f}",
            )
        console.print(rows)


def print_selector(result: dict[str, Any]) -> None:
    rows = _table("the selector, by MODEL.DYNAMIC.SELECTOR.INPUT_SCALE", "seconds", "/ full")
    for scale, share in result["over_full"].items():
        rows.add_row(f"{scale:g}", f"{result['seconds'].median(f'{scale:g}'):.4f}", f"{share:.1%}")
    console.print(rows)


def print_memory(peaks: dict[str, int]) -> None:
    rows = _table("peak memory of a training step", "MiB", "/ SKD-only")
    for name, peak in peaks.items():
        rows.add_row(name, f"{peak / 2**20:.0f}", f"{peak / peaks['SKD-only']:.2f}")
    console.print(rows)


def _table(title: str, *columns: str) -> Table:
    """One whose rows have names."""
    return table(title, "", *columns, words=("",))
