"""The pages that mkdocs builds: strictly, and showing nothing that lies elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(
    r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=\"((?:https?:)?//[^\"]+)"
)
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: what asked the network would fail."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, built with warnings as errors."""
    if not os.environ.get("CI"):  # there what is missing is an error
        pytest.importorskip("mkdocs")
        pytest.importorskip("mkdocstrings")
    target = tmp_path_factory.mktemp("site") / "docs"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(target)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return target


def html(site: Path, name: str) -> str:
    return (site / name).read_text(encoding="utf-8")


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = {page.name: LOADED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: found for name, found in loaded.items() if found} == {}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*\)", styles) == []


def test_what_the_code_says_of_itself_is_put_in(site: Path) -> None:
    commands = html(site, "reference/commands.html")
    for words in ("--allow-identity-mismatch", "--check", "--threads-per-worker", "--any-version"):
        assert words in commands
    assert "scar_percent_of_lv_mass" in html(site, "reference/result-json.html")
    assert "keep_days" in html(site, "reference/node-configuration.html")
    assert re.search(r"[0-9a-f]{64}", html(site, "install.html"))
    for page in site.rglob("*.html"):
        assert not re.search("<!-- (help|file|schema|models):", page.read_text("utf-8")), page.name


def test_public_names_have_their_docstrings(site: Path) -> None:
    text = html(site, "reference/api.html")
    for words in ("timeout_s", "image_only_labels", "lead_names", "EcgError"):
        assert words in text
    assert not re.search(r":(?:meth|func|class|data|attr|mod):", text)


def test_links_of_files_outside_of_docs_lead_to_their_pages(site: Path) -> None:
    assert 'href="project/model-card.html"' in html(site, "index.html")
    assert "model-belief.png" in html(site, "project/model-card.html")
    for name in ("model-card", "security", "changelog", "contributing", "hosts"):
        assert "<h1" in html(site, f"project/{name}.html")
    # A list stands as one, though other readers of Markdown need no blank line before it.
    assert "<li>Zips are read in memory" in html(site, "project/security.html")
