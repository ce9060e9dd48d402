# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""The parts of torture: each runs one of the tools for a while, and remembers what came of it."""

import glob
import os
import random
import re
import shutil
import subprocess
import time

from bench import PATIENCE_S, ROOT, many

SLICE_S = 8     # what one call for more seeds or schedules should take
BUILD_S = 1800  # what a build may take beside the time of its part
# Those that plant bugs compile a lot, much of it what somebody has compiled before.
COMPILER = ("env", "CC=ccache cc") if shutil.which("ccache") and "CC" not in os.environ else ()


class Part:
    """One way to break the core. share: of the time, in proportion to the others' that are left."""

    name = ""
    share = 0

    def __init__(self, bench):
        self.bench = bench
        self.numbers = bench.state.of(self.name, found=[], failed="", missing="", seconds=0.0)

    def spend(self, seconds):
        """Goes on for about so long, or until done()."""
        raise NotImplementedError

    def begun(self):
        """Whether there is anything that counts."""
        raise NotImplementedError

    def done(self):
        """Whether nothing is left to do, ever, on these sources."""
        return False

    def told(self):
        """What was done."""
        raise NotImplementedError

    def gap(self):
        """What is left undone, or ""."""
        return ""

    def survivors(self):
        """Lines: what was changed in the core and noticed by nobody, without being a finding."""
        return []

    def find(self, text):
        if text not in self.numbers["found"]:
            self.numbers["found"].append(text)

    def fail(self, code, what):
        """A tool that ended by itself, and neither well nor with findings."""
        if code not in (0, None):
            self.numbers["failed"] = "%s ended with %d: see %s.err" % (
                what, code, os.path.join(self.bench.dir, self.name))

    def tool(self, *words):
        return os.path.join(ROOT, "tests", *words)


