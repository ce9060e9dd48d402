#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Check that docs/INVARIANTS.md tells the truth: its numbers and checks are those of
`pmap-sim invariants`, and each invariant that is checked by now names a test and a mutant that
exist.

  check.py PMAP-SIM [ROOT]
"""

import os
import re
import subprocess
import sys

ROW = re.compile(r"^\| (I\d\d) \| (.+?) \| (CK-\w+) \| (.+?) \| (.+?) \|$", re.M)
CHECK_ROW = re.compile(r"^\| ((?:CK-\w+(?:, )?)+) \|", re.M)
LISTED = re.compile(r"^(I\d\d)\s+(CK-\w+)\s+(always|not yet|on demand)\s+(\S.*)$", re.M)
LATER = "address spaces: not yet"


def documented(root):
    with open(os.path.join(root, "docs", "INVARIANTS.md"), encoding="utf-8") as f:
        text = f.read()
    return ROW.findall(text), set(re.findall(r"CK-\w+", " ".join(CHECK_ROW.findall(text))))


def mutant_names(root, name):
    """Whether a mutant of that name exists and says of itself that it is that."""
    path = os.path.join(root, "tests", "mutants", name + ".patch")
    try:
        with open(path, encoding="utf-8") as f:
            return re.search(r"^Mutant: +%s$" % re.escape(name), f.read(), re.M) is not None
    except OSError:
        return False


def wrong_with(row, listed, checks, root):
    number, _, check, test, mutant = row
    if number not in listed:
        yield "pmap-sim does not list it"
        return
    if check != listed[number][0]:
        yield "its check is %s here and %s in pmap-sim" % (check, listed[number][0])
    if check not in checks:
        yield "%s is not explained" % check
    if listed[number][1] == "not yet":
        if (test, mutant) != (LATER, LATER):
            yield "not checked yet: must say '%s'" % LATER
        return
    if not os.path.isfile(os.path.join(root, test)) or not test.startswith("tests/"):
        yield "there is no test %s" % test
    if listed[number][1] == "always" and not mutant_names(root, mutant):
        yield "there is no mutant tests/mutants/%s.patch" % mutant


def main(argv):
    if len(argv) not in (2, 3):
        print("usage: check.py PMAP-SIM [ROOT]", file=sys.stderr)
        return 64
    here = os.path.dirname(os.path.abspath(__file__))
    root = argv[2] if len(argv) == 3 else os.path.dirname(os.path.dirname(here))
    out = subprocess.run([argv[1], "invariants"], stdout=subprocess.PIPE, text=True, check=True)
    listed = {number: (check, when) for number, check, when, _ in LISTED.findall(out.stdout)}
    rows, checks = documented(root)
    passed = failed = 0
    for row in rows:
        bad = list(wrong_with(row, listed, checks, root))
        for what in bad:
            print("docs/INVARIANTS.md: %s: %s" % (row[0], what))
        passed += not bad
        failed += bool(bad)
    numbers = [row[0] for row in rows]
    for number in sorted(set(listed) - set(numbers)):
        print("docs/INVARIANTS.md: %s is missing" % number)
        failed += 1
    if numbers != sorted(set(numbers)):
        print("docs/INVARIANTS.md: numbers out of order, or twice")
        failed += 1
    print("cases: %d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
