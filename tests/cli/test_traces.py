#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of what is done with a production host's events: record --from, and compare.

  test_traces.py PROGRAM TRACE DOCS [NAME...]

as test_cli.py, whose ways it uses.
"""

import json
import os
import re
import sys
import xml.dom.minidom

from test_cli import Case, main, TRACE, PASS, VIOLATION, DATA


class Imports(Case):
    LINES = ("a-1 [0] 1.5: vmm_fault: vm vcpu 0: gpa 0x1000 r: 0\n"
             "nonsense\n"
             "a-2 [1] 1.7: vmm_fault: vm vcpu 1: gpa 0x401000 w: 0\n")

    def test_what_is_said_of_lines(self):
        events = self.path("events.txt", self.LINES)
        r = self.expect(PASS, "record", "-o", "t.zst", "--from", events)
        self.assertIn("t.zst: 2 faults of 2 vCPUs in 0.200000 s, in 2 pages and 2 regions", r.out)
        self.assertIn("3 lines: 0 exits, 0 other events, 0 failed faults, 0 without an event, "
                      "1 not understood", r.out)
        self.assertIn("events.txt:2: not understood: no event", r.err)

    def test_strict_writes_nothing(self):
        events = self.path("events.txt", self.LINES)
        self.expect(DATA, "record", "-o", "t.zst", "--from", events, "--strict")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "t.zst")))

    def test_a_file_without_faults_or_none_at_all(self):
        old = self.path("t.zst", "precious")
        r = self.expect(DATA, "record", "-o", "t.zst", "--from", self.path("e", "# nothing\n"))
        self.assertIn("there is no fault of a guest in it", r.err)
        self.assertIn("cannot be read", self.expect(DATA, "record", "-o", "t.zst", "--from",
                                                    "missing").err)
        self.assertIn("Is a directory", self.expect(DATA, "record", "-o", "t.zst", "--from",
                                                    ".").err)
        with open(old, encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "precious")

    def test_what_is_imported_runs(self):
        events = self.path("events.txt", self.LINES)
        self.expect(PASS, "record", "-q", "-o", "t.zst", "--from", events)
        r = self.report(PASS, "compare", "t.zst")
        self.assertEqual((r["records"], r["vcpus"], r["pages"], r["ns"]), (2, 2, 2, 200000000))


class Compares(Case):
    def test_rows_are_every_combination_in_order(self):
        r = self.report(PASS, "compare", TRACE, "--arch", "npt,ept", "--set", "batch=1,64",
                        "--set", "superpages=off,eager", "--set", "defer=on", "--passes", "3")
        rows = [(row["arch"], row["set"]["superpages"], row["set"]["batch"]) for row in r["rows"]]
        self.assertEqual(rows, [(a, s, b) for a in ("ept", "npt") for s in ("off", "eager")
                                for b in (1, 64)])
        for row in r["rows"]:
            how = row["set"]
            self.assertEqual((how["defer"], how["host"], how["passes"]), ("on", "age", 3))
            self.assertEqual(row["faults"], {"off": 1000, "eager": 1002}[how["superpages"]])
            self.assertEqual(row["kicks"], how["batch"])
            self.assertEqual(row["pages"], 11)

    def test_table_and_reports(self):
        args = ["compare", TRACE, "--arch", "ept", "--set", "batch=1,2"]
        reports = ["x.html", "x.svg", "x.txt", "x.json"]
        r = self.expect(PASS, *args, *["--report=" + name for name in reports])
        self.assertRegex(r.out, r"(?m)^ept +batch=2 +1001 +0 +8 +2 ")
        with open(os.path.join(self.folder, "x.txt"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), r.out)
        svg = xml.dom.minidom.parse(os.path.join(self.folder, "x.svg"))
        self.assertEqual(len(svg.getElementsByTagName("rect")), 1 + 2 * 6)
        with open(os.path.join(self.folder, "x.json"), encoding="utf-8") as stream:
            self.assertEqual(len(json.load(stream)["rows"]), 2)
        with open(os.path.join(self.folder, "x.html"), encoding="utf-8") as stream:
            page = stream.read()
        self.assertIn("content=\"default-src 'none';", page)
        self.assertNotRegex(page.replace("http://www.w3.org/2000/svg", ""), "https?://|<script")
        self.assertEqual(len(re.findall("<rect ", page)), 2 * 6)
        self.assertRegex(page, r"<tr><th scope=\"row\">ept</th><td>batch=2</td>"
                               r"<td class=\"n\">1001</td><td class=\"n\">0</td>")
        self.assertEqual(self.expect(PASS, *args, "-q").out, "")

    def test_a_violation_is_one(self):
        r = self.expect(VIOLATION, "compare", TRACE, "--arch", "npt", "--set", "batch=1,2",
                        "--seed", "5", "--report", "x.svg")
        self.assertIn("npt batch=2: CK-TLB I14: on demand", r.err)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "x.svg")))

    def test_a_file_that_is_no_trace(self):
        self.assertIn("is not a trace", self.expect(DATA, "compare", self.path("x", "text")).err)


if __name__ == "__main__":
    sys.exit(main())
