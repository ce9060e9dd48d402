#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of vmmctl outside of a kernel.

  test_vmmctl.py PROGRAM MANUAL

PROGRAM is vmmctl over a fake kernel with a machine "testvm" (preset.c), MANUAL vmmctl.8. Prints
"cases: N passed, N failed, N skipped".
"""

import json
import os
import re
import struct
import subprocess
import sys
import unittest
import xml.dom.minidom
import zlib

PROGRAM, MANUAL = (os.path.abspath(path) for path in sys.argv[1:3])
OK, USAGE, DATA, NOINPUT, UNAVAILABLE, SOFTWARE, CANTCREAT, NOPERM = 0, 64, 65, 66, 69, 70, 73, 77


def vmmctl(*args, fake=""):
    return subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=dict(os.environ, SKEP_FAKE=fake), timeout=60,
                          check=False)


def unfiltered(line, above):
    """A line of an RGB picture of a PNG, whose first byte says how it was predicted."""
    out = bytearray()
    for i, value in enumerate(line[1:]):
        a = out[i - 3] if i >= 3 else 0
        b, c = above[i], above[i - 3] if i >= 3 else 0
        paeth = min((a, b, c), key=lambda p: abs(a + b - c - p))
        out.append((value + [0, a, b, (a + b) // 2, paeth][line[0]]) & 255)
    return bytes(out)


def options():
    """All options that take part in bhyvectl's way: name -> whether it takes a value."""
    return {line.rstrip("="): line.endswith("=")
            for line in vmmctl("--list-options").stdout.split()}


# Options of 2011 that show several fields, by their encodings.
GROUPS = {"io-bitmap": [0x2000, 0x2002], "cr3-targets": [0x400a, 0x6008, 0x600a, 0x600c, 0x600e],
          "guest-sysenter": [0x482a, 0x6824, 0x6826]}


class Case(unittest.TestCase):
    def expect(self, code, *args, fake=""):
        r = vmmctl(*args, fake=fake)
        self.assertEqual(r.returncode, code, "%s\n%s%s" % (args, r.stdout, r.stderr))
        return r.stdout

    def refused(self, code, sentence, *args, fake=""):
        r = vmmctl(*args, fake=fake)
        self.assertEqual(r.returncode, code, "%s\n%s%s" % (args, r.stdout, r.stderr))
        self.assertIn(sentence, r.stderr)
        self.assertRegex(r.stderr, r"\Avmmctl: [^\n]+\n\Z")


class Options(Case):
    def test_every_option_is_parsed(self):
        self.assertGreater(len(options()), 150)
        for name, has_value in options().items():
            fake = "svm" if "-vmcb-" in name else ""
            with self.subTest(name=name):
                if name == "--create":
                    self.refused(CANTCREAT, "there is a machine 'testvm'", "--vm=testvm", name)
                    continue
                value = {"--vm": "testvm", "--cpu": "0", "--set-mem": "8M",
                         "--capname": "hlt_exit"}.get(name, "1")
                args = ["--vm=testvm", "%s=%s" % (name, value) if has_value else name]
                if name in ["--getcap", "--setcap"]:
                    args.append("--capname=hlt_exit")
                r = vmmctl(*args, fake=fake)
                if name in ["--set-vmcs-entry-interruption-info", "--set-vmcb-exception-bitmap",
                            "--set-vmcb-event-inj"] or "-vmcb-" in name and has_value:
                    self.assertEqual(r.returncode, DATA)  # the fake kernel knows one such field
                else:
                    self.assertEqual((r.returncode, r.stderr), (OK, ""))

    def test_values_are_needed_and_refused(self):
        for name, has_value in options().items():
            with self.subTest(name=name):
                if has_value:
                    self.refused(USAGE, "needs a value", "--vm=testvm", name)
                else:
                    self.assertEqual(vmmctl("--vm=testvm", name + "=1").returncode, USAGE)

    def test_numbers_are_judged(self):
        for args in [["--set-rax=x"], ["--set-rax="], ["--set-rax=-1"], ["--set-rax=0x"],
                     ["--set-rax=18446744073709551616"], ["--cpu=one", "--get-rax"],
                     ["--get-gpa-pmap=0xg"], ["--set-desc-cs", "--desc-limit=0x100000000"],
                     ["--set-desc-cs", "--desc-access=0x100000000"],
                     ["--cpu=4294967296", "--get-rax"], ["--cpu=64", "--get-rax"],
                     ["--set-mem=1GB"]]:
            with self.subTest(args=args):
                self.assertEqual(vmmctl("--vm=testvm", *args).returncode, USAGE)

    def test_wrong_arguments_are_refused_with_a_sentence(self):
        self.refused(USAGE, "say what to do")
        self.refused(USAGE, "--vm=NAME", "--get-rax")
        self.refused(USAGE, "'--frobnicate'", "--vm=testvm", "--frobnicate")
        self.refused(USAGE, "'x'", "--vm=testvm", "--get-rax", "x")
        self.refused(USAGE, "capability", "--vm=testvm", "--getcap")
        self.refused(USAGE, "'sleep'", "--vm=testvm", "--getcap", "--capname=sleep")
        for verb in ["show", "check", "dump-pt", "stats", "dirty", "create", "destroy"]:
            with self.subTest(verb=verb):
                self.assertEqual(vmmctl(verb).returncode, USAGE)
                self.assertEqual(vmmctl(verb, "testvm", "x", "y").returncode, USAGE)

    def test_the_manual_page_has_every_verb_and_plain_option(self):
        with open(MANUAL, encoding="utf-8") as stream:
            page = stream.read()
        for verb in vmmctl("--list-verbs").stdout.split():
            self.assertRegex(page, r"(?m)^\.(It|Nm|Cm|Ic).*\b%s\b" % re.escape(verb))
        for name in options():  # those of families are told once: --get-REG
            if not re.match(r"--[gs]et-(desc|vmc[sb])-", name) and \
                    name.replace("--get-", "--set-") not in options():
                self.assertIn("Fl -" + name[2:], page)


