#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""Looks at pages of pmap-sim in a browser without a network.

  test_page.py FAILING PMAP_SIM [NAME...]

FAILING is pmap-sim with the workload of tests/cli, whose scenario "race" always fails in the same
way and has hostile names; PMAP_SIM is the program itself. With SKEP_SHOTS=FOLDER, pictures of the
pages are left there. Exit 77: no browser.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import webdriver

FAILING, PMAP_SIM = (os.path.abspath(path) for path in sys.argv[1:3])
SHOTS = os.environ.get("SKEP_SHOTS")
SIZE_MAX = 5 << 20

# By selector, the contrast of the first such element's text with what is behind it (WCAG 2.1).
CONTRAST = """
const parse = (c) => c.match(/[0-9.]+/g).map(Number);
const light = (c) => {
  const [r, g, b] = c.map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1)
      return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const found = {};
for (const css of arguments[0]) {
  const e = document.querySelector(css);
  const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(behind(e));
  found[css] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
return found;
"""


class Page(unittest.TestCase):
    """Pages, each made once; one browser for all, since it takes a second to start."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.failure = os.path.join(cls.folder, "failure.html")
        args = ["run", "-q", "--scenario", "race", "--arch", "ept", "--report", cls.failure]
        assert subprocess.run([FAILING] + args, stdout=subprocess.DEVNULL, timeout=60,
                              check=False).returncode == 1
        cls.browser = webdriver.Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.console()
        self.browser.requests()

    def open(self, path):
        self.browser.open(path)
        self.assertEqual(self.browser.console(), [])

    def shot(self, name):
        if SHOTS:
            os.makedirs(SHOTS, exist_ok=True)
            self.browser.shot(os.path.join(SHOTS, name + ".png"))

    def now(self):
        return int(self.browser.text("#now").split()[0])

    def stale(self, cpu):
        return self.browser.script(
            "return document.querySelectorAll('#state .cpu')[arguments[0]]"
            ".querySelectorAll('li.stale').length", cpu)

    def test_it_opens_and_asks_for_nothing(self):
        self.open(self.failure)
        self.assertEqual(self.browser.script("return document.title"), "pmap-sim: violation")
        self.assertEqual([u for u in self.browser.requests()
                          if u != "file://" + self.failure and not u.startswith("data:")], [])
        self.assertEqual(self.browser.script(
            "return performance.getEntriesByType('resource').map((e) => e.name)"
            ".filter((n) => !n.startsWith('data:'))"), [])
        self.assertLess(os.path.getsize(self.failure), SIZE_MAX)
        self.shot("failure")

    def test_it_refers_to_nothing_outside(self):
        with open(self.failure, encoding="utf-8") as stream:
            text = stream.read()
        self.assertIn("default-src 'none'", text)
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        for word in ("http:", "https:", "//www", "@import", "<img", "<iframe", "<object"):
            self.assertNotIn(word, text)

    def test_names_are_text(self):
        self.open(self.failure)
        self.assertIsNone(self.browser.script("return window.injected"))
        self.assertEqual(len(self.browser.find("script")), 2)
        self.assertIn("</script><script>", self.browser.text(".failure"))
        self.assertIn("</script><script>", self.browser.text("#state .clock") +
                      self.browser.text("#tables"))
        self.browser.keys("#step", "left", "left")
        self.assertIsNone(self.browser.script("return window.injected"))
        self.assertEqual(len(self.browser.find("script")), 2)

    def test_the_slider_moves_and_the_state_with_it(self):
        self.open(self.failure)
        end = self.now()
        self.assertEqual(self.stale(0), 1)
        self.assertFalse(self.browser.displayed("#at-end"))
        self.assertTrue(self.browser.script(
            "return document.getElementById('playhead').classList.contains('on')"))
        self.browser.keys("#step", "left")
        self.assertLess(self.now(), end)
        self.browser.click("#to-first")
        first = self.now()
        before = self.browser.text("#state")
        self.assertEqual(self.stale(0), 0)
        self.browser.keys("#step", "right")
        self.assertGreater(self.now(), first)
        self.browser.click("#to-used")
        self.assertEqual(self.now(), end)
        self.assertNotEqual(self.browser.text("#state"), before)

    def test_the_change_is_where_staleness_begins(self):
        self.open(self.failure)
        self.browser.click("#to-changed")
        self.assertIn("clears the level-0 entry of 0x40201000", self.browser.text("#events"))
        self.assertEqual(self.stale(0), 1)
        self.assertIn("nothing", self.browser.text("#tables tr.new"))
        self.browser.keys("#step", "left")
        self.assertEqual(self.stale(0), 0)
        self.shot("change")
        # In the picture, too: the bar begins where the link from the change does, beside its 1.
        self.assertAlmostEqual(self.browser.script(
            "return parseFloat(document.querySelector('.lanes .link').getAttribute('d').slice(1))"
            " - 11 - document.querySelector('.lanes .stale.this rect').x.baseVal.value"), 0, 3)

    def test_brackets_go_from_event_to_event_of_the_picture(self):
        self.open(self.failure)
        picks = self.browser.script(
            "return JSON.parse(document.getElementById('story').textContent).picks")
        self.browser.keys("body", "[")
        self.assertIn(self.now(), picks)
        here = self.now()
        self.browser.keys("body", "]")
        self.assertGreater(self.now(), here)

    def test_rows_of_the_table_lead_to_their_step(self):
        self.open(self.failure)
        wanted = self.browser.script(
            "return Number(document.querySelector('.words tr[data-step]').dataset.step)")
        self.browser.click(".words tr[data-step] td:nth-child(4)")
        self.assertEqual(self.now(), wanted)

    def test_pictures_and_controls_have_names(self):
        self.open(self.failure)
        pictures = self.browser.find("svg[role=img]")
        self.assertGreaterEqual(len(pictures), 2)
        controls = self.browser.find("button, input, summary")
        self.assertGreaterEqual(len(controls), 8)
        for element in pictures + controls:
            self.assertNotEqual(self.browser.label(element).strip(), "")
        self.assertIn("nothing", self.browser.script(
            "return document.querySelector('.tables ~ details tr.touched').textContent"))
        for css in (".lanes .stale.this", ".lanes .guest", ".lanes .m.entry", ".lanes .link"):
            self.assertTrue(self.browser.find(css), css)

    def test_text_can_be_read_in_light_and_in_dark(self):
        self.open(self.failure)
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            ratios = self.browser.script(CONTRAST, [
                "body", ".small", "figcaption", ".failure p", "code", "button", ".verdict",
                "li.race", "tr.race td", "#now", "dt", "li.stale"])
            for css, ratio in ratios.items():
                self.assertGreaterEqual(ratio, 4.5, "%s, %s" % (css, scheme))
            if scheme == "dark":
                self.shot("dark")
        self.browser.scheme("")

    def test_the_policy_keeps_the_network_out(self):
        self.open(self.failure)
        broken = self.browser.script_later(
            "const done = arguments[0]; const seen = [];"
            "document.addEventListener('securitypolicyviolation', (e) => {"
            "  seen.push(e.effectiveDirective); if (seen.length === 2) done(seen.sort()); });"
            "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';"
            "fetch('http://127.0.0.1:9/').catch(() => 0);")
        self.assertEqual(broken, ["connect-src", "img-src"])
        self.browser.console()

    def test_without_scripts_all_but_the_slider_is_there(self):
        with webdriver.Browser(scripts=False) as browser:
            browser.open(self.failure)
            self.assertFalse(browser.displayed("#player"))
            for css in ("svg.lanes", "svg.tables", ".words table", "#state .cpu", "#at-end"):
                self.assertTrue(browser.displayed(css), css)
            for css in ("svg.lanes", "svg.tables"):
                self.assertGreater(browser.rect(css)["height"], 100)
            self.assertIn("stale", browser.text("#state"))
            if SHOTS:
                browser.shot(os.path.join(SHOTS, "no-scripts.png"))

    def test_a_real_run_is_shown(self):
        path = os.path.join(self.folder, "run.html")
        subprocess.run([PMAP_SIM, "run", "-q", "--scenario", "shootdown", "--arch", "npt",
                        "--story", "--report", path], check=True, timeout=60)
        self.assertLess(os.path.getsize(path), SIZE_MAX)
        self.open(path)
        end = self.now()
        self.browser.keys("#step", "home")
        first = self.now()
        self.assertLess(first, end)
        self.browser.keys("#step", "right", "right", "right")
        self.assertGreater(self.now(), first)
        self.assertEqual(self.browser.console(), [])
        self.assertTrue(self.browser.find(".lanes .guest"))
        self.assertIn("guest 0: generation", self.browser.text("#state .clock"))
        self.assertIn("slot 0 of guest 0", self.browser.text("#state .clock"))
        self.shot("run")

    def test_many_seeds_have_no_story(self):
        path = os.path.join(self.folder, "many.html")
        subprocess.run([PMAP_SIM, "run", "-q", "--count", "2", "--report", path], check=True,
                       timeout=60)
        self.open(path)
        self.assertFalse(self.browser.find("svg.lanes"))
        self.assertFalse(self.browser.find("#step"))
        self.assertIn("I14", self.browser.script("return document.body.textContent"))
        columns = len(self.browser.find("table.matrix thead th"))
        rows = self.browser.script(
            "return Array.from(document.querySelectorAll('table.matrix tbody tr'))"
            ".map((tr) => tr.children.length)")
        self.assertGreater(columns, 5)
        self.assertGreater(len(rows), 5)
        self.assertEqual(set(rows), {columns})
        self.assertTrue(self.browser.find("table.matrix td.hit1"))


def main():
    try:
        webdriver.find()
    except webdriver.Missing as why:
        print("skipped: %s" % why)
        return 77
    runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=1)
    result = unittest.main(argv=[sys.argv[0]] + sys.argv[3:], testRunner=runner, exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("cases: %d passed, %d failed, %d skipped"
          % (max(0, result.testsRun - failed - len(result.skipped)), failed,
             len(result.skipped)))
    return 0 if failed == 0 and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
