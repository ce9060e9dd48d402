# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""As much of the WebDriver protocol (W3C, 2018) as the tests of pages need, over chromedriver.

The browser gets a name server that there is not and no proxy, so that whatever a page might ask the
network for would fail, and be seen in the log.
"""

import base64
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"left": "\ue012", "right": "\ue014", "home": "\ue011", "end": "\ue010"}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-default-apps", "--host-resolver-rules=MAP * ~NOTFOUND", "--no-proxy-server",
         "--disable-dev-shm-usage", "--window-size=1400,1000"]


class Missing(Exception):
    """There is no browser here; a sentence."""


def find():
    """The browser and its driver, or Missing."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        raise Missing("no %s" % ("chromium" if not browser else "chromedriver"))
    return browser, driver


class Browser:
    """One browser, without a network; `with Browser() as b`."""

    def __init__(self, scripts=True):
        self.binary, driver = find()
        self.folder = tempfile.mkdtemp()
        self.log = open(os.path.join(self.folder, "driver.log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([driver, "--port=0"], stdout=self.log,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.session = None
        try:
            self.port = self._port()
            self._begin(scripts)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _port(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with open(self.log.name, encoding="utf-8") as stream:
                for line in stream:
                    if "started successfully on port" in line:
                        return int(line.rstrip().rstrip(".").split()[-1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("chromedriver did not start: " + self.log.name)

    def _begin(self, scripts):
        options = {"binary": self.binary,
                   "args": FLAGS + ["--user-data-dir=" + os.path.join(self.folder, "profile")]}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        caps = {"browserName": "chrome", "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": caps}})
        self.session = answer["sessionId"]

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError("%s %s: %s" % (method, path, value.get("message", value)))
        return value

    def do(self, method, path, body=None):
        return self.call(method, "/session/%s%s" % (self.session, path), body)

    def open(self, path):
        self.do("POST", "/url", {"url": "file://" + os.path.abspath(path)})

    def script(self, text, *args):
        return self.do("POST", "/execute/sync", {"script": text, "args": list(args)})

    def script_later(self, text, *args):
        """The last argument of the script is a function to be called with its value."""
        return self.do("POST", "/execute/async", {"script": text, "args": list(args)})

    def find(self, css):
        found = self.do("POST", "/elements", {"using": "css selector", "value": css})
        return [element[ELEMENT] for element in found]

    def one(self, css):
        found = self.find(css)
        assert found, "there is no " + css
        return found[0]

    def text(self, css):
        return self.do("GET", "/element/%s/text" % self.one(css))

    def label(self, element):
        return self.do("GET", "/element/%s/computedlabel" % element)

    def rect(self, css):
        return self.do("GET", "/element/%s/rect" % self.one(css))

    def displayed(self, css):
        return self.do("GET", "/element/%s/displayed" % self.one(css))

    def click(self, css):
        self.script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", css)
        self.do("POST", "/element/%s/click" % self.one(css), {})

    def keys(self, css, *names):
        text = "".join(KEYS.get(name, name) for name in names)
        self.do("POST", "/element/%s/value" % self.one(css), {"text": text})

    def console(self):
        """What the console told since the last time."""
        return self.do("POST", "/se/log", {"type": "browser"})

    def requests(self):
        """Addresses that were asked for since the last time."""
        urls = []
        for entry in self.do("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return urls

    def scheme(self, name):
        """Light or dark, as a reader's system would ask for."""
        self.do("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{"name": "prefers-color-scheme", "value": name}]}})

    def shot(self, path, css=None):
        where = "/element/%s/screenshot" % self.one(css) if css else "/screenshot"
        with open(path, "wb") as stream:
            stream.write(base64.b64decode(self.do("GET", where)))

    def close(self):
        if self.session:
            try:
                self.do("DELETE", "")
            except (OSError, RuntimeError, ValueError):
                pass
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
