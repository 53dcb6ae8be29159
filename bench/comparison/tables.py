# SPDX-License-Identifier: MIT
"""Tables of results in plain text (which is Markdown too), and the file of results."""

import json
import os
import platform
import statistics

from .runtimes import BENCH, OURS


def number(v):
    """Three digits that matter."""
    if abs(v) >= 99.95:
        return f"{v:,.0f}"
    return f"{v:.1f}" if abs(v) >= 9.995 else f"{v:.2f}"


def table(header, rows):
    """Rows of text under a header; the first column is left-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def load_targets():
    with open(os.path.join(BENCH, "targets.json"), encoding="utf-8") as f:
        rows = json.load(f)
    return {(row["workload"], row["workers"], row["metric"]): row for row in rows}


def judge(target, metric, ours):
    """The target in words, and whether it is met; ours None: there is no figure."""
    if not target:
        return "", ""
    most = "at_most" in target
    limit = target["at_most" if most else "at_least"] * metric.scale
    words = ("<= " if most else ">= ") + number(limit)
    if ours is None:
        return words, ""
    return words, "met" if (ours <= limit if most else ours >= limit) else "NOT MET"


def ratio(ours, theirs, metric):
    """How many times better ours is."""
    better, worse = (ours, theirs) if metric.more_is_better else (theirs, ours)
    if worse == 0:
        return "=" if better == 0 else "inf"
    return f"{better / worse:.2f}x"


def cell(results, workload, workers, runtime, metric):
    values = results.values(workload, workers, runtime, metric)
    if not values:
        return "-"
    text = number(statistics.median(values))
    if len(values) > 1:
        text += f" ({number(min(values))}..{number(max(values))})"
    return text


def metrics_of(selected):
    found = []
    for workload in selected:
        found += [m for m in workload.metrics if m not in found]
    return found


def comparison(results, selected, worker_counts, runtimes, targets):
    """One table for each metric: all runtimes, ours against Go and against the best of the others, and the target."""
    ours = next((r for r in runtimes if r.name == OURS), None)
    peers = [r for r in runtimes if r.name != OURS]
    go = next((r for r in peers if r.name == "go"), None)
    header = ["workload", "workers", *(r.name for r in runtimes)]
    header += ["to go"] * bool(go and ours) + ["to best peer"] * bool(peers and ours) + ["target", ""] * bool(ours)
    texts = []
    for metric in metrics_of(selected):
        rows = []
        for workload in (w for w in selected if metric in w.metrics):
            for workers in workload.worker_counts(worker_counts):
                row = [workload.label, str(workers)]
                row += [cell(results, workload, workers, r, metric) for r in runtimes]
                if ours:
                    our = results.median(workload, workers, ours, metric)
                    medians = {r.name: results.median(workload, workers, r, metric) for r in peers}
                    medians = {name: v for name, v in medians.items() if v is not None}
                    if go:
                        known = our is not None and "go" in medians
                        row.append(ratio(our, medians["go"], metric) if known else "")
                    if peers:
                        best = (max if metric.more_is_better else min)(medians, key=medians.get, default=None)
                        known = our is not None and best
                        row.append(f"{ratio(our, medians[best], metric)} {best}" if known else "")
                    row += judge(targets.get((workload.label, workers, metric.key)), metric, our)
                rows.append(row)
        if rows:
            texts.append(f"{metric.title}\n\n{table(header, rows)}\n")
    return "\n".join(texts)


def scaling(results, selected, worker_counts, runtimes):
    """Median time at each number of workers, and in brackets the efficiency: time alone / (workers x time)."""
    header = ["workload", "runtime", *(f"{w} worker{'s' * (w > 1)}" for w in worker_counts)]
    base = worker_counts[0]
    rows = []
    for workload in selected:
        metric = workload.metrics[0]
        for runtime in runtimes:
            row = [workload.label, runtime.name]
            alone = results.median(workload, base, runtime, metric)
            for workers in worker_counts:
                v = results.median(workload, workers, runtime, metric)
                if v is None or alone is None:
                    row.append("-")
                else:
                    row.append(f"{number(v)} ({alone * base / (workers * v):.0%})")
            rows.append(row)
    return table(header, rows)


def counters(results, selected, worker_counts, ours, metrics):
    """What the Ps had to do with each other: grows with their number, so it says where scaling will end."""
    header = ["workload", "workers", *(m.title for m in metrics)]
    rows = []
    for workload in selected:
        for workers in workload.worker_counts(worker_counts):
            medians = [results.median(workload, workers, ours, m) for m in metrics]
            rows.append([workload.label, str(workers), *("-" if v is None else number(v) for v in medians)])
    return table(header, rows)


def ablation(results, selected, worker_counts, base, variants):
    """How many times worse each workload gets without each mechanism."""
    header = ["workload", "workers", "all on", *(v.name for v in variants)]
    rows = []
    for workload in selected:
        metric = workload.metrics[0]
        for workers in workload.worker_counts(worker_counts):
            row = [workload.label, str(workers), cell(results, workload, workers, base, metric)]
            on = results.median(workload, workers, base, metric)
            for variant in variants:
                off = results.median(workload, workers, variant, metric)
                row.append("-" if on is None or off is None else ratio(on, off, metric))
            rows.append(row)
    return table(header, rows)


def failures(results):
    lines = [f"{label} with {workers}, {name}: {what}" for label, workers, name, what in results.failures]
    return "\n".join(dict.fromkeys(lines))


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpus": len(os.sched_getaffinity(0)), "model": model, "kernel": platform.release()}


def save(path, results, rounds, quick):
    rows = [
        {"workload": label, "workers": workers, "runtime": name, "lines": lines}
        for (label, workers, name), lines in results.lines.items()
    ]
    missing = [
        {"workload": label, "workers": workers, "runtime": name, "why": why}
        for (label, workers, name), why in results.unsupported.items()
    ]
    failed = [
        {"workload": label, "workers": workers, "runtime": name, "what": what}
        for label, workers, name, what in results.failures
    ]
    document = {
        "machine": machine(), "rounds": rounds, "quick": quick,
        "results": rows, "unsupported": missing, "failures": failed,
    }  # fmt: skip
    with open(path, "w", encoding="utf-8") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
