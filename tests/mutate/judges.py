# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""The tests as judges of mutants: which there are, which of them reach a mutant, in which order.

Every test of the suites "inproc" and "sim" that Meson knows is a judge, as it is in the test run;
nothing is listed here, so a new test judges the next time. Left out are those that would judge
something else: that build the sources themselves, take a fresh seed each time, or last too long.

A judge is run once on the sources as they are, and notes which points it came by: it is asked about
these only. Of a program that takes long each case is a judge of its own besides, in a short form:
a mutant may be reached by one of them alone, and be found at little cost.

A mutant is killed by the first judge that fails. It may also never end; how long it has
got is a limit on its CPU time, a few times what the judge needs: how busy the machine is does not
count. One that uses none, since all of its threads sleep, waits for what never comes.
"""

import fnmatch
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import tempfile
import time

SUITES = ("inproc", "sim")
NOT_JUDGES = (r"^(mutants|hwmutants|walkers|model|browser|fresh-seeds|determinism|invariants|"
              r"trace(-\w+)?|selftest-.*)$")
LONGEST_S = 30.0
SPLIT_S = 1.0  # a program of Criterion tests that takes longer is asked by the case, too
ASLEEP_S = 5.0  # so long without a thread that runs, or would if there were a CPU for it
MEMORY = 8 << 30

running = set()


class Judge:
    def __init__(self, name, command, env, cwd, stamp_=None):
        self.name, self.command, self.env, self.cwd = name, command, env, cwd
        self.seconds = self.wall = self.used = 0.0
        self.reached = b""
        self.stamp = stamp_ or stamp([w for w in command if os.path.isabs(w)] +
                                     [os.path.join(cwd, w) for w in command])

    def run(self, mutant, cpu_s, wall_s, reached=None):
        """Returns "passes", "fails" or "hangs", and what it printed last."""
        env = dict(os.environ, **self.env)
        env["SKEP_MUTANT"] = str(mutant)
        if reached:
            env["SKEP_REACHED"] = reached

        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 2))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        with tempfile.TemporaryFile() as out:
            child = subprocess.Popen(self.command, cwd=self.cwd, env=env, stdout=out,
                                     stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                     start_new_session=True, preexec_fn=limit)
            running.add(child)
            try:
                code, used = await_child(child, wall_s)
            finally:
                running.discard(child)
            if code is None:
                return "hangs", used
            self.used = used
            if code == 0:
                return "passes", ""
            out.seek(max(0, out.seek(0, os.SEEK_END) - 2000))
            said = out.read().decode(errors="replace").strip().split("\n")
        if code == -signal.SIGXCPU:
            return "hangs", "no end after %d s of CPU time" % cpu_s
        return "fails", said[-1] or "exit %d" % code

    def limits(self):
        return 1 + 4 * self.seconds, 60 + 20 * self.wall


def stamp(paths):
    """Of what a judge is made of: its program and the files that it is given."""
    sum_ = hashlib.sha256()
    for path in sorted(set(paths)):
        for file in sorted(os.path.join(path, n) for n in os.listdir(path)) \
                if os.path.isdir(path) else [path]:
            if os.path.isfile(file):
                with open(file, "rb") as f:
                    sum_.update(f.read())
    return sum_.hexdigest()[:16]


def await_child(child, wall_s):
    """Returns its exit code and the CPU time that it took; or None, and why it had to be ended."""
    start, nap = time.monotonic(), 0.001
    until, look, slept, before = start + wall_s, start + 1, 0, None
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid != 0:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, used.ru_utime + used.ru_stime
        now = time.monotonic()
        if now > look:
            asleep, used = activity(child.pid)
            slept = slept + 1 if asleep and used == before else 0
            look, before = now + 1, used
        if now > until or slept > ASLEEP_S:
            end(child)
            return None, "no end after %d s" % (now - start) if now > until else "all asleep"
        time.sleep(nap)
        nap = min(2 * nap, 0.05)


def activity(session):
    """Whether all threads of a session sleep, and how much CPU time its processes have had."""
    asleep, used = True, 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) != session:
                continue
            for task in os.listdir("/proc/%s/task" % pid):
                with open("/proc/%s/task/%s/stat" % (pid, task), encoding="ascii",
                          errors="replace") as f:
                    fields = f.read().rpartition(")")[2].split()
                asleep = asleep and fields[0] in "SZ"
                used += int(fields[11]) + int(fields[12])
        except OSError:
            pass  # it has ended
    return asleep, used


def end(child):
    """A judge may be a script with children: they are one session."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def end_all():
    for child in list(running):
        end(child)


