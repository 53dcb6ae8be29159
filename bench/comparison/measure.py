# SPDX-License-Identifier: MIT
"""Runs the programs in turn and keeps their result lines."""

import json
import os
import statistics
import subprocess
import sys
import time

from . import workloads
from .runtimes import OURS

SLOW = 10  # seconds after which a run of a peer is not repeated


class Results:
    def __init__(self):
        self.lines = {}  # (label, workers, runtime name): lines of all rounds
        self.unsupported = {}  # the same keys: why
        self.failures = []  # (label, workers, runtime name, what happened)

    def values(self, workload, workers, runtime, metric):
        lines = self.lines.get((workload.label, workers, runtime.name), [])
        found = [workloads.value(line, metric) for line in lines]
        return [v for v in found if v is not None]

    def median(self, workload, workers, runtime, metric):
        """None where there is no value."""
        values = self.values(workload, workers, runtime, metric)
        return statistics.median(values) if values else None


class Progress:
    """One line on stderr: in place on a terminal, one for each round elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.width = 0

    def step(self, text, new_round):
        self.done += 1
        if not self.terminal and not new_round:
            return
        elapsed = time.monotonic() - self.start
        left = elapsed / self.done * (self.total - self.done + 1) if self.done > 1 else 0
        line = f"[{self.done}/{self.total}] {text}, {elapsed:.0f} s, about {left:.0f} s left"
        if self.terminal:
            sys.stderr.write("\r" + line.ljust(self.width))
            self.width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def end(self):
        if self.terminal:
            sys.stderr.write("\r" + " " * self.width + "\r")


def check_line(text, workload, workers):
    """The result line as a dict; ValueError when it is not one."""
    line = json.loads(text)
    if line.get("workload") != workload.program_name or line.get("workers") != workers:
        raise ValueError(f"the line is of another run: {text}")
    if "unsupported" not in line:
        for key in ("n", "ns_per_op", "total_s"):
            if not isinstance(line[key], (int, float)) or line[key] <= 0:
                raise ValueError(f"{key} is {line[key]}")
        for metric in workload.metrics:
            if workloads.value(line, metric) is None:
                raise ValueError(f"{metric.key} is missing")
    return line


def run_once(runtime, workload, workers, quick, timeout):
    n = workload.quick_n if quick else workload.n
    shorter = workloads.QUICK_ENVIRONMENT if quick else {}
    done = subprocess.run(
        [*runtime.command, workload.program_name, str(workers), str(n)],
        env={**os.environ, **shorter, **runtime.environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if done.returncode != 0:
        raise ValueError(f"status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return check_line(done.stdout, workload, workers)


def interleave(selected, worker_counts, runtimes, rounds, quick, timeout):
    """Every workload on every runtime in turn, round after round. An interrupt ends it early with what there is."""
    skip = set()
    plan = [(w, p, r) for w in selected for p in w.worker_counts(worker_counts) for r in runtimes]
    results = Results()
    progress = Progress(rounds * len(plan))
    try:
        for number in range(rounds):
            for index, (workload, workers, runtime) in enumerate(plan):
                key = (workload.label, workers, runtime.name)
                text = f"round {number + 1} of {rounds}, {workload.label} with {workers}, {runtime.name}"
                progress.step(text, index == 0)
                if key in skip:
                    continue
                start = time.monotonic()
                try:
                    line = run_once(runtime, workload, workers, quick, timeout)
                except subprocess.TimeoutExpired:
                    results.failures.append((*key, f"took more than {timeout} s"))
                except (ValueError, KeyError) as error:
                    results.failures.append((*key, str(error)))
                else:
                    if "unsupported" in line:
                        results.unsupported[key] = line["unsupported"]
                        skip.add(key)
                    else:
                        results.lines.setdefault(key, []).append(line)
                if runtime.name != OURS and time.monotonic() - start > SLOW:
                    skip.add(key)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: what follows is what there is\n")
    progress.end()
    return results
