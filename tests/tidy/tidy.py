#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Check the rules of the house (docs/ARCHITECTURE.md, R1 to R7) as far as text can.

  tidy.py              check the checkout; print "path:line: [rule] what"; exit 1 if any is found
  tidy.py --selftest   check that every rule rejects its bad examples in fixtures.txt

The tables come first, the few functions that read them after. To add a rule, add a row and a bad
example. An example accepted by mistake is a bug in the row, so rows err on the strict side.
"""

import os
import re
import sys

CORE = r"^(pmap|ept|vmspace)/[^/]*\.[ch]$"
C = r"\.[chS]$"
SOURCE = r"\.([chS]|py|sh|build|txt)$|^(dev|\.ci/run|tests/runner/boxed|tests/kernel/emu/\w+)$"
TEXT = r""
SELF = r"^tests/tidy/"

# Who may include what. The first row whose folder matches decides; "own" is a header without a
# folder, beside the file. Names in <> are matched with their angle brackets.
OWN = r'"[^/"]+"'
LIBC = r"<[\w/.-]+>"
PUBLIC = r'"pmap/(pmap|pmap_ident|pt_fmt)\.h"'
EPT = r'"ept/\w+\.h"'
INCLUDES = [
    # rule, files, allowed
    ("R1", r"^pmap/host\.h$", [r"<host_types\.h>", r"<host_impl\.h>"]),
    ("R1", r"^pmap/posix/", [LIBC, OWN, r'"pmap/\w+(/\w+)?\.h"']),
    ("R1", r"^pmap/", [OWN, r'"pmap/\w+\.h"']),
    ("R2", r"^ept/", [OWN, EPT, PUBLIC, r'"pmap/host\.h"']),
    ("R2", r"^vmspace/vm_host\.h$", [r"<host_vm_types\.h>", r"<host_vm_impl\.h>", PUBLIC]),
    ("R2", r"^vmspace/posix/", [LIBC, OWN, r'"vmspace/\w+(/\w+)?\.h"',
                                r'"pmap/\w+(/\w+)?\.h"']),
    ("R2", r"^vmspace/vm_gla\.c$", [r'"vmspace/\w+\.h"', r'"pmap/pte\.h"']),
    ("R2", r"^vmspace/", [OWN, r'"vmspace/\w+\.h"', PUBLIC, r'"pmap/host\.h"']),
    ("R6", r"^sim/hw/", [LIBC, OWN, r'"sim/[\w/]+\.h"', r'"pmap/host\.h"']),
    ("R3", r"^sim/", [LIBC, OWN, r'"sim/[\w/]+\.h"', PUBLIC, r'"pmap/host\.h"', EPT,
                      r'"vmspace/(vmspace|vm_host)\.h"']),
    ("R4", r"^examples/\w+_vm\.c$", [LIBC, r'"libvmm/libvmm\.h"']),
    ("R3", r"^bench/cost/", [LIBC, OWN, r'"bench/[\w/]+\.h"', PUBLIC, r'"pmap/host\.h"',
                             r'"sim/machine/fiber\.h"']),
    ("R3", r"^bench/count/", [r'"pmap/posix/host_impl\.h"']),
    ("R3", r"^(bench|examples)/", [LIBC, OWN, r'"bench/\w+\.h"', PUBLIC, EPT,
                                      r'"pmap/posix/host_posix\.h"']),
    ("R4", r"^libvmm/", [LIBC, OWN, r'"libvmm/\w+\.h"', r'"kmod/uapi/vmm\.h"', PUBLIC,
                          r'"pmap/posix/host_posix\.h"']),
    ("R4", r"^tests/kernel/", [LIBC, OWN, r'"guest/\w+\.h"', r'"libvmm/libvmm\.h"',
                                r'"kmod/uapi/vmm\.h"']),
    ("R4", r"^kmod/uapi/", [r"<linux/(ioctl|types)\.h>", r'"kmod/uapi/vmm_\w+\.h"']),
    ("R3", r"^kmod/", [LIBC, OWN, r'"(kmod|host)/[\w/]+\.h"', PUBLIC, EPT, r'"pmap/host\.h"',
                       r'"vmspace/(vmspace|vm_gla|vm_host)\.h"']),
    ("R4", r"^(bhyve|vmmctl)/", [LIBC, OWN, r'"libvmm/libvmm\.h"', r'"kmod/uapi/vmm\.h"']),
]

# Patterns that must not occur: rule, files, files spared, "code" (comments blanked) or "all",
# pattern, what is wrong.
HOSTS = r"__KERNEL__|__linux__|__unix__|__FreeBSD__|_WIN32|__x86_64__|__SANITIZE|__has_feature" \
        r"|PMAP_(POSIX|SIM|KERNEL)|NDEBUG|_POSIX"
PRIVILEGED = r"invept|invvpid|invlpga?|vmrun|vmlaunch|vmresume|vmx(on|off)|vmptrld|vmread|vmwrite" \
             r"|stgi|clgi|rdmsr|wrmsr"
BRITISH = r"behaviour|colour|neighbour|favour|honour|labour|artefact|licence|defence|centre(?!l)" \
          r"|analyse|catalogue|whilst|amongst|modelling|labelled|cancelled|travell" \
          r"|(initial|serial|optim|organ|recogn|synchron|normal|minim|maxim|random|final|special" \
          r"|general|real|util|visual|material|priorit|summar|emphas|parameter|character)" \
          r"is(e[ds]?|ing|ation|ations)\b"
REGISTRIES = r"\b(pypi|pythonhosted|crates|npmjs|docker|ghcr|quay|rubygems|anaconda)" \
             r"\.(org|io|com)\b|\bproxy\.golang\b|\bdeb\.debian\b|\bregistry\.\w+\.\w+"
PATTERNS = [
    ("R1", CORE, None, "code", r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(" + HOSTS + ")",
     "the core does not ask which host it is on"),
    ("R5", C,
     r"^(kmod/|tests/kernel/guest/|tests/differential/bare/|sim/machine/fiber_x86_64\.[cS]$)",
     "code", r"\b(asm|__asm__|__asm)\b",
     "inline assembly lives under kmod/, in tests' guests, and in the fiber switch"),
    ("R5", r"\.S$", r"^(kmod|tests/kernel/guest|tests/differential/bare)/", "code",
     r"(?i)^\s*(" + PRIVILEGED + r")\b",
     "privileged instructions live under kmod/"),
    ("R6", r"^pmap/[^/]*\.[ch]$", r"^pmap/pt_fmt\.c$", "code",
     r"(UINT64_C\(1\)|\b1[uU]?[lL][lL][uU]?|\(uint64_t\)\s*1)\s*<<\s*[0-9]+(?!\w|\s*[*+])"
     r"|0[xX][0-9a-fA-F]{5,}",
     "bit numbers of page-table entries are written in pmap/pt_fmt.c only"),
    ("R6", r"^kmod/.*\.[chS]$", r"^kmod/(vmx|svm)/", "code",
     r"^\s*#\s*define\s+(VMCS|VMCB|VMX|SVM)_\w+",
     "fields and bits of control structures are written in kmod/vmx and kmod/svm only"),
    ("R6", C, None, "code", r"^\s*#\s*define\s+PG_[A-Z]+\b",
     "entry bits depend on the pmap: write `const pt_entry_t PG_M = pmap_modified_bit(pm)`"),
    ("R6", r"^sim/hw/", None, "code", r"\b(pt_fmt|pte)_?\w*",
     "the hardware model is a second implementation, without the core's formats"),
    ("R7", CORE, r"^pmap/pte\.h$", "code",
     r"\bhost_(load|store|xchg|cas|fetch)\w*\(.*(words|host_table_words)\b",
     "table words are read and written through pmap/pte.h"),
    ("words", TEXT, SELF, "all", r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b",
     "finish it, or say what is missing"),
    ("paths", TEXT, SELF, "all", r"(?<![\w.}])/(work|home|root|tmp|Users)/[\w-]",
     "a path of some machine"),
    ("registry", TEXT, SELF, "all", REGISTRIES, "host name of a package registry"),
    ("spelling", TEXT, SELF, "all", r"(?i)\b\w*(" + BRITISH + ")", "American spelling, please"),
    ("blanks", TEXT, r"\.patch$", "all", r"[ \t]+$", "blanks at the end of the line"),
]

FILE_MAX = 800
WIDTH_MAX = 100
FUNCTION_MAX = [(CORE, 70), (r"", 80)]
SKIPPED_DIRS = re.compile(r"^(\.git|build|build-.*|__pycache__)$")
SKIPPED_FILES = re.compile(r"^(\.git|LICENSE|LICENSES/.*|tests/tidy/fixtures\.txt)$"
                           r"|\.(zst|gz|bin|png|svg|ico|woff2?)$")
COPYRIGHT = "SPDX-FileCopyrightText: The skep authors"
LICENSE = re.compile(r"SPDX-License-" r"Identifier: BSD-2-Clause( OR GPL-2\.0-only)?( \*/)?$")
HEAD = "/* %s */\n/* SPDX-License-" "Identifier: BSD-2-Clause */\n\n/* An example. */\n" % COPYRIGHT


class File:
    """A file's lines, as they are and (for C) with comments blanked."""

    def __init__(self, path, text):
        self.path = path
        self.lines = text.split("\n")
        self.code = self.lines
        if re.search(C, path):
            blank = lambda m: m[0] if m[0][0] in "\"'" else re.sub(r"[^\n]", " ", m[0])
            self.code = re.sub(r'"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', blank,
                               text, flags=re.S).split("\n")


