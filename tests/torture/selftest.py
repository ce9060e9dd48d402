#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Torture with a simulator that is a script: what it finds is told, what it did is kept."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = [sys.executable, os.path.join(HERE, "run")]

SIMULATOR = """#!/bin/sh
[ "$1" = scenarios ] && { echo 'small   a scenario'; exit 0; }
%s
cat <<'END'
{"runs": {"done": 3, "violations": %d}, "steps": 1000, "failure": %s,
 "replay": {"command": "pmap-sim replay --seed 7"}}
END
exit %d
"""
FAILURE = '{"kind": "violation", "check": "CK-TLB", "invariant": "I14"}'


class Torture(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.makedirs(os.path.join(self.folder.name, "sim"))

    def simulator(self, before="", violations=0, failure="null", code=0):
        path = os.path.join(self.folder.name, "sim", "pmap-sim")
        with open(path, "w", encoding="ascii") as file:
            file.write(SIMULATOR % (before, violations, failure, code))
        os.chmod(path, 0o755)

    def command(self, *more):
        return RUN + ["--build", self.folder.name, "--dir",
                      os.path.join(self.folder.name, "kept"), "--part", "seeds", *more]

    def torture(self, *more):
        return subprocess.run(self.command(*more), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def numbers(self):
        with open(os.path.join(self.folder.name, "kept", "torture.json"), encoding="utf-8") as f:
            return json.load(f)["parts"]["seeds"]

    def test_finds_nothing(self):
        self.simulator()
        done = self.torture("--time", "1")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("found: 0", done.stdout)
        self.assertGreaterEqual(self.numbers()["runs"], 3)

    def test_tells_what_it_finds(self):
        self.simulator(violations=2, failure=FAILURE, code=1)
        done = self.torture("--time", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FOUND by seeds: CK-TLB I14 in small, and 1 more: pmap-sim replay --seed 7",
                      done.stdout)

    def test_tool_that_breaks_is_no_success(self):
        self.simulator(before="exit 70")
        done = self.torture("--time", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended with 70", done.stdout)

    def test_goes_on_where_it_was(self):
        self.simulator()
        self.torture("--time", "1")
        before = self.numbers()
        self.torture("--time", "1")
        after = self.numbers()
        self.assertEqual(after["first"], before["first"])
        self.assertGreater(after["runs"], before["runs"])
        self.torture("--time", "1", "--fresh")
        self.assertNotEqual(self.numbers()["first"], before["first"])

    def start(self, *more, **how):
        """Torture under way: it has kept what its first slice did."""
        child = subprocess.Popen(self.command("--time", "1h", *more), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, **how)
        self.addCleanup(child.kill)
        kept = os.path.join(self.folder.name, "kept", "torture.json")
        while not os.path.exists(kept) and child.poll() is None:
            time.sleep(0.05)
        return child

    def calls(self):
        """How often the simulator came to its end, of the calls that SLOWLY notes."""
        with open(os.path.join(self.folder.name, "calls"), encoding="ascii") as file:
            return len(file.read())

    def alive(self):
        """Processes of the simulator, and what it left behind."""
        out = subprocess.run(["ps", "-eo", "stat=,args="], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
        return [line for line in out.splitlines()
                if self.folder.name in line and "kept" not in line and line[0] != "Z"]

    def slowly(self):
        return "trap '' INT; sleep 0.2; printf x >>%s/calls" % self.folder.name

    def test_interrupted(self):
        self.simulator(before=self.slowly())
        for how in (signal.SIGINT, signal.SIGTERM):
            child = self.start()
            before = self.calls()
            while self.calls() == before and child.poll() is None:
                time.sleep(0.05)
            child.send_signal(how)
            output, errors = child.communicate()
            self.assertEqual(child.returncode, 2, output + errors)
            self.assertIn("interrupted: the same command goes on from here", output)
            self.assertEqual(self.alive(), [])
            # Each of its reports is in the sum, once.
            self.assertEqual(self.numbers()["runs"], 3 * self.calls())

    def test_interrupted_where_a_shell_has_it_ignored(self):
        self.simulator(before=self.slowly())
        child = self.start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        child.send_signal(signal.SIGINT)
        self.assertIn("interrupted", child.communicate()[0])
        self.assertEqual(child.returncode, 2)

    def test_killed(self):
        again = os.path.join(self.folder.name, "again")
        self.simulator(before="[ -e %s ] && exec python3 -c 'import time; time.sleep(1000)' %s;"
                       ": >%s" % (again, again, again))
        child = self.start()
        child.kill()
        child.communicate()
        for _ in range(200):
            if not self.alive():
                break
            time.sleep(0.05)
        self.assertEqual(self.alive(), [])
        before = self.numbers()
        self.simulator()
        self.assertEqual(self.torture("--time", "1").returncode, 0)
        self.assertEqual(self.numbers()["first"], before["first"])
        self.assertGreater(self.numbers()["runs"], before["runs"])

    def test_nothing_is_left_running(self):
        self.simulator(before="setsid sh -c 'sleep 1000; : %s' <&- >&- 2>&- &" % self.folder.name)
        self.assertEqual(self.torture("--time", "1").returncode, 0)
        self.assertEqual(self.alive(), [])

    def test_tool_that_does_not_hear(self):
        self.simulator(before="trap '' INT TERM; : >%s/begun; while :; do sleep 0.1; done"
                       % self.folder.name)
        child = subprocess.Popen(self.command("--time", "1h"), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        while not os.path.exists(os.path.join(self.folder.name, "begun")):
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)  # the second is for the impatient
        output = child.communicate()[0]
        self.assertEqual(child.returncode, 2)
        self.assertIn("nothing was done", output)
        self.assertEqual(self.alive(), [])

    def test_part_that_did_nothing(self):
        self.simulator(before="sleep 100")
        child = subprocess.Popen(self.command("--time", "1h", "--part", "schedules"),
                                 stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        child.send_signal(signal.SIGTERM)
        output = child.communicate()[0]
        self.assertEqual(child.returncode, 2)
        self.assertIn("known gaps: schedules, seeds, coverage", output)

    def test_two_at_a_time(self):
        self.simulator(before=self.slowly())
        child = self.start()
        other = self.torture("--time", "1")
        self.assertEqual(other.returncode, 75)
        self.assertIn("another torture", other.stderr)
        child.terminate()
        child.communicate()

    def test_no_build(self):
        done = self.torture("--time", "1")
        self.assertEqual(done.returncode, 75)
        self.assertIn("build first", done.stderr)

    def test_nowhere_to_write(self):
        self.simulator()
        done = self.torture("--time", "1", "--dir", "/dev/null/x")
        self.assertEqual(done.returncode, 75)
        self.assertIn("cannot write to /dev/null/x", done.stderr)

    def test_damaged_memory(self):
        self.simulator()
        self.torture("--time", "1")
        kept = os.path.join(self.folder.name, "kept", "torture.json")
        for text in ("", "[]", '{"digest": 1, "parts": 2}'):
            with open(kept, "w", encoding="ascii") as file:
                file.write(text)
            self.assertEqual(self.torture("--time", "1").returncode, 0)

    def test_wrong_time(self):
        done = self.torture("--time", "soon")
        self.assertEqual(done.returncode, 64)
        self.assertIn("a time is", done.stderr)


if __name__ == "__main__":
    unittest.main()
