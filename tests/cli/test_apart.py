#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of what explains a violation: its text, shrink, why, diff, and replays that stop.

  test_apart.py PROGRAM TRACE DOCS [NAME...]

as test_cli.py, whose ways it uses. The scenario "lost" of the workload is a race on a real machine:
two operations suffice, of some two hundred; "race" is one that has a stale translation to show.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import unittest

from test_cli import (Case, main, PROGRAM, SUMMARY_LINES, PASS, VIOLATION, USAGE, DATA, INTERNAL,
                      ENVIRONMENT)


class Failures(Case):
    """What is said of a violation on a screen."""

    def test_the_last_steps_and_the_stale_translation(self):
        for args in [["run", "--count", "3", "-k"], ["replay", "--seed", "1"]]:
            out = self.expect(VIOLATION, *args, "--scenario", "race", "--arch", "ept").out
            self.assertLessEqual(out.count("\n"), SUMMARY_LINES, out)
            lines = out.splitlines()
            self.assertTrue(all(len(line) <= 240 for line in lines), out)
            for part in [r"^VIOLATION CK-TLB, I14: After a shootdown nothing can use a trans",
                         r"^  seed 0x1 on ept, step 63, CPU 1$",
                         r"^       step  actor        action \| change; 1 and 2 race$",
                         r"^  1      20  CPU 1        clears the level-0 entry of 0x40201000 in ",
                         r"^  2      63  CPU 1        finds that CPU 0 still has the stale 4 KiB ",
                         r"^         63  CPU 1        VIOLATION CK-TLB I14$",
                         r"^  stale: CPU 0 has cached, since step 12: 4 KiB 0x40201000 -> frame ",
                         r"^  now:   the level-0 entry of 0x40201000 holds: nothing$"]:
                self.assertEqual(len(re.findall("(?m)" + part, out)), 1, part + "\n" + out)
            steps = re.findall(r"(?m)^  [ 12] +(\d+)  \S", out)
            self.assertLessEqual(len(steps), 8)
            self.assertEqual(steps, sorted(steps, key=int))

    def test_how_to_go_on(self):
        path = self.path("x.psim")
        run = ["run", "--scenario", "lost", "--arch", "ept", "--count", "60"]
        out = self.expect(VIOLATION, *run).out
        line = re.search(r"(?m)^  shrink: pmap-sim (shrink --seed .* -o min.psim)$", out)[1]
        self.assertIn("CK-ATOM I13", self.expect(PASS, *line.split()).out)
        out = self.expect(VIOLATION, *run, "--save", path).out
        self.assertIn("  shrink: pmap-sim shrink %s -o min.psim\n" % path, out)
        out = self.expect(VIOLATION, "replay", path).out
        self.assertIn("  shrink: pmap-sim shrink %s -o min.psim\n" % path, out)

    def test_a_crash_has_no_steps(self):
        out = self.expect(INTERNAL, "run", "--scenario", "crash", "--count", "9").out
        self.assertIn("the simulator crashed: signal 9", out)
        self.assertNotIn("shrink:", out)
        self.assertNotIn("action | change", out)


