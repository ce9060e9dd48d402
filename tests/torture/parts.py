# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""The parts of torture: each runs one of the tools for a while, and remembers what came of it."""

import glob
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SOURCES = ("pmap", "ept", "vmspace", "sim", "tests")
PATIENCE_S = 20  # between the request to end and the end
SLICE_S = 8      # what one call for more seeds or schedules should take


class Interrupted(Exception):
    """Ctrl-C, or a request to terminate."""


def sources_digest():
    """A hash of everything that the results depend on."""
    sum_ = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(glob.glob(os.path.join(ROOT, folder, "**"), recursive=True)):
            if os.path.isfile(path) and "__pycache__" not in path:
                sum_.update(path[len(ROOT):].encode())
                with open(path, "rb") as file:
                    sum_.update(hashlib.sha256(file.read()).digest())
    return sum_.hexdigest()


class State:
    """Numbers by part, on disk after every change."""

    def __init__(self, path, fresh):
        self.path = path
        self.digest = sources_digest()
        self.parts = {}
        try:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
            if kept["digest"] == self.digest and not fresh:
                self.parts = kept["parts"]
        except (OSError, ValueError, KeyError):
            pass

    def of(self, part, **defaults):
        numbers = self.parts.setdefault(part, {})
        for name, value in defaults.items():
            numbers.setdefault(name, value)
        return numbers

    def save(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump({"digest": self.digest, "parts": self.parts}, file, indent=1)
        os.replace(self.path + ".new", self.path)


class Bench:
    """What the parts share: programs, folders, time."""

    def __init__(self, options):
        self.options = options
        self.dir = os.path.abspath(options.dir)
        os.makedirs(self.dir, exist_ok=True)
        self.state = State(os.path.join(self.dir, "torture.json"), options.fresh)
        self.build = os.path.abspath(options.build)
        self.sim = os.path.join(self.build, "sim", "pmap-sim")
        self.jobs = str(options.jobs)
        self.interrupted = False

    def tell(self, text):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()

    def call(self, name, command, seconds):
        """Runs a command; asks it to end after so many seconds. Returns exit code and output; the
        code is None if it had to be asked."""
        log = os.path.join(self.dir, name + ".log")
        start = time.monotonic()
        asked = False
        with open(log, "w", encoding="utf-8", errors="replace") as out:
            with open(os.path.join(self.dir, name + ".err"), "w", encoding="utf-8") as err:
                child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err,
                                         start_new_session=True)
                try:
                    while child.poll() is None:
                        spent = time.monotonic() - start
                        self.tell("%s ... %d of %d s" % (name, spent, seconds))
                        if spent > seconds and not asked:
                            asked = True
                            os.killpg(child.pid, signal.SIGINT)
                        if spent > seconds + PATIENCE_S:
                            os.killpg(child.pid, signal.SIGKILL)
                        time.sleep(0.05)
                except (KeyboardInterrupt, Interrupted):
                    os.killpg(child.pid, signal.SIGINT)
                    try:
                        child.wait(PATIENCE_S)
                    except subprocess.TimeoutExpired:
                        os.killpg(child.pid, signal.SIGKILL)
                        child.wait()
                    self.interrupted = True
                    asked = True
        self.tell("")
        with open(log, encoding="utf-8", errors="replace") as file:
            output = file.read()
        return (None if asked else child.returncode), output

    def report(self, name, command, seconds):
        """The same for a command that prints a JSON object; None if it did not."""
        code, output = self.call(name, command, seconds)
        try:
            return code, json.loads(output)
        except ValueError:
            return code, None


class Part:
    """One way to break the core. share: of the time, in percent; gap: what is left undone."""

    name = ""
    share = 0

    def __init__(self, bench):
        self.bench = bench
        self.numbers = bench.state.of(self.name, found=[], failed="", seconds=0.0)

    def spend(self, seconds):
        """Goes on for about so long, or until done()."""
        raise NotImplementedError

    def done(self):
        return False

    def told(self):
        """Two texts: what was done; what is missing, or ""."""
        raise NotImplementedError

    def find(self, text):
        if text not in self.numbers["found"]:
            self.numbers["found"].append(text)

    def fail(self, code, what):
        """A tool that ended by itself, and neither well nor with findings."""
        self.numbers["failed"] = "" if code in (0, None) else "%s ended with %d" % (what, code)


