# SPDX-License-Identifier: MIT
"""The programs that are compared: ours, and the twins of it that this machine can build."""

import glob
import os
import shutil
import subprocess
from dataclasses import dataclass, field

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(BENCH)
OURS = "gmp"


@dataclass(frozen=True)
class Runtime:
    name: str
    command: list
    environment: dict = field(default_factory=dict)


class BuildError(Exception):
    pass


def call(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stdout}")


def build_gmp(directory, name="gmp", *options):
    build = os.path.join(directory, name)
    off = ["-DGMP_BUILD_TESTS=OFF", "-DGMP_BUILD_EXAMPLES=OFF", "-DGMP_INSTALL=OFF"]
    call(["cmake", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=RelWithDebInfo", *off, *options])
    call(["cmake", "--build", build, "--target", "gmp-bench", "--parallel"])
    return os.path.join(build, "bench", "gmp-bench")


def out_of_line(directory, say):
    """Ours, with switches that return through the library instead of being part of the caller."""
    say("building gmp with GMP_NO_INLINE")
    return Runtime("NO_INLINE", [build_gmp(directory, "gmp-no-inline", "-DCMAKE_C_FLAGS=-DGMP_NO_INLINE")])


def build_go(directory):
    if not shutil.which("go"):
        return None
    program = os.path.join(directory, "gobench")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    call(["go", "build", "-o", program, "."], cwd=os.path.join(BENCH, "peers", "go"), env=environment)
    return program


def build_boost(directory):
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler):
        return None
    probe = subprocess.run(
        [compiler, "-E", "-x", "c++", "-"], input="#include <boost/fiber/all.hpp>", text=True, capture_output=True
    )
    if probe.returncode != 0:
        return None
    program = os.path.join(directory, "boostbench")
    sources = sorted(glob.glob(os.path.join(BENCH, "peers", "boost", "*.cpp")))
    newest = max(os.path.getmtime(path) for path in glob.glob(os.path.join(BENCH, "peers", "boost", "*")))
    if not os.path.exists(program) or os.path.getmtime(program) < newest:  # it takes a compiler half a minute
        libraries = ["-lboost_fiber", "-lboost_context", "-lpthread"]
        call([compiler, "-O2", "-std=c++17", "-o", program, *sources, *libraries])
    return program


BUILDERS = {OURS: build_gmp, "go": build_go, "boost": build_boost}


def available(wanted, directory, given, say):
    """The runtimes of these names that can be built here, ours first; `given` maps names to finished programs."""
    os.makedirs(directory, exist_ok=True)
    runtimes = []
    for name in [*wanted, *(name for name in given if name not in wanted)]:
        program = given.get(name)
        if not program:
            say(f"building {name}")
            program = BUILDERS[name](directory)
        if program:
            runtimes.append(Runtime(name, [program]))
        else:
            say(f"{name}: not on this machine")
    return runtimes
