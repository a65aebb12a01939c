"""The table and the comparisons, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from dld_d2.commands.console import table
from table_reproduction.measured import Measured, compare, vanilla_at_cost
from table_reproduction.rows import TEACHER, Row

__all__ = ["effects", "markdown", "rich_tables", "some_columns", "table_cells"]

_LEXICONS = ("none", "strong", "weak", "generic")
_HEADER = (
    "row",
    *(f"E2E {name}" for name in _LEXICONS),
    *(f"WS {name}" for name in _LEXICONS),
    "GFLOPs",
    "all parts",
    "ms",
    "speed",
    "mean scale",
)


def table_cells(
    rows: list[Row], measured: Mapping[str, Measured], milliseconds: Mapping[str, float]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and cells: hmean in % (of the first column with its 95% interval), mean 2^30
    multiply-adds of backbone, FPN and RPN head and of all parts, milliseconds per image, and the
    teacher's time over this one's. What was not measured is "-"."""
    lines = []
    for row in rows:
        found = measured[row.name]
        low, high = found.interval("e2e_none")
        cells = [
            row.title,
            f"{100 * found.hmean('e2e_none'):.1f} ({100 * low:.1f}-{100 * high:.1f})",
        ]
        cells += [f"{100 * found.hmean(f'e2e_{name}'):.1f}" for name in _LEXICONS[1:]]
        cells += [f"{100 * found.hmean(f'ws_{name}'):.1f}" for name in _LEXICONS]
        cells += [f"{found.published_cost.mean():.2f}", f"{found.cost.mean():.2f}"]
        own, teachers = milliseconds.get(row.name), milliseconds.get(TEACHER)
        cells.append(f"{own:.0f}" if own else "-")
        cells.append(f"{teachers / own:.2f}x" if own and teachers else "-")
        cells.append(f"{found.scale.mean():.2f}")
        lines.append(cells)
    return _HEADER, lines


def rich_tables(header: tuple[str, ...], lines: list[list[str]]) -> list[Table]:
    """The columns in three tables, each of which fits a terminal of 80 characters."""
    tables = []
    for title, prefix in (
        ("End-to-end hmean, %", "E2E "),
        ("Word-spotting hmean, %", "WS "),
        ("Cost: 2^30 multiply-adds, ms per image, scale", ""),
    ):
        kinds = [next((p for p in ("E2E ", "WS ") if name.startswith(p)), "") for name in header]
        columns = [i for i, kind in enumerate(kinds) if i and kind == prefix]
        tables.append(some_columns(title, header, lines, columns, prefix))
    return tables


def some_columns(
    title: str,
    header: tuple[str, ...],
    lines: list[list[str]],
    columns: Sequence[int],
    prefix: str = "",
) -> Table:
    """These columns, beside the first one, as a table; their names lose the prefix."""
    names = (header[column].removeprefix(prefix) for column in (0, *columns))
    rows = table(title, *names, words=(header[0],))
    for cells in lines:
        rows.add_row(*(cells[column] for column in (0, *columns)))
    return rows


def markdown(header: tuple[str, ...], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *lines])


def effects(measured: Mapping[str, Measured]) -> list[str]:
    """Sentences on the method's effects, of the rows that there are."""
    case = "e2e_none"
    lines = []

    def difference(text: str, one, other) -> None:
        value, low, high = (100 * v for v in compare(one, other))
        lines.append(f"{text}: {value:+.1f} points ({low:+.1f} to {high:+.1f})")

    def has(*names: str) -> bool:
        return all(name in measured for name in names)

    if has("skd_only", "vanilla_l"):
        one, other = measured["skd_only"], measured["vanilla_l"]
        difference("SKD-only over vanilla at half the scale", one.counts[case], other.counts[case])
    if has("dld", TEACHER):
        one, other = measured["dld"], measured[TEACHER]
        share = one.cost.mean() / other.cost.mean()
        text = f"DLD, gamma 0.1, over the teacher at {100 * share:.0f}% of its multiply-adds"
        difference(text, one.counts[case], other.counts[case])
    vanilla = {name: m for name, m in measured.items() if name.startswith("vanilla")}
    for name, title in (("dld", "0.1"), ("dld_gamma0.3", "0.3")):
        if not has(name):
            continue
        cost = measured[name].cost.mean()
        same = vanilla_at_cost(vanilla, cost, case)
        if same is not None:
            counts, *scales = same
            text = f"DLD, gamma {title}, over vanilla at the same cost ({cost:.2f}, of "
            difference(text + f"{' and '.join(scales)})", measured[name].counts[case], counts)
    if has("dld", "dld_gamma0.3"):
        costs = [measured[name].cost.mean() for name in ("dld_gamma0.3", "dld")]
        lines.append(f"DLD, gamma 0.3, costs {100 * (costs[0] / costs[1] - 1):+.1f}% against 0.1")
    if has("dld", "drs_only_as_dld"):
        one, other = measured["dld"], measured["drs_only_as_dld"]
        costs = f"{one.cost.mean():.2f} against {other.cost.mean():.2f}"
        text = f"DLD, gamma 0.1, over DRS-only at about its cost ({costs})"
        difference(text, one.counts[case], other.counts[case])
    return lines
