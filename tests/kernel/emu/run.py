#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Run one emulated machine to its end and say what its tests found.

The machine speaks on two serial lines (see init): the console, kept in OUT/console.log, and the
results, kept in OUT/results.log. The verdict is drawn from both: a splat on the console is a
failure although every test passed, silence is one within a bounded time, and so is a machine that
ends before it said "done". The emulator's own exit status says little and is not asked.

Prints "pass|fail|n/a PROGRAM/CASE[: why]" per case, the same lines as in OUT/verdicts.txt.
Exit: 0 all passed, 1 something failed, 64 wrong usage, 75 no emulator.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import machines

# What a kernel prints when it is unwell. Each ends the claim that a run was clean.
SPLAT = re.compile(
    r"WARNING: |BUG: |\bOops\b|general protection fault|Kernel panic|KASAN|UBSAN|"
    r"possible recursive locking|possible circular locking|inconsistent lock state|"
    r"suspicious RCU usage|sleeping function called|scheduling while atomic|"
    r"soft lockup|hard LOCKUP|hung_task|blocked for more than|rcu.*(stall|detected)|"
    r"unable to handle|Bad page|refcount_t:|list_(add|del) corruption|stack guard page|"
    r"kernel stack overflow|Unbalanced|DEBUG_LOCKS_WARN_ON|ODEBUG|nobody cared")
# What came before this line is between the kernel and the emulator.
BOOTED = "Run /init as init process"

CASE = re.compile(r"^(pass|fail|n/a) (.*)$")


