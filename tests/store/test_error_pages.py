"""Each code that the store can say has its page, and each page its code."""

from __future__ import annotations

import re
from pathlib import Path

from glassbox_dsl.resources import shipped
from glassbox_dsl.store import errors


def test_every_code_has_a_page_that_says_how_it_arises() -> None:
    source = Path(errors.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'"(GB6[0-4]\d)"', source))
    pages = {
        page.stem: page.read_text(encoding="utf-8") for page in shipped("specs").glob("errors/GB6[0-4]*.md")
    }
    assert len(codes) >= 17
    assert set(pages) == codes
    for code, text in pages.items():
        assert text.startswith(f"# {code}: ")
        assert "**How it arises.**" in text
