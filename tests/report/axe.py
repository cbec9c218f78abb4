"""Where axe-core lies, which tools/fetch_axe.py fetches from npm, and what it finds in a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from glassbox_dsl.resolve.bundled import cache_folder
from tests.report.browser import Browser

VERSION = "4.14.1"
SCRIPT = Path(os.environ.get("GBX_AXE") or cache_folder() / "axe-core" / VERSION / "axe.min.js")
ALLOWED = ("minor", "moderate")


def issues(browser: Browser) -> list[tuple[str, str, list[str]]]:
    """Serious and critical issues of the page that stands: rule, what it asks, and the elements that break it."""
    browser.run("void 0;" + SCRIPT.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = browser.run(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>"
        " ({id: v.id, impact: v.impact, help: v.help,"
        " nodes: v.nodes.map(n => n.html.slice(0, 160) + ' ' + n.failureSummary)})))"
    )
    return [(v["id"], v["help"], v["nodes"][:5]) for v in found if v["impact"] not in ALLOWED]
