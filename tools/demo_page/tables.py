"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from demo_page.scores import Row

__all__ = ["regime_table", "score_table"]


def score_table(rows: Sequence[Row]) -> str:
    """HTML of what all models score and cost; the first is what the others are compared with."""
    lexicons = list(rows[0].e2e)
    head = (
        '<thead><tr><th scope="col" rowspan="2">Model</th>'
        + _group("GFLOPs per image", 2)
        + _two_lines("ms per<br>image", "speed-up")
        + '<th scope="col" rowspan="2" class="group">Mean<br>scale</th>'
        '<th scope="col" rowspan="2" class="group">Detection</th>'
        + _group("End-to-end hmean, by lexicon", len(lexicons))
        + _group("Word-spotting hmean", len(lexicons))
        + '</tr>\n<tr><th scope="col" class="group">paper&rsquo;s'
        '<span class="second">share</span></th><th scope="col">with<br>everything</th>'
        + 2 * _lexicon_heads(lexicons)
        + "</tr></thead>"
    )
    body = "\n".join(_score_row(row, rows[0]) for row in rows)
    return f"<table>{head}\n<tbody>\n{body}\n</tbody></table>"


def _group(title: str, columns: int) -> str:
    return f'<th scope="colgroup" colspan="{columns}" class="group">{escape(title)}</th>'


def _two_lines(title: str, second: str) -> str:
    return (
        f'<th scope="col" rowspan="2" class="group">{title}'
        f'<span class="second">{second}</span></th>'
    )


def _lexicon_heads(lexicons: Sequence[str]) -> str:
    first, *others = lexicons
    return f'<th scope="col" class="group">{escape(first)}</th>' + "".join(
        f'<th scope="col">{escape(name)}</th>' for name in others
    )


def _score_row(row: Row, teacher: Row) -> str:
    low, high = row.interval
    e2e = [f"{100 * score:.1f}" for score in row.e2e.values()]
    e2e[0] += f'<span class="second">[{100 * low:.1f}, {100 * high:.1f}]</span>'
    share = f'<span class="second">{100 * row.published / teacher.published:.0f}%</span>'
    speed = f'<span class="second">{teacher.milliseconds / row.milliseconds:.2f}&times;</span>'
    groups = [
        [f"{row.published:.2f}{share}", f"{row.whole:.2f}"],
        [f"{row.milliseconds:.0f}{speed}"],
        [f"{row.mean_scale:.2f}"],
        [f"{100 * row.det:.1f}"],
        e2e,
        [f"{100 * score:.1f}" for score in row.ws.values()],
    ]
    return f"<tr>{_name(row)}{''.join(map(_cells, groups))}</tr>"


def regime_table(rows: Sequence[Row]) -> str:
    """HTML of end-to-end hmean without lexicon and mean scale, by word-size regime."""
    regimes = list(rows[0].regimes)
    counts = {name: len(rows[0].regimes[name].scales) for name in regimes}
    head = (
        '<thead><tr><th scope="col" rowspan="2">Model</th>'
        + "".join(_group(f"{name} ({counts[name]} scenes)", 2) for name in regimes)
        + "</tr>\n<tr>"
        + '<th scope="col" class="group">end-to-end</th><th scope="col">scale</th>' * len(regimes)
        + "</tr></thead>"
    )
    lines = []
    for row in rows:
        cells = "".join(
            _cells([f"{100 * found.e2e:.1f}", f"{sum(found.scales) / len(found.scales):.2f}"])
            for found in row.regimes.values()
        )
        lines.append(f"<tr>{_name(row)}{cells}</tr>")
    body = "\n".join(lines)
    return f"<table>{head}\n<tbody>\n{body}\n</tbody></table>"


def _name(row: Row) -> str:
    dot = f'<span class="dot" style="background:{row.model.colour}"></span>'
    return f'<th scope="row">{dot}{escape(row.model.label)}</th>'


def _cells(values: Sequence[str]) -> str:
    first, *others = values
    return f'<td class="group">{first}</td>' + "".join(f"<td>{value}</td>" for value in others)
