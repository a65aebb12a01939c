"""Measurements as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from .stages import REGION_PARTS

__all__ = ["print_inference", "print_losses", "print_memory", "print_selector", "print_training"]

_PARTS = ("backbone", "FPN", "RPN", "box and mask heads", *REGION_PARTS)


def print_losses(console: Console, losses: dict[str, tuple[float, float]]) -> None:
    table = _table("losses, RoI masking's convolution on the map", "ours", "released", "difference")
    for name, (ours, theirs) in losses.items():
        table.add_row(name, f"{ours:.6f}", f"{theirs:.6f}", f"{abs(ours - theirs):.1e}")
    console.print(table)


def print_training(console: Console, result: dict[str, Any]) -> None:
    seconds, speed = result["seconds"], result["released_over_ours"]
    table = _table("a training step with all candidates", "seconds", "released / it")
    for name in seconds:
        faster = f"{speed[name]:.2f}" if name in speed else ""
        table.add_row(name, f"{seconds.median(name):.3f}", faster)
    console.print(table)
    console.print(
        f"ours / teacher's pass: {result['ours_over_teacher']:.2f}; the cost model says "
        f"{result['bound_over_teacher']:.2f}: {result['ours_over_bound']:.2f} times that, and "
        f"{result['ours_over_bound_with_regions']:.2f} times what it says with parts per region"
    )
    _print_stages(console, result)


def _print_stages(console: Console, result: dict[str, Any]) -> None:
    stages, teacher = result["stages"], result["stages"]["teacher"]
    expected = {
        "teacher": 1.0,
        "candidates": sum(s**2 for s in result["scales"]),
        "selected": result["selected"] ** 2,
        "backward": 2 * result["selected"] ** 2,
    }
    table = _table("where the step's time goes", "seconds", "/ teacher", "cost model")
    order = ("teacher", "selector", "views", "selected", "beam search", "sequence decoder")
    for stage in (*order, "candidates", "backward"):
        model = f"{expected[stage]:.2f}" if stage in expected else ""
        table.add_row(stage, f"{stages[stage]:.3f}", f"{stages[stage] / teacher:.2f}", model)
        for part in _PARTS:
            if (key := f"{stage}/{part}") in stages:
                table.add_row(f"  {part}", f"{stages[key]:.3f}", f"{stages[key] / teacher:.2f}", "")
    table.add_section()
    table.add_row("step", f"{stages['step']:.3f}", f"{stages['step'] / teacher:.2f}", "")
    console.print(table)


def print_inference(console: Console, result: dict[str, Any]) -> None:
    for words, found in result["words"].items():
        title = (
            f"a photograph with {words} words; of the time at full resolution, regions take "
            f"{found['regions_over_full']:.1%}, the selector {found['selector_over_full']:.1%}"
        )
        table = _table(title, "scale^2", "seconds", "/ full", "predicted", "measured / predicted")
        table.add_row("full", "1", f"{found['seconds'].median('full'):.3f}", "1", "", "")
        for row in found["scales"]:
            table.add_row(
                f"{row['scale']:g}",
                f"{row['scale'] ** 2:.2f}",
                *(f"{row[k]:.3f}" for k in ("seconds", "measured", "predicted")),
                f"{row['measured_over_predicted']:.2f}",
            )
        console.print(table)


def print_selector(console: Console, result: dict[str, Any]) -> None:
    table = _table("the selector, by MODEL.DISTILL.SELECTOR.INPUT_SCALE", "seconds", "/ full")
    for scale, share in result["over_full"].items():
        table.add_row(f"{scale:g}", f"{result['seconds'].median(f'{scale:g}'):.4f}", f"{share:.1%}")
    console.print(table)


def print_memory(console: Console, peaks: dict[str, int]) -> None:
    table = _table("peak memory of a training step", "MiB", "/ SKD-only")
    for name, peak in peaks.items():
        table.add_row(name, f"{peak / 2**20:.0f}", f"{peak / peaks['SKD-only']:.2f}")
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
