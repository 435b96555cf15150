"""Reads the fenced blocks of a document, and the comments that say how each is run.

A comment stands just above its block, and the reader does not see it:

    <!-- not run: WHY -->      the block is excused
    <!-- runs on -->           its last command does not end: it runs until the page ends
    <!-- before: CODE -->      runs before the block, in the same program
    <!-- after: CODE -->       runs after it; stands just below the block
    <!-- NAME: CODE -->        a file of that name, for the blocks that follow

A block below a paragraph that is only a name in backquotes and a colon is the file of that name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        # Not the documents of what is installed below.
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "benchmarks/results").glob("*.md"),
    ]
)

_COMMENT = re.compile(
    r"<!--\s*(not run|runs on|before|after|[\w./-]+\.\w+)(?::\s(.*?))?\s*-->", re.DOTALL
)
_NAME = re.compile(r"`([\w./-]+\.\w+)`:")


@dataclass
class Block:
    """One fenced block, or a file that only a comment holds."""

    document: Path
    line: int
    language: str
    code: str
    name: str | None = None
    excuse: str | None = None
    runs_on: bool = False
    before: str = ""
    after: str = ""

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def program(self) -> str:
        return "\n".join(part for part in (self.before, self.code, self.after) if part)


def blocks(document: Path, text: str | None = None) -> list[Block]:
    """The blocks of a document in their order; raises ``ValueError`` for a comment of no use."""
    found: list[Block] = []
    above: dict[str, str] = {}
    name = None
    for token in MarkdownIt().parse(document.read_text() if text is None else text):
        line = (token.map or [0])[0] + 1
        if token.type == "html_block" and "<!--" in token.content:
            for kind, code in _comments(token.content, f"{document.name}:{line}"):
                if kind == "not run" and not code.strip():
                    raise ValueError(f"{document.name}:{line}: say why: <!-- not run: WHY -->")
                if kind == "after" and found and not above:
                    found[-1].after = code
                elif "." in kind:
                    found.append(Block(document, line, Path(kind).suffix[1:], code, name=kind))
                else:
                    above[kind] = code
        elif token.type in ("fence", "code_block"):
            found.append(Block(
                document, line, token.info.strip(), token.content, name, above.pop("not run", None),
                above.pop("runs on", None) is not None, above.pop("before", ""),
            ))
            name = None
        elif token.type == "inline":
            named = _NAME.fullmatch(token.content)
            name = named and named[1]
        elif token.type == "heading_open":
            name = None
        if token.type != "html_block" and above:
            raise ValueError(f"{document.name}:{line}: a comment that stands above no block")
    return found


def _comments(content: str, place: str) -> list[tuple[str, str]]:
    found = [(match[1], match[2] or "") for match in _COMMENT.finditer(content)]
    if len(found) != content.count("<!--"):
        raise ValueError(f"{place}: a comment that says nothing about a block: {content}")
    return found


def inline_code(document: Path) -> list[str]:
    """What stands in backquotes within the sentences and tables of a document."""
    parser = MarkdownIt().enable("table")
    return [
        part.content
        for token in parser.parse(document.read_text())
        for part in token.children or []
        if part.type == "code_inline"
    ]
