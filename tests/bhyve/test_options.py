#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""bhyve's command line, as far as it goes without a machine.

  test_options.py PROGRAM MANUAL

Wrong options end with 4 and a sentence that names what is wrong; right ones are shown by
config.dump; the manual has every option that --help has. Prints "cases: N passed, N failed, ...".
"""

import re
import subprocess
import sys

KERNEL = ["--kernel", "/nowhere"]
WRONG = [  # arguments, what the sentence says
    ([], "which name"),
    (["m"], "nothing to run"),
    (["--none", "m"], "unknown option '--none'"),
    (["-m"], "'-m' needs a value"),
    (KERNEL + ["m", "n"], "what is 'n'"),
    (KERNEL + ["-l", "bootrom,x", "m"], "which one"),
    (["-l", "floppy,x", "m"], "no such device"),
    (["-l", "com1", "m"], "behind a comma"),
    (["-l", "com5,stdio", "m"], "no such device"),
    (["-s", "3", "m"], "slot,device"),
    (["-s", "3,virtio-rnd", "-s", "3,virtio-rnd", "m"], "used already"),
    (["-p", "1", "m"], "vcpu:hostcpu"),
    (["-o", "x", "m"], "not variable=value"),
    (["-k", "/nowhere", "m"], "cannot read /nowhere"),
    (KERNEL + ["-c", "0", "m"], "not 1 to"),
    (KERNEL + ["-c", "x", "m"], "not 1 to"),
    (KERNEL + ["-c", "cpus=3,cores=2", "m"], "sockets times cores"),
    (KERNEL + ["-c", "cups=3", "m"], "unknown word"),
    (KERNEL + ["-p", "7:0", "m"], "no such vCPU"),
    (KERNEL + ["-p", "0:1023", "m"], "not a host's CPU"),  # nobody has so many
    (KERNEL + ["-p", "0:1x", "m"], "not a host's CPU"),
    (KERNEL + ["-o", "vcpu.0.cpuset=", "m"], "not a host's CPU"),
    (KERNEL + ["-o", "memory.wired=maybe", "m"], "neither true nor false"),
    (KERNEL + ["-o", "virtio_msix=maybe", "m"], "neither true nor false"),
    (KERNEL + ["-o", "x86.x2apic=off", "m"], "cannot be switched off"),
    (KERNEL + ["-o", "acpi_tables=no", "m"], "cannot be switched off"),
    (KERNEL + ["-o", "x86.vmexit_on_hlt=0", "m"], "cannot be switched off"),
    (KERNEL + ["-o", "memory.sise=1G", "m"], "no variable 'memory.sise'"),
    (KERNEL + ["-U", "01234567-89ab-cdef-0123-456789abcde", "m"], "not a UUID"),
    (KERNEL + ["-U", "0123456-789ab-cdef-0123-456789abcdef", "m"], "not a UUID"),
]
RIGHT = [  # arguments, lines of the dump
    (["-c", "2", "-m", "1G", "-S"], ["cpus=2", "memory.size=1G", "memory.wired=true"]),
    (["-s", "3:1,virtio-blk,a,ro"], ["pci.3:1=virtio-blk,a,ro", "pci.0=hostbridge", "pci.31=lpc"]),
    (["-s", "0,lpc"], ["pci.0=lpc"]),
    (["-l", "com2,pty", "-l", "debugexit,0xf4"], ["lpc.com2.path=pty", "lpc.debugexit=0xf4"]),
    (["-w", "-u", "-W", "-P"], ["x86.strictmsr=false", "rtc.use_localtime=false",
                                "virtio_msix=false", "x86.vmexit_on_pause=true"]),
    (["-p", "0:1", "--append", "a b=c"], ["vcpu.0.cpuset=1", "cmdline=a b=c"]),
]


def run(program, args):
    done = subprocess.run([program] + args, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def main():
    program, manual = sys.argv[1:]
    passed, failures = 0, []
    for args, word in WRONG:
        code, out, err = run(program, args)
        if code == 4 and word in err and err.count("\n") == 1 and not out:
            passed += 1
        else:
            failures.append("%s: %d, %r" % (" ".join(args), code, err))
    for args, lines in RIGHT:
        code, out, err = run(program, args + ["-o", "config.dump=1", "m"])
        if code == 0 and set(lines) <= set(out.splitlines()):
            passed += 1
        else:
            failures.append("%s: %d, %r, %r" % (" ".join(args), code, out, err))
    code, out, _ = run(program, ["--help"])
    options = re.findall(r"^  --?(\w+)", out, re.M) if code == 0 else []
    with open(manual, encoding="utf-8") as file:
        text = file.read()
    lacking = [o for o in options
               if not re.search(r"^\.It Fl -?%s\b" % re.escape(o), text, re.M)]
    if len(options) > 10 and not lacking:
        passed += 1
    else:
        failures.append("the manual lacks %s of %d" % (lacking, len(options)))
    for failure in failures:
        print("fail", failure)
    print("cases: %d passed, %d failed, 0 skipped" % (passed, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
