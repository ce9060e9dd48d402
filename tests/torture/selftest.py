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

    def test_interrupted(self):
        self.simulator(before="sleep 0.2")
        child = subprocess.Popen(self.command("--time", "1h"), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        kept = os.path.join(self.folder.name, "kept", "torture.json")
        while not os.path.exists(kept) and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate()
        self.assertEqual(child.returncode, 2, output + errors)
        self.assertIn("interrupted", output)
        self.assertGreaterEqual(self.numbers()["runs"], 3)

    def test_wrong_time(self):
        done = self.torture("--time", "soon")
        self.assertEqual(done.returncode, 64)
        self.assertIn("a time is", done.stderr)


if __name__ == "__main__":
    unittest.main()