class Stops(Case):
    """Replays that stop in the middle and show the machine."""

    RACE = ["replay", "--scenario", "race", "--arch", "ept", "--seed", "1"]

    def test_a_step_shows_the_machine(self):
        out = self.expect(PASS, *self.RACE, "--until", "40").out
        for part in [r"^stopped at step 40; the last that mattered before it:$",
                     r"^CPU 0, in guest mode$", r"^CPU 1$", r"^  begins: remove of \[0x40201000, ",
                     r"^    4 KiB 0x40201000 -> frame 0x40005000 rwx dirty, stale since step 20$",
                     r"^  tables, from 0x40001000:$", r"^ +0x40200000: table 0x40004000 rwx"]:
            self.assertEqual(len(re.findall("(?m)" + part, out)), 1, part + "\n" + out)
        self.assertNotIn("0x40201000: frame", out)
        out = self.expect(PASS, *self.RACE, "--until", "20").out
        self.assertNotIn("stale", out)
        self.assertIn("        0x40201000: frame 0x40005000 rwx A D\n", out)

    def test_where_something_happens(self):
        at = r"^stopped at step (\d+); "
        steps = {what: int(re.match(at, self.expect(PASS, *self.RACE, "--break", what).out)[1])
                 for what in ["I14", "CK-TLB", "cpu1", "cpu0:tlb"]}
        self.assertEqual(steps["I14"], 63)
        self.assertEqual(steps["CK-TLB"], 63)
        self.assertLess(steps["cpu0:tlb"], 63)
        self.assertGreater(steps["cpu1"], 20)

    def test_where_nothing_happens_is_said(self):
        self.refused(2, "the run violates I14 (CK-TLB), and not I15", *self.RACE, "--break", "I15")
        self.refused(2, "there is no cpu1:buffer in this run", *self.RACE, "--break", "cpu1:buffer")
        self.refused(2, "ends before that: violation at step 63", *self.RACE, "--until", "9999")
        self.refused(2, "violates nothing, so not I14 either", "replay", "--scenario", "pass",
                     "--arch", "ept", "--seed", "1", "--break", "I14")
        for what in ["tlb", "cpu9", "cpu1:tables", "cpu", "I1"]:
            self.refused(USAGE, "'%s' is neither an invariant" % what, *self.RACE, "--break", what)
        self.refused(USAGE, "--until: '0x' is not a number", *self.RACE, "--until", "0x")
        self.refused(USAGE, "exclude each other", *self.RACE, "--until", "3", "--break", "I14")
        self.refused(USAGE, "one kind of page table", "replay", "--seed", "1", "--until", "3")

    @unittest.skipUnless(shutil.which("gdb"), "no gdb")
    def test_a_debugger_stops_there(self):
        path = self.path("x.psim")
        self.expect(VIOLATION, "run", "--scenario", "lost", "--arch", "ept", "--count", "60",
                    "--save", path)
        for args, step in [([path, "--until", "40"], "40"), ([path, "--break", "I13"], None)]:
            with open(path, encoding="ascii") as stream:
                step = step or re.search(r"(?m)^step: (\d+)$", stream.read())[1]
            gdb = subprocess.run([PROGRAM, "replay", *args, "--gdb"], capture_output=True,
                                 input='printf "here %lu\\n", step\nkill\nquit\n', text=True,
                                 timeout=100, check=False)
            self.assertIn("here " + step, gdb.stdout, gdb.stderr)
        env = {"PATH": self.folder}
        r = self.expect(ENVIRONMENT, "replay", path, "--until", "40", "--gdb", env=env)
        self.assertIn("gdb cannot be started", r.err)


