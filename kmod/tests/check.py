#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
"""Checks of a built kernel module that need no kernel to run it.

  check.py modinfo KO NAME VERSION    license, name and version are what they should be
  check.py fpu KO                     no instruction of it touches x87, MMX, SSE or AVX registers,
                                      but those that exchange a guest's whole state
  check.py core KO BUILD              module, simulator and libraries were made of the same core
  check.py idle KO BUILD              a second build has nothing to do; a touched header has it done
  check.py dkms KBUILD LIST KDIR      what is installed for DKMS can be built as dkms.conf says

"core" compares what the module says of itself (each file's SHA-256, recorded when it was built)
with the checkout, and the lists of files with those of the other worlds' targets, which Ninja keeps
equal to the checkout.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

FPU = re.compile(r"%(?:[xyz]mm\d+|mm\d\b|st\b|k[0-7]\b)|^(?:f(?:ld|st|add|mul|sub|div|init|save"
                 r"|rstor|xsave|xrstor)|xsave|xrstor|emms|v?ldmxcsr|v?stmxcsr)", re.M)
# All state is put into the CPU, or taken out of it, as a whole; each in one place (run.c).
WHOLE = ("fxsave64", "fxrstor64", "xrstor64")
CORE_OF = {  # target: folders of the core that it must have whole
    "pmap": ("pmap", "ept"),
    "vmspace": ("vmspace",),
    "pmap-sim-world": ("pmap", "ept", "vmspace"),
}


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def modinfo(ko, field):
    return run(find("modinfo"), "-F", field, ko).splitlines()


def find(program):
    """Also where only administrators look."""
    for folder in os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]:
        if os.access(os.path.join(folder, program), os.X_OK):
            return os.path.join(folder, program)
    sys.exit("%s is not installed" % program)


def check_modinfo(ko, name, version):
    for field, want in (("license", ["Dual BSD/GPL"]), ("name", [name]), ("version", [version])):
        got = modinfo(ko, field)
        if got != want:
            yield "%s is %s instead of %s" % (field, got, want)
    if not modinfo(ko, "vermagic")[0].startswith(tuple("3456789")):
        yield "no kernel version in vermagic"


def check_fpu(ko):
    code = [line.split("\t", 1)[1] for line in
            run("objdump", "-d", "--no-show-raw-insn", ko).splitlines() if "\t" in line]
    if len(code) < 1000:
        yield "only %d instructions: that is not the module" % len(code)
    for line in code:
        if FPU.search(line) and not line.startswith(WHOLE):
            yield "uses the FPU: " + line
    for name in WHOLE:
        if sum(line.startswith(name) for line in code) > 1:
            yield "more than one " + name
    for proof in ("movaps %xmm0,%xmm1", "fldz", "vmovdqu (%rax),%ymm3", "xsave64 (%rdi)"):
        if not FPU.search(proof):
            yield "this check would miss " + proof


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def sources_of_targets(build):
    """Paths in the checkout that each target is compiled from."""
    info = os.path.join(build, "meson-info")
    with open(os.path.join(info, "intro-targets.json"), encoding="utf-8") as stream:
        targets = json.load(stream)
    with open(os.path.join(info, "meson-info.json"), encoding="utf-8") as stream:
        root = json.load(stream)["directories"]["source"]
    found = {}
    for target in targets:
        paths = [p for group in target["target_sources"] for p in group.get("sources", [])]
        found.setdefault(target["name"], set()).update(os.path.relpath(p, root) for p in paths)
    return root, found


def check_core(ko, build):
    root, targets = sources_of_targets(build)
    module = {}
    for line in modinfo(ko, "core"):
        digest, path = line.split()
        module[path] = digest
    if len(module) < 40:
        yield "the module records %d files of the core only" % len(module)
    for path, digest in module.items():
        if sha256(os.path.join(root, path)) != digest:
            yield "%s is not what went into the module" % path
    compared = 0
    for name, folders in CORE_OF.items():
        if name not in targets:
            continue
        compared += 1
        theirs = {p for p in targets[name] if os.path.dirname(p) in folders}
        ours = {p for p in module if os.path.dirname(p) in folders and p.endswith(".c")}
        for path in sorted(theirs ^ ours):
            yield "%s is in %s only" % (path, name if path in theirs else "the module")
    if compared == 0:
        yield "no other world is built here"


def ninja(build, target):
    return run("ninja", "-C", build, target)


def check_idle(ko, build):
    root, _ = sources_of_targets(build)
    target = os.path.relpath(ko, build)
    ninja(build, target)
    if "no work to do" not in ninja(build, target):
        yield "a second build has work to do"
    mirror = os.path.splitext(ko)[0] + ".mirror"
    one, other = (os.path.join(mirror, p) for p in ("pmap/pt_fmt.o", "kmod/host/host_linux.o"))
    before = [os.stat(p).st_mtime_ns for p in (one, other)]
    # A new time, not new contents: other tests read the file meanwhile.
    os.utime(os.path.join(root, "kmod/host/host_linux_priv.h"))
    ninja(build, target)
    after = [os.stat(p).st_mtime_ns for p in (one, other)]
    if before[0] != after[0]:
        yield "a header of the host was touched, and pmap/pt_fmt.c compiled anew"
    if before[1] == after[1]:
        yield "a header of the host was touched, and host_linux.c not compiled anew"


def check_dkms(kbuild, desc, kdir):
    """Without dkms itself, which would write into the system. The tree is copied before it is
    built, as dkms does: there must be no way back from it to the checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "source")
        build = os.path.join(scratch, "vmm", "1", "build")
        subprocess.run([kbuild, "dkms", desc, source], check=True,
                       env=dict(os.environ, DESTDIR=""))
        shutil.copytree(source, build, symlinks=True)
        for folder, _, names in os.walk(build):
            for name in names:
                if os.path.islink(os.path.join(folder, name)):
                    yield "%s is a link" % name
        conf = os.path.join(build, "dkms.conf")
        script = ". %s; eval \"${MAKE[0]}\"; echo ${BUILT_MODULE_NAME[0]}" % conf
        env = {"PATH": os.environ["PATH"], "kernel_source_dir": kdir, "dkms_tree": scratch}
        with open(conf, encoding="utf-8") as stream:
            if "@" in stream.read():
                yield "dkms.conf is not filled in"
        # PACKAGE_VERSION is what names the folder there.
        os.symlink("1", os.path.join(scratch, "vmm", modversion(desc)))
        done = subprocess.run(["bash", "-ec", script], env=env, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0 or not os.path.exists(os.path.join(build, "vmm.ko")):
            yield "it does not build:\n" + done.stdout[-2000:]


def modversion(desc):
    with open(desc, encoding="utf-8") as stream:
        return re.search(r"(?m)^version (.*)$", stream.read())[1]


def main(argv):
    checks = {"modinfo": check_modinfo, "fpu": check_fpu, "core": check_core, "idle": check_idle,
              "dkms": check_dkms}
    if len(argv) < 3 or argv[1] not in checks:
        print(__doc__, file=sys.stderr)
        return 64
    bad = list(checks[argv[1]](*argv[2:]))
    for what in bad:
        print(what)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