class Values(Case):
    def test_registers_that_are_set_are_shown(self):
        settable = [n[6:] for n, v in options().items()
                    if v and n.startswith("--set-") and n != "--set-mem" and "vmc" not in n]
        self.assertGreater(len(settable), 40)
        for i, name in enumerate(settable):
            value = 0x123400 + i
            out = self.expect(OK, "--vm=testvm", "--set-%s=%d" % (name, value), "--get-" + name)
            self.assertRegex(out, r"\A%s\[0\]\s+0x%016x\n\Z" % (re.escape(name), value))

    def test_descriptors_keep_what_is_not_given(self):
        out = self.expect(OK, "--vm=testvm", "--set-desc-gs", "--desc-base=0x1234", "--get-desc-gs")
        self.assertEqual(out.split(), ["gs", "desc[0]", "0x%016x/0x0000ffff/0x00000000" % 0x1234])

    def test_fields_belong_to_a_vendor(self):
        out = self.expect(OK, "--vm=testvm", "--get-vmcs-exit-reason")
        self.assertRegex(out, r"0x0*4402\n")  # in the fake kernel a field's value is its number
        self.refused(UNAVAILABLE, "VMCS", "--vm=testvm", "--get-vmcs-exit-reason", fake="svm")
        self.refused(UNAVAILABLE, "VMCB", "--vm=testvm", "--get-vmcb-asid")
        out = self.expect(OK, "--vm=testvm", "--get-vmcb-asid", fake="svm")
        self.assertRegex(out, r"0x0*40058\n")

    def test_groups_of_fields(self):
        for name, numbers in GROUPS.items():
            out = self.expect(OK, "--vm=testvm", "--get-vmcs-" + name)
            self.assertEqual([int(line.split()[1], 16) for line in out.splitlines()], numbers)
            self.refused(UNAVAILABLE, "VMCS", "--vm=testvm", "--get-vmcs-" + name, fake="svm")

    def test_get_all_shows_all(self):
        out = self.expect(OK, "--vm=testvm", "--get-all")
        for name, has_value in options().items():
            if name.startswith("--get-desc-"):
                self.assertIn(name[11:] + " desc[0]", out)
            elif name.startswith("--get-vmcs-") and name[11:] not in GROUPS:
                self.assertIn(name[6:] + "[0]", out)
        data = json.loads(self.expect(OK, "--json", "--vm=testvm", "--get-all"))
        self.assertIn("0x1000", json.dumps(data))

    def test_json_is_alone_on_stdout(self):
        for args in [["list"], ["show", "testvm"], ["mem"], ["check", "testvm"],
                     ["stats", "testvm"], ["--vm=testvm", "--get-rax", "--get-memmap"],
                     ["--vm=testvm", "--get-stats"], ["--vm=testvm", "--run"]]:
            with self.subTest(args=args):
                self.assertTrue(json.loads(self.expect(OK, "--json", *args)))


