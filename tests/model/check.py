#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Check the model of the clock (shootdown.pml) with Spin: the protocol holds in every state of some
bounded configurations, each mutant of it is rejected, and what the real code does on the simulated
machine (trace.c) the model can do, too, while a forged trace is refused.

Mutants that need store buffers must survive without them: otherwise it would not be the missing
fence that they are rejected for. --full adds the larger configurations (minutes, gigabytes).

With --state FILE, searches that passed are not made again as long as the model, this program and
the trace program are the same; so a run that was interrupted goes on where it was.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# Three CPUs, of which the last may go offline once; the second is in a guest, too. The clock turns.
ONE = "SPEND=1 GUESTS=1 SESSIONS=2 SHOOTDOWNS=1 FIRST_GEN=7 OFFLINE"
# Two that take away pages at the same time, and a guest.
TWO = "SPEND=1 INITIATORS=2 GUESTS=2 SESSIONS=2 SHOOTDOWNS=1"
# Two CPUs without any bound: all that a clock of three bits can do, any number of turns.
ENDLESS = "CPUS=2 OFFLINE"
PROGRESS = "PROGRESS SPEND=1 GUESTS=1 SESSIONS=1 SHOOTDOWNS=1"
PROGRESS_OFFLINE = PROGRESS + " OFFLINE"

CONFIGURATIONS = {
    "one initiator, two guests, one of them offline at times": ONE,
    "two initiators, one guest": TWO,
    "progress of an initiator": PROGRESS,
}
FULL = {
    "two CPUs, no bound": ENDLESS,
    "two shootdowns, three CPUs": "SPEND=1 GUESTS=1 SESSIONS=2 SHOOTDOWNS=2 OFFLINE",
    "the same, where the clock turns":
        "SPEND=1 GUESTS=1 SESSIONS=2 SHOOTDOWNS=2 FIRST_GEN=6 OFFLINE",
    "two initiators, two shootdowns each":
        "SPEND=1 INITIATORS=2 GUESTS=2 SESSIONS=2 SHOOTDOWNS=2 FIRST_GEN=6",
    "progress, one CPU offline at times": PROGRESS_OFFLINE,
}

# Name, configuration that must reject it, whether it must survive without store buffers.
MUTANTS = (
    ("NO_ENTRY_FENCE", ONE, True),
    ("NO_INITIATOR_FENCE", TWO, True),
    ("GENERATION_BEFORE_ACTIVE", ONE, False),
    ("ACTIVE_TAKEN_FOR_PASSED", ONE, False),
    ("NO_WAIT", ONE, False),
    ("COMPLETE_BEFORE_WAIT", TWO, False),
    ("MERGED_TOO_EARLY", ONE, False),
    ("IDLE_TOO_EARLY", ONE, False),
    ("SEEN_ON_FAILED_ENTRY", ENDLESS, False),
    ("SEEN_READ_AT_EXIT", ONE, False),
    ("NO_DEMAND", ENDLESS, False),
    ("COMPARE_UNSIGNED", ONE, False),
    ("CLOCK_RESET_ONLINE", ONE, False),
    ("NO_KICK", PROGRESS, False),
    ("KICK_LOST_AT_ENTRY", PROGRESS, False),
    ("OFFLINE_WHILE_ACTIVE", PROGRESS_OFFLINE, False),
)

# Of traces: seed, initiators, shootdowns of each.
TRACES = ((1, 1, 4), (2, 2, 2), (3, 2, 3), (4, 3, 2))
FULL_TRACES = tuple((seed, 1 + seed % 3, 4) for seed in range(10, 40))


class Trouble(Exception):
    """A sentence that says why there is no verdict."""