class Slices(Part):
    """A part without an end, in slices of some seconds each."""

    amount = 5

    def slice(self, turn, seconds):
        """Does self.amount of it, which is to take less than so many seconds."""
        raise NotImplementedError

    def spend(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.bench.interrupted:
            turn = self.numbers.setdefault("next", 0)
            self.numbers["next"] = turn + 1
            begun = time.monotonic()
            self.slice(turn, until - begun + PATIENCE_S)
            # As many the next time as fit into a slice, and into what is left.
            now = time.monotonic()
            speed = self.amount / max(0.1, now - begun)
            self.amount = int(max(1, min(2 * self.amount, SLICE_S * speed,
                                         (until - now) * speed)))
            self.bench.state.save()

    def turns(self):
        return self.numbers.get("next", 0)


class Seeds(Slices):
    """Fresh seeds of the random workload and of every scenario, on every kind of table."""

    name = "seeds"
    share = 10

    def __init__(self, bench):
        super().__init__(bench)
        for name in ("runs", "steps", "made"):
            self.numbers.setdefault(name, 0)
        self.numbers.setdefault("first", random.getrandbits(62))
        out = subprocess.run([bench.sim, "scenarios"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
        self.scenarios = [line.split()[0] for line in out.splitlines() if line.split()]

    def command(self, turn):
        return ["--count", str(self.amount)]

    def slice(self, turn, seconds):
        scenario = self.scenarios[turn % len(self.scenarios)]
        seed = self.numbers["first"] + turn * 1000000
        code, report = self.bench.report(
            self.name, [self.bench.sim, "run", "--json", "--keep-going", "-j", self.bench.jobs,
                        "--scenario", scenario, "--seed", str(seed), *self.command(turn)], seconds)
        if report is None:
            self.fail(code, "pmap-sim run --scenario %s --seed %d" % (scenario, seed))
            return
        self.numbers["runs"] += report["runs"]["done"]
        self.numbers["steps"] += report["steps"]
        self.numbers["made"] += report.get("schedules", {}).get("made", 0)
        if report.get("failure"):
            first, count = report["failure"], report["runs"]["violations"]
            self.find("%s %s in %s%s: %s" % (
                first.get("check") or first["kind"], first.get("invariant") or "", scenario,
                ", and %d more" % (count - 1) if count > 1 else "", report["replay"]["command"]))

    def begun(self):
        return self.numbers["runs"] > 0

    def told(self):
        return "%s runs of fresh seeds in %d scenarios, %s steps" % (
            many(self.numbers["runs"]), min(self.turns(), len(self.scenarios)),
            many(self.numbers["steps"]))

    def gap(self):
        left = len(self.scenarios) - self.turns()
        return "%d of %d scenarios had no turn" % (left, len(self.scenarios)) if left > 0 else ""


class Schedules(Seeds):
    """Many schedules from one set-up of a small scenario, drawn by chance, PCT and POS."""

    name = "schedules"
    share = 6
    amount = 500
    hows = ("random", "pct:2", "pct:3", "pos")

    def __init__(self, bench):
        super().__init__(bench)
        small = [s for s in self.scenarios if s.startswith("xp-")]
        self.scenarios = small or self.scenarios

    def command(self, turn):
        how = self.hows[turn // len(self.scenarios) % len(self.hows)]
        return ["--scheduler", how, "--schedules", str(self.amount)]

    def begun(self):
        return self.numbers["made"] > 0

    def told(self):
        had = min(len(self.hows), -(-self.turns() // len(self.scenarios)))
        return "%s schedules of %d small scenarios%s, %s steps" % (
            many(self.numbers["made"]), min(self.turns(), len(self.scenarios)),
            " (%s)" % ", ".join(self.hows[:had]) if had else "", many(self.numbers["steps"]))

    def gap(self):
        every = len(self.scenarios) * len(self.hows)
        left = every - self.turns()
        return "%d of %d pairs of scenario and scheduler had no turn" % (left, every) \
            if left > 0 else ""


class Explore(Part):
    """Every run of the small scenarios, within bounds."""

    name = "explore"
    share = 20

    def spend(self, seconds):
        code, report = self.bench.report(
            self.name, [self.tool("sim", "explore"), self.bench.sim, "--all", "--json",
                        "--jobs", self.bench.jobs, "--state",
                        os.path.join(self.bench.dir, "explore"),
                        "--time", str(max(1, int(seconds)))], seconds + PATIENCE_S)
        if report is None:
            self.fail(code, "tests/sim/explore")
            return
        self.numbers["scenarios"] = report["scenarios"]
        for row in report["scenarios"]:
            if row["verdict"] == "violation" or row.get("complaint"):
                self.find("%s: %s" % (row["name"], row.get("complaint") or row["message"]))

    def rows(self):
        return self.numbers.get("scenarios", [])

    def closed(self):
        return [r for r in self.rows() if r["verdict"] == "complete"]

    def begun(self):
        return bool(self.closed())

    def done(self):
        return bool(self.rows()) and len(self.closed()) == len(self.rows())

    def told(self):
        return "%d of %d searches closed: %s executions, %s states" % (
            len(self.closed()), len(self.rows()), many(sum(r["executions"] for r in self.closed())),
            many(sum(r["states"] for r in self.closed())))

    def gap(self):
        left = [r["name"] for r in self.rows() if r["verdict"] != "complete"]
        return "not closed: " + ", ".join(left) if left else ""


class Mutants(Part):
    """Known bugs planted in the core: each must be found, where it is looked for and by chance."""

    name = "mutants"
    share = 24
    program = "mutants"
    ways = ("directed", "general")

    def __init__(self, bench):
        super().__init__(bench)
        for way in self.ways:
            self.numbers.setdefault(way, [])

    def spend(self, seconds):
        until = time.monotonic() + seconds
        self.numbers["missing"] = ""
        for way in self.ways:
            left = until - time.monotonic()
            if left > 0 and not self.bench.interrupted and not self.whole(way):
                self.go(way, left)

    def go(self, way, seconds):
        code, output = self.bench.call(
            self.name, [*COMPILER, self.tool(self.program, "run"), *(("--" + way,) if way else ()),
                        "--build", os.path.join(self.bench.dir, self.name), "-j",
                        self.bench.jobs], seconds)
        killed = set(re.findall(r"^(\S+) .*\bkilled$", output, re.M)) & self.wanted(way)
        self.numbers[way] = sorted(killed | set(self.numbers[way]))
        if code is None:
            return  # what was cut short is not wrong
        for line in re.findall(r"^(\S+) .*\b(?:FAILED|SURVIVES)\n +FAILED: (.*)", output, re.M):
            self.find("%s: %s" % line)
        for line in re.findall(r"^FAILED: (.*)", output, re.M):
            self.find(line)
        if code not in (0, 1) or not output:
            self.fail(code, "tests/%s/run" % self.program)

    def wanted(self, way):
        """Names of those that are looked for in this way."""
        names = set()
        for path in glob.glob(self.tool(self.program, "*.patch")):
            with open(path, encoding="utf-8") as file:
                head = file.read().split("\n--- ", 1)[0]
            if way != "general" or not re.search(r"^General: +none: ", head, re.M):
                names.add(os.path.basename(path)[:-len(".patch")])
        return names

    def whole(self, way):
        return self.wanted(way) <= set(self.numbers[way])

    def begun(self):
        return any(self.numbers[way] for way in self.ways)

    def done(self):
        return all(self.whole(way) for way in self.ways)

    def told(self):
        return "%d of %d planted bugs killed where they are looked for, %d of %d by the general " \
            "workload" % tuple(n for way in self.ways
                               for n in (len(self.numbers[way]), len(self.wanted(way))))

    def gap(self):
        left = {way: len(self.wanted(way) - set(self.numbers[way])) for way in self.ways}
        return "not killed yet: " + ", ".join("%d %s" % (n, way) for way, n in left.items() if n) \
            if any(left.values()) else ""


class HardwareMutants(Mutants):
    """The same in the model of the hardware: each must be found by a conformance test."""

    name = "hwmutants"
    share = 9
    program = "hwmutants"
    ways = ("",)

    def told(self):
        return "%d of %d mistakes of the hardware model killed by conformance tests" % (
            len(self.numbers[""]), len(self.wanted("")))

    def gap(self):
        left = len(self.wanted("") - set(self.numbers[""]))
        return "not killed yet: %d" % left if left else ""


class Mutate(Part):
    """One operator, constant or statement of the core changed at a time."""

    name = "mutate"
    share = 18

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [self.tool("mutate", "run"), "--time", str(max(1, int(seconds))), "--build",
                        os.path.join(self.bench.dir, self.name), "-j", self.bench.jobs],
            seconds + PATIENCE_S, BUILD_S)
        if re.search(r"^(gated|rest): ", output, re.M) is None:
            if code is not None and not (code == 2 and self.bench.interrupted):
                self.fail(code or 1, "tests/mutate/run")
            return
        self.numbers["whole"] = code in (0, 1) and "stopped before the end" not in output
        for name in ("gated", "rest", "all"):
            line = re.search(r"^%s: +(.*)" % name, output, re.M)
            if line:
                self.numbers[name] = line.group(1)
        self.numbers["untried"] = sum(int(n) for n in re.findall(
            r"^(?:flush|fence|lock|free|check|rest) +\d+ +\d+ +\d+ +\d+ +(\d+) ", output, re.M))
        self.numbers["survivors"] = re.findall(r"^  (\S+:\d+: .*)", output, re.M)
        for line in re.findall(r"^FAILED: (.*)", output, re.M):
            # A share of a few says nothing yet, and a survivor may still have tests to meet.
            if self.numbers["whole"] or not re.match(
                    r"[0-9.]+ % of all mutants|\d+ gated mutants survive", line):
                self.find(line)

    def begun(self):
        return "gated" in self.numbers or "rest" in self.numbers

    def done(self):
        return self.numbers.get("whole", False)

    def told(self):
        rows = ["%s: %s" % (n, self.numbers[n]) for n in ("gated", "rest") if n in self.numbers]
        return "changes of the core; " + "; ".join(rows)

    def gap(self):
        gaps = []
        if not self.done():
            gaps.append("%s of the sample not tried yet" % many(self.numbers.get("untried", 0)))
        if self.survivors():
            gaps.append("%d survive%s" % (len(self.survivors()),
                                          "" if self.done() else " so far"))
        return ", ".join(gaps)

    def survivors(self):
        return self.numbers.get("survivors", [])


class Faults(Slices):
    """Every kind of fault, in every scenario: how often it hit."""

    name = "faults"
    share = 3

    def slice(self, turn, seconds):
        code, report = self.bench.report(
            self.name, [self.bench.sim, "faults", "--json", "--keep-going", "-j", self.bench.jobs,
                        "--seed", str(1 + turn * 1000000), "--count", str(self.amount)], seconds)
        if report is None:
            self.fail(code, "pmap-sim faults")
            return
        hit = self.numbers.setdefault("hit", {})
        for kind, row in report["kinds"].items():
            hit[kind] = hit.get(kind, 0) + row["hit"]
        self.numbers["runs"] = self.numbers.get("runs", 0) + report["runs"]
        if report["violations"]:
            self.find("%d violations: pmap-sim faults --seed %d --count %d" % (
                report["violations"], 1 + turn * 1000000, self.amount))

    def begun(self):
        return bool(self.numbers.get("hit"))

    def never(self):
        return [kind for kind, n in self.numbers.get("hit", {}).items() if n == 0]

    def told(self):
        hit = self.numbers["hit"]
        return "%d of %d kinds of fault hit, %s times in %s runs" % (
            len(hit) - len(self.never()), len(hit), many(sum(hit.values())),
            many(self.numbers["runs"]))

    def gap(self):
        return "never hit: " + ", ".join(self.never()) if self.never() else ""


class Differential(Part):
    """The walker of the model against those of Bochs and QEMU."""

    name = "differential"
    share = 5
    tuples = 100000

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [self.tool("differential", "run"), "--build", self.bench.build, "--tuples",
                        str(self.tuples), "--out", os.path.join(self.bench.dir, self.name)],
            seconds)
        self.numbers["missing"] = ", ".join(
            re.findall(r"^(\w+): not installed", output, re.M)) or ""
        if self.numbers["missing"]:
            self.numbers["missing"] += " is not installed"
        for emulator, tuples, mismatches, explained in re.findall(
                r"^(\w+): (\d+) tuples, (\d+) mismatches, (\d+) explained", output, re.M):
            before = self.numbers.setdefault("emulators", {}).get(emulator, [0])
            if int(tuples) >= before[0]:
                self.numbers["emulators"][emulator] = [int(tuples), int(mismatches), int(explained)]
            if int(mismatches):
                self.find("%s: %s mismatches: see differential.log" % (emulator, mismatches))
        if code not in (0, 1, 75, None):
            self.fail(code, "tests/differential/run")

    def rows(self):
        return self.numbers.get("emulators", {})

    def begun(self):
        return any(row[0] for row in self.rows().values())

    def done(self):
        return len(self.rows()) == 2 and all(r[0] >= self.tuples for r in self.rows().values())

    def told(self):
        return "; ".join("%s: %s walks compared, %d mismatches, %s explained by a manual" % (
            emulator, many(n), bad, many(known))
                         for emulator, (n, bad, known) in sorted(self.rows().items()))

    def gap(self):
        return "" if self.done() else "less than %s walks with each of two emulators" % \
            many(self.tuples)


class Fuzz(Part):
    """Inputs that reach what no other has reached."""

    name = "fuzz"
    share = 6

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [self.tool("fuzz", "run"), "--time", str(max(1, int(seconds))), "--out",
                        os.path.join(self.bench.dir, self.name)], seconds + PATIENCE_S, BUILD_S)
        self.numbers["missing"] = "no fuzzer is installed" if code == 75 else ""
        runs = re.search(r"^(?:fuzz: )?([\d,]+) inputs run", output, re.M)
        if runs:
            self.numbers["inputs"] = (self.numbers.get("inputs", 0) +
                                      int(runs.group(1).replace(",", "")))
        for line in re.findall(r"found (CK-.*)", output):
            self.find(line)
        if runs is None and code not in (75, 130, None):
            self.fail(code or 1, "tests/fuzz/run")
        kept = re.search(r"([\d,]+) edges of the core.* ([\d,]+) inputs kept", output)
        if kept:
            self.numbers["edges"], self.numbers["kept"] = kept.groups()

    def begun(self):
        return self.numbers.get("inputs", 0) > 0

    def told(self):
        return "%s inputs, %s of them kept, which reach %s edges of the core" % (
            many(self.numbers["inputs"]), self.numbers.get("kept", "some"),
            self.numbers.get("edges", "some"))


class Model(Part):
    """Every state of the protocol's model, and traces of the code that it must be able to make."""

    name = "model"
    share = 9

    def spend(self, seconds):
        full = self.bench.options.time >= 3600
        code, output = self.bench.call(
            self.name, [self.tool("model", "check.py"), "-j", self.bench.jobs,
                        *(("--full",) if full else ()), "--state",
                        os.path.join(self.bench.dir, "model.json"), "--trace-program",
                        os.path.join(self.bench.build, "tests", "model", "model-trace")], seconds)
        self.numbers["missing"] = "no spin is installed" if code == 77 else ""
        passed = re.findall(r"^pass  (.*?)(?:  \([\d.]+ s\))?$", output, re.M)
        kept = self.numbers.setdefault("searches", {})
        for line in passed:
            states = re.search(r": (\d+) states, complete", line)
            kept[line] = int(states.group(1)) if states else 0
        wanted = re.search(r"^(\d+) searches$", output, re.M)
        if wanted:
            self.numbers["wanted"] = int(wanted.group(1))
        for line in re.findall(r"^FAIL +(.*)", output, re.M) if code is not None else ():
            self.find(line)
        if code not in (0, 1, 77, None):
            self.fail(code, "tests/model/check.py")

    def begun(self):
        return bool(self.numbers.get("searches"))

    def done(self):
        return self.begun() and len(self.numbers["searches"]) >= self.numbers.get("wanted", 1)

    def told(self):
        searches = self.numbers["searches"]
        return "%d of %d checks of the protocol's model, %s states" % (
            len(searches), self.numbers.get("wanted", 0), many(sum(searches.values())))

    def gap(self):
        return "" if self.done() else "%d checks not made" % (
            self.numbers.get("wanted", 0) - len(self.numbers.get("searches", {})))


PARTS = (Explore, Mutants, HardwareMutants, Model, Faults, Differential, Fuzz, Mutate, Schedules,
         Seeds)
