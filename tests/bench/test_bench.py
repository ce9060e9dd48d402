#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""pmap-bench: counts that must hold whatever the machine, its report, and its refusals.

  test_bench.py PMAP-BENCH BENCH.md

Counts come from the counting worker: how often a locked operation, a fence or a shootdown was
made for how much work. They do not vary, so they are asserted; times are not looked at. Bounds are
those that a change for the worse would break, not the figures of the day.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

BENCH = sys.argv[1]
FOLDER = os.path.dirname(os.path.abspath(BENCH))
ARCHES = ("ept", "ept-noad", "rvi")
GIB_PAGES = 1 << 18
TABLE = 4096

passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("failed: %s %s" % (what, detail))


def counted(row, arch):
    run = subprocess.run([FOLDER + "/pmap-bench-count", row, arch, "2", "1"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    check("%s, %s: runs" % (row, arch), run.returncode == 0, run.stderr)
    if run.returncode != 0:
        return {"units": 1, "counts": {}}
    return json.loads(run.stdout)


def bench(*args):
    return subprocess.run([BENCH] + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)


# Row: count, the least and the most it may be. "/" after a count: by the row's unit.
EXACT_1 = (1, 1)
COUNTS = {
    "fault.seq": {"locked/": (1, 2.01), "fences": (0, 0), "shootdowns": (0, 0),
                  "table_bytes": (34 * TABLE, 34 * TABLE)},
    "fault.rand": {"locked/": (1, 2.01), "fences": (0, 0), "shootdowns": (0, 0)},
    "fault.sparse": {"locked/": (2, 4.1), "table_bytes": (514 * TABLE, 514 * TABLE)},
    # Nothing is shared by faults of CPUs that keep apart but what links the first tables.
    "fault.scale": {"locked/": (1, 2.02), "shared_writes": (0, 16)},
    "map.4k": {"locked/": (1, 2.01 * GIB_PAGES), "shootdowns": (0, 0),
               "table_bytes": (514 * TABLE, 514 * TABLE)},
    "map.2m": {"locked/": (1, 1100), "table_bytes": (2 * TABLE, 2 * TABLE)},
    "unmap.4k": {"shootdowns": EXACT_1, "locked": (1, 1.02 * GIB_PAGES)},
    "unmap.2m": {"shootdowns": EXACT_1, "locked": (1, 1100)},
    "unmap.one.seq": {"shootdowns": EXACT_1, "locked/": (1, 3.01)},
    "unmap.one.rand": {"shootdowns": EXACT_1, "locked/": (1, 3.01)},
    "split": {"locked/": (1, 4 * 512), "shootdowns": (0, 0),
              "table_bytes": (512 * TABLE, 512 * TABLE)},
    "collapse": {"shootdowns": EXACT_1, "locked/": (1, 7 * 512)},
    "walk.hot": {"locked/": (0, 1.01), "fences": (0, 0)},
    "harvest.sparse": {"shootdowns": EXACT_1, "locked": (1, 1100)},
    "harvest.dense": {"shootdowns": EXACT_1, "locked": (1, 1100)},
    "harvest.none": {"shootdowns": (0, 0), "locked": (0, 1100), "fences": (0, 0)},
    "wrprot.live.dirty": {"shootdowns": EXACT_1, "locked": (1, 1.02 * GIB_PAGES)},
    "age.live": {"shootdowns": EXACT_1, "locked": (1, 1.02 * GIB_PAGES)},
    # A gather for each 128 MiB.
    "mig.round": {"shootdowns": (8, 8), "kicks": (0, 0)},
}
# Tables that nobody went through are passed over, where hardware sets A on the way.
PASSED_OVER = {"harvest.none": {"locked": (0, 8), "stores": (0, 64)}}
# Emulated A and D: what was aged or cleaned goes by other rules.
EMULATED = {"harvest.sparse", "harvest.dense", "age.live"}


def test_counts():
    for arch in ARCHES:
        for row, bounds in COUNTS.items():
            if arch == "ept-noad" and row in EMULATED:
                continue
            got = counted(row, arch)
            check("%s, %s: kicks" % (row, arch), got["counts"].get("kicks", 0) == 0)
            if arch != "ept-noad":
                bounds = {**bounds, **PASSED_OVER.get(row, {})}
            for name, (least, most) in bounds.items():
                value = got["counts"].get(name.rstrip("/"), 0)
                if name.endswith("/"):
                    value /= got["units"]
                check("%s, %s: %s" % (row, arch, name), least <= value <= most,
                      "%g is not within %g .. %g" % (value, least, most))


def test_same_again():
    for row in ("fault.seq", "fault.scale", "unmap.4k", "harvest.sparse", "collapse"):
        check(row + ": the same counts again", counted(row, "ept") == counted(row, "ept"))


def test_memory():
    for arch in ARCHES:
        for row, tables in (("mem.4k", 515), ("mem.2m", 3)):
            got = counted(row, arch)
            check("%s, %s" % (row, arch), got["value"]["best"] == tables * TABLE, got)
            check("%s, %s: left" % (row, arch), got["counts"]["left_after_unmap"] == 0)
        check("leak, " + arch, counted("leak", arch)["value"]["best"] <= 128)


KEYS = {"format", "machine", "build", "run", "rows", "skipped", "failed"}
ROW_KEYS = {"name", "arch", "tier", "unit", "what", "limit", "value", "ratio", "ratio_median",
            "target", "reached", "counts"}
PARTS = {
    "machine": {"cpus", "kernel", "architecture"},
    "build": {"version", "compiler", "flags_native", "flags_kernel"},
    "run": {"milliseconds_per_row", "cpus", "date", "seconds", "pinned", "load_before",
            "load_after", "others", "steal", "noisy"},
}


def check_report(report, schema):
    check("report: keys", KEYS <= set(report), sorted(report))
    check("report: format", report["format"] == "skep-bench-1")
    for part, keys in PARTS.items():
        check("report: " + part, keys <= set(report[part]), keys - set(report[part]))
        for key in keys:
            check("documented: " + key, "`%s`" % key in schema)
    for row in report["rows"]:
        name = row["name"]
        check(name + ": keys", ROW_KEYS <= set(row), ROW_KEYS - set(row))
        check(name + ": ratio", row["limit"]["best"] == 0 or
              abs(row["ratio"] - row["value"]["best"] / row["limit"]["best"])
              <= 1e-6 * row["ratio"])
        check(name + ": reached", row["reached"] == (row["ratio"] <= row["target"]))
        check(name + ": best is the least", row["value"]["best"] ==
              min(row["value"].get("rounds", [row["value"]["best"]])))
    for key in ROW_KEYS | KEYS:
        check("documented: " + key, "`%s`" % key in schema)


def check_pictures(folder):
    with open(folder + "/page.html", encoding="utf-8") as stream:
        page = stream.read()
    rest = page.replace("http://www.w3.org/2000/svg", "")
    check("page: self-contained", "http" not in rest and "src=" not in rest)
    check("page: has the row", "fault.seq" in page and page.rstrip().endswith("</html>"))
    for tier in ("native", "kernel"):
        tree = ElementTree.parse("%s/svg/ratios-ept-%s.svg" % (folder, tier))
        bars = [e for e in tree.iter() if e.tag.endswith("rect")]
        check("picture: bars", len(bars) == 2, len(bars))
    check("picture: none without rows", not os.path.exists(folder + "/svg/ratios-rvi-native.svg"))


def check_compare(folder, report):
    def compare(name, change):
        old = copy.deepcopy(report)
        change(old)
        path = "%s/%s.json" % (folder, name)
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(old, stream)
        return bench("run", "mem.4k", "--arch", "ept", "--compare", path)

    def slower(old):
        for row in old["rows"]:
            row["ratio"] = row["ratio_median"] = row["ratio"] / 2

    def counts(old):
        for row in old["rows"]:
            row["counts"]["left_after_unmap"] = 3

    same = compare("same", lambda old: None)
    check("compare: nothing", "0 of 2 rows changed" in same.stdout, same.stdout)
    other = compare("slower", slower)
    check("compare: slower", other.stdout.count("slower by 100 %") == 2 and
          "2 of 2 rows changed" in other.stdout, other.stdout)
    other = compare("counts", counts)
    check("compare: counts", other.stdout.count("left_after_unmap 0, was 3") == 2, other.stdout)
    other = compare("elsewhere", lambda old: old["machine"].update(cpu="Zilog Z80"))
    check("compare: another machine", "another cpu: " in other.stdout and
          'was "Zilog Z80"' in other.stdout, other.stdout)
    other = compare("norows", lambda old: old.update(rows=None))
    check("compare: no rows", "has none of these rows" in other.stdout, other.stdout)
    with open(folder + "/cut.json", "w", encoding="utf-8") as stream:
        stream.write(json.dumps(report)[:1000])
    check("compare: half a report", bench("run", "mem.4k", "--compare",
                                          folder + "/cut.json").returncode == 66)
    bench("run", "fault.never", "--json", folder + "/never.json")
    check("a run that never was leaves no report", not os.path.exists(folder + "/never.json"))
    with open(folder + "/none.json", "w", encoding="utf-8") as stream:
        stream.write("{}")
    check("compare: no report", bench("run", "mem.4k", "--compare",
                                      folder + "/none.json").returncode == 65)
    check("compare: no file", bench("run", "mem.4k", "--compare",
                                    folder + "/nowhere.json").returncode == 66)


def test_report():
    with open(sys.argv[2], encoding="utf-8") as stream:
        schema = stream.read()
    with tempfile.TemporaryDirectory() as folder:
        run = bench("run", "fault.seq", "mem.4k", "--arch", "ept", "--time", "1ms",
                    "--json", folder + "/a.json", "--svg", folder + "/svg",
                    "--html", folder + "/page.html")
        check("run", run.returncode == 0, run.stderr)
        check("run: no progress without a terminal", run.stderr == "", run.stderr)
        with open(folder + "/a.json", encoding="utf-8") as stream:
            report = json.load(stream)
        check("run: rows", len(report["rows"]) == 4)
        check("run: nothing failed", report["failed"] == [], report["failed"])
        check_report(report, schema)
        check_pictures(folder)
        check_compare(folder, report)


def test_shootdowns():
    """All about shootdowns: rows in both tiers, schemes, simulated machines, pictures of them."""
    if (os.cpu_count() or 1) < 2:
        check("shootdowns: refused", bench("run", "inv.elide").returncode == 75)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([BENCH, "run", "inv", "--arch", "ept-noad", "--time", "1ms", "--json",
                              folder + "/a.json", "--html", folder + "/page.html"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=dict(os.environ, TMPDIR=folder), check=False)
        check("shootdowns: run", run.returncode == 0, run.stderr)
        check("shootdowns: nothing left behind",
              sorted(os.listdir(folder)) == ["a.json", "page.html"], os.listdir(folder))
        with open(folder + "/a.json", encoding="utf-8") as stream:
            report = json.load(stream)
        with open(folder + "/page.html", encoding="utf-8") as stream:
            page = stream.read()
    elided = {row["tier"]: row for row in report["rows"] if row["name"] == "inv.elide"}
    check("shootdowns: tiers", set(elided) == {"native", "kernel"}, set(elided))
    for row in elided.values():
        check("shootdowns: elided", row["value"]["best"] == 0 and row["reached"], row)
        check("shootdowns: type", row["arch"] == "ept-noad", row)
    parts = [row["extra"] for row in report["rows"] if row["name"] == "inv.latency.in.1"]
    check("shootdowns: parts", all({"bare_kick", "alone"} <= set(p) for p in parts), parts)
    check("shootdowns: schemes", {"gather", "rendezvous"} <=
          {side["scheme"] for side in report["invalidation"]})
    check("shootdowns: simulated", [r["initiators"] for r in report["simulated"]] == [1, 16])
    check("shootdowns: pictures", page.count("CPUs that unmap") == 4 and
          "Latency of one unmap" in page, page.count("<svg"))


def test_refusals():
    for what, code, args in (
            ("no verb", 64, []),
            ("no such verb", 64, ["walk"]),
            ("no such row", 64, ["run", "fault.never"]),
            ("no such type", 64, ["run", "--arch", "sparc"]),
            ("no such tier", 64, ["run", "--tier", "fast"]),
            ("no time", 64, ["run", "--time", "never"]),
            ("no option", 64, ["run", "--frob"]),
            ("too many CPUs", 75 if (os.cpu_count() or 1) < 64 else 0,
             ["run", "mem.4k", "--cpus", "64", "--arch", "ept"]),
            ("a row that needs two CPUs", 75, ["run", "fault.scale", "--cpus", "1"]),
            ("a row that needs three", 75 if (os.cpu_count() or 1) < 3 else 0,
             ["run", "inv.storm.2", "--arch", "ept", "--tier", "native", "--time", "1ms"]),
            ("time that is none", 64, ["run", "mem.4k", "--time", "0"]),
            ("a folder that cannot be", 73, ["run", "mem.4k", "--arch", "ept", "--json",
                                              "/nowhere/a.json"]),
            ("a folder that is a file", 73, ["run", "mem.4k", "--arch", "ept", "--svg",
                                             sys.argv[2]])):
        run = bench(*args)
        check(what, run.returncode == code, "exit %d: %s" % (run.returncode, run.stderr))
        check(what + ": a sentence", code == 0 or run.stderr != "")


def test_list():
    run = bench("list")
    names = {line.split()[0] for line in run.stdout.splitlines() if not line.startswith(" ")}
    check("list", run.returncode == 0 and set(COUNTS) <= names, names)
    check("list: shootdowns", any(name.startswith("inv.batch.") for name in names))
    check("cost", bench("cost", "--list").returncode == 0)


def main():
    test_counts()
    test_same_again()
    test_memory()
    test_report()
    test_shootdowns()
    test_refusals()
    test_list()
    print("cases: %d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