class Spin:
    """One search: the macros, and what came of it."""

    def __init__(self, args, work):
        self.args = args
        self.work = work
        self.children = set()
        self.ending = threading.Event()

    def search(self, macros, trace=None, level="-O2", memory_mib=6000):
        """Returns "error" or "complete", and the number of states. With a trace: "error" if the
        model can make it, which ends in an assertion; that others are stuck by then is no error."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            shutil.copy(os.path.join(HERE, "shootdown.pml"), folder)
            if trace is not None:
                with open(os.path.join(folder, "trace.inc"), "w", encoding="ascii") as file:
                    file.write(driver(trace))
            progress = "PROGRESS" in macros.split()
            self.call(folder, self.args.spin, "-a", *("-D" + m for m in macros.split()),
                      "shootdown.pml")
            self.call(folder, self.args.cc, "-w", level, "-DCOLLAPSE", "-DNFAIR=3",
                      "-DMEMLIM=%d" % memory_mib, *(() if progress else ("-DSAFETY",)),
                      "-o", "pan", "pan.c")
            out = self.call(folder, "./pan", "-m20000000", *(("-a", "-f") if progress else ()),
                            *(() if trace is None else ("-E",)))
        errors = re.search(r"errors: (\d+)", out)
        states = re.search(r"^ *(\d+) states, stored", out, re.M)
        if errors is None or states is None:
            raise Trouble("the search printed no result: " + out[-500:])
        if errors.group(1) != "0":
            if trace is not None and "assertion violated 0 " not in out:
                raise Trouble("another error than the end of the trace: " + out[-500:])
            return "error", int(states.group(1))
        if "Search not completed" in out or "max search depth too small" in out:
            raise Trouble("the search was cut short: " + out[-500:])
        return "complete", int(states.group(1))

    def call(self, folder, *command):
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, errors="replace",
                                 start_new_session=True)
        self.children.add(child)
        try:
            if self.ending.is_set():
                raise Trouble("interrupted")
            out = child.communicate(timeout=self.args.timeout)[0]
        finally:
            if child.poll() is None:
                end(child)
            self.children.discard(child)
        if child.returncode != 0:
            raise Trouble("%s failed: %s" % (command[0], out[-500:]))
        return out

    def interrupt(self, *_):
        """A signal: no search goes on, and none begins."""
        self.ending.set()
        for child in list(self.children):
            end(child)


def end(child):
    """A compiler has children: they are one session, which hears of Ctrl-C from us alone."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def driver(trace):
    """The trace as macros for the model."""
    fill = "; ".join("event[%d] = CODE(%s)" % (i, ", ".join(event))
                     for i, event in enumerate(trace))
    return "#define EVENTS %d\n#define FILL %s\n" % (len(trace), fill)


def forged(trace, seed):
    """The trace with one value read that nobody can have written."""
    places = [i for i, event in enumerate(trace) if event[0] == "LOAD_SLOT"]
    at = random.Random(seed).choice(places)
    event = list(trace[at])
    event[3] = str(int(event[3]) + 6)
    return trace[:at] + [tuple(event)] + trace[at + 1:]


def unfenced(trace):
    """The trace in which an initiator misses a guest that is in there: the accident. None if no
    shootdown met one."""
    inside = set()
    for i, (what, cpu, slot, value) in enumerate(trace):
        if what == "XCHG_SLOT":
            inside.add(cpu)
        elif what == "STORE_SLOT" and value == "0":
            inside.discard(cpu)
        elif what == "LOAD_SLOT" and slot in inside:
            return trace[:i] + [(what, cpu, slot, "0")] + trace[i + 1:]
    return None