class Differences(Case):
    def save(self, name, *args):
        path = self.path(name)
        self.sim("replay", "--arch", "ept", "--scenario", "lost", *args, "--save", path)
        return path

    def test_a_run_is_the_same_as_itself(self):
        a, b = self.save("a", "--seed", "5"), self.save("b", "--seed", "5")
        r = self.expect(PASS, "diff", a, b)
        self.assertRegex(r.out, r"(?m)^the same run: \d+ decisions, \d+ steps, trace hash 0x")

    def test_two_seeds_part_at_once(self):
        r = self.expect(1, "diff", self.save("a", "--seed", "5"), self.save("b", "--seed", "6"))
        self.assertIn("\nseed: 0x5 | 0x6\n", r.out)
        self.assertRegex(r.out, r"(?m)^decision \d+ is the first that differs, at step \d+")
        self.assertRegex(r.out, r"(?m)^<  +\d+  service actor cpu\d of ")
        self.assertRegex(r.out, r"(?m)^>  +\d+  service actor cpu\d of ")
        self.assertRegex(r.out, r"(?m)^<  violation of I13 \(CK-ATOM\) at step \d+, \d+ decisions")

    def test_one_decision_changed_and_drawn_anew(self):
        path = self.save("a", "--seed", "5")
        with open(path, encoding="ascii") as stream:
            lines = stream.read().splitlines()
        first = lines.index(next(line for line in lines if line.startswith("decisions: "))) + 1
        at = next(i for i in range(first + 60, len(lines)) if " run 3/4" in lines[i])
        lines[at] = lines[at].replace("3/4", "0/4")
        changed, other = self.path("changed", "\n".join(lines) + "\n"), self.path("other")
        self.sim("replay", changed, "--lenient", "--save", other)
        out = self.expect(1, "diff", path, other).out
        self.assertIn("decision %d is the first that differs" % (at - first), out)
        self.assertIn("<  %6d  %s\n" % (at - first, lines[at].replace("0/4", "3/4")), out)
        self.assertIn(">  %6d  %s\n" % (at - first, lines[at]), out)

    def test_what_diff_refuses(self):
        path = self.save("a", "--seed", "5")
        self.refused(USAGE, "which two files?", "diff", path)
        self.refused(USAGE, "two files, not also", "diff", path, path, path)
        self.refused(DATA, "not a replay file", "diff", path, self.path("bad", "x\n"))
        self.refused(DATA, "cannot be read", "diff", self.path("missing"), path)