def targets(directory, pattern):
    """What must be built: the programs that judges of such names run."""
    known = json.loads(subprocess.run(["meson", "introspect", "--targets", directory], check=True,
                                      capture_output=True, text=True).stdout)
    tests = [t for t in introspect_tests(directory) if fnmatch.fnmatch(t["name"], pattern)]
    wanted = {word for t in tests for word in t["cmd"]}
    return sorted(os.path.relpath(f, directory) for t in known for f in t["filename"]
                  if f in wanted)


def introspect_tests(directory):
    out = subprocess.run(["meson", "introspect", "--tests", directory], check=True,
                         capture_output=True, text=True).stdout
    return [t for t in json.loads(out) if not re.match(NOT_JUDGES, t["name"]) and
            any(s.split(":")[-1] in SUITES for s in t["suite"])]


def find(directory, suites, prefix, pattern):
    judges = []
    for t in introspect_tests(directory):
        if not fnmatch.fnmatch(t["name"], pattern):
            continue
        if not any(s.split(":")[-1] in suites for s in t["suite"]):
            continue
        command = list(t["cmd"])
        if command[0].endswith("/pmap-sim") and "run" in command[1:2]:
            command += ["-j", "1"]
        judges.append(Judge(prefix + t["name"], command, t["env"], t["workdir"] or directory))
    return judges


def cases(judge):
    """The cases of a judge that takes long, in short: none if it is not an in-process one."""
    if judge.seconds <= SPLIT_S or not judge.name.endswith("-inproc"):
        return []
    listed = subprocess.run(judge.command + ["-l"], cwd=judge.cwd, capture_output=True, text=True,
                            check=True).stdout.split()
    return [Judge("%s:%s" % (judge.name, case), judge.command + [case],
                  dict(judge.env, SKEP_SHORT="1"), judge.cwd, judge.stamp) for case in listed]


def calibrate(judge, nmutants, home):
    """Runs it on the sources as they are. Returns a complaint, or None."""
    path = os.path.join(home, "reached-%s-%d" % (re.sub(r"\W", "-", judge.name), os.getpid()))
    with open(path, "wb") as f:
        f.truncate(nmutants + 1)
    start = time.monotonic()
    try:
        verdict, said = judge.run(0, 10 * LONGEST_S, 40 * LONGEST_S, path)
        judge.wall, judge.seconds = time.monotonic() - start, judge.used
        with open(path, "rb") as f:
            judge.reached = f.read()
    finally:
        os.unlink(path)
    if verdict != "passes":
        return "%s %s without a mutant: %s" % (judge.name, verdict, said)
    return None


class Order:
    """Whom to ask first: who costs little, and has killed what is near."""

    def __init__(self):
        self.tried = {}
        self.killed = {}

    def note(self, judge, mutant, killed):
        for place in ("", mutant.path, mutant.path + ":" + mutant.function):
            key = (judge.name, place)
            self.tried[key] = self.tried.get(key, 0) + 1
            self.killed[key] = self.killed.get(key, 0) + killed

    def chance(self, judge, mutant):
        rate = 0.2
        for place in ("", mutant.path, mutant.path + ":" + mutant.function):
            key = (judge.name, place)
            rate = (self.killed.get(key, 0) + 2 * rate) / (self.tried.get(key, 0) + 2)
        return rate

    def sort(self, judges, mutant, hint):
        return sorted(judges, key=lambda j: (j.name != hint,
                                             (j.seconds + 0.02) / (0.01 + self.chance(j, mutant))))