class Check:
    """Counts verdicts, and prints a line for each. What passed is kept in a file, if there is one
    to be."""

    def __init__(self, args):
        self.failed = 0
        self.path = args.state
        self.lock = threading.Lock()
        sum_ = hashlib.sha256(repr((args.spin, args.cc)).encode())
        for path in (os.path.abspath(__file__), os.path.join(HERE, "shootdown.pml"),
                     args.trace_program):
            with open(path, "rb") as file:
                sum_.update(hashlib.sha256(file.read()).digest())
        self.digest = sum_.hexdigest()
        self.passed = {}
        try:
            with open(self.path or os.devnull, encoding="utf-8") as file:
                kept = json.load(file)
            if kept["digest"] == self.digest:
                self.passed = kept["passed"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def known(self, key):
        """What an earlier run said of it when it passed, or None."""
        return self.passed.get(key)

    def say(self, key, good, text, seconds):
        with self.lock:
            self.failed += not good
            print("%s  %s  (%.1f s)" % ("pass" if good else "FAIL", text, seconds), flush=True)
            if good and self.path:
                self.passed[key] = text
                with open(self.path + ".new", "w", encoding="utf-8") as file:
                    json.dump({"digest": self.digest, "passed": self.passed}, file)
                os.replace(self.path + ".new", self.path)


def cases(args, spin):
    """Functions that return (good, text)."""
    configurations = dict(CONFIGURATIONS)
    traces = TRACES
    if args.full:
        configurations.update(FULL)
        traces += FULL_TRACES

    def holds(name, macros):
        verdict, states = spin.search(macros)
        return verdict == "complete", "holds: %s: %d states, %s" % (name, states, verdict)

    def rejected(name, macros):
        verdict, states = spin.search(macros + " M_" + name, level="-O0")
        return verdict == "error", "mutant %s: %s after %d states" % (name, verdict, states)

    def survives(name, macros):
        verdict, states = spin.search(macros + " DEPTH=0 M_" + name)
        return verdict == "complete", \
            "mutant %s without store buffers: %d states, %s" % (name, states, verdict)

    def replays(seed, initiators, shootdowns):
        out = spin.call(spin.work, args.trace_program, str(seed), str(initiators), str(shootdowns))
        trace = [tuple(line.split()) for line in out.splitlines()]
        macros = "TRACE GEN_BITS=8 DEMANDS=255 OFFLINE INITIATORS=%d" % initiators
        name = "trace %d (%d initiators, %d operations)" % (seed, initiators, len(trace))
        verdict, _ = spin.search(macros, trace, level="-O0")
        if verdict != "error":
            return False, name + ": the model cannot do this"
        for what, other in (("a value from nowhere", forged(trace, seed)),
                            ("a guest that is not seen", unfenced(trace))):
            if other is None:
                continue
            verdict, _ = spin.search(macros, other, level="-O0")
            if verdict != "complete":
                return False, "%s: the model can do %s, too" % (name, what)
        return True, name + ": the model can do this, and no forgery of it"

    for name, macros in configurations.items():
        yield holds, (name, macros)
    for name, macros, buffered in MUTANTS:
        yield rejected, (name, macros)
        if buffered:
            yield survives, (name, macros)
    for trace in traces:
        yield replays, trace


class Parser(argparse.ArgumentParser):
    """Wrong usage ends with 64, as everywhere in this checkout."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(64, "check.py: %s\n" % message)


def main():
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--spin", default="spin")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--trace-program", required=True)
    parser.add_argument("--full", action="store_true", help="the large configurations, too")
    parser.add_argument("--state", metavar="FILE", help="remembers what passed")
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one search")
    args = parser.parse_args()
    args.trace_program = os.path.abspath(args.trace_program)
    if not os.access(args.trace_program, os.X_OK):
        parser.error("there is no program %s" % args.trace_program)

    if shutil.which(args.spin) is None:
        print("skipped: no spin")
        return 1 if os.environ.get("SKEP_STRICT") == "1" else 77
    check = Check(args)

    def judge(case):
        function, arguments = case
        key = "%s %s" % (function.__name__, " ".join(map(str, arguments)))
        start = time.monotonic()
        text = check.known(key)
        good = text is not None
        try:
            if not good:
                good, text = function(*arguments)
        except (Trouble, subprocess.TimeoutExpired) as trouble:
            text = "%s %s: %s" % (function.__name__, arguments[0], trouble)
        if not spin.ending.is_set():
            check.say(key, good, text, time.monotonic() - start)

    with tempfile.TemporaryDirectory() as work:
        spin = Spin(args, work)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, spin.interrupt)
        wanted = list(cases(args, spin))
        print("%d searches" % len(wanted), flush=True)
        with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
            list(pool.map(judge, wanted))
    return 130 if spin.ending.is_set() else 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
