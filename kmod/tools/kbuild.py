#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Build a kernel module out of a list of sources that lie all over the checkout.

  kbuild.py build  LIST MIRROR KDIR OUT    build it, copy it to OUT, write OUT.d for Ninja
  kbuild.py sparse LIST MIRROR KDIR        check with sparse what `build` has built
  kbuild.py dkms   LIST DIR                copy all that is needed to build it to DIR

Kbuild builds in the folder where the sources are, and would leave its objects there. So LIST (made
by Meson, see vmm.list.in) becomes a mirror: a folder in the build directory with a symbolic link
for each file, under the very paths of the checkout, and a generated Kbuild. Nothing in it is
written anew that has not changed, so that make and Ninja agree on what is up to date.

The module records each file of the core that went into it, with its SHA-256 (modinfo -F core).
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys

# What the environment says to other compilers is not for the kernel's.
NOT_FOR_KBUILD = {"CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LIBRARY_PATH", "C_INCLUDE_PATH", "CPATH",
                  "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "LD", "AR", "ARCH", "CROSS_COMPILE", "V"}
CORE = ("pmap/", "ept/", "vmspace/")


class List:
    """The description of a module: lines "key value", in vmm.list.in."""

    def __init__(self, path):
        values = {}
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                if line.strip() and not line.startswith("#"):
                    key, _, value = line.strip().partition(" ")
                    values.setdefault(key, []).append(value)
        self.path = path
        self.root, = values["root"]
        self.module, = values["module"]
        self.version, = values["version"]
        self.kbuild, = values["kbuild"]
        self.dkms = values.get("dkms", [None])[0]
        self.flags = values.get("flags", [""])[0]
        self.sources = values["source"]
        self.headers = []
        for folder in values["headers"]:
            names = sorted(os.listdir(os.path.join(self.root, folder)))
            self.headers += [os.path.join(folder, n) for n in names if n.endswith(".h")]

    def files(self):
        return self.sources + self.headers


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def write_if_changed(path, text):
    try:
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def kbuild_text(desc):
    with open(desc.kbuild, encoding="utf-8") as stream:
        text = stream.read()
    objects = [re.sub(r"\.[cS]$", ".o", s) for s in desc.sources] + ["sources.o"]
    for name, value in (("MODULE", desc.module), ("OBJECTS", " \\\n\t".join(objects)),
                        ("FLAGS", desc.flags)):
        text = text.replace("@%s@" % name, value)
    return text


def record_text(desc):
    """A C file that puts the hashes of the core's files, and the version, into .modinfo."""
    lines = ["/* Generated. What the module was built from. */", "#include <linux/module.h>", "",
             'MODULE_VERSION("%s");' % desc.version]
    for path in sorted(p for p in desc.files() if p.startswith(CORE)):
        lines.append('MODULE_INFO(core, "%s %s");' % (sha256(os.path.join(desc.root, path)), path))
    return "\n".join(lines) + "\n"


def make_mirror(desc, mirror, place):
    """Puts every file into the mirror with place(from, to); drops files that are no more listed."""
    wanted = {os.path.join(mirror, p): os.path.join(desc.root, p) for p in desc.files()}
    for folder, _, names in os.walk(mirror):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path) and path not in wanted:
                os.unlink(path)
    for path, source in wanted.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        place(source, path)
    write_if_changed(os.path.join(mirror, "Kbuild"), kbuild_text(desc))
    write_if_changed(os.path.join(mirror, "sources.c"), record_text(desc))


def link(source, path):
    if os.path.islink(path) and os.readlink(path) == source:
        return
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(source, path)


def make(mirror, kdir, *more):
    env = {k: v for k, v in os.environ.items() if k not in NOT_FOR_KBUILD}
    # With W=1 comes a check of kernel-doc comments, file by file, that costs as much as compiling.
    # We have none, so it is emptied.
    command = ["make", "-C", kdir, "M=" + os.path.abspath(mirror), "-j%d" % os.cpu_count(),
               "W=1", "cmd_checkdoc=", "VMM_WERROR=y", *more]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    # A kernel's own vmlinux, which type information (BTF) is made from, is seldom installed.
    output = "".join(line + "\n" for line in done.stdout.splitlines()
                     if not line.startswith("Skipping BTF generation"))
    return done.returncode, output


def build(desc, mirror, kdir, out):
    make_mirror(desc, mirror, link)
    status, output = make(mirror, kdir, "-s")
    sys.stderr.write(output)
    if status != 0:
        return 1
    shutil.copyfile(os.path.join(mirror, desc.module + ".ko"), out)
    inputs = [os.path.join(desc.root, p) for p in desc.files()] + [desc.kbuild]
    inputs += [p for p in (os.path.join(kdir, "include/config/auto.conf"),
                           os.path.join(kdir, "Module.symvers")) if os.path.exists(p)]
    with open(out + ".d", "w", encoding="utf-8") as stream:
        stream.write("%s: %s\n" % (out, " ".join(p.replace(" ", "\\ ") for p in inputs)))
    return 0


def sparse(desc, mirror, kdir):
    """C=2 checks every file, also those that need no compilation. Any word of sparse's is one too
    many; that it spoke at all is known from the files it was given, which make names with V=1."""
    status, output = make(mirror, kdir, "C=2", "CHECK=sparse", "CF=-Wsparse-error", "V=1")
    checked = set(re.findall(r"(?m)^\s*sparse .*?(\S+\.c) *;?$", output))
    checked = {os.path.relpath(p, os.path.abspath(mirror)) for p in checked}
    missed = [s for s in desc.sources if s.endswith(".c") and s not in checked]
    said = [line for line in output.splitlines() if re.search(r"\.[chS]:\d+:\d+: ", line)]
    for line in said:
        print(line)
    for path in missed:
        print("%s: was not checked" % path)
    if status != 0 and not said:
        print(output[-4000:])
    return 1 if status != 0 or said or missed else 0


def dkms(desc, where):
    """For `meson install`: DIR is absolute; DESTDIR goes before it."""
    where = os.environ.get("DESTDIR", "") + where
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    make_mirror(desc, where, shutil.copyfile)
    with open(desc.dkms, encoding="utf-8") as stream:
        text = stream.read()
    for name, value in (("MODULE", desc.module), ("VERSION", desc.version)):
        text = text.replace("@%s@" % name, value)
    write_if_changed(os.path.join(where, "dkms.conf"), text)
    return 0


def main(argv):
    verbs = {"build": (build, 4), "sparse": (sparse, 3), "dkms": (dkms, 2)}
    if len(argv) < 2 or argv[1] not in verbs or len(argv) - 2 != verbs[argv[1]][1]:
        print(__doc__, file=sys.stderr)
        return 64
    verb, _ = verbs[argv[1]]
    return verb(List(argv[2]), *argv[3:])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
