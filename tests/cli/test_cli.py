#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of pmap-sim's command line.

  test_cli.py PROGRAM TRACE DOCS [NAME...]

PROGRAM is pmap-sim linked with workload.c, whose scenarios pass, violate, crash and so on by name;
TRACE a sound trace; DOCS the folder with the description of the JSON and the manual page. Prints
"cases: N passed, N failed, N skipped".
"""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, TRACE, DOCS = (os.path.abspath(path) for path in sys.argv[1:4])
PASS, VIOLATION, BUDGET, USAGE, DATA, INTERNAL, ENVIRONMENT = 0, 1, 2, 64, 65, 70, 75
SUMMARY_LINES = 25


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as stream:
                stream.write(content if isinstance(content, bytes) else content.encode())
        return path

    def sim(self, *args, env=None, **options):
        env = dict(os.environ, **(env or {}))
        options.setdefault("stdout", subprocess.PIPE)
        return Result(subprocess.run([PROGRAM, *args], stderr=subprocess.PIPE, cwd=self.folder,
                                     stdin=subprocess.DEVNULL, env=env, text=True, timeout=120,
                                     check=False, **options))

    def expect(self, code, *args, **options):
        r = self.sim(*args, **options)
        self.assertEqual(r.code, code, "%s\n%s%s" % (args, r.out, r.err))
        return r

    def report(self, code, *args):
        return json.loads(self.expect(code, *args, "--json").out)

    def refused(self, code, sentence, *args):
        """Nothing on stdout; the sentence on stderr; no file made or changed."""
        before = sorted(os.listdir(self.folder))
        r = self.expect(code, *args)
        self.assertEqual(r.out, "")
        self.assertIn(sentence, r.err)
        self.assertLessEqual(r.err.count("\n"), 3, r.err)  # "Try --help" may wrap
        self.assertEqual(sorted(os.listdir(self.folder)), before)


class Usage(Case):
    def test_wrong_arguments_are_refused_with_a_sentence(self):
        for sentence, args in [
                ("which command?", []),
                ("there is no command 'walk'", ["walk"]),
                ("unrecognized option", ["--frobnicate"]),
                ("unrecognized option", ["run", "--frobnicate"]),
                ("--seed: 'x' is not a number", ["run", "--seed", "x"]),
                ("--seed: '-1' is not a number", ["run", "--seed=-1"]),
                ("--seed: '0x' is not a number", ["run", "--seed", "0x"]),
                ("--seed: '' is not a number", ["run", "--seed", ""]),
                ("is not a number", ["run", "--seed", "18446744073709551616"]),
                ("is not a number", ["run", "--seed", "0x10000000000000000"]),
                ("requires an argument", ["run", "--seed"]),
                ("--count: 0 is out of range", ["run", "--count", "0"]),
                ("out of range", ["run", "--count", "18446744073709551615"]),
                ("--jobs: 0 is out of range", ["run", "-j", "0"]),
                ("--jobs: 'many' is not a number", ["run", "-jmany"]),
                ("--steps: 0 is out of range", ["run", "--steps", "0"]),
                ("--cpus: 0 is out of range", ["run", "--cpus", "0"]),
                ("--vcpus: 99999 is out of range", ["run", "--vcpus", "99999"]),
                ("--arch: 'arm' is none of", ["run", "--arch", "arm"]),
                ("--arch: '' is none of", ["run", "--arch", "ept,"]),
                ("--arch: 'EPT' is none of", ["run", "--arch", "EPT"]),
                ("--memory-model: 'arm' is neither", ["run", "--memory-model", "arm"]),
                ("exclude each other", ["run", "--scenario", "pass", "--trace", TRACE]),
                ("there is no scenario 'nope'", ["run", "--scenario", "nope"]),
                ("must end in .html, .txt or .json", ["run", "--report", "x.htm"]),
                ("must end in .html, .txt or .json", ["run", "--report", ".json"]),
                ("at most 8 reports", ["run"] + 9 * ["--report=x.txt"]),
                ("unexpected argument 'x'", ["run", "x"]),
                ("'nope' is no kind of fault", ["run", "--faults", "nope"]),
                ("'' is no kind of fault", ["run", "--faults", "alloc,"]),
                ("'2' is neither a probability", ["run", "--faults", "alloc:2"]),
                ("'1.5' is neither a probability", ["run", "--faults", "alloc:1.5"]),
                ("'nth=0' is neither a probability", ["run", "--faults", "alloc:nth=0"]),
                ("'' is neither a probability", ["run", "--faults", "alloc:"]),
                ("since when?", ["run", "--faults", "alloc:persist"]),
                ("happens by itself", ["run", "--faults", "eviction:0.5"]),
                ("is off, and cannot say how", ["run", "--faults", "default,-alloc:1"]),
                ("'nope' is no kind of fault", ["faults", "--faults", "all,-nope"]),
                ("takes no --save", ["faults", "--save", "x.psim"]),
                ("'nope' is no kindness", ["run", "--kindness", "no-tlb,nope"]),
                ("there is no scenario 'nope'", ["faults", "--scenario", "nope"]),
                ("replay what?", ["replay"]),
                ("one file at a time", ["replay", "a", "b"]),
                ("says itself what to run", ["replay", "a", "--seed", "1"]),
                ("says itself what to run", ["replay", "a", "--arch", "ept"]),
                ("unrecognized option", ["replay", "--count", "2", "--seed", "1"]),
                ("record what?", ["record", "-o", "x"]),
                ("--output is missing", ["record", "true"]),
                ("--window: 0 is out of range", ["record", "-o", "x", "--window", "0", "true"]),
                ("--window: 257 is out of range", ["record", "-o", "x", "--window=257", "true"]),
                ("either a program or --from", ["record", "-o", "x", "--from", "y", "true"]),
                ("--strict goes with --from", ["record", "-o", "x", "--strict", "true"]),
                ("compare what?", ["compare"]),
                ("one trace at a time", ["compare", "a", "b"]),
                ("is none of ept, ept-noad, npt", ["compare", "a", "--arch", "x86"]),
                ("is not NAME=VALUE", ["compare", "a", "--set", "batch"]),
                ("there is no setting 'depth'", ["compare", "a", "--set", "depth=1"]),
                ("superpages: 'maybe' is none of off, on, eager",
                 ["compare", "a", "--set", "superpages=maybe"]),
                ("is out of range, 1 to 512", ["compare", "a", "--set", "batch=0"]),
                ("is out of range, 1 to 512", ["compare", "a", "--set", "batch=1,513"]),
                ("'1' twice", ["compare", "a", "--set", "batch=1,1"]),
                ("at most 8 values", ["compare", "a", "--set", "batch=1,2,3,4,5,6,7,8,9"]),
                ("must end in .html", ["compare", "a", "--report", "x.pdf"]),
                ("more than 96 combinations", ["compare", TRACE, "--set", "batch=1,2,3,4,5,6,7,8",
                                               "--set", "host=none,age,dirty,remove",
                                               "--set", "defer=on,off"]),
                ("Too many arguments", ["invariants", "x"]),
        ]:
            with self.subTest(args=args):
                self.refused(USAGE, sentence, *args)

    def test_help_of_every_command(self):
        commands = ["run", "replay", "shrink", "why", "diff", "record", "compare", "scenarios",
                    "invariants", "profiles", "faults"]
        top = self.expect(PASS, "--help").out
        for command in commands:
            self.assertRegex(top, r"(?m)^ +%s +\w" % command)
            self.assertIn("Usage: pmap-sim " + command, self.expect(PASS, command, "--help").out)

    def test_version_names_commit_and_options(self):
        for args in [["--version"], ["run", "--version"], ["-V"]]:
            out = self.expect(PASS, *args).out
            self.assertRegex(out, r"^pmap-sim \(skep\) \d+\.\d+\.\d+\ncommit: \S+\n"
                                  r"options: gen_bits=\d+ check=\d\ncompiler: ")

    def test_the_manual_page_has_every_option(self):
        with open(os.path.join(DOCS, "man", "pmap-sim.1"), encoding="utf-8") as stream:
            page = set(re.findall(r"Fl -([a-z-]+)", stream.read()))
        told = set()
        for command in ["run", "replay", "shrink", "why", "explore", "record", "compare"]:
            told |= set(re.findall(r"--([a-z-]+)", re.split(r"\n\n", self.expect(
                PASS, command, "--help").out, maxsplit=1)[1].split("\n\n")[0]))
        self.assertEqual(told - {"help", "usage", "version"}, page)


class Lists(Case):
    def test_invariants(self):
        lines = self.expect(PASS, "invariants").out.splitlines()
        self.assertEqual([line[:3] for line in lines[1:]], ["I%02d" % i for i in range(1, 49)])
        self.assertFalse(any("not yet" in line for line in lines))
        self.assertTrue(any("I14  CK-TLB    always" in line for line in lines))

    def test_scenarios(self):
        self.assertRegex(self.expect(PASS, "scenarios").out, r"(?m)^pass +every run passes$")

    def test_faults(self):
        lines = self.expect(PASS, "faults").out.splitlines()
        for kind, odds in [("table-alloc", "0.05"), ("eviction", "-"), ("poison", "0.001")]:
            self.assertTrue(any(re.match(r"%s +\w+ +%s +\w" % (kind, odds), line)
                                for line in lines), kind)

    def test_faults_are_counted(self):
        met = json.loads(self.expect(PASS, "faults", "--scenario", "pass", "--json").out)
        self.assertEqual((met["schema"], met["faults"]), ("skep-pmap-sim-faults", "all"))
        self.assertEqual((met["runs"], met["violations"]), (4, 0))
        alloc = met["kinds"]["alloc"]
        self.assertEqual((alloc["asked"], alloc["hit"]), (4 * 7, 4 * 2))
        self.assertEqual(alloc["operations"], {"work": {"asked": 4 * 7, "hit": 4 * 2}})
        self.assertEqual(alloc["scenarios"], {"pass": {"asked": 4 * 7, "hit": 4 * 2}})
        text = self.expect(PASS, "faults", "--scenario", "pass", "--faults", "alloc:0.5").out
        self.assertRegex(text, r"(?m)^alloc +28 +8$")
        self.assertRegex(text, r"(?m)^swap-read +0 +0  NEVER HIT$")

    def test_faults_tell_of_violations(self):
        r = self.expect(VIOLATION, "faults", "--scenario", "violate", "--count", "6")
        self.assertIn("CK-TLB I14", r.err)
        self.assertRegex(r.err, r"replay: pmap-sim replay --seed 0x5 .*--faults all")

    def test_profiles(self):
        lines = self.expect(PASS, "profiles").out.splitlines()
        self.assertGreaterEqual(len(lines), 24)
        self.assertTrue(any(re.match(r"haswell +ept ", line) for line in lines))


class Runs(Case):
    def test_exit_codes(self):
        for code, scenario in [(PASS, "pass"), (VIOLATION, "violate"), (BUDGET, "budget"),
                               (INTERNAL, "error"), (INTERNAL, "crash"), (INTERNAL, "quit")]:
            with self.subTest(scenario=scenario):
                r = self.expect(code, "run", "--scenario", scenario, "--count", "9", "-j2")
                self.assertLessEqual(r.out.count("\n"), SUMMARY_LINES)
                self.assertEqual(r.err, "")

    def test_seeds_in_hexadecimal_and_decimal_are_the_same(self):
        a = self.report(PASS, "run", "--seed", "0xff", "--arch", "ept")
        b = self.report(PASS, "run", "--seed", "255", "--arch", "ept")
        c = self.report(PASS, "run", "--seed", "256", "--arch", "ept")
        self.assertEqual(a["trace_hash"], b["trace_hash"])
        self.assertNotEqual(a["trace_hash"], c["trace_hash"])
        self.assertEqual(a["options"]["seed"], "0x00000000000000ff")

    def test_a_random_seed_is_told_and_differs(self):
        seeds = {self.report(PASS, "run", "--seed", "random")["options"]["seed"]
                 for _ in range(4)}
        self.assertGreater(len(seeds), 1)

    def test_every_kind_of_table_runs_each_seed(self):
        r = self.report(PASS, "run", "--arch", "npt,ept,npt", "--count", "3")
        self.assertEqual(r["options"]["arch"], ["ept", "npt"])
        self.assertEqual(r["runs"]["done"], 6)
        self.assertEqual(self.report(PASS, "run", "--arch", "all")["runs"]["done"], 4)

    def test_options_reach_the_workload(self):
        o = self.report(PASS, "run", "--cpus", "7", "--vcpus", "0x9", "--steps", "99", "--caps",
                        "haswell", "--memory-model", "sc", "--reference")["options"]
        self.assertEqual((o["cpus"], o["vcpus"], o["steps"]), (7, 9, 99))
        self.assertEqual((o["caps"], o["memory_model"], o["reference"]), ("haswell", "sc", True))

    def test_the_result_does_not_depend_on_the_number_of_workers(self):
        results = []
        for jobs in ["-j1", "-j2", "-j7"]:
            r = self.report(VIOLATION, "run", "--scenario", "violate", "--count", "30", jobs)
            del r["seconds"], r["steps_per_second"], r["schedules"]["per_second"]
            results.append(r)
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])
        self.assertEqual(results[0]["runs"]["done"], 17)
        self.assertEqual(results[0]["failure"]["seed"], "0x0000000000000005")

    def test_keep_going_runs_all_seeds(self):
        r = self.report(VIOLATION, "run", "--scenario", "violate", "--count", "30", "-k")
        self.assertEqual(r["runs"]["done"], 120)
        self.assertEqual(r["runs"]["violations"], 4)
        r = self.report(INTERNAL, "run", "--scenario", "crash", "--count", "30", "-k", "-j3")
        self.assertEqual((r["runs"]["done"], r["runs"]["errors"]), (116, 4))
        self.assertEqual(r["failure"]["kind"], "crash")
        self.assertEqual(r["failure"]["signal"], signal.SIGKILL)
        self.assertEqual(r["failure"]["seed"], "0x0000000000000005")

    def test_quiet_prints_failures_only(self):
        self.assertEqual(self.expect(PASS, "run", "-q").out, "")
        out = self.expect(VIOLATION, "run", "-q", "--scenario", "violate-all").out
        self.assertRegex(out, r"^VIOLATION CK-DIRTY, I25: ")

    def test_what_was_never_exercised_fails_a_whole_run_of_seeds(self):
        args = ["run", "--scenario", "uncovered", "--arch", "ept"]
        r = self.report(PASS, *args, "--count", "7")
        self.assertEqual((r["coverage_judged"], r["never_exercised"]), (False, []))
        r = self.report(VIOLATION, *args, "--count", "8")
        self.assertEqual(r["never_exercised"], ["operations/remove", "invariants/I14"])
        self.assertTrue(r["coverage_judged"])
        out = self.expect(VIOLATION, *args, "--count", "8").out
        self.assertIn("NEVER EXERCISED, although 8 runs should have:", out)
        self.assertRegex(out, r"^incomplete: 8 runs of")
        self.assertEqual(r["verdict"], "incomplete")
        self.assertIn("operations remove, invariants I14", out)
        r = self.report(PASS, "run", "--arch", "ept", "--count", "8")
        self.assertEqual((r["coverage_judged"], r["never_exercised"]), (True, []))

    def test_nondeterminism_is_a_violation(self):
        args = ["--scenario", "unsteady", "--seed", "5", "--arch", "ept"]
        r = self.report(VIOLATION, "run", "--check-determinism", *args)
        self.assertEqual((r["failure"]["check"], r["failure"]["invariant"]), ("CK-REPLAY", "I48"))
        self.assertEqual(r["counters"]["invariants"]["I48"], 2)
        self.expect(PASS, "run", "--check-determinism", "--count", "3")

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            for args in [["run"], ["run", "--json"], ["invariants"]]:
                r = self.sim(*args, stdout=full)
                self.assertEqual(r.code, ENVIRONMENT, args)
                self.assertIn("cannot write", r.err)

    def test_workers_that_cannot_be_started_are_said(self):
        def starve():
            resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))  # no room for a pipe

        r = self.sim("run", preexec_fn=starve)
        self.assertEqual(r.code, ENVIRONMENT)
        self.assertIn("cannot start worker processes: Too many open files", r.err)


class Replays(Case):
    def line(self, out):
        line = re.search(r"(?m)^  replay: pmap-sim (.*)$", out)
        self.assertTrue(line, out)
        return line[1].split()

    def test_the_line_printed_repeats_the_violation(self):
        out = self.expect(VIOLATION, "run", "--scenario", "violate", "--count", "9", "--reference",
                          "--memory-model", "sc", "--caps", "haswell", "--steps", "77").out
        self.assertIn("VIOLATION CK-TLB, I14: After a shootdown nothing can use", out)
        self.assertIn("seed 0x5 on ept, step 1234, CPU 2", out)
        self.assertIn("(tried: it fails again, with the same trace hash", out)
        again = self.report(VIOLATION, *self.line(out))
        self.assertEqual(again["options"]["steps"], 77)
        self.assertEqual(again["options"]["caps"], "haswell")
        self.assertEqual(again["options"]["memory_model"], "sc")
        self.assertTrue(again["options"]["reference"])
        self.assertIn(again["failure"]["trace_hash"], out)

    def test_a_line_that_does_not_reproduce_is_said_not_to(self):
        out = self.expect(VIOLATION, "run", "--scenario", "unsteady", "--count", "9").out
        self.assertIn("replay: none. It does NOT reproduce: violation, trace hash ", out)
        self.assertNotIn("  replay: pmap-sim", out)
        self.assertNotIn("shrink:", out)
        r = self.report(VIOLATION, "run", "--scenario", "unsteady", "--count", "9")
        self.assertFalse(r["failure"]["replay"]["reproduced"])
        self.assertTrue(r["failure"]["replay"]["tried"])

    def saved(self, *args):
        path = self.path("x.psim")
        self.expect(VIOLATION, "run", "--count", "9", "--save", path, *args)
        with open(path, encoding="ascii") as stream:
            return path, stream.read()

    def test_a_saved_violation_is_repeated_step_by_step(self):
        path, text = self.saved("--scenario", "violate")
        self.assertIn("\ndecisions: 100\n- actor 0/2\n", text)
        r = self.expect(VIOLATION, "replay", path)
        self.assertIn("the recorded violation, step by step", r.out)
        self.assertEqual(r.err, "")
        again = self.path("again.psim")
        self.expect(VIOLATION, "replay", path, "--save", again)
        with open(again, encoding="ascii") as stream:
            self.assertEqual(stream.read(), text)

    def test_another_build_is_warned_of_and_still_replays(self):
        path, text = self.saved("--scenario", "violate")
        self.path("x.psim", re.sub(r"\nbuild: .*", "\nbuild: 0.0.9 0123456", text))
        r = self.expect(VIOLATION, "replay", path)
        self.assertIn("warning: recorded by another build, 0.0.9 0123456; this one is", r.err)
        self.assertIn("the recorded violation, step by step", r.out)

    def test_choices_that_do_not_fit_give_way_to_the_seed(self):
        path, text = self.saved("--scenario", "violate")
        self.path("x.psim", text.replace("scenario: violate", "scenario: unfit"))
        r = self.expect(PASS, "replay", path)
        self.assertIn("they do not fit this build; the seed was used instead", r.out)
        self.assertIn("the recorded violation does not happen any more", r.out)
        self.assertIn("parted at   decision 7, step 9: recorded run 1", r.out)
        recorded = self.report(PASS, "replay", path)["recorded"]
        self.assertTrue(recorded["choices_unfit"])
        self.assertIn("decision 7", recorded["parted_at"])

    def test_decisions_of_no_seed_fit_or_are_refused(self):
        path, text = self.saved("--scenario", "violate")
        text = text.replace("scenario: violate", "scenario: unfit")
        self.path("x.psim", text.replace("by-seed: yes", "by-seed: no"))
        r = self.expect(DATA, "replay", path)
        self.assertIn("the decisions do not fit this build, and no seed gives them", r.out)
        self.assertIn("decision 7, step 9", r.out)

    def test_what_is_compared_with_the_recording(self):
        path, text = self.saved("--scenario", "violate")
        for old, new, code, sentence in [
                (r"trace-hash: .*", "trace-hash: 1", VIOLATION, "violation, by other steps"),
                (r"state-hash: .*", "state-hash: 1", VIOLATION, "violation, by other steps"),
                (r"invariant: .*", "invariant: I15", VIOLATION, "another violation than"),
                (r"verdict: .*\n.*\n.*\n", "verdict: pass\n", VIOLATION, "where there was none"),
                (r"\nseed: .*", "\nseed: 6", PASS, "does not happen any more"),
                (r"scenario: .*", "scenario: error", INTERNAL, "the run could not be made")]:
            with self.subTest(sentence=sentence):
                self.path("x.psim", re.sub(old, new, text))
                self.assertIn(sentence, self.expect(code, "replay", path).out)

    def test_passes_are_recorded_too(self):
        path = self.path("p.psim")
        self.expect(PASS, "replay", "--seed", "3", "--arch", "npt", "--save", path)
        self.assertIn("the same run, step by step", self.expect(PASS, "replay", path).out)

    def test_a_trace_is_found_beside_the_file(self):
        os.mkdir(self.path("sub"))
        shutil.copy(TRACE, self.path("sub/t.zst"))
        path = self.path("sub/t.psim")
        self.expect(PASS, "replay", "--seed", "1", "--arch", "ept", "--trace", "sub/t.zst",
                    "--save", path)
        with open(path, encoding="ascii") as stream:
            text = stream.read()
        self.assertIn("trace: sub/t.zst\n", text)
        self.path("sub/t.psim", text.replace("sub/t.zst", "t.zst"))
        self.expect(PASS, "replay", path)

    def test_malformed_files_are_refused(self):
        for sentence, content in [("line 1: the file ends", ""),
                                  ("line 1: not a replay file", "x\n"),
                                  ("line 2: unknown key", "pmap-sim replay 2\nx: y\n"),
                                  ("reads format 2: record it anew", "pmap-sim replay 1\n"),
                                  ("line 1: ", b"\0\n"), ("line 1: too long", "a" * 9999)]:
            with self.subTest(sentence=sentence):
                self.refused(DATA, sentence, "replay", self.path("bad.psim", content))
        self.refused(DATA, "cannot be read", "replay", self.path("missing.psim"))
        self.refused(DATA, "directory", "replay", self.folder)

    def test_a_scenario_that_is_no_more_is_malformed_input(self):
        path, text = self.saved("--scenario", "violate")
        self.path("x.psim", text.replace("scenario: violate", "scenario: gone"))
        self.refused(DATA, "there is no scenario 'gone'", "replay", path)


class Traces(Case):
    def test_a_trace_runs(self):
        r = self.report(PASS, "run", "--trace", TRACE, "--arch", "ept")
        self.assertGreaterEqual(r["trace"]["records"], 1000000)
        self.assertGreaterEqual(r["trace"]["pages"], 2000)
        self.assertEqual(r["counters"]["operations"]["accesses"], r["trace"]["records"])
        out = self.expect(PASS, "run", "--trace", TRACE).out
        self.assertRegex(out, r"(?m)^program +cc1 ")
        self.assertLessEqual(out.count("\n"), SUMMARY_LINES)

    def test_hostile_traces_are_refused_with_a_sentence(self):
        with open(TRACE, "rb") as stream:
            sound = stream.read()
        damaged = bytearray(sound)
        damaged[len(sound) // 2] ^= 0x10
        for sentence, content in [("is empty", b""), ("not compressed by zstd", b"hello\n"),
                                  ("is truncated", sound[:1000]), ("is truncated", sound[:-1]),
                                  ("is damaged", bytes(damaged)),
                                  ("data after its end", sound + b"x")]:
            with self.subTest(sentence=sentence, size=len(content)):
                path = self.path("bad.trace.zst", content)
                self.refused(DATA, sentence, "run", "--trace", path)
        self.refused(DATA, "No such file", "run", "--trace", self.path("missing"))
        self.refused(DATA, "directory", "run", "--trace", self.folder)


class Reports(Case):
    def test_reports_are_written_as_text_and_json(self):
        text, data = self.path("r.txt", "old"), self.path("r.json")
        self.expect(VIOLATION, "run", "--scenario", "violate", "--count", "9", "--report", text,
                    "--report", data)
        with open(text, encoding="ascii") as stream:
            text = stream.read()
        for part in ["VIOLATION CK-TLB, I14", "  replay: ", "alloc-failure", "I25", "tlb-fills"]:
            self.assertIn(part, text)
        with open(data, encoding="ascii") as stream:
            self.assertEqual(json.load(stream)["failure"]["invariant"], "I14")
        self.assertEqual(sorted(os.listdir(self.folder)), ["r.json", "r.txt"])

    def test_a_report_that_cannot_be_written_stops_before_the_run(self):
        begin = time.monotonic()
        self.refused(ENVIRONMENT, "cannot write", "run", "--scenario", "slow", "--count", "100",
                     "--report", self.path("no/r.txt"))
        self.assertLess(time.monotonic() - begin, 5)
        for command in ("run", "replay", "shrink"):
            self.refused(ENVIRONMENT, "cannot write", command, "--seed", "1", "--scenario",
                         "slow", "--arch", "ept", "--save", self.path("no/x"))
        self.refused(ENVIRONMENT, "cannot write", "run", "--report", self.path("r.txt"),
                     "--report", self.path("no/r.json"))

    def flatten(self, value, prefix=""):
        if isinstance(value, dict) and not re.fullmatch(r"counters\.\w+", prefix):
            for key, inner in value.items():
                yield from self.flatten(inner, prefix + "." + key if prefix else key)
        else:
            yield prefix

    def test_the_json_is_what_its_description_says(self):
        """Every key that docs/REPORT.md names occurs, and no other."""
        with open(os.path.join(DOCS, "REPORT.md"), encoding="utf-8") as stream:
            described = set(re.findall(r"(?m)^\| `([\w.]+)` \|", stream.read()))
        seen = set()
        path = self.path("x.psim")
        for code, args in [(VIOLATION, ["run", "--scenario", "violate", "--count", "9", "--save",
                                        path]),
                           (VIOLATION, ["replay", path]), (PASS, ["run", "--trace", TRACE]),
                           (INTERNAL, ["run", "--scenario", "crash", "--count", "9"])]:
            r = self.report(code, *args)
            self.assertEqual(r["schema"], "skep-pmap-sim-report")
            self.assertEqual(r["schema_version"], 1)
            self.assertEqual(r["exit_code"], code)
            seen |= set(self.flatten(r))
        self.assertEqual(seen - {"trace", "failure", "recorded"},
                         described - {"trace", "failure", "recorded"})

    def test_json_is_alone_on_stdout_and_failures_go_to_stderr(self):
        r = self.expect(VIOLATION, "run", "--scenario", "violate-all", "--json")
        self.assertEqual(json.loads(r.out)["verdict"], "violation")
        self.assertIn("VIOLATION CK-DIRTY", r.err)
        r = self.expect(VIOLATION, "run", "--scenario", "violate-all", "--json", "-q")
        self.assertEqual(r.err, "")


class Terminals(Case):
    def on_terminal(self, args, env, stream):
        """What comes out when one stream ("stdout" or "stderr") is a terminal."""
        master, slave = pty.openpty()
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: slave}
        env = dict({k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **env)
        with subprocess.Popen([PROGRAM, *args], stdin=subprocess.DEVNULL, env=env,
                              cwd=self.folder, **options) as process:
            os.close(slave)
            text = b""
            while True:
                try:
                    piece = os.read(master, 4096)
                except OSError:
                    break
                if not piece:
                    break
                text += piece
            process.wait(timeout=60)
        os.close(master)
        return text.decode()

    def test_color_on_terminals_unless_refused(self):
        args = ["run", "--scenario", "violate-all"]
        red = "\033[31m"
        self.assertIn(red, self.on_terminal(args, {"TERM": "xterm"}, "stdout"))
        self.assertIn(red, self.on_terminal(args, {"TERM": "xterm", "NO_COLOR": ""}, "stdout"))
        for env in [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}]:
            text = self.on_terminal(args, env, "stdout")
            self.assertNotIn("\033", text)
            self.assertIn("VIOLATION", text)
        self.assertNotIn("\033", self.expect(VIOLATION, *args, env={"TERM": "xterm"}).out)

    def test_progress_on_terminals_only(self):
        args = ["run", "--scenario", "slow", "--arch", "ept", "--count", "2", "-j1"]
        text = self.on_terminal(args, {"TERM": "xterm"}, "stderr")
        self.assertRegex(text, r"\r\033\[K\d of 2 runs")
        self.assertTrue(text.endswith("\r\033[K"), "the line is wiped at the end")
        self.assertEqual(self.on_terminal(args + ["-q"], {"TERM": "xterm"}, "stderr"), "")
        self.assertEqual(self.on_terminal(args, {"TERM": "dumb"}, "stderr"), "")
        self.assertEqual(self.expect(PASS, *args, env={"TERM": "xterm"}).err, "")


class Interruptions(Case):
    def start(self, *args):
        return subprocess.Popen([PROGRAM, "run", "--scenario", "slow", "--count", "200", "--arch",
                                 "ept", "-j2", *args], cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True)

    def assert_gone(self, group):
        """No process of the group is left."""
        for _ in range(100):
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)
        self.fail("worker processes were left behind")

    def test_interrupted_it_stops_its_workers_and_says_what_was_done(self):
        for number, whole_group in [(signal.SIGINT, True), (signal.SIGINT, False),
                                    (signal.SIGTERM, False)]:
            with self.subTest(number=number, whole_group=whole_group):
                with self.start() as process:
                    time.sleep(1.4)
                    (os.killpg if whole_group else os.kill)(process.pid, number)
                    out, err = process.communicate(timeout=30)
                self.assertEqual(process.returncode, 128 + number, err)
                self.assertRegex(out, r"INTERRUPTED by signal %d .* of 200 runs" % number)
                self.assertRegex(out, r"^interrupted: [1-9]\d* of 200 runs")
                self.assert_gone(process.pid)

    def test_interrupted_json_is_whole(self):
        with self.start("--json") as process:
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        r = json.loads(out)
        self.assertEqual((r["verdict"], r["exit_code"]), ("interrupted", 130))

    def test_killed_it_takes_its_workers_along(self):
        with self.start() as process:
            time.sleep(0.7)
            process.kill()
            process.communicate(timeout=30)
        self.assert_gone(process.pid)


class Recording(Case):
    def test_what_is_missing_is_said(self):
        out = self.path("x.trace.zst")
        r = self.expect(ENVIRONMENT, "record", "-o", out, "--valgrind", "no-such-valgrind", "true")
        self.assertIn("there is no program 'no-such-valgrind'", r.err)
        self.assertFalse(os.path.exists(out))
        r = self.expect(ENVIRONMENT, "record", "-o", out, "/bin/true", env={"PATH": self.folder})
        self.assertIn("install the package valgrind", r.err)

    def valgrind(self):
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")

    def test_programs_that_cannot_be_started(self):
        self.valgrind()
        out = self.path("x.trace.zst")
        self.refused(USAGE, "there is no program 'no-such-program'", "record", "-o", out,
                     "no-such-program")
        self.refused(USAGE, "there is no program ''", "record", "-o", out, "")
        self.refused(USAGE, "not a program that can be started", "record", "-o", out, self.folder)
        self.refused(USAGE, "not a program that can be started", "record", "-o", out,
                     self.path("text", "hello"))
        self.refused(USAGE, "cannot write", "record", "-o", self.path("no/x"), "true")

    def test_a_program_is_recorded_and_replayed(self):
        self.valgrind()
        path = self.path("x.trace.zst")
        r = self.expect(PASS, "record", "-o", path, "--", "echo", "-n", "said by the program")
        self.assertRegex(r.out, r"^said by the program.*x\.trace\.zst: \d+ accesses to \d+ pages")
        t = self.report(PASS, "run", "--trace", path)["trace"]
        self.assertEqual(t["program"], "echo -n said by the program")
        self.assertGreater(t["accesses"], 50000)
        self.assertGreater(t["pages"], 50)
        self.assertEqual(t["window"], 32)
        self.expect(PASS, "record", "-q", "--window", "1", "--name", "n", "-o", path, "true")
        u = self.report(PASS, "run", "--trace", path)["trace"]
        self.assertEqual((u["program"], u["window"]), ("n", 1))
        self.assertGreater(u["records"], t["records"])

    def test_programs_that_fail_are_recorded_with_a_warning(self):
        self.valgrind()
        path = self.path("x.trace.zst")
        r = self.expect(PASS, "record", "-q", "-o", path, "--", "sh", "-c", "exit 3")
        self.assertIn("warning: the program exited with status 3", r.err)
        r = self.expect(PASS, "record", "-q", "-o", path, "--", "sh", "-c", "kill -9 $$")
        self.assertIn("warning: the program was killed by signal 9", r.err)
        self.expect(PASS, "run", "--trace", path)


class Story(Case):
    """What happened in a run, for other programs. How pages look: tests/browser."""

    def trace(self):
        path = self.path("trace.json")
        self.expect(VIOLATION, "replay", "-q", "--scenario", "race", "--arch", "ept", "--seed", "1",
                    "--trace", path)
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)["traceEvents"]

    def test_every_event_of_a_trace_has_what_perfetto_needs(self):
        events = self.trace()
        for e in events:
            self.assertIn(e["ph"], "XiMCsf")
            self.assertIsInstance(e["name"], str)
            self.assertIsInstance(e["pid"], int)
            if e["ph"] != "M":
                self.assertIsInstance(e["ts"], int)
            if e["ph"] == "X":
                self.assertGreaterEqual(e["dur"], 0)
        named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        self.assertEqual({e["tid"] for e in events if e["ph"] in "Xi"} - set(named), set())
        self.assertEqual((named[0], named[1]), ("CPU 0", "CPU 1"))
        starts = [e["id"] for e in events if e["ph"] == "s"]
        self.assertEqual(starts, [e["id"] for e in events if e["ph"] == "f"])

    def test_slices_of_a_track_lie_within_or_beside_each_other(self):
        tracks = {}
        for e in self.trace():
            if e["ph"] == "X":
                tracks.setdefault(e["tid"], []).append((e["ts"], e["ts"] + e["dur"]))
        self.assertGreaterEqual(len(tracks), 3)
        for slices in tracks.values():
            open_until = []
            for start, end in sorted(slices, key=lambda s: (s[0], -s[1])):
                while open_until and open_until[-1] <= start:
                    open_until.pop()
                self.assertTrue(not open_until or end <= open_until[-1])
                open_until.append(end)

    def test_a_trace_tells_the_race(self):
        events = self.trace()
        change = [e for e in events if e["name"].startswith("clears the level-0 entry")]
        stale = [e for e in events if e.get("cat") == "stale"]
        end = [e for e in events if e["name"].startswith("VIOLATION CK-TLB I14")]
        self.assertEqual((len(change), len(end)), (1, 1))
        self.assertTrue(any(s["ts"] == change[0]["ts"] and
                            s["ts"] + s["dur"] == end[0]["ts"] for s in stale))
        self.assertEqual(change[0]["args"]["who"], "CPU 1")

    def test_a_page_can_be_had_with_other_reports(self):
        page, text = self.path("r.html"), self.path("r.txt")
        self.expect(VIOLATION, "run", "-q", "--scenario", "race", "--report", page, "--report",
                    text)
        with open(page, encoding="utf-8") as stream:
            content = stream.read()
        self.assertIn("How it came to that", content)
        self.assertTrue(content.rstrip().endswith("</html>"))

    def test_a_crash_is_told_as_far_as_it_came(self):
        page = self.path("r.html")
        self.expect(INTERNAL, "run", "-q", "--scenario", "crash", "--count", "5", "--report", page)
        with open(page, encoding="utf-8") as stream:
            self.assertIn("signal 9", stream.read())

    def test_traces_are_json_by_name(self):
        r = self.expect(USAGE, "replay", "x.psim", "--trace", "x.trace")
        self.assertIn("a replay file says itself what to run", r.err)
        r = self.expect(ENVIRONMENT, "replay", "--seed", "1", "--trace", "/nowhere/x.json")
        self.assertIn("/nowhere/x.json", r.err)


def main():
    runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=1)
    program = unittest.main(argv=[sys.argv[0]] + sys.argv[4:], testRunner=runner, exit=False)
    result = program.result
    failed = len({case.id().split(" (")[0] if not hasattr(case, "test_case") else
                  case.test_case.id() for case, _ in result.failures + result.errors})
    skipped = len(result.skipped)
    print("cases: %d passed, %d failed, %d skipped"
          % (result.testsRun - failed - skipped, failed, skipped))
    return 0 if failed == 0 and result.testsRun > skipped else 1


if __name__ == "__main__":
    sys.exit(main())
