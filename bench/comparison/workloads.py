# SPDX-License-Identifier: MIT
"""The workloads: their sizes, at which worker counts they make sense, and which of their figures are compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    key: str  # path in the JSON line
    title: str  # one table for each
    scale: float = 1  # from the unit of the JSON line to the title's
    more_is_better: bool = False


OP = Metric("ns_per_op", "Time of one operation, ns")
RUN = Metric("total_s", "Time of a whole run, ms", 1e3)
MEMORY = Metric("extra.total_bytes_per", "Memory of one parked coroutine, resident and page tables, bytes")
PEAK = Metric("extra.bytes_per_peak", "Resident memory of one coroutine 16 KiB deep in its stack, bytes")
SHALLOW = Metric(
    "extra.bytes_per_after_all_parked_shallow_trim", "The same, back at the top of the stack, after a trim, bytes"
)
AFTER = Metric("extra.bytes_per_after_trim", "The same, after its end and a trim, bytes")
CPU = Metric("extra.cpu_s", "CPU time of the run, s")
IDLE = Metric("extra.cpu_ms_per_s", "CPU time of an idle process, ms each second")
LATE_P50 = Metric("extra.p50_late_us", "Lateness of a wake-up, median, us")
LATE_P99 = Metric("extra.p99_late_us", "Lateness of a wake-up, 99th percentile, us")
LATE_MAX = Metric("extra.max_late_us", "Lateness of a wake-up, worst, us")
WAKEUPS = Metric("extra.wakeups", "Wake-ups beside coroutines that do not give way", 1, True)
P50 = Metric("extra.p50_us", "Latency of a wake-up, median, us")
P99 = Metric("extra.p99_us", "Latency of a wake-up, 99th percentile, us")
DEADLINE = Metric("extra.park_set_cancel_ns", "A deadline set and cancelled around a receive that parks, ns")
SPEEDUP = Metric("extra.speedup", "Speed-up over one P", 1, True)

# What the Ps had to do with each other.
COUNTERS = [
    Metric("extra.wakes_per_s", "Ms woken a second"),
    Metric("extra.steals_per_s", "thefts a second"),
    Metric("extra.barriers_per_s", "membarriers a second"),
]

# At which of the worker counts asked for: every one, the first alone, or those above one.
EVERY, FIRST, SEVERAL = "every", "first", "several"


@dataclass(frozen=True)
class Workload:
    label: str
    n: int
    quick_n: int
    metrics: tuple = (OP,)
    workers: str = EVERY
    group: str = "core"
    name: str = ""  # of the program's workload, where the label is another

    @property
    def program_name(self):
        return self.name or self.label

    def worker_counts(self, asked):
        if self.workers == FIRST:
            return asked[:1]
        if self.workers == SEVERAL:
            return [w for w in asked if w > 1]
        return asked


# n gives most runtimes 0.2 to 1 s.
WORKLOADS = [
    Workload("switch", 50000000, 10000, workers=FIRST),
    Workload("yield2", 10000000, 10000, workers=FIRST),
    Workload("yield1000", 10000000, 10000),
    Workload("spawn1", 2000000, 2000),
    Workload("join", 1000000, 2000),
    Workload("spawn_many", 1000000, 2000),
    Workload("spawn_park", 500000, 2000),
    Workload("chan_pp", 4000000, 2000),
    Workload("chan_buf", 10000000, 5000),
    Workload("chan_mpmc", 8000000, 5000),
    Workload("select4", 2000000, 2000),
    Workload("ring", 2000000, 2000),
    Workload("mutex", 10000000, 5000),
    Workload("sieve", 2000, 50, (RUN,)),
    Workload("skynet", 1000000, 1000, (RUN,)),
    Workload("fib", 27, 12),
    Workload("steal", 100000, 1000, (SPEEDUP, OP), SEVERAL),
    Workload("timer_cancel", 1000000, 1000, (OP, DEADLINE)),
    Workload("parked", 100000, 1000, (MEMORY,), FIRST),
    Workload("deep", 10000, 100, (PEAK, SHALLOW, AFTER), FIRST),
    Workload("sleepers", 100000, 500, (CPU, LATE_P50, LATE_P99, LATE_MAX)),
    Workload("hog", 200, 200, (WAKEUPS, LATE_MAX)),
    Workload("blocked", 200, 20, (WAKEUPS, LATE_P50, LATE_P99, LATE_MAX), SEVERAL),
    Workload("wake", 5000, 200, (P50, P99), SEVERAL),
    Workload("fanout", 100, 20, (P50, P99), SEVERAL),
    Workload("wake_xthread", 20000, 200, (P50, P99)),
    Workload("idle", 1000, 1000, (IDLE,), FIRST),
    Workload("spawn1_wg", 2000000, 2000, group="variants"),
    Workload("spawn1_chan", 2000000, 2000, group="variants"),
    Workload("skynet_join", 1000000, 1000, (RUN,), group="variants"),
    Workload("skynet_wg", 1000000, 1000, (RUN,), group="variants"),
    Workload("fib_wg", 27, 12, group="variants"),
    Workload("fib_chan", 27, 12, group="variants"),
    Workload("parked_own", 100000, 1000, (MEMORY,), FIRST, "variants"),
    Workload("parked_1m", 1000000, 1000, (RUN, MEMORY), group="large", name="parked"),
    Workload("touch", 1000000, 1000, (RUN,), group="large"),
]
GROUPS = ["core", "variants", "large"]
SCALING = ["yield1000", "spawn_many", "spawn_park", "chan_mpmc", "select4", "mutex", "sieve", "skynet", "fib"]
ABLATION = [
    "yield2", "yield1000", "spawn1", "spawn_many", "spawn_park", "chan_pp", "chan_buf", "chan_mpmc", "mutex", "ring",
    "skynet", "fib", "wake", "hog",
]  # fmt: skip

# What --quick shortens beside n.
QUICK_ENVIRONMENT = {"BENCH_SLEEP_MS": "50", "BENCH_IDLE_MS": "100", "BENCH_HOG_MS": "200"}


def by_label(labels):
    """The workloads of these names, in the order of the table; ValueError names one that there is not."""
    known = {w.label for w in WORKLOADS}
    for label in labels:
        if label not in known:
            raise ValueError(f"no workload {label}")
    return [w for w in WORKLOADS if w.label in labels]


def in_groups(groups):
    return [w for w in WORKLOADS if w.group in groups]


def value(line, metric):
    """The metric's value in a result line, in its own unit; None: it has none."""
    at = line
    for part in metric.key.split("."):
        if not isinstance(at, dict) or part not in at:
            return None
        at = at[part]
    return at * metric.scale
