"""Words of the documentation: short, with links and paths that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "MODEL_CARD.md",
    ROOT / "SECURITY.md",
    ROOT / "runtime" / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
MOST_README_LINES = 150
MOST_WORDS = 35
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)\s]+\)")
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
NOT_PROSE = re.compile(r"^(#|\||<!--|:::|    )")
IN_REPOSITORY = re.compile(
    r"(?<![\w/.])((?:tests|bench|scarseg_infer|runtime|export|docs)/[\w./-]*\w)"
)
WRONG = {
    r"Ampere and newer|Ampere and later": "TensorRT-RTX refuses Hopper, which is newer",
    r"less than 25 MB": "the test says 10",
}


def prose(text: str) -> Iterator[str]:
    """Paragraphs and items of lists, each on one line, code as one word, links as their words."""
    text = LINK.sub(r"\1", IMAGE.sub("", CODE.sub("code", FENCE.sub("", text))))
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        starts = re.match(r"\s*(?:[-*>]|\d+\.) ", line)
        if (not line.strip() or starts or NOT_PROSE.match(line)) and block:
            yield " ".join(block)
            block = []
        if line.strip() and not NOT_PROSE.match(line):
            block.append(line[starts.end() :] if starts else line.strip())


def cells(text: str) -> Iterator[str]:
    """Cells of the tables."""
    plain = LINK.sub(r"\1", CODE.sub("code", FENCE.sub("", text)))
    for line in plain.splitlines():
        if line.startswith("|"):
            yield from (cell.strip() for cell in line.strip("|").split("|"))


def sentences(text: str) -> Iterator[str]:
    for paragraph in (*prose(text), *cells(text)):
        yield from re.split(r"(?<=[.!?])[*_)\"]*\s+(?=[\"“*(A-Zcτδ])", paragraph)


def anchors(path: Path) -> set[str]:
    """Headings as links name them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", NAMES)
def test_sentences_begin_with_what_they_are_about(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    hidden = [
        one
        for paragraph in prose(text)
        for one in sentences(paragraph)
        if re.match(r"(What|Whether|How|Which|Why|Who)\b", one)
        and len(one.split()) > 4
        and "?" not in one
    ]
    assert hidden == []


def test_docstrings_begin_with_a_verb_or_noun() -> None:
    """Of public and private names, of attributes and of tests, in TypeScript too."""
    hidden = re.compile(r'(?:"""|/\*\* )(?:What|Whether|How|Which|Where|Why|Who|That)\b.*')
    found = {
        path.relative_to(ROOT).as_posix(): hits
        for folder in ("runtime", "scarseg_infer", "export", "bench", "docs", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".ts", ".mjs") and "node_modules" not in path.parts
        if (hits := hidden.findall(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_README_LINES


@pytest.mark.parametrize("name", [*NAMES, "CHANGELOG.md"])
def test_sentences_are_short(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    words = [(len(re.findall(r"\w[\w'’.-]*", one)), one) for one in sentences(text)]
    assert words or name.endswith("api.md")
    assert [found for found in words if found[0] > MOST_WORDS] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    lost = []
    for _, target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        place, _, anchor = target.partition("#")
        there = (page.parent / place).resolve() if place else page
        if (
            not there.is_relative_to(ROOT)
            or not there.exists()
            or (anchor and anchor not in anchors(there))
        ):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    code = " ".join([*CODE.findall(FENCE.sub("", text)), *FENCE.findall(text)])
    named = {path for path in IN_REPOSITORY.findall(code) if "node_modules" not in path}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_was_wrong_stays_away(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert {why for pattern, why in WRONG.items() if re.search(pattern, text)} == set()


def test_issue_forms_ask_for_version_and_providers() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
    assert len(forms) == 3
    for form in forms:
        text = form.read_text(encoding="utf-8")
        assert "`scarseg-infer --version`" in text, form.name
        assert "`scarseg-infer --providers`" in text, form.name


def test_the_navigation_has_every_page() -> None:
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= named
