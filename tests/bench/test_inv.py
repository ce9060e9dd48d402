#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""pmap-inv and pmap-cost as people call them: what they write, count and refuse. Never a time.

  test_inv.py PMAP_INV PMAP_COST
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

INV, COST = sys.argv[1:3]
SAFE = {"gather", "nomerge", "kick", "rendezvous"}
bad = 0


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, check=False)


def check(true, *what):
    global bad
    if not true:
        bad += 1
        print("not so:", *what)


def refused(code, text, *command):
    r = run(*command)
    check(r.returncode == code and text in r.stderr, command, r.returncode, r.stderr)


def histogram_is_sound(h, where):
    check(sum(n for _, n in h["buckets"]) == h["count"], where, "buckets do not add up")
    check(h["count"] == 0 or h["min"] <= h["p50"] <= h["p99"] <= h["max"], where, h["min"])
    check(h["buckets"] == sorted(h["buckets"]), where, "buckets out of order")


def pictures_are_sound(folder, names):
    check(set(names) <= set(os.listdir(folder)), os.listdir(folder))
    for name in names:
        root = xml.etree.ElementTree.parse(os.path.join(folder, name)).getroot()
        check(root.tag.endswith("svg") and len(root) > 10, name, len(root))


def cost(folder):
    args = [COST, "--cpus", "0,1,8,70", "--initiators", "4", "--gathers", "8"]
    first = run(*args, "--json", "-", "--svg", folder)
    check(first.returncode == 0, first.stderr)
    check(first.stdout == run(*args, "--json", "-").stdout, "two runs differ")
    report = json.loads(first.stdout)
    check(report["kind"] == "pmap-cost" and report["format"] == 1, report["kind"])
    check(len(report["results"]) == 4 * 6, len(report["results"]))
    for r in report["results"]:
        where = (r["scheme"], r["cpus"])
        histogram_is_sound(r["latency_ns"], where)
        check(r["gathers"] == 4 * 8, where, r["gathers"])
        if r["scheme"] in SAFE:
            check(r["stale"] == 0, where, r["stale"])
        elif r["cpus"] > 0:
            check(r["stale"] > 0, where)
        if r["scheme"] == "gather":
            check(r["shootdowns"] + r["merged"] == r["gathers"], where)
    pictures_are_sound(folder, ["cost-latency-4.svg", "cost-stolen-4.svg"])

    dear = json.loads(run(*args, "--json", "-", "--set", "flush=90000").stdout)
    check(dear["costs"]["flush"] == 90000, dear["costs"])
    check(dear["results"] != report["results"], "what a flush costs makes no difference")
    listed = run(COST, "--list")
    check(all(name in listed.stdout for name in report["costs"]), listed.stdout)
    check(run(COST, "--cpus", "2").stdout.count("CPUs  ") >= 6, "tables are missing")

    for wrong in (["--cpus", "513"], ["--cpus", "1,x"], ["--initiators", "0"], ["--set", "flush"],
                  ["--scheme", "nix"], ["--pages", "0"], ["--in-guest", "101"], ["word"], ["--no"]):
        check(run(COST, *wrong).returncode == 64, wrong)
    refused(70, "cannot write", COST, "--cpus", "1", "--json", os.path.join(folder, "no/x"))
    refused(70, "cannot write", COST, "--cpus", "1", "--svg", os.path.join(folder, "no"))


def inv(folder):
    check("inv.storm" in run(INV, "--list").stdout, "inv.storm is not listed")
    for wrong in (["--cpus", "0"], ["--rounds", "99"], ["--arch", "x86"], ["--no"]):
        check(run(INV, *wrong).returncode == 64, wrong)
    there = len(os.sched_getaffinity(0))
    if there < 62:
        refused(75, "may use", INV, "--cpus", str(there + 1))
    if there < 2:
        refused(75, "two processors", INV)
        return
    refused(64, "there is no row", INV, "inv.elide", "nix")
    page = os.path.join(folder, "page.html")
    r = run(INV, "--rounds", "1", "--arch", "rvi", "--json", "-", "--html", page, "inv.elide",
            "inv.latency.*.1", "inv.storm.*")
    check(r.returncode == 0, r.stderr)
    rows = {row["name"]: row for row in json.loads(r.stdout)["rows"]}
    check(rows["inv.elide"]["count"] == 0 and rows["inv.elide"]["reached"], rows["inv.elide"])
    check(rows["inv.latency.in.1"]["count"] == 1, rows["inv.latency.in.1"])
    check(rows["inv.latency.out.1"]["count"] == 0, rows["inv.latency.out.1"])
    check(("refused" in rows["inv.storm.2"]) == (there < 3), rows["inv.storm.2"])
    with open(page, encoding="utf-8") as stream:
        check("<svg" in stream.read(), "no picture on the page")
    refused(70, "cannot write", INV, "--rounds", "1", "inv.elide", "--json",
            os.path.join(folder, "no/x"))


with tempfile.TemporaryDirectory() as scratch:
    cost(scratch)
    inv(scratch)
sys.exit(1 if bad else 0)
