#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Line, branch and MC/DC coverage of the core, from profiles of programs that clang-19 compiled.

The core is in every program twice, once for each world; what is executed in either counts. A
branch or condition is named by its place in the source, so that both copies of it are one.

Not counted: assertions, which are no branches of ours (HOST_ASSERT, and what is inside), and what
exclusions.txt beside this program names, each with the reason why no test can get there. A line of
that file that no longer fits, or whose place is covered after all, is an error.
"""

import argparse
import collections
import glob
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDERS = ("pmap", "ept", "vmspace")
LEAST = {"lines": 98.0, "branches": 95.0, "mcdc": 90.0}
WHAT = ("lines", "branches", "mcdc")


class Trouble(Exception):
    """A sentence that says why there is no report."""


def core_files():
    found = []
    for folder in FOLDERS:
        for pattern in ("*.c", "*.h"):
            found += glob.glob(os.path.join(ROOT, folder, pattern))
    return sorted(found)


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Trouble("%s: %s" % (command[0], done.stderr.strip()[-500:]))
    return done.stdout


def export(options):
    """What llvm-cov says of the core's files, all programs together."""
    raw = glob.glob(os.path.join(options.profiles, "*.profraw"))
    if not raw:
        raise Trouble("no profiles in %s" % options.profiles)
    merged = os.path.join(options.profiles, "all.profdata")
    call(options.llvm + "profdata" + options.suffix, "merge", "-o", merged, *raw)
    programs = glob.glob(os.path.join(options.build, "tests", "*-inproc"))
    programs.append(os.path.join(options.build, "sim", "pmap-sim"))
    objects = [p for p in sorted(programs) if os.path.isfile(p)]
    if not objects:
        raise Trouble("no programs in %s" % options.build)
    more = [word for p in objects[1:] for word in ("-object", p)]
    out = call(options.llvm + "cov" + options.suffix, "export", objects[0], *more,
               "-instr-profile=" + merged, "-skip-expansions", "-skip-functions", *core_files())
    return json.loads(out)["data"][0]["files"]


def assertion_lines(text):
    """The lines on which an assertion stands."""
    lines = set()
    for match in re.finditer(r"\bHOST_ASSERT\(", text):
        depth, at = 1, match.end()
        while depth > 0 and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        first = text.count("\n", 0, match.start()) + 1
        lines.update(range(first, first + text.count("\n", match.start(), at) + 1))
    return lines


def line_counts(segments):
    """How often each line that has code was executed."""
    counts = {}
    wrapped, number = None, 0
    by_line = collections.defaultdict(list)
    for segment in segments:
        by_line[segment[0]].append(segment)
    for number in range(1, (segments[-1][0] if segments else 0) + 1):
        here = by_line.get(number, [])
        starts = [s for s in here if s[3] and s[4] and not s[5]]
        live = [s for s in starts] + ([wrapped] if wrapped and wrapped[3] else [])
        skipped = here and here[0][3] is False and here[0][4]
        if live and not skipped:
            counts[number] = max(s[2] for s in live)
        if here:
            wrapped = here[-1]
    return counts


class File:
    """One source file: of each kind of thing, where it is and whether it is covered."""

    def __init__(self, entry):
        self.path = os.path.relpath(entry["filename"], ROOT)
        with open(entry["filename"], encoding="utf-8") as file:
            text = file.read()
        self.source = text.split("\n")
        asserted = assertion_lines(text)
        self.lines = {(n,): c > 0 for n, c in line_counts(entry["segments"]).items()}
        self.branches = collections.defaultdict(bool)
        for branch in entry["branches"]:
            line, column, end, end_column, true, false = branch[:6]
            if line in asserted:
                continue
            for way, count in (("true", true), ("false", false)):
                self.branches[(line, column, end, end_column, way)] |= count > 0
        self.mcdc = collections.defaultdict(bool)
        for record in entry.get("mcdc_records", ()):
            line, column = record[0], record[1]
            if line in asserted:
                continue
            conditions = next(x for x in record if isinstance(x, list))
            for number, covered in enumerate(conditions):
                self.mcdc[(line, column, number)] |= bool(covered)

    def of(self, what):
        return getattr(self, what)

    def gaps(self, what):
        return sorted(place for place, covered in self.of(what).items() if not covered)


def load_exclusions():
    """(path, what, the line's text) -> reason."""
    found = {}
    with open(os.path.join(HERE, "exclusions.txt"), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            parts = [p.strip() for p in line.split(" | ")]
            if len(parts) != 4 or parts[1] not in WHAT or not parts[3]:
                raise Trouble("exclusions.txt:%d: PATH | %s | TEXT OF THE LINE | WHY" % (
                    number, "/".join(WHAT)))
            found[tuple(parts[:3])] = parts[3]
    return found


def exclude(files, exclusions):
    """Takes out what is excluded; returns the complaints, and how many of each kind went."""
    used, gone = set(), collections.Counter()
    for file in files:
        for what in WHAT:
            for place in file.gaps(what):
                key = (file.path, what, file.source[place[0] - 1].strip())
                if key in exclusions:
                    used.add(key)
                    gone[what] += 1
                    del file.of(what)[place]
    stale = [key for key in exclusions if key not in used]
    return ["exclusions.txt: no such gap: " + " | ".join(key) for key in stale], gone


def percent(covered, count):
    return 100.0 * covered / count if count else 100.0


def show(files, options):
    """The table; returns the percentages."""
    print("%-28s %22s %22s %22s" % ("", *WHAT))
    total = {what: [0, 0] for what in WHAT}
    rows = []
    for file in files:
        cells = []
        for what in WHAT:
            count = len(file.of(what))
            covered = sum(file.of(what).values())
            total[what][0] += covered
            total[what][1] += count
            cells.append((covered, count))
        rows.append((file.path, cells))
    rows.append(("TOTAL", [tuple(total[what]) for what in WHAT]))
    for name, cells in rows:
        print("%-28s %s" % (name, " ".join("%8d/%-5d %6.1f %%" % (c, n, percent(c, n))
                                           for c, n in cells)))
    if options.gaps:
        print()
        for file in files:
            for what in WHAT:
                for place in file.gaps(what):
                    print("%s:%s: %s: %s" % (file.path, ":".join(str(p) for p in place), what,
                                             file.source[place[0] - 1].strip()))
    return {what: percent(*total[what]) for what in WHAT}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", required=True, help="a build by clang-19 with coverage")
    parser.add_argument("--profiles", required=True, help="a folder with its *.profraw")
    parser.add_argument("--gaps", action="store_true", help="name what is not covered")
    parser.add_argument("--gate", action="store_true", help="fail below %s" % ", ".join(
        "%g %% of %s" % (LEAST[w], w) for w in WHAT))
    parser.add_argument("--llvm", default="llvm-", help=argparse.SUPPRESS)
    parser.add_argument("--suffix", default="-19", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        files = [File(entry) for entry in export(options)]
        files = [f for f in files if f.lines]
        complaints, gone = exclude(files, load_exclusions())
    except (Trouble, OSError) as trouble:
        print("coverage: %s" % trouble, file=sys.stderr)
        return 1
    reached = show(files, options)
    print("excluded with a reason: %s; assertions are not counted" % ", ".join(
        "%d %s" % (gone[what], what) for what in WHAT))
    if options.gate:
        complaints += ["%.1f %% of %s, and it must be %g %%" % (reached[w], w, LEAST[w])
                       for w in WHAT if reached[w] < LEAST[w]]
    for complaint in complaints:
        print("FAILED: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
