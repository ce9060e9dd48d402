#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Draw the table of what was tried in which machine.

  table.py [--full] FILE...   files written by suite: lines "pass|fail|n/a PLATFORM: PROGRAM/CASE"

A line per program with the numbers of cases that passed, failed, or do not apply; with --full a
line per case, and below it why a case failed or does not apply.
"""

import re
import sys

LINE = re.compile(r"^(pass|fail|n/a|skip) ([^:]+): ([^:]+?)(?:: (.*))?$")


def read(paths):
    """Verdicts by (case, platform), and the order in which cases and platforms came."""
    cells, cases, platforms = {}, {}, {}
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                match = LINE.match(line.rstrip("\n"))
                if match:
                    verdict, platform, case, why = match.groups()
                    cells[case, platform] = (verdict, why)
                    cases[case] = platforms[platform] = True
    return cells, list(cases), list(platforms)


def by_program(cells, cases, platforms):
    programs = {}
    for case in cases:
        programs.setdefault(case.partition("/")[0], []).append(case)
    for program, own in programs.items():
        row = [program]
        for platform in platforms:
            found = [cells[case, platform][0] for case in own if (case, platform) in cells]
            parts = ["%d %s" % (found.count(word), word) for word in ("pass", "fail", "n/a", "skip")
                     if word in found]
            row.append(", ".join(parts) or "-")
        yield row


def by_case(cells, cases, platforms):
    for case in cases:
        yield [case] + [cells.get((case, platform), ("-",))[0] for platform in platforms]


def draw(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main(argv):
    full = "--full" in argv
    cells, cases, platforms = read([path for path in argv[1:] if path != "--full"])
    if not cells:
        print("table.py: nothing was tried", file=sys.stderr)
        return 1
    rows = by_case if full else by_program
    draw([["case" if full else "program"] + platforms] + list(rows(cells, cases, platforms)))
    reasons = [(case, platform, cells[case, platform]) for case in cases for platform in platforms
               if (case, platform) in cells and cells[case, platform][1]]
    if full and reasons:
        print()
        for case, platform, (verdict, why) in reasons:
            print("%s %s, %s: %s" % (verdict, case, platform, why))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