def check_includes(f):
    row = next((r for r in INCLUDES if re.search(r[1], f.path)), None)
    if row is None or not re.search(C, f.path):
        return
    for number, line in enumerate(f.code, 1):
        m = re.match(r"\s*#\s*include\s*(\"[^\"]*\"|<[^>]*>)", line)
        if m and not any(re.fullmatch(allowed, m[1]) for allowed in row[2]):
            yield number, row[0], "may not include " + m[1]


def check_patterns(f):
    for rule, files, spared, where, pattern, what in PATTERNS:
        if not re.search(files, f.path) or (spared and re.search(spared, f.path)):
            continue
        for number, line in enumerate(f.code if where == "code" else f.lines, 1):
            m = re.search(pattern, line)
            if m:
                yield number, rule, "%s: %s" % (m[0].strip() or "blank", what)


def check_head(f):
    """License tags, then a comment that says what the file is for."""
    if not re.search(SOURCE, f.path):
        return
    head = f.lines[:6]
    if not any(COPYRIGHT in line for line in head) or not any(LICENSE.search(s) for s in head):
        yield 1, "license", "needs '%s' and the license's SPDX tag at its head" % COPYRIGHT
    elif f.path.startswith("kmod/") != any("BSD-2-Clause " "OR GPL" in line for line in head):
        yield 1, "license", "kmod/, and it alone, is BSD-2-Clause OR GPL-2.0-only"
    rest = [line for line in f.lines[:16]
            if "SPDX-" not in line and not line.startswith("#!") and line.strip(" \t#*/")]
    is_comment = r'^\s*("""|#)' if not re.search(C, f.path) else r"^\s*(/\*| \*)"
    if not rest or not re.search(is_comment, rest[0]):
        yield 1, "purpose", "a comment at the file's head says what the file is for"