class Seeds(Part):
    """Fresh seeds of the random workload and of every scenario, on every kind of table."""

    name = "seeds"
    share = 15
    amount = 5

    def __init__(self, bench):
        super().__init__(bench)
        for name in ("runs", "steps", "made", "next"):
            self.numbers.setdefault(name, 0)
        self.numbers.setdefault("first", random.getrandbits(62))
        out = subprocess.run([bench.sim, "scenarios"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout
        self.scenarios = [line.split()[0] for line in out.splitlines() if line.split()]

    def spend(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.bench.interrupted:
            turn = self.numbers["next"]
            scenario = self.scenarios[turn % len(self.scenarios)]
            self.numbers["next"] = turn + 1
            begun = time.monotonic()
            self.one(scenario, self.numbers["first"] + turn * 1000000,
                     until - begun + PATIENCE_S)
            # As many the next time as fit into a slice, and into what is left.
            now = time.monotonic()
            speed = self.amount / max(0.1, now - begun)
            self.amount = int(max(1, min(2 * self.amount, SLICE_S * speed,
                                         (until - now) * speed)))
            self.bench.state.save()

    def command(self, scenario, seed):
        return [self.bench.sim, "run", "--json", "--keep-going", "-j", self.bench.jobs,
                "--scenario", scenario, "--seed", str(seed), "--count", str(self.amount)]

    def one(self, scenario, seed, seconds):
        code, report = self.bench.report(self.name, self.command(scenario, seed), seconds)
        if report is None:
            if code not in (0, None):
                self.fail(code, "scenario %s, seed %d" % (scenario, seed))
            return
        self.numbers["runs"] += report["runs"]["done"]
        self.numbers["steps"] += report["steps"]
        self.numbers["made"] += report.get("schedules", {}).get("made", 0)
        if report.get("failure"):
            first, count = report["failure"], report["runs"]["violations"]
            self.find("%s %s in %s%s: %s" % (
                first.get("check") or first["kind"], first.get("invariant") or "", scenario,
                ", and %d more" % (count - 1) if count > 1 else "", report["replay"]["command"]))

    def told(self):
        return "%s runs, %s steps" % (many(self.numbers["runs"]), many(self.numbers["steps"])), ""


class Schedules(Seeds):
    """Many schedules from one set-up of a small scenario, drawn by PCT and POS."""

    name = "schedules"
    share = 10
    amount = 500
    hows = ("random", "pct:2", "pct:3", "pos")

    def __init__(self, bench):
        super().__init__(bench)
        small = [s for s in self.scenarios if s.startswith("xp-")]
        self.scenarios = small or self.scenarios

    def command(self, scenario, seed):
        how = self.hows[self.numbers["next"] // len(self.scenarios) % len(self.hows)]
        return [self.bench.sim, "run", "--json", "--keep-going", "-j", self.bench.jobs,
                "--scenario", scenario, "--seed", str(seed), "--scheduler", how,
                "--schedules", str(self.amount)]

    def told(self):
        return "%s schedules (%s)" % (many(self.numbers["made"]), ", ".join(self.hows)), ""


class Explore(Part):
    """Every run of the small scenarios, within bounds."""

    name = "explore"
    share = 20

    def spend(self, seconds):
        command = [os.path.join(ROOT, "tests", "sim", "explore"), self.bench.sim, "--all",
                   "--json", "--state", os.path.join(self.bench.dir, "explore"),
                   "--time", str(int(seconds))]
        code, report = self.bench.report(self.name, command, seconds + PATIENCE_S)
        if report is None:
            self.fail(code, "tests/sim/explore")
            return
        self.numbers["scenarios"] = report["scenarios"]
        for row in report["scenarios"]:
            if row["verdict"] == "violation" or row.get("complaint"):
                self.find("%s: %s" % (row["name"], row.get("complaint") or row["message"]))

    def rows(self):
        return self.numbers.get("scenarios", [])

    def done(self):
        return bool(self.rows()) and all(r["verdict"] == "complete" for r in self.rows())

    def told(self):
        closed = [r for r in self.rows() if r["verdict"] == "complete"]
        left = [r["name"] for r in self.rows() if r["verdict"] != "complete"]
        return ("%d of %d scenarios closed, %s executions, %s states" % (
            len(closed), len(self.rows()), many(sum(r["executions"] for r in closed)),
            many(sum(r["states"] for r in closed))),
                "not closed: " + ", ".join(left) if left else "" if closed else "not begun")


class Mutants(Part):
    """Known bugs planted in the core: each must be found."""

    name = "mutants"
    share = 15
    program = "tests/mutants/run"
    arguments = ()

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [os.path.join(ROOT, self.program), *self.arguments,
                        "--build", os.path.join(self.bench.dir, self.name), "-j",
                        self.bench.jobs], seconds)
        self.numbers["killed"] = len(re.findall(r"\bkilled$", output, re.M))
        for line in re.findall(r"FAILED: (.*)", output):
            self.find(line)
        self.numbers["whole"] = code is not None
        if code not in (0, 1, None):
            self.fail(code, self.program)

    def total(self):
        return len(glob.glob(os.path.join(ROOT, os.path.dirname(self.program), "*.patch")))

    def done(self):
        return self.numbers.get("whole", False)

    def told(self):
        killed = self.numbers.get("killed", 0)
        return ("%d of %d killed" % (killed, self.total()),
                "" if self.done() else "%d not tried" % (self.total() - killed))


class HardwareMutants(Mutants):
    """The same in the model of the hardware: each must be found by a conformance test."""

    name = "hwmutants"
    share = 5
    program = "tests/hwmutants/run"


class Mutate(Part):
    """One operator, constant or statement of the core changed at a time."""

    name = "mutate"
    share = 15

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [os.path.join(ROOT, "tests", "mutate", "run"), "--time", str(int(seconds)),
                        "-j", self.bench.jobs], seconds + PATIENCE_S)
        self.numbers["whole"] = code in (0, 1) and "stopped before the end" not in output
        for name in ("gated", "rest", "all"):
            line = re.search(r"^%s: +(.*)" % name, output, re.M)
            if line:
                self.numbers[name] = line.group(1)
        self.numbers["survivors"] = re.findall(r"^  (\S+:\d+: .*)", output, re.M)
        for line in re.findall(r"^FAILED: (.*)", output, re.M):
            if not re.match(r"[0-9.]+ % of all mutants", line) or self.numbers["whole"]:
                self.find(line)
        self.numbers["late"] = code is None and not line_found(output)
        if code is not None and not line_found(output):
            self.fail(code or 1, "tests/mutate/run")

    def done(self):
        return self.numbers.get("whole", False)

    def told(self):
        told = "; ".join("%s: %s" % (n, self.numbers[n]) for n in ("gated", "rest")
                         if n in self.numbers)
        survivors = len(self.numbers.get("survivors", ()))
        gap = "" if self.done() else "not all tried"
        if self.numbers.get("late"):
            gap = "no time was left after its builds"
        if survivors:
            gap += "%s%d survive" % ("; " if gap else "", survivors)
        return told or "none tried", gap


def line_found(output):
    return re.search(r"^(gated|rest): ", output, re.M) is not None


class Faults(Part):
    """Every kind of fault, in every scenario: how often it hit."""

    name = "faults"
    share = 5

    def spend(self, seconds):
        turn = self.numbers.setdefault("turns", 0)
        self.numbers["turns"] = turn + 1
        code, report = self.bench.report(
            self.name, [self.bench.sim, "faults", "--json", "--keep-going", "-j", self.bench.jobs,
                        "--seed", str(1 + turn * 1000), "--count", "6"], seconds)
        if report is None:
            self.fail(code, "pmap-sim faults")
            return
        hit = self.numbers.setdefault("hit", {})
        for kind, row in report["kinds"].items():
            hit[kind] = hit.get(kind, 0) + row["hit"]
        self.numbers["runs"] = self.numbers.get("runs", 0) + report["runs"]
        if report["violations"]:
            self.find("%d violations among faults: see faults.log" % report["violations"])

    def told(self):
        hit = self.numbers.get("hit", {})
        never = [kind for kind, n in hit.items() if n == 0]
        return ("%d of %d kinds hit, %s times" % (len(hit) - len(never), len(hit),
                                                  many(sum(hit.values()))),
                "never hit: " + ", ".join(never) if never else "" if hit else "not begun")


class Differential(Part):
    """The walker of the model against those of Bochs and QEMU."""

    name = "differential"
    share = 8

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [os.path.join(ROOT, "tests", "differential", "run"), "--build",
                        self.bench.build, "--tuples", "100000", "--out",
                        os.path.join(self.bench.dir, self.name)], seconds)
        lines = re.findall(r"^(\w+): (\d+) tuples, (\d+) mismatches, (\d+) explained", output, re.M)
        for emulator, tuples, mismatches, explained in lines:
            self.numbers.setdefault("emulators", {})[emulator] = [
                int(tuples), int(mismatches), int(explained)]
            if int(mismatches):
                self.find("%s: %s mismatches: see differential.log" % (emulator, mismatches))
        self.numbers["whole"] = code == 0
        if code == 75:
            self.numbers["failed"] = "no emulator"

    def done(self):
        return self.numbers.get("whole", False)

    def told(self):
        rows = ["%s: %s tuples, %d mismatches, %d explained" % (e, many(n), bad, known)
                for e, (n, bad, known) in sorted(self.numbers.get("emulators", {}).items())]
        return "; ".join(rows) or "none", "" if self.done() else "not all tuples"


class Fuzz(Part):
    """Inputs that reach what no other has reached."""

    name = "fuzz"
    share = 5

    def spend(self, seconds):
        code, output = self.bench.call(
            self.name, [os.path.join(ROOT, "tests", "fuzz", "run"), "--time",
                        str(max(1, int(seconds) - 30)), "--out",
                        os.path.join(self.bench.dir, self.name)], seconds + 120)
        runs = re.search(r"^(?:fuzz: )?([\d,]+) inputs run", output, re.M)
        if runs:
            self.numbers["inputs"] = (self.numbers.get("inputs", 0) +
                                      int(runs.group(1).replace(",", "")))
        for line in re.findall(r"found (CK-.*)", output):
            self.find(line)
        if code == 75:
            self.numbers["failed"] = "no fuzzer is installed"
        elif runs is None and code is not None:
            self.fail(code or 1, "tests/fuzz/run")

    def told(self):
        return "%s inputs" % many(self.numbers.get("inputs", 0)), ""


class Model(Part):
    """Every state of the protocol's model, and traces of the code that it must be able to make."""

    name = "model"
    share = 2

    def spend(self, seconds):
        full = self.bench.options.time >= 3600
        code, output = self.bench.call(
            self.name, [os.path.join(ROOT, "tests", "model", "check.py"), "-j", self.bench.jobs,
                        *(("--full",) if full else ()), "--trace-program",
                        os.path.join(self.bench.build, "tests", "model", "model-trace")],
            max(seconds, 150))
        self.numbers["passed"] = len(re.findall(r"^pass ", output, re.M))
        states = re.findall(r": (\d+) states, complete", output)
        self.numbers["states"] = sum(int(n) for n in states)
        for line in re.findall(r"^FAIL +(.*)", output, re.M):
            # A search that was asked to end is not wrong.
            if code is not None or "the search was cut short" not in line:
                self.find(line)
        self.numbers["whole"] = code in (0, 1)
        if code == 77:
            self.numbers["failed"] = "no spin"

    def done(self):
        return self.numbers.get("whole", False)

    def told(self):
        return ("%d searches, %s states" % (self.numbers.get("passed", 0),
                                            many(self.numbers.get("states", 0))),
                "" if self.done() else "not all searches")


def many(n):
    """A number for people."""
    if n >= 10000000:
        exponent = len(str(n)) - 1
        return "%.1fe%d" % (n / 10 ** exponent, exponent)
    return "{:,}".format(n)


PARTS = (Explore, Mutants, HardwareMutants, Model, Faults, Differential, Fuzz, Mutate, Schedules,
         Seeds)