class Verbs(Case):
    def test_mem_as_in_2012(self):
        self.assertEqual(self.expect(OK, "mem"),
                         "hw.vmm.mem_free: 1000\nhw.vmm.mem_total: 4000\n")

    def test_list_and_show(self):
        self.assertIn("testvm", self.expect(OK, "list"))
        out = self.expect(OK, "show", "testvm")
        for part in ["testvm", "bootrom", "ffffc000", "r-x", "rwx"]:
            self.assertIn(part, out)

    def test_check(self):
        self.expect(OK, "check", "testvm")
        r = vmmctl("check", "testvm", fake="broken")
        self.assertEqual(r.returncode, SOFTWARE)
        self.assertIn("I05 at 0x1000", r.stdout + r.stderr)

    def svg_path(self):
        path = os.path.join(os.environ.get("MESON_BUILD_ROOT", "."), "vmmctl-test-%d.svg"
                            % os.getpid())
        self.addCleanup(lambda: os.path.exists(path) and os.remove(path))
        return path

    def picture(self, path, fake=""):
        """What a picture says of strips' parts and in words, its lines, and its two heights."""
        r = vmmctl("dump-pt", "testvm", "--svg", path, fake=fake)
        self.assertEqual((r.returncode, r.stderr), (OK, ""))
        svg = xml.dom.minidom.parse(path)
        text = lambda tag: [node.firstChild.data for node in svg.getElementsByTagName(tag)]
        boxes = [box for box in svg.getElementsByTagName("rect")
                 if "%" not in box.getAttribute("width")]
        bottom = max(int(box.getAttribute("y")) + int(box.getAttribute("height"))
                     for box in boxes)
        return (text("title"), text("text"), len(svg.getElementsByTagName("path")), bottom,
                int(svg.documentElement.getAttribute("height")))

    def test_page_tables_as_text_and_as_a_picture(self):
        self.assertIn("0x605000 -> 0x9000000 4K x 1 rw- UC -- wired",
                      self.expect(OK, "dump-pt", "testvm"))
        path = self.svg_path()
        self.assertEqual(vmmctl("dump-pt", "testvm", "--svg", path, fake="bad-dump").returncode, 73)
        self.assertFalse(os.path.exists(path))  # a line of it lies outside of its table
        titles, words, lines, bottom, height = self.picture(path)
        self.assertEqual(titles, [
            "0x0 to 0x7fffffffff: 1 table", "0x0 to 0x3fffffff: 1 table",
            "0x0 to 0x5fffff: 3 leaves rwx, accessed, modified", "0x600000 to 0x7fffff: 1 table",
            "0x600000 to 0x604fff: 5 leaves r--, accessed", "0x605000 to 0x605fff: 1 leaf rw-"])
        for word in ["testvm: EPT page tables: 4 tables, 3 runs of leaves",
                     "0x600000 table 0x103000 level 0", "3 leaves in 1 run", "6 leaves in 2 runs",
                     "0x605000 -> 0x9000000 4K x 1 rw- UC -- wired", "not accessed"]:
            self.assertIn(word, words)
        self.assertEqual(lines, 3)  # from each table but the root to its own
        self.assertLessEqual(bottom, height)

    def test_a_picture_of_scattered_memory_stays_small(self):
        titles, words, lines, bottom, height = self.picture(self.svg_path(), fake="scattered")
        self.assertEqual(titles, ["0x200000 to 0x3fffff: 1 table",
                                  "0x200000 to 0x27ffff: 128 leaves rwx, accessed, modified",
                                  "0x280000 to 0x2fffff: 128 leaves rwx"])
        self.assertIn("256 leaves in 256 runs", words)
        self.assertEqual(lines, 1)
        self.assertLessEqual(bottom, height)
        self.assertLess(height, 200)

    def test_screenshots(self):
        path = os.path.join(os.environ.get("MESON_BUILD_ROOT", "."), "vmmctl-test-%d.png"
                            % os.getpid())
        self.addCleanup(lambda: os.path.exists(path) and os.remove(path))
        r = vmmctl("screenshot", "testvm", path, fake="framebuffer")
        self.assertEqual((r.returncode, r.stderr), (OK, ""))
        with open(path, "rb") as stream:
            data = stream.read()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack(">II", data[16:24]), (3, 2))
        self.assertEqual(data[24:29], b"\x08\x02\0\0\0")  # 8 bits, RGB, no interlacing
        at, packed = 8, b""
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at:at + 8])
            packed += data[at + 8:at + 8 + length] if kind == b"IDAT" else b""
            at += length + 12
        red, green, blue = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff"
        raw = zlib.decompress(packed)
        self.assertEqual(len(raw), 20)
        lines = [unfiltered(raw[:10], bytes(9))]
        lines.append(unfiltered(raw[10:], lines[0]))
        self.assertEqual(lines, [red + green + blue, blue + green + red])

        self.refused(USAGE, "that of a file", "screenshot", "testvm")
        self.refused(NOINPUT, "has no framebuffer", "screenshot", "testvm", path)
        r = vmmctl("screenshot", "testvm", path, fake="bad-framebuffer")
        self.assertEqual(r.returncode, DATA)
        self.assertIn("how large it is", r.stderr)
        r = vmmctl("screenshot", "testvm", "/nonexistent/x.png", fake="framebuffer")
        self.assertEqual(r.returncode, CANTCREAT)
        self.assertIn("cannot write /nonexistent/x.png", r.stderr)

    def test_dirty_log_that_is_off(self):
        self.refused(NOINPUT, "dirty log is off", "dirty", "testvm", "get")
        self.expect(OK, "dirty", "testvm", "enable")
        self.refused(USAGE, "", "dirty", "testvm", "scrub")

    def test_statistics(self):
        out = self.expect(OK, "stats", "testvm")
        self.assertIn("statistic 39", out)
        self.assertIn("3900", out)
        self.expect(OK, "stats", "testvm", "--cpu", "0")
        self.refused(USAGE, "is not within 0 to 63", "stats", "testvm", "--cpu", "4294967296")

    def test_create_and_destroy(self):
        self.expect(OK, "create", "other")
        self.refused(CANTCREAT, "there is a machine 'testvm'", "create", "testvm")
        self.expect(OK, "destroy", "testvm")
        self.refused(NOINPUT, "there is no machine 'other'", "destroy", "other")