def check_sizes(f):
    if not re.search(SOURCE, f.path):
        return
    if len(f.lines) - 1 > FILE_MAX:
        yield FILE_MAX, "size", "%d lines; at most %d: split by idea" % (len(f.lines) - 1, FILE_MAX)
    limit = next(most for files, most in FUNCTION_MAX if re.search(files, f.path))
    start = None
    for number, line in enumerate(f.code, 1):
        if len(f.lines[number - 1].expandtabs(8)) > WIDTH_MAX:
            yield number, "width", "more than %d columns" % WIDTH_MAX
        if line == "{" or re.match(r"^\w+\(\) \{", line):
            start = number
        elif start and line.startswith("}"):
            if number - start + 1 > limit:
                yield start, "size", "a function of %d lines; at most %d" % (
                    number - start + 1, limit)
            start = None


def check_links(f, exists):
    """Links from one document to another file must lead somewhere."""
    if not f.path.endswith(".md"):
        return
    for number, line in enumerate(f.lines, 1):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", line):
            if not exists(os.path.normpath(os.path.join(os.path.dirname(f.path), target))):
                yield number, "links", "leads nowhere: " + target


def check(f, exists):
    """All findings in a file, as (path, line, rule, what)."""
    for checker in (check_includes, check_patterns, check_head, check_sizes):
        for finding in checker(f):
            yield (f.path,) + finding
    for finding in check_links(f, exists):
        yield (f.path,) + finding


def files_below(root):
    for folder, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not SKIPPED_DIRS.match(d))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if SKIPPED_FILES.match(path):
                continue
            with open(os.path.join(root, path), "rb") as stream:
                data = stream.read()
            if b"\0" not in data:
                yield File(path, data.decode("utf-8", "replace"))


def check_tree(root):
    bad = 0
    for f in files_below(root):
        for finding in check(f, lambda path: os.path.exists(os.path.join(root, path))):
            print("%s:%d: [%s] %s" % finding)
            bad += 1
    return 1 if bad else 0


def selftest(path):
    """Each example "=== RULE PATH" must be rejected by exactly that rule ("none": by no rule)."""
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    seen = {"size", "width", "license", "purpose", "links"} | {r[0] for r in INCLUDES + PATTERNS}
    unseen_rows = {r[4] for r in PATTERNS} | {r[1] for r in INCLUDES}
    bad = 0
    for example in re.split(r"^=== ", text, flags=re.M)[1:]:
        head, body = example.split("\n", 1)
        rule, name = head.split()
        body = re.sub(r"^@repeat (\d+) (.*)$", lambda m: "\n".join([m[2]] * int(m[1])), body,
                      flags=re.M)
        dual = " OR GPL-2.0-only */" if name.startswith("kmod/") else " */"
        f = File(name, body.replace("@head\n", HEAD.replace("2-Clause */", "2-Clause" + dual)))
        got = {finding[2] for finding in check(f, lambda path: False)}
        if got != ({rule} - {"none"}):
            print("example for %s at %s: got %s" % (rule, name, sorted(got) or "nothing"))
            bad += 1
        seen.discard(rule)
        unseen_rows -= {r[4] for r in PATTERNS if rule == r[0] and re.search(r[1], name) and
                        any(re.search(r[4], s) for s in f.code)}
        unseen_rows -= {r[1] for r in INCLUDES if rule == r[0] and re.search(r[1], name)}
    for left in sorted(seen) + sorted(unseen_rows):
        print("no example for " + left)
    return 1 if bad or seen or unseen_rows else 0


def main(argv):
    here = os.path.dirname(os.path.abspath(__file__))
    if argv[1:] == ["--selftest"]:
        return selftest(os.path.join(here, "fixtures.txt"))
    if argv[1:]:
        print("usage: tidy.py [--selftest]", file=sys.stderr)
        return 64
    return check_tree(os.path.dirname(os.path.dirname(here)))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
