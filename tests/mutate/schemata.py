# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""All mutants in one build.

To compile each of ten thousand mutants would take most of a day. So the sources are compiled once,
with every mutant in them, and a program is told when it starts which one it shall be (point.h):

    a < b         (skep_hit(7, 2) ? (skep_mutant == 7 ? (a <= b) : (a >= b)) : (a < b))
    flush(x);     { if (!skep_hit(9, 1)) { flush(x); } }

What stands in the last place is the text as it was, with the points inside it treated likewise; the
others are copies of it without, since one process is one mutant. Nothing is put on a line of its
own: a compiler that does not accept a mutant names the line, and what is on it is left out.
"""

import collections
import filecmp
import os
import re
import shutil
import subprocess

import operators

FOLDERS = ("pmap", "ept", "vmspace")
PARSE = ["-std=gnu17", "-I.", "-Isim/host", "-DPMAP_CHECK=2", "-DPMAP_VALGRIND=0",
         "-DPMAP_GEN_BITS=64"]


class Mutant:
    def __init__(self, number, point, operator, text, key):
        self.number, self.point, self.operator = number, point, operator
        self.text, self.key = text, key
        self.first = number  # of its point: what is noted when the point is reached
        self.class_ = point.class_
        self.path, self.function = point.path, point.function

    def line(self, files):
        return files[self.path].count("\n", 0, self.point.start) + 1

    def shown(self):
        """One line: what was there, and what stands there instead."""
        was, now = operators.plain(self.point.text), self.text
        if len(self.point.places) > 1:
            was += " ... (%d places)" % len(self.point.places)
        if not now:
            return "deleted: " + short(was)
        return "%s  =>  %s" % (short(was), short(now))


def short(text):
    return text if len(text) <= 90 else text[:60] + " ... " + text[-25:]


def fold(key):
    """A key in lines of a source's width; what ends in a backslash goes on, after one blank."""
    lines, line = [], ""
    for word in key.split(" "):
        if line and len(line) + len(word) + 1 > 96:
            lines.append(line + " \\")
            line = word
        else:
            line = line + " " + word if line else word
    return "\n".join(lines + [line])


def unfold(text):
    """The lines of a text with the folded ones in one piece."""
    return re.sub(r" \\\n\s*", " ", text).split("\n")


def sources(root, folders=FOLDERS):
    """The core's files: path, text."""
    files = {}
    for folder in folders:
        for name in sorted(os.listdir(os.path.join(root, folder))):
            if name.endswith((".c", ".h")):
                path = folder + "/" + name
                with open(os.path.join(root, path), encoding="ascii") as f:
                    files[path] = f.read()
    return files


def enumerate_mutants(points):
    """Mutants of points, numbered from 1. A key outlives changes elsewhere in its file: it names
    file, function, operator and texts, and counts only where these do not tell two apart."""
    seen = collections.Counter()
    mutants = []
    for p in points:
        for operator, text in p.choices:
            was = re.sub(r"[^\x21-\x7e]+", " ", operators.plain(p.text))
            key = "%s:%s: %s: %s => %s" % (p.path, p.function, operator, was, text or "(nothing)")
            seen[key] += 1
            if seen[key] > 1:
                key += " #%d" % seen[key]
            mutants.append(Mutant(len(mutants) + 1, p, operator, text, key))
            mutants[-1].first = len(mutants) - p.choices.index((operator, text))
    return mutants


def find(compiler, root, folders=FOLDERS, flags=None):
    """Returns (files, mutants) of the sources below root."""
    files = sources(root, folders)
    points = operators.find(compiler, PARSE if flags is None else flags, root,
                            [f for f in files if f.endswith(".c")], files)
    return files, enumerate_mutants(points)


def wrapping(point, mutants):
    """What goes before and after the text of a point that has these mutants."""
    first, n = mutants[0].number, len(mutants)
    statement = point.text.rstrip().endswith((";", "}"))
    if statement and not mutants[0].text:
        return "{ if (!skep_hit(%d, 1)) { " % first, " } }"
    if statement:
        return "{ if (skep_hit(%d, 1)) { %s; } else { " % (first, mutants[0].text), " } }"
    chain = "".join("skep_mutant == %d ? (%s) : " % (m.number, m.text) for m in mutants[:-1])
    return "(skep_hit(%d, %d) ? (%s(%s)) : (" % (first, n, chain, mutants[-1].text), "))"


def rewrite(text, mutants):
    """A file's text with its mutants in it."""
    by_point = {}
    for m in mutants:
        by_point.setdefault(id(m.point), []).append(m)
    regions = []
    for group in by_point.values():
        before, after = wrapping(group[0].point, group)
        regions += [(start, -end, group[0].number, before, after)
                    for start, end in group[0].point.places]
    regions.sort()
    opens, closes = collections.defaultdict(str), collections.defaultdict(str)
    for start, end, _, before, after in regions:
        opens[start] += before
        closes[-end] = after + closes[-end]
    out, at = [], 0
    for i in sorted(set(opens) | set(closes)):
        out += [text[at:i], closes[i], opens[i]]
        at = i
    return "".join(out) + text[at:]


