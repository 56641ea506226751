"""The site that `make docs` builds: without a warning, and without an address outside itself but links to follow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_asks_for_nothing_outside_itself(tmp_path) -> None:
    site = tmp_path / "site"
    sphinx = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-b",
        "html",
        "-D",
        "plot_gallery=0",  # tests/test_gallery.py runs the examples
        "-d",
        str(tmp_path / "trees"),
        "docs",
        str(site),
    ]
    done = subprocess.run(sphinx, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (site / "_static" / "mathjax" / "tex-chtml.js").is_file()
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe|source|object)[^>]*(?:src|href|data)=\"([^\"]*)", page.read_text()
        )
        assert not [address for address in loaded if "//" in address], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text()), sheet
