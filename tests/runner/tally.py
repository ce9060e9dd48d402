#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Count test cases over the stages of a test run.

  tally.py FILE      one stage: print "N passed, N failed, N skipped"
  tally.py DIR       all stages in DIR: print that line; exit 1 if any failed or none passed

A stage is a file: *.json is a log of `meson test` (one JSON object per line), *.txt holds lines
"pass NAME", "fail NAME" or "skip NAME". A test program that closes with a line
"cases: N passed, N failed, N skipped" counts as that many cases, any other counts as one. A program
that failed although all its cases passed (a sanitizer spoke, a timeout) adds one failed case, and a
program that is meant to fail is one case. Skipping as a whole means that something could not be
installed; with SKEP_STRICT=1 (set under CI on the reference system) that is a failure.
"""

import json
import os
import re
import sys

CASES = re.compile(r"^cases: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
PASSED, FAILED, SKIPPED = range(3)


def skipped_whole():
    return FAILED if os.environ.get("SKEP_STRICT") == "1" else SKIPPED


def count_program(entry):
    """The cases of one entry of meson's log."""
    counts = [0, 0, 0]
    result = entry["result"]
    if result == "EXPECTEDFAIL":
        counts[PASSED] = 1
    elif result == "SKIP":
        counts[skipped_whole()] = 1
    else:
        closing = CASES.findall(entry.get("stdout") or "")
        if closing and result != "UNEXPECTEDPASS":
            counts = [int(n) for n in closing[-1]]
        if result != "OK" and counts[FAILED] == 0:
            counts[FAILED] = 1
        if result == "OK" and sum(counts) == 0:
            counts[PASSED] = 1
    return counts


def count_stage(path):
    counts = [0, 0, 0]
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if path.endswith(".json"):
                add = count_program(json.loads(line))
            else:
                add = [0, 0, 0]
                verdict = line.split(" ", 1)[0].strip()
                kinds = {"pass": PASSED, "fail": FAILED, "skip": skipped_whole()}
                if verdict in kinds:
                    add[kinds[verdict]] = 1
            counts = [a + b for a, b in zip(counts, add)]
    return counts


def main(argv):
    if len(argv) != 2 or not os.path.exists(argv[1]):
        print("usage: tally.py FILE|DIR", file=sys.stderr)
        return 64
    stages = [argv[1]]
    if os.path.isdir(argv[1]):
        stages = [os.path.join(argv[1], name) for name in sorted(os.listdir(argv[1]))
                  if name.endswith((".json", ".txt"))]
    total = [0, 0, 0]
    for stage in stages:
        total = [a + b for a, b in zip(total, count_stage(stage))]
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[FAILED] or not total[PASSED] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
