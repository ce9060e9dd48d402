#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Does mutation do what it says? On a toy with one of everything:

  - the mutants are those of toy/mutants.txt, no more and no fewer
  - each mutant of the build that holds all does what the same change does by hand
  - who is killed, who survives, who hangs, and who is never reached, is told apart
  - equivalent.txt is read strictly, and names only mutants of the core that there are

  selftest.py           runs all; the closing line is for the counting of results
  selftest.py --golden  prints what toy/mutants.txt should say
"""

import argparse
import collections
import importlib.machinery
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOY = os.path.join(HERE, "toy")
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import judges
import schemata


def load_run():
    loader = importlib.machinery.SourceFileLoader("mutate_run", os.path.join(HERE, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate_run", loader))
    loader.exec_module(module)
    return module


RUN = load_run()


def find_toy():
    return schemata.find(RUN.CLANG, TOY, ("pmap",), ["-std=gnu17"])


def golden(mutants):
    return ["%s [%s] %s" % (m.key.split(": ", 1)[0], m.class_, m.key.split(": ", 1)[1])
            for m in mutants]


def compile_toy(home, name, text, more=()):
    source, program = os.path.join(home, name + ".c"), os.path.join(home, name)
    with open(source, "w", encoding="ascii") as f:
        f.write(text)
    caller = os.path.join(home, "main.o")
    if not os.path.exists(caller):
        subprocess.run(["cc", "-c", "-o", caller, os.path.join(TOY, "main.c")], check=True)
    subprocess.run(["cc", "-w", "-O0", "-o", program, source, caller] + list(more), check=True)
    return program


def output(program, mutant=0):
    done = subprocess.run([program], capture_output=True, timeout=60, check=False,
                          env=dict(os.environ, SKEP_MUTANT=str(mutant)),
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 1)))
    return done.returncode, done.stdout[:100000]


def by_hand(text, mutant):
    """The change made in the text itself, from behind, so that places stay what they are."""
    for start, end in sorted(mutant.point.places, reverse=True):
        other = mutant.text or ";"
        if mutant.text and mutant.point.text.endswith(";"):
            other = "{ %s; }" % mutant.text
        elif mutant.text:
            other = "(%s)" % mutant.text
        text = text[:start] + other + text[end:]
    return text


def test_list():
    _, mutants = find_toy()
    with open(os.path.join(TOY, "mutants.txt"), encoding="ascii") as f:
        wanted = [line for line in schemata.unfold(f.read()) if line and line[0] != "#"]
    for line in sorted(set(wanted) - set(golden(mutants))):
        yield "not found: " + line
    for line in sorted(set(golden(mutants)) - set(wanted)):
        yield "found, and should not be: " + line


def test_build():
    files, mutants = find_toy()
    text = files["pmap/toy.c"]
    with tempfile.TemporaryDirectory() as home:
        all_in_one = compile_toy(home, "all", schemata.rewrite(text, mutants),
                                 ["-include", os.path.join(HERE, "point.h"),
                                  os.path.join(HERE, "point.c")])
        plain = output(compile_toy(home, "plain", text))
        if output(all_in_one) != plain:
            yield "without a mutant, the build with all of them is another program"
        for m in mutants:
            program = compile_toy(home, "one", by_hand(text, m))
            if output(all_in_one, m.number) != output(program):
                yield "not what the change does: " + m.key


def test_verdicts():
    """A judge for each way to end, on a mutant that the second of them kills."""
    _, mutants = find_toy()

    def judge(name, script, reached):
        j = judges.Judge(name, ["sh", "-c", script], {}, HERE)
        j.reached = bytes([reached] * (len(mutants) + 1))
        return j

    good = judge("good", "true", 1)
    bad = judge("bad", 'test "$SKEP_MUTANT" -eq 0', 1)
    away = judge("away", "false", 0)
    spins = judge("spins", 'while test "$SKEP_MUTANT" -ne 0; do :; done', 1)
    waits = judge("waits", 'test "$SKEP_MUTANT" -eq 0 || sleep 1000', 1)

    def verdict(*panel):
        r = RUN.judge_one(mutants[0], list(panel), judges.Order(), None, 60)
        if r["by"] == "waits" and r["why"] != "all asleep":
            return r["why"], "waits"
        return r["verdict"], r["by"]

    wanted = {(good, bad): ("killed", "bad"), (good,): ("survives", None),
              (good, away): ("survives", None), (away,): ("survives", None),
              (spins,): ("killed", "spins"), (waits,): ("killed", "waits")}
    for panel, expected in wanted.items():
        if verdict(*panel) != expected:
            yield "%s: %s, not %s" % ([j.name for j in panel], verdict(*panel), expected)
    if judges.calibrate(judge("fails", "exit 3", 1), 1, tempfile.gettempdir()) is None:
        yield "a test that fails without a mutant goes unnoticed"


def test_rounds():
    """Who survives little effort is asked about again; not if it is said to be equivalent, and not
    if no more effort is wanted."""
    _, mutants = find_toy()

    def judge(name, script):
        j = judges.Judge(name, ["sh", "-c", script], {}, HERE)
        j.reached, j.seconds = bytes([1] * (len(mutants) + 1)), 0.6 * RUN.FIRST_S
        return j

    panel = [judge("a", "true"), judge("b", "true"), judge("c", 'test "$SKEP_MUTANT" -eq 0')]
    options = argparse.Namespace(time=None, jobs=1, verbose=False, progress=False)
    for effort, proofs, wanted in ((4 * RUN.FIRST_S, {}, "killed"), (RUN.FIRST_S, {}, "survives"),
                                   (4 * RUN.FIRST_S, {mutants[0].key: "so"}, "survives")):
        options.effort = effort
        with tempfile.TemporaryDirectory() as home:
            results = RUN.Results(os.path.join(home, "results"), panel, False)
            results.hints[mutants[0].key] = "a"
            whole = RUN.judge_all(options, mutants[:1], panel, results, proofs)
            results.file.close()
            got = results.now[mutants[0].key]
            if not whole or got["verdict"] != wanted or got["effort"] != effort:
                yield "with %d s: %s" % (effort, got)


def test_cases():
    """Of an in-process program that takes long each case is a judge, in short; of others none."""
    command = ["sh", "-c", 'if [ "$0" = -l ]; then echo a/b; echo a/c; else '
               '[ "$SKEP_SHORT" = 1 ] && [ "$0" = a/b ]; fi']
    for name, seconds, wanted in (("x-inproc", judges.SPLIT_S + 1, ["a/b", "a/c"]),
                                  ("x-inproc", judges.SPLIT_S, []), ("x", 99.0, [])):
        whole = judges.Judge(name, command, {}, HERE)
        whole.seconds = seconds
        got = judges.cases(whole)
        if [j.name for j in got] != [name + ":" + case for case in wanted]:
            yield "cases of %s, %.0f s: %s" % (name, seconds, [j.name for j in got])
        verdicts = [j.run(0, 9, 600)[0] for j in got]
        if verdicts != ["passes", "fails"][:len(wanted)] or \
                any(j.stamp != whole.stamp for j in got):
            yield "cases are not run as such: %s" % verdicts


def test_interval():
    """Of a sample of nothing nothing is known, of a whole everything; Wilson's interval between."""
    for arguments, wanted in (((0, 0, 9), (0.0, 1.0)), ((9, 10, 10), (0.9, 0.9)),
                              ((540, 600, 9000), (0.8734, 0.9215))):
        got = RUN.wilson(*arguments)
        if any(abs(a - b) > 0.0005 for a, b in zip(got, wanted)):
            yield "wilson%s = %s, not %s" % (arguments, got, wanted)


