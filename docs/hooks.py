"""Build steps of the documentation: pages from files of the repository, links that lead to them.

Pages link to files where they lie, so that they can be read without being built. Here links to a
file that is a page too become links to the page, those to other files plain text. A comment such as
``<!-- help: scarseg-infer -->`` stands where the build puts in what the code says of itself.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = {
    "MODEL_CARD.md": "project/model-card.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "runtime/examples/README.md": "project/hosts.md",
}
"""Files outside of ``docs/`` that are pages, and where they appear."""
PARSERS: Final = {
    "scarseg-infer": "scarseg_infer.cli",
    "scarseg-node": "scarseg_infer.node.main",
    "scarseg-mrd": "scarseg_infer.mrd.main",
    "scarseg-cohort": "scarseg_infer.cohort.main",
    "scarseg-web": "scarseg_infer.web.build",
    "scarseg-export": "scarseg_export.cli",
    "scarseg-bench": "scarseg_bench.cli",
}
SCHEMA: Final = "scarseg_infer/schema/result.schema.json"
MODELS: Final = "scarseg_infer/models"

_FENCE: Final = re.compile(r"(^```.*?^```$)", re.M | re.S)
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_INSERT: Final = re.compile(r"^<!-- (help|file|schema|models): ?(.*?) ?-->$", re.M)
_ROLE: Final = re.compile(r":(?:meth|func|class|data|attr|mod):(?=<code)")
# A browser would break the line after the first hyphen.
_OPTION: Final = re.compile(r"<code>(?=--[^<]{1,30}</code>)")
# Other readers of Markdown begin a list without a blank line before it.
_TIGHT_LIST: Final = re.compile(r"^(?![-#>|\s]|\* |\d+\. )(.+)\n(?=- )", re.M)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of ``docs/``."""
    for place, page in PAGES.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=linked(text, place, page)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links, lists and what is put in."""
    uri = page.file.src_uri
    text = markdown if uri in PAGES.values() else linked(markdown, f"docs/{uri}", uri)
    return _INSERT.sub(lambda found: inserted(found[1], found[2]), text)


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name other names as Sphinx does; here only the name stays. Options are marked."""
    return _OPTION.sub('<code class="option">', _ROLE.sub("", html))


def linked(text: str, place: str, page: str) -> str:
    """Text of the file ``place`` with links as they must be on ``page``; both POSIX paths."""
    parts = _FENCE.split(text)
    for index in range(0, len(parts), 2):  # the others are code
        prose = _TIGHT_LIST.sub(r"\1\n\n", parts[index])
        parts[index] = _LINK.sub(lambda found: _link(found, place, page), prose)
    return "".join(parts)


def _link(found: re.Match[str], place: str, page: str) -> str:
    mark, words, target = found.groups()
    if re.match(r"\w+:|#", target):
        return found[0]
    path, hash_, anchor = target.partition("#")
    here = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    if here in PAGES:
        there = PAGES[here]
    elif here.startswith("docs/"):
        there = here.removeprefix("docs/")
    else:
        return words  # a file of the repository that is no page
    return f"{mark}[{words}]({os.path.relpath(there, posixpath.dirname(page))}{hash_}{anchor})"


def inserted(kind: str, what: str) -> str:
    """Text in place of one comment."""
    if kind == "help":
        return "\n\n".join(help_texts(what))
    if kind == "file":
        return f"```toml\n{(ROOT / what).read_text(encoding='utf-8')}```"
    if kind == "schema":
        return schema_table(json.loads((ROOT / SCHEMA).read_text(encoding="utf-8")), what)
    files = sorted((ROOT / MODELS).glob("*.onnx"))
    rows = [f"| `{one.name}` | `{hashlib.sha256(one.read_bytes()).hexdigest()}` |" for one in files]
    return "\n".join(["| file | SHA-256 |", "|---|---|", *rows])


def help_texts(program: str) -> Iterator[str]:
    """Help of a program and of each of its commands, as headed code."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "90"  # what a code box shows without scrolling
    try:
        parser: argparse.ArgumentParser = importlib.import_module(PARSERS[program]).parser()
        parser.prog = program
        yield f"```text\n{parser.format_help()}```"
        for name, command in _commands(parser, program):
            yield f"### {name}\n\n```text\n{command.format_help()}```"
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _commands(
    parser: argparse.ArgumentParser, name: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Commands below a parser, and theirs, by all of their words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from _commands(command, f"{name} {word}")


def schema_table(schema: Mapping[str, Any], key: str) -> str:
    """Keys below ``key`` of the schema of result.json, with type and meaning."""
    rows = list(_schema_rows(schema["properties"][key], key, schema["$defs"]))
    return "\n".join(["| key | type | meaning |", "|---|---|---|", *rows])


def _schema_rows(node: Mapping[str, Any], name: str, kinds: Mapping[str, Any]) -> Iterator[str]:
    choices = [node, *node.get("anyOf", ())]
    choices += [kinds[one["$ref"].rpartition("/")[2]] for one in choices if "$ref" in one]
    names = dict.fromkeys(word for one in choices for word in _types(one))
    said = next((one["description"] for one in choices if "description" in one), "")
    yield f"| `{name}` | {', '.join(names)} | {said} |"
    for one in choices:
        for key, value in one.get("properties", {}).items():
            yield from _schema_rows(value, f"{name}.{key}", kinds)
        if isinstance(one.get("items"), dict) and "properties" in one["items"]:
            for key, value in one["items"]["properties"].items():
                yield from _schema_rows(value, f"{name}[].{key}", kinds)


def _types(node: Mapping[str, Any]) -> list[str]:
    if "const" in node:
        return [f"`{json.dumps(node['const'])}`"]
    if "enum" in node:
        return [f"`{json.dumps(value, ensure_ascii=False)}`" for value in node["enum"]]
    given = node.get("type", [])
    return [given] if isinstance(given, str) else list(given)
