#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Every call that the manual page of libvmm names is one that its header declares.

  manual.py LIBVMM.H LIBVMM.3
"""

import re
import sys


def main(argv):
    with open(argv[1], encoding="utf-8") as stream:
        declared = set(re.findall(r"\b(vmm?_\w+|vcpu_\w+)\(", stream.read()))
    with open(argv[2], encoding="utf-8") as stream:
        named = {name for line in re.findall(r"(?m)^\.(?:It )?Fn .*", stream.read())
                 for name in re.findall(r"\b(?:vmm?|vcpu)_\w+", line)}
    for name in sorted(named - declared):
        print("libvmm.3 names %s, which libvmm.h does not declare" % name)
    if len(named) < 20:
        print("only %d calls found in the manual page: is it still written with .Fn?" % len(named))
        return 1
    return 1 if named - declared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
