"""Every link in the documents has its target, and the reference names what there is."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from end_to_end.blocks import DOCUMENTS, ROOT, blocks

import pgjobs
from pgjobs import App, JobService


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", document.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in _anchors(target), link


def test_every_document_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    for document in (ROOT / "docs").rglob("*.md"):
        name = document.relative_to(ROOT / "docs").as_posix()
        assert name == "README.md" or f"]({name})" in contents


def test_the_python_reference_names_everything_public() -> None:
    reference = (ROOT / "docs" / "python.md").read_text()
    for name in pgjobs.__all__:
        assert re.search(rf"\b{name}\b", reference), name


def test_the_signatures_of_the_python_reference_are_those_of_the_code() -> None:
    reference = ROOT / "docs" / "python.md"
    printed = [block.code for block in blocks(reference) if block.language == "text"]
    printed += re.findall(r"`(JobService\(.*\))`", reference.read_text())
    shown: dict[str, Callable[..., Any]] = {
        "App": App, "@app.job": App.job, "app.worker": App.worker, "JobService": JobService,
    }
    for name, code in shown.items():
        (text,) = [text for text in printed if text.startswith(f"{name}(")]
        arguments = text[len(name) + 1 : text.index("async def") if "async def" in text else None]
        names = re.findall(r"(?:^|, )\s*(\w+)[:=,]", re.sub(r"\s+", " ", arguments) + ",")
        assert names == [name for name in inspect.signature(code).parameters if name != "self"]
