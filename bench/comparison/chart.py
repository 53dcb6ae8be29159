# SPDX-License-Identifier: MIT
"""A bar chart of the time metrics as SVG: one panel for each unit, one column for each number of workers, log scale."""

import math
from xml.sax.saxutils import escape

from .tables import number
from .workloads import OP, RUN

BAR, GAP, LABEL, PLOT, VALUE, TOP = 10, 7, 96, 250, 52, 30
COLUMN = LABEL + PLOT + VALUE
COLOURS = ["#d9480f", "#4c78a8", "#72a98f", "#b39ddb", "#a0a0a0"]  # ours first; readable on white and on black
STYLE = """
text { font: 11px system-ui, sans-serif; fill: #57606a; }
.value { font-size: 9px; }
.title { font-weight: 600; font-size: 13px; }
.grid { stroke: #8884; }
@media (prefers-color-scheme: dark) { text { fill: #b1bac4; } }
"""


class Drawing:
    def __init__(self):
        self.parts = []

    def text(self, x, y, content, anchor="start", kind=""):
        attribute = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{attribute}>{escape(content)}</text>')

    def bar(self, x, y, width, colour):
        self.parts.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>')

    def line(self, x, top, bottom):
        self.parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{bottom:.0f}"/>')


def bars_of(results, selected, workers, asked, runtimes, metric):
    """[(label, [(runtime index, median)])] of the workloads that have a figure."""
    rows = []
    for workload in selected:
        if metric not in workload.metrics or workers not in workload.worker_counts(asked):
            continue
        medians = [(i, results.median(workload, workers, r, metric)) for i, r in enumerate(runtimes)]
        medians = [(i, v) for i, v in medians if v]
        if medians:
            rows.append((workload.label, medians))
    return rows


def draw_panel(drawing, left, top, rows, low, high):
    """One column of bars; returns its height."""

    def position(v):
        return PLOT * (math.log10(v) - low) / (high - low)

    height = sum(BAR * len(medians) + GAP for _, medians in rows)
    for exponent in range(low, high + 1):
        x = left + LABEL + position(10.0**exponent)
        drawing.line(x, top, top + height)
        drawing.text(x, top + height + 12, f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:g}", "middle")
    y = top
    for label, medians in rows:
        drawing.text(left + LABEL - 6, y + BAR * len(medians) / 2 + 4, label, "end")
        for index, v in medians:
            width = max(position(v), 1)
            drawing.bar(left + LABEL, y, width, COLOURS[index % len(COLOURS)])
            drawing.text(left + LABEL + width + 3, y + BAR - 2, number(v), kind="value")
            y += BAR
        y += GAP
    return height


def draw(path, results, selected, worker_counts, runtimes):
    drawing = Drawing()
    for index, runtime in enumerate(runtimes):
        x = 10 + 90 * index
        drawing.bar(x, 10, 12, COLOURS[index % len(COLOURS)])
        drawing.text(x + 18, 18, runtime.name)
    drawing.text(10 + 90 * len(runtimes), 18, "medians, log scale, shorter is better")
    y = 40
    for metric in (OP, RUN):
        columns = [bars_of(results, selected, w, worker_counts, runtimes, metric) for w in worker_counts]
        medians = [v for rows in columns for _, bars in rows for _, v in bars]
        if not medians:
            continue
        low = math.floor(math.log10(min(medians) * 0.999))
        high = max(math.ceil(math.log10(max(medians))), low + 1)
        heights = []
        for column, (workers, rows) in enumerate(zip(worker_counts, columns)):
            if rows:
                left = 10 + column * COLUMN
                title = f"{metric.title}, {workers} worker{'s' * (workers > 1)}"
                drawing.text(left + LABEL, y + 12, title, kind="title")
                heights.append(draw_panel(drawing, left, y + TOP, rows, low, high))
        y += TOP + max(heights) + 36
    width = 20 + COLUMN * len(worker_counts)
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">\n')
        f.write(f"<style>{STYLE}</style>\n")
        f.write("\n".join(drawing.parts))
        f.write("\n</svg>\n")
