"""Headless Chromium through a pair of pipes: load a page from a file and see everything that it does."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-pipe",
    ),
)
PATIENCE = 60.0


@dataclass
class Seen:
    """What a page did: the addresses it asked for, what it complained of, and what its policy stopped."""

    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Browser:
    """One browser with a profile of its own; a context manager."""

    def __enter__(self) -> Browser:
        self.profile = tempfile.mkdtemp(prefix="gbx-chromium-")
        read_theirs, self.write_mine = os.pipe()
        self.read_mine, write_theirs = os.pipe()

        def arrange() -> None:
            # The browser listens on file 3 and answers on file 4, whatever numbers the pipes have here.
            spare = [os.dup(read_theirs), os.dup(write_theirs)]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            command, preexec_fn=arrange, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read_theirs)
        os.close(write_theirs)
        self.buffer, self.number, self.seen = b"", 0, Seen()
        self.session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.write_mine)
        os.close(self.read_mine)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command and its answer; what happens meanwhile goes into `seen`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_mine, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def open(
        self, path: Path, dark: bool = False, scripts: bool = True, width: int = 1280, fragment: str = ""
    ) -> Seen:
        """Load a file and wait until it stands; returns what it did."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self._go("about:blank")  # to its end: its load event must not pass for the page's
        self.seen = Seen()
        self._go(path.resolve().as_uri() + fragment)
        if scripts:
            self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        return self.seen

    def _go(self, url: str) -> None:
        self.loaded = False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self._next()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def move(self, x: float, y: float) -> None:
        """Move the pointer there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Press and let go there."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press one key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(
        self,
        to: Path,
        selector: str = "body",
        clip: tuple[float, float, float, float] | None = None,
        scale: float = 1.0,
    ) -> None:
        """Write a PNG of one element, or of (x, y, width, height) of the page."""
        box = clip or self.run(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
        )
        part = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=scale)
        shot = self.call("Page.captureScreenshot", clip=part, captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_mine], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            self.buffer += os.read(self.read_mine, 1 << 16)
        text, self.buffer = self.buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self.loaded = True
            case "Network.requestWillBeSent":
                self.seen.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.seen.problems.append(json.dumps(params["exceptionDetails"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.seen.problems.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.seen.problems.append(json.dumps(params["args"])[:500])
            case "Audits.issueAdded" if "contentSecurityPolicy" in json.dumps(params):
                self.seen.problems.append(json.dumps(params)[:500])
