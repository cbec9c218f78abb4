"""The files on the pages of the syntax codes: each bad one gives exactly its code, each good one nothing."""

from __future__ import annotations

import re

import pytest

from glassbox_dsl.resources import shipped
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import errors, parse

PAGES = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted(shipped("specs").glob("errors/GB1*.md"))
}
BLOCK = re.compile(r"^```gbx (bad|good)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = [(code, kind, text) for code, page in PAGES.items() for kind, text in BLOCK.findall(page)]
WITHOUT_TEXT = {"GB101", "GB102", "GB103"}  # about files that are no text


def test_every_code_of_the_stage_has_a_page() -> None:
    with open(errors.__file__, encoding="utf-8") as file:
        codes = set(re.findall(r'"(GB\d{3})"', file.read()))
    assert codes == set(PAGES) and len(codes) == 17
    assert {code for code, _, _ in FILES} == codes - WITHOUT_TEXT


@pytest.mark.parametrize(("code", "kind", "text"), FILES, ids=[f"{code}-{kind}" for code, kind, _ in FILES])
def test_the_files_on_the_pages(code: str, kind: str, text: str) -> None:
    codes = {diagnostic.code for diagnostic in parse(Source(f"{code}.gbx", text)).diagnostics}
    assert codes == ({code} if kind == "bad" else set())
