# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""What the parts of torture share: what is remembered, and how a tool is run for a while.

A tool runs in a session of its own, so that Ctrl-C reaches torture alone, which then asks the tool
to end as it would at the end of its time. Whatever way torture itself ends, nothing that it
started stays: what a tool leaves behind comes to us (we are a subreaper) and is ended, and the
kernel asks the tool to end if we are killed.
"""

import ctypes
import fcntl
import glob
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SOURCES = ("pmap", "ept", "vmspace", "sim", "tests")
PATIENCE_S = 20  # between the request to end and the end
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
LIBC = ctypes.CDLL(None)


class Trouble(Exception):
    """A sentence that says why there is nothing to be done."""


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
                self.parts = dict(kept["parts"])
        except (OSError, ValueError, KeyError, TypeError):
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


def descendants(pid):
    """The processes that pid has started, and those that they have."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % entry, encoding="ascii", errors="replace") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            pass  # it has ended
    found = {pid}
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def end_what_is_left():
    """Ends what a tool has left behind, and what that has started."""
    left = descendants(os.getpid())
    while left:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.01)
        left = descendants(os.getpid())


def tied():
    """In the child, before the tool: a signal that a shell in the background has told us to ignore
    is not ignored there, and comes if we are gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)


class Bench:
    """What the parts share: programs, folders, time."""

    def __init__(self, options):
        self.options = options
        self.dir = os.path.abspath(options.dir)
        self.build = os.path.abspath(options.build)
        self.sim = os.path.join(self.build, "sim", "pmap-sim")
        self.jobs = str(options.jobs)
        self.interrupted = 0  # how often
        self.start = time.monotonic()
        try:
            os.makedirs(self.dir, exist_ok=True)
            self.lock = open(os.path.join(self.dir, "lock"), "w", encoding="utf-8")
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble("another torture is at work in %s" % self.dir) from None
        except OSError as error:
            raise Trouble("cannot write to %s: %s" % (self.dir, error.strerror)) from None
        os.set_inheritable(self.lock.fileno(), False)
        if not os.access(self.sim, os.X_OK):
            raise Trouble("there is no %s: build first (./dev build)" % self.sim)
        self.state = State(os.path.join(self.dir, "torture.json"), options.fresh)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def interrupt(self, *_):
        self.interrupted += 1

    def tell(self, text):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()

    def progress(self, name, spent, seconds):
        self.tell("torture: %s of %s; %s, %d of %d s%s" % (
            clock(time.monotonic() - self.start), clock(self.options.time), name, spent, seconds,
            "" if spent <= seconds else ", building or ending" if not self.interrupted
            else ", ending"))

    def call(self, name, command, seconds, more=0):
        """Runs a command; asks it to end after so many seconds, and `more` that it may need to
        build something. Returns exit code and output; the code is None if it had to be asked."""
        log = os.path.join(self.dir, name + ".log")
        start = time.monotonic()
        asked, told = None, 0.0
        with open(log, "w", encoding="utf-8") as out, \
                open(os.path.join(self.dir, name + ".err"), "w", encoding="utf-8") as err:
            child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=err, start_new_session=True, preexec_fn=tied)
            while child.poll() is None:
                now = time.monotonic()
                if now > told + 0.5:
                    told = now
                    self.progress(name, now - start, seconds)
                if asked is None and (self.interrupted or now > start + seconds + more):
                    asked = now
                    os.killpg(child.pid, signal.SIGINT)
                elif asked is not None and (self.interrupted > 1 or now > asked + PATIENCE_S):
                    child.kill()
                time.sleep(0.02)
        end_what_is_left()
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


def clock(seconds):
    return "%d:%02d" % divmod(int(seconds), 60)


def many(n):
    """A number for people."""
    if n >= 10000000:
        exponent = len(str(n)) - 1
        return "%.1fe%d" % (n / 10 ** exponent, exponent)
    return "{:,}".format(n)