def write_if_changed(path, text):
    try:
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    except OSError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def copy_tree(root, to, spared):
    """The checkout's files as they are now, without what was built, and without `spared`. What is
    the same is not touched, so that only what has changed is compiled anew."""
    for folder, folders, names in os.walk(root):
        folders[:] = [d for d in folders if d != ".git" and not (
            folder == root and (d == "build" or d.startswith("build-")))]
        names = [n for n in names if n != ".git"]  # a file, where this is one of several worktrees
        into = os.path.join(to, os.path.relpath(folder, root))
        os.makedirs(into, exist_ok=True)
        for name in os.listdir(into):
            if name not in names and os.path.isfile(os.path.join(into, name)):
                os.unlink(os.path.join(into, name))
        for name in names:
            old, new = os.path.join(folder, name), os.path.join(into, name)
            if os.path.relpath(old, root) in spared or not os.path.isfile(old):
                continue
            if not os.path.exists(new) or not filecmp.cmp(old, new, shallow=False):
                shutil.copy(old, new)


class BuildFailed(Exception):
    """The text of a build that failed for another reason than a mutant."""


class Build:
    """A copy of the checkout with all mutants in it, compiled by the checkout's own build files."""

    def __init__(self, root, home, options=()):
        self.root, self.home = root, home
        self.tree, self.dir = os.path.join(home, "src"), os.path.join(home, "build")
        self.options = list(options)
        self.dropped = set()  # numbers of mutants that do not compile
        # The copy is of no commit: with one in them programs would differ after each.
        self.env = dict(os.environ, GIT_CEILING_DIRECTORIES=home)

    def run(self, args, what):
        done = subprocess.run(args, cwd=self.home, capture_output=True, text=True, env=self.env)
        if done.returncode != 0:
            raise BuildFailed("%s failed:\n%s" % (what, (done.stdout + done.stderr)[-3000:]))
        return done.stdout

    def configure(self):
        here = os.path.dirname(os.path.abspath(__file__))
        runtime = os.path.join(self.home, "point.o")
        os.makedirs(self.home, exist_ok=True)
        self.run(["cc", "-O2", "-fPIC", "-c", os.path.join(here, "point.c"), "-o", runtime],
                 "compiling point.c")
        args = ["-Dkmod=disabled", "-Dvalgrind=disabled", "-Dtests=enabled", "-Dwerror=false",
                "-Dwarning_level=0", "-Doptimization=2", "-Ddebug=false",
                # What is not set has a value that stands out, and the same each time.
                "-Dc_args=-w -ftrivial-auto-var-init=pattern -include "
                + os.path.join(here, "point.h"),
                "-Dc_link_args=" + runtime] + self.options
        stamp = os.path.join(self.home, "stamp")
        if os.path.exists(os.path.join(self.dir, "build.ninja")) and os.path.exists(stamp):
            with open(stamp, encoding="utf-8") as f:
                same = f.read() == repr(args)
            # The build files may have changed: what is to be built is asked of Meson next.
            if same and subprocess.run(["ninja", "-C", self.dir, "build.ninja"],
                                       capture_output=True, check=False,
                                       env=self.env).returncode == 0:
                return
        shutil.rmtree(self.dir, ignore_errors=True)
        self.run(["meson", "setup", self.dir, self.tree] + args, "meson setup")
        with open(stamp, "w", encoding="utf-8") as f:
            f.write(repr(args))

    def write(self, files, mutants):
        by_path = collections.defaultdict(list)
        for m in mutants:
            if m.number not in self.dropped:
                by_path[m.path].append(m)
        for path, text in files.items():
            write_if_changed(os.path.join(self.tree, path), rewrite(text, by_path[path]))

    def compile(self, files, mutants, targets, jobs):
        """Builds; drops what is on a line that the compiler does not accept, and builds again."""
        while True:
            self.write(files, mutants)
            done = subprocess.run(["ninja", "-C", self.dir, "-k", "0", "-j", str(jobs)] + targets,
                                  capture_output=True, text=True, env=self.env)
            if done.returncode == 0:
                return
            wrong = set()
            for path, line in re.findall(r"^\S*?/((?:%s)/[\w./]+):(\d+):\d+: error"
                                         % "|".join(FOLDERS), done.stdout, re.M):
                wrong |= {m.number for m in mutants if m.path == path and
                          m.line(files) <= int(line) <= m.line(files) + m.point.text.count("\n")}
            if not wrong - self.dropped:
                raise BuildFailed("\n".join(re.findall(
                    r"^(?:FAILED|.*[eE]rror).*$", done.stdout + done.stderr, re.M))[:3000])
            self.dropped |= wrong
