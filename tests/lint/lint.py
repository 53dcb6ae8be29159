#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lint.py NAME ROOT: one rule of the source tree; prints offenders and exits 1."""

import os
import re
import sys


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def files(root, *dirs, ext=(".c", ".h", ".S")):
    for d in dirs:
        for base, _, names in sorted(os.walk(os.path.join(root, d))):
            for name in sorted(names):
                if name.endswith(ext):
                    yield os.path.join(base, name)


def code(path):
    """The file without comments and string literals, line numbers kept."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
    return token.sub(lambda m: "\n" * m.group().count("\n"), read(path))


def hits(root, pattern, *dirs):
    """(relative path, line number, line) of each match in code."""
    for path in files(root, *dirs):
        for number, line in enumerate(code(path).split("\n"), 1):
            if re.search(pattern, line):
                yield os.path.relpath(path, root), number, line.strip()


def include_layers(root):
    """Files of src/ include their own layer's headers or lower ones (layers.txt)."""
    layer = {}
    for line in read(os.path.join(os.path.dirname(__file__), "layers.txt")).split("\n"):
        words = line.split("#")[0].split()
        for name in words[1:]:
            layer[name] = words[0]

    def place(name):
        return layer.get(name) or layer.get(os.path.splitext(name)[0])

    for path in files(root, "src", ext=(".c", ".h")):
        rel, name = os.path.relpath(path, root), os.path.basename(path)
        own = "L1" if os.path.basename(os.path.dirname(path)) == "arch" else place(name)
        if not own:
            yield f"{rel}: has no layer: give it its place in tests/lint/layers.txt"
            continue
        for header in re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', read(path), re.M):
            header = os.path.basename(header)
            theirs = place(header)
            if not theirs:
                yield f"{rel}: includes {header}, which has no layer in tests/lint/layers.txt"
            elif theirs > own:
                yield f"{rel} ({own}) includes {header} ({theirs})"


def atomics_only_in_atomic_h(root):
    """Memory orders stand in names: atomic.h is the only user of the compiler's atomics (but for gmp.h's inline half)."""
    pattern = r"\bstdatomic\.h|\b_Atomic\b|\b__atomic_\w|\b__sync_\w|\batomic_(load|store|exchange|compare|fetch|thread)"
    for rel, number, line in hits(root, pattern, "src", "include"):
        if rel not in (os.path.join("src", "atomic.h"), os.path.join("include", "gmp.h")):
            yield f"{rel}:{number}: {line}"


def tls_in_one_file(root):
    """Thread-local storage has one file (a header and the .c of the same noun count as one)."""
    found = list(hits(root, r"\b(__thread|_Thread_local|thread_local)\b", "src", "include"))
    if len({os.path.splitext(rel)[0] for rel, _, _ in found}) > 1:
        for rel, number, line in found:
            yield f"{rel}:{number}: {line}"


def debug_doc(root):
    """docs/debug.md has each name and default of the table in src/debugvars.h, in its order, and no other."""
    source = read(os.path.join(root, "src", "debugvars.h"))
    table = re.findall(r"\bX\((\w+), (-?\d+), \"", source)
    rows = re.findall(r"^\| `(\w+)` \| (-?\d+) \|", read(os.path.join(root, "docs", "debug.md")), re.M)
    for name, default in table:
        if (name, default) not in rows:
            yield f"docs/debug.md: no row | `{name}` | {default} |"
    for name, default in rows:
        if (name, default) not in table:
            yield f"docs/debug.md: {name} = {default} is not in src/debugvars.h"
    if not table:
        yield "src/debugvars.h: no table found"


def doc_links(root):
    """Links between README.md, docs/ and the tree lead somewhere."""
    for path in [os.path.join(root, "README.md"), *files(root, "docs", ext=(".md",))]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(path)):
            if "://" not in target and not os.path.exists(os.path.join(os.path.dirname(path), target)):
                yield f"{os.path.relpath(path, root)}: {target} does not exist"


def main():
    rules = [include_layers, atomics_only_in_atomic_h, tls_in_one_file, debug_doc, doc_links]
    rule = {r.__name__: r for r in rules}[sys.argv[1]]
    offenders = list(rule(sys.argv[2]))
    for line in offenders:
        print(line)
    if offenders:
        print(f"{rule.__name__}: {rule.__doc__}")
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main())
