#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Check that a machine's verdict is what its lines deserve, above all that bad news is bad news.

Each row is what was said on the two serial lines, how the machine ended, and the verdicts that
must follow, in order. An emulator is not needed.
"""

import contextlib
import io
import os
import sys
import tempfile

import run
import table

BOOT = ["[ 1.0] WARNING: CPU: 0 before anything of ours ran", "[ 1.1] Run /init as init process"]
GOOD = ["run a", "pass one", "n/a two: no such CPU", "end a 0", "done"]

# what, results, console, silent for, verdicts ("kind program/case"), exit
ROWS = [
    ("all well", GOOD, BOOT, 0, ["pass a/one", "n/a a/two", "pass machine/console"], 0),
    ("a guest's kernel is unwell, as a program remarks", GOOD,
     BOOT + ["# 60 s: [ 9.0] INFO: task a:1 blocked for more than 122 seconds."], 0,
     ["pass a/one", "n/a a/two", "pass machine/console"], 0),
    ("a case fails", ["run a", "pass one", "fail two: why", "end a 1", "done"], BOOT, 0,
     ["pass a/one", "fail a/two", "pass machine/console"], 1),
    ("a code without a reason", ["run a", "pass one", "end a 139", "done"], BOOT, 0,
     ["pass a/one", "fail a/exit", "pass machine/console"], 1),
    ("a reason without a code", ["run a", "fail one: why", "end a 0", "done"], BOOT, 0,
     ["fail a/one", "fail a/exit", "pass machine/console"], 1),
    ("nothing tried", ["run a", "end a 0", "done"], BOOT, 0,
     ["fail a/cases", "pass machine/console"], 1),
    ("no such test", ["run a", "end a 127", "done"], BOOT, 0,
     ["fail a/start", "pass machine/console"], 1),
    ("nothing but remarks", ["run a", "passed one", "end a 0", "done"], BOOT, 0,
     ["fail a/cases", "pass machine/console"], 1),
    ("it hangs", ["run a", "pass one"], BOOT, 60, ["pass a/one", "fail a/silence"], 1),
    ("it reboots", ["run a", "pass one"], BOOT, 0, ["pass a/one", "fail a/end"], 1),
    ("it never boots", [], [], 0, ["fail machine/end"], 1),
    ("only things that do not apply", ["run a", "n/a one: no such CPU", "end a 0"], BOOT, 0,
     ["n/a a/one", "fail machine/end"], 1),
]

SPLATS = [
    "[ 2.0] WARNING: CPU: 1 PID: 77 at kmod/vmm_main.c:12 vmm_run+0x1/0x2 [vmm]",
    "[ 2.0] BUG: unable to handle page fault for address: 0000000000001000",
    "[ 2.0] BUG: KASAN: use-after-free in vmm_run+0x1/0x2 [vmm]",
    "[ 2.0] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
    "[ 2.0] BUG: scheduling while atomic: a/77/0x00000002",
    "[ 2.0] BUG: Bad page state in process a  pfn:12345",
    "[ 2.0] Oops: 0002 [#1] PREEMPT SMP",
    "[ 2.0] general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
    "[ 2.0] WARNING: possible circular locking dependency detected",
    "[ 2.0] WARNING: possible recursive locking detected",
    "[ 2.0] WARNING: suspicious RCU usage",
    "[ 2.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [a:77]",
    "[ 2.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[ 2.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
    "[ 2.0] INFO: task a:77 blocked for more than 60 seconds.",
    "[ 2.0] Kernel panic - not syncing: Fatal exception",
    "[ 2.0] refcount_t: underflow; use-after-free.",
    "[ 2.0] list_del corruption. prev->next should be ffff888000000000",
    "[ 2.0] ODEBUG: free active (active state 0) object type: timer_list",
]

FINE = [
    "[ 2.0] vmm: loading out-of-tree module taints kernel.",
    "[ 2.0] rcu: Hierarchical SRCU implementation.",
    "[ 2.0] Adding 262140k swap on /dev/vda.  Priority:-2 extents:1 across:262140k",
    "[ 2.0] vmm: VT-x with EPT, accessed and dirty bits, 1 GiB pages",
    "[ 2.0] smpboot: CPU 1 is now offline",
]


def judge(results, console, silent):
    shown = []
    with tempfile.TemporaryDirectory() as out:
        verdict = run.Verdict(out, shown.append)
        for line in console:
            verdict.console(line)
        for line in results:
            verdict.result(line)
        code = verdict.close("status 0", silent)
        with open(os.path.join(out, "verdicts.txt"), encoding="utf-8") as file:
            said = [line.split(":")[0].strip() for line in file]
    return said, code


def table_of(lines):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            table.main(["table.py", file.name])
            table.main(["table.py", "--full", file.name])
    return out.getvalue()


def main():
    bad = []
    for what, results, console, silent, verdicts, code in ROWS:
        got = judge(results, console, silent)
        if got != (verdicts, code):
            bad.append("%s: %r" % (what, got))
    for line in SPLATS:
        if judge(GOOD, BOOT + [line], 0)[1] != 1:
            bad.append("not seen: " + line)
    for line in FINE:
        if judge(GOOD, BOOT + [line], 0)[1] != 0:
            bad.append("no complaint, but taken for one: " + line)
    drawn = table_of(["pass x: a/one", "fail y: a/one: it broke", "n/a y: a/two: no such CPU"])
    for part in ("a        1 pass  1 fail, 1 n/a", "a/one  pass  fail", "a/two  -     n/a",
                 "fail a/one, y: it broke"):
        if part not in drawn:
            bad.append("the table lacks '%s':\n%s" % (part, drawn))
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
