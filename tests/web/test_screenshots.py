"""The pictures of the console: they are there, small, and shown by the guide."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = sorted((DOCS / "images").glob("console-*.png"))
MAX_IMAGE_BYTES = 150_000


def test_the_guide_shows_each_picture() -> None:
    guide = (DOCS / "guides/console.md").read_text()
    shown = set(re.findall(r"\.\./images/([\w-]+\.png)", guide))
    assert shown == {image.name for image in IMAGES}
    assert {f"console-{name}-{kind}.png" for name in ("overview", "jobs", "job")
            for kind in ("light", "dark", "narrow")} == shown


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_a_picture_is_a_small_png(image: Path) -> None:
    assert image.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert image.stat().st_size <= MAX_IMAGE_BYTES