class Failures(Case):
    """One sentence that says what to do, and the code of sysexits."""

    WAYS = [["show", "testvm"], ["check", "testvm"], ["--vm=testvm", "--get-rax"], ["list"],
            ["create", "other"]]

    def test_what_is_missing(self):
        for args in self.WAYS:
            with self.subTest(args=args):
                self.refused(UNAVAILABLE, "modprobe vmm", *args, fake="no-module")
                self.refused(UNAVAILABLE, "neither VT-x nor SVM", *args, fake="no-virtualization")
                self.refused(NOPERM, "be root, or in the group", *args, fake="no-permission")
                self.refused(UNAVAILABLE, "built together", *args, fake="other-version")
        self.refused(UNAVAILABLE, "modprobe vmm", "mem", fake="no-module")

    def test_machines_that_there_are_not(self):
        for args in [["show", "x"], ["--vm=x", "--get-all"], ["destroy", "x"],
                     ["dirty", "x", "get"]]:
            with self.subTest(args=args):
                self.refused(NOINPUT, "there is no machine 'x'; 'vmmctl list'", *args)
        self.refused(NOINPUT, "never activated", "--vm=testvm", "--cpu=1", "--get-rax")

    def test_names_that_are_none(self):
        for name in ["../vmm", "a/b", "", "x" * 64]:
            with self.subTest(name=name):
                self.refused(DATA, "is no name of a machine", "show", name)


def main():
    runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=1)
    result = unittest.main(argv=[sys.argv[0]] + sys.argv[3:], testRunner=runner, exit=False).result
    failed = len({getattr(case, "test_case", case).id()
                  for case, _ in result.failures + result.errors})
    skipped = len(result.skipped)
    print("cases: %d passed, %d failed, %d skipped"
          % (result.testsRun - failed - skipped, failed, skipped))
    return 0 if failed == 0 and result.testsRun > skipped else 1


if __name__ == "__main__":
    sys.exit(main())