class Apart(Case):
    """What takes a run apart: a race on a real machine."""

    RACE = ["--scenario", "lost", "--arch", "ept", "--steps", "3000"]

    def race(self):
        path = self.path("race.psim")
        self.expect(VIOLATION, "run", "--count", "60", "--save", path, *self.RACE)
        return path

    def test_shrink_leaves_the_two_that_race(self):
        path, small = self.race(), self.path("min.psim")
        r = self.expect(PASS, "shrink", path, "-o", small)
        self.assertIn("CK-ATOM I13, ", r.out)
        self.assertIn("nothing more can be left out", r.out)
        self.assertIn("  replay: pmap-sim replay %s\n  (tried: it fails again" % small, r.out)
        self.assertLessEqual(r.out.count("\n"), SUMMARY_LINES)
        self.assertNotIn("shrink:", r.out)
        with open(small, encoding="ascii") as stream:
            text = stream.read()
        operations = re.findall(r"(?m)^cpu\d operation 0/2\ncpu\d workload \S+ (\w+)$", text)
        self.assertEqual(operations.count("sneak"), 2, text)
        self.assertLessEqual(len(operations), 3, text)
        self.assertIn("\nby-seed: no\n", text)
        self.assertIn("\nmay-stop: yes\n", text)
        r = self.expect(VIOLATION, "replay", small)
        self.assertIn("the recorded violation, step by step", r.out)

    def test_shrink_counts_and_takes_a_seed_too(self):
        path = self.race()
        seed = re.search(r"(?m)^seed: (\S+)$", open(path, encoding="ascii").read())[1]
        small = self.path("min.psim")
        r = self.report(PASS, "shrink", "--seed", seed, *self.RACE, "-o", small, "--time", "9")
        before, after = r["before"], r["after"]
        self.assertEqual((r["check"], r["invariant"], r["complete"]), ("CK-ATOM", "I13", True))
        self.assertGreater(before["operations"], 20)
        self.assertLessEqual(after["operations"], 3)
        self.assertEqual(after["preemptions"], 1)
        for size in before, after:
            self.assertEqual(size["events"], size["operations"] + size["accesses"] +
                             size["switches"] + size["agent_steps"])
        self.assertEqual(r["saved"], small)

    def test_shrink_again_finds_nothing_more(self):
        small, again = self.path("min.psim"), self.path("again.psim")
        self.expect(PASS, "shrink", self.race(), "-o", small)
        r = self.report(PASS, "shrink", small, "-o", again)
        self.assertEqual(r["before"]["operations"], r["after"]["operations"])

    def test_why_finds_where_it_became_likely(self):
        svg, page, data = self.path("w.svg"), self.path("w.html"), self.path("w.json")
        r = self.report(PASS, "why", self.race(), "--tries", "30", "--report", svg, "--report",
                        page, "--report", data)
        with open(data, encoding="utf-8") as stream:
            self.assertEqual(json.load(stream)["points"], r["points"])
        points = r["points"]
        decisions = [p["decisions"] for p in points]
        self.assertEqual(decisions, sorted(set(decisions)))
        self.assertEqual((decisions[0], decisions[-1]), (0, r["decisions"]))
        self.assertTrue(all(p["tries"] == 30 for p in points))
        self.assertEqual(sum(p["tries"] for p in points), r["runs"])
        self.assertLess(points[0]["failed"], 15)
        self.assertEqual(points[-1]["failed"], 30)
        decisive = r["decisive"]
        self.assertTrue(decisive["exact"])
        self.assertEqual(decisive["to"], decisive["from"] + 1)
        jumps = {(a["decisions"], b["decisions"]): b["failed"] - a["failed"]
                 for a, b in zip(points, points[1:])}
        self.assertEqual(jumps[decisive["from"], decisive["to"]], max(jumps.values()))
        self.assertRegex(decisive["decision"], r"^\S+ (actor|run|agent|operation|workload) ")
        with open(svg, encoding="utf-8") as stream:
            picture = stream.read()
        self.assertTrue(picture.startswith("<?xml") and picture.rstrip().endswith("</svg>"))
        with open(page, encoding="utf-8") as stream:
            self.assertIn("When it became likely", stream.read())

    def test_why_in_words(self):
        r = self.expect(PASS, "why", self.race(), "--tries", "10")
        self.assertRegex(r.out, r"(?m)^CK-ATOM I13, \d+ decisions; \d+ runs in \d+\.\d s$")
        self.assertEqual(len(re.findall(r"(?m)^ +\d+ +\d+ +\d+/10 +[01]\.\d\d .* <$", r.out)), 1)
        self.assertRegex(r.out, r"(?m)^decisive: decision \d+, step \d+: ")
        self.assertRegex(r.out, r"(?m)^ +without it \d+ % of all runs fail, with it \d+ %$")

    def test_what_why_refuses(self):
        self.refused(USAGE, "--tries: 0 is out of range", "why", "x", "--tries", "0")
        self.refused(USAGE, "must end in .html, .txt or .json", "run", "--report", "x.svg")
        self.refused(PASS, "violates nothing", "why", "--seed", "1", "--scenario", "pass",
                     "--arch", "ept")
        self.refused(INTERNAL, "it makes no decisions", "why", "--seed", "1", "--scenario", "race",
                     "--arch", "ept")

    def test_what_cannot_be_shrunk_is_said(self):
        path = self.path("pass.psim")
        self.expect(PASS, "replay", "--seed", "1", "--arch", "ept", "--scenario", "pass", "--save",
                    path)
        self.refused(PASS, "it violates nothing", "shrink", path)
        self.refused(DATA, "not a replay file", "shrink", self.path("bad.psim", "x\n"))
        self.refused(DATA, "cannot be read", "shrink", self.path("missing.psim"))
        self.refused(USAGE, "one kind of page table", "shrink", "--seed", "1")
        self.refused(USAGE, "--time: 0 is out of range", "shrink", "x", "--time", "0")
        r = self.expect(ENVIRONMENT, "shrink", self.race(), "-o", self.path("no/such/folder"))
        self.assertIn("no/such/folder", r.err)

    def test_interrupted_it_keeps_the_smallest_so_far(self):
        path, small = self.race(), self.path("min.psim")
        child = subprocess.Popen([PROGRAM, "shrink", path, "-o", small, "--time", "60"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        # Early enough it is not caught yet, late enough it is over: both are fine.
        if child.returncode == 128 + signal.SIGINT and out:
            self.assertIn("interrupted", out, err)
            self.expect(VIOLATION, "replay", small)


if __name__ == "__main__":
    sys.exit(main())