class Tail:
    """The whole lines that were added to a file since one looked last."""

    def __init__(self, path):
        self.path, self.offset, self.rest = path, 0, b""

    def lines(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        parts = (self.rest + data).split(b"\n")
        self.rest = parts.pop()
        return [part.decode(errors="replace").strip("\r") for part in parts]


class Verdict:
    """What the lines of results and console amount to."""

    def __init__(self, out, show):
        self.file = open(os.path.join(out, "verdicts.txt"), "w", encoding="utf-8")
        self.show, self.program, self.cases = show, None, 0
        self.passed = self.failed = 0
        self.since = 0.0
        self.excerpt = 0  # lines of the console to show after its first complaint
        self.failed_here, self.booted, self.done, self.splats = False, False, False, []

    def say(self, kind, name, why=""):
        line = "%s %s/%s%s" % (kind, self.program or "machine", name, ": " + why if why else "")
        print(line, file=self.file, flush=True)
        self.show(line)
        self.passed += kind == "pass"
        self.failed += kind == "fail"

    def result(self, line):
        """One line of the results."""
        word, _, rest = line.partition(" ")
        case = CASE.match(line)
        if case:
            name, _, why = case.group(2).partition(": ")
            self.cases += 1
            self.failed_here |= case.group(1) == "fail"
            self.say(case.group(1), name, why)
        elif word == "run":
            self.program, self.cases, self.failed_here = rest, 0, False
            self.since = time.monotonic()
        elif word == "end":
            self.end(rest.rpartition(" ")[2])
        elif line == "done":
            self.done = True
        elif line:
            self.show("  " + line)

    def end(self, code):
        """A program ended: its code and its lines must agree, and there must be lines."""
        if code == "127" and not self.cases:
            self.say("fail", "start", "there is no such test on board, or it cannot start")
        elif code != "0" and not self.failed_here:
            self.say("fail", "exit", "it ended with code %s, and no case said why" % code)
        elif code == "0" and self.failed_here:
            self.say("fail", "exit", "it ended with code 0 although a case failed")
        elif not self.cases:
            self.say("fail", "cases", "it ended without having tried a case")
        took = time.monotonic() - self.since
        if took > 10:
            self.show("  %s took %d s" % (self.program, took))
        self.program = None

    def console(self, line):
        """One line of the console. A program's remark may quote the kernel of a guest."""
        self.booted |= BOOTED in line
        if self.booted and SPLAT.search(line) and not line.startswith("# "):
            if not self.splats:
                self.excerpt = 40
            self.splats.append("%s (in %s)" % (line.strip(), self.program or "machine"))
        if self.excerpt:
            self.excerpt -= 1
            self.show("  | " + line)

    def close(self, ended, silent):
        """The machine is gone: how, and was it in good health?"""
        if self.done:
            pass
        elif silent:
            self.say("fail", "silence", "nothing was heard for %d s; the machine hangs" % silent)
        else:
            self.say("fail", "end", "the machine ended before its tests did (%s)" % ended)
        self.program = None
        if self.splats:
            self.say("fail", "console", "%d complaints, the first: %s"
                     % (len(self.splats), self.splats[0]))
        elif self.done:
            self.say("pass", "console")
        self.file.close()
        return 0 if self.failed == 0 and self.passed > 0 else 1


def watch(process, args, scratch, verdict):
    """Follow the machine until it is done, silent, or gone."""
    console = Tail(os.path.join(args.out, "console.log"))
    results = Tail(os.path.join(args.out, "results.log"))
    start = heard = time.monotonic()
    left = None
    while True:
        code = process.poll()  # first, so that what is read next is all there is
        lines = results.lines()
        news = console.lines()
        for line in news:
            verdict.console(line)
            if args.verbose:
                print(line, flush=True)
        for line in lines:
            verdict.result(line)
        now = time.monotonic()
        if lines or news:
            heard = now
        if code is not None:
            return "status %d" % code, 0
        if verdict.done:
            left = left or now
            if now - left > 5:  # it was asked to leave; it need not be able to
                return "told to", 0
        if now - heard > args.silence or now - start > args.limit:
            machines.nudge(args, scratch)
            time.sleep(3)
            return "", now - heard if now - heard > args.silence else now - start
        time.sleep(0.1)


def end(process):
    """Ends the emulator and all it started; Bochs hears nothing but SIGKILL."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def run_tests(args, scratch):
    command, env = machines.command(args, scratch)
    # A second, independent bound: whoever kills this script with SIGKILL leaves no emulator.
    command = ["timeout", "-s", "KILL", str(args.limit + 60)] + command
    show = (lambda line: None) if args.quiet else (lambda line: print(line, flush=True))
    verdict = Verdict(args.out, show)
    with open(os.path.join(args.out, "emulator.log"), "wb") as log:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)
    try:
        ended, silent = watch(process, args, scratch, verdict)
    finally:
        end(process)
    return verdict.close(ended, silent)


def free_port(port):
    """The first port from this one on which nobody listens."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
        port += 1


def say_how_to_attach(args):
    args.gdb = free_port(1234)
    print("waiting for a debugger; in another terminal:\n"
          "  gdb %s -ex 'target remote :%d'\n"
          "the console names the module's addresses once it is loaded; in gdb then:\n"
          "  add-symbol-file %s ADDRESS -s .data ADDRESS -s .bss ADDRESS"
          % (args.symbols or "(this kernel comes without symbols; take --kernel tiny)", args.gdb,
             args.module or "vmm.ko"), flush=True)


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", required=True, help="a row of machines.py")
    parser.add_argument("--kernel", required=True, help="bzImage")
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--append", default="", help="more for the kernel's command line")
    parser.add_argument("--smp", type=int, default=2)
    parser.add_argument("--mem", type=int, default=512, help="MiB")
    parser.add_argument("--swap", type=int, default=256, help="MiB of swap disk")
    parser.add_argument("--out", required=True, help="directory for logs")
    parser.add_argument("--shell", action="store_true")
    parser.add_argument("--gdb", action="store_true")
    parser.add_argument("--iommu", choices=sorted(machines.IOMMUS),
                        help="an IOMMU, and a device behind it")
    parser.add_argument("--symbols", help="vmlinux, to be named")
    parser.add_argument("--module", help="vmm.ko with symbols, to be named")
    parser.add_argument("--limit", type=int, default=1200, help="seconds in all")
    parser.add_argument("--silence", type=int, default=180, help="seconds without a sound")
    parser.add_argument("--verbose", action="store_true", help="show the console")
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args()


def main():
    args = options()
    if args.model not in machines.MODELS:
        print("run.py: no such machine '%s'; there are: %s"
              % (args.model, " ".join(sorted(machines.MODELS))), file=sys.stderr)
        return 64
    emulator = machines.program(args.model)
    if shutil.which(emulator) is None:
        print("run.py: no %s here (./dev setup installs it)" % emulator, file=sys.stderr)
        return 75
    os.makedirs(args.out, exist_ok=True)
    for name in ("console.log", "results.log"):
        open(os.path.join(args.out, name), "wb").close()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    if args.gdb:
        say_how_to_attach(args)
        args.limit = args.silence = 10 ** 6
    scratch = tempfile.mkdtemp(prefix="skep-")
    try:
        if args.shell:
            return machines.shell(args, scratch)
        return run_tests(args, scratch)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