def test_results():
    """What was killed stays so while its killer is the same, what survived while all are; half a
    line is no harm."""
    def panel(*stamps):
        found = [judges.Judge("j%d" % n, ["true"], {}, HERE) for n in range(len(stamps))]
        for judge, text in zip(found, stamps):
            judge.stamp = text
        return found

    def known(results):
        return "".join(sorted(results.now))

    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "results")
        first = RUN.Results(path, panel("a", "b"), False)
        first.add({"key": "k", "verdict": "killed", "by": "j0"})
        first.add({"key": "s", "verdict": "survives", "by": None})
        first.file.write('{"key": "ha')
        first.file.close()
        for stamps, retry, wanted in ((("a", "b"), False, "ks"), (("a", "b"), True, "k"),
                                      (("a", "x"), False, "k"), (("x", "b"), False, "")):
            again = RUN.Results(path, panel(*stamps), retry)
            again.add({"key": "t", "verdict": "survives", "by": None})
            again.file.close()
            if known(RUN.Results(path, panel(*stamps), False)) != "".join(sorted(
                    set(wanted + "t" + ("s" if retry else "")))):
                yield "what was added after %s is lost" % (stamps,)
            if known(again) != wanted + "t" or again.hints != {"k": "j0"}:
                yield "of tests %s %s is known, not %s" % (stamps, known(again), wanted)


def test_alone():
    """Two runs do not build in one folder; when one is over, or dead, the next may."""
    with tempfile.TemporaryDirectory() as home:
        first = RUN.alone(home)
        try:
            RUN.alone(home)
            yield "two runs at once in one folder"
        except RUN.Trouble:
            pass
        first.close()
        RUN.alone(home).close()
        try:
            RUN.alone(os.path.join(home, "lock", "no"))
            yield "a folder that cannot be"
        except RUN.Trouble:
            pass


def test_equivalent():
    cases = {"a: b\n  since\n": True, "a: b\n": False, "a: b\n  x\na: b\n  y\n": False,
             "# c\n\na: b\nc: \\\nd\n  since\n  so\n": True}
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "equivalent.txt")
        for text, good in cases.items():
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            try:
                proofs = RUN.load_equivalent(path)
                if not good or "" in proofs.values():
                    yield "accepted: %r" % text
            except RUN.Trouble:
                if good:
                    yield "refused: %r" % text


def test_known():
    proofs = RUN.load_equivalent(os.path.join(HERE, "equivalent.txt"))
    _, mutants = schemata.find(RUN.CLANG, ROOT)
    keys = collections.Counter(m.key for m in mutants)
    for key in proofs:
        if key not in keys:
            yield "equivalent.txt names what there is not: " + key
    if len(keys) != len(mutants):
        yield "two mutants have one key"
    if len(mutants) < 5000:
        yield "only %d mutants in the core: something is not read" % len(mutants)


def main():
    if sys.argv[1:] == ["--golden"]:
        print("\n".join(schemata.fold(line) for line in golden(find_toy()[1])))
        return 0
    passed = failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        complaints = list(test())
        for complaint in complaints:
            print("FAIL %s: %s" % (name, complaint))
        passed, failed = passed + (not complaints), failed + bool(complaints)
    print("cases: %d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
