"""The pages do not promise what is not there: links, commands, experiments, names of the catalogue."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from posterity import __version__
from posterity.experiment import catalog

ROOT = Path(__file__).resolve().parents[1]
#: Without those that `make docs` copies into the folder.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"] + [
    page
    for folder in ("docs", "docs/methods")
    for page in sorted((ROOT / folder).glob("*.md"))
    if page.stem not in ("changelog", "configuration", "contributing")
]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_changelog_and_citation_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (first, *_) = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert str(citation["version"]) == first == __version__


def anchors(page: Path) -> set[str]:
    """What links may lead to on a page: its headings as code hosts and Sphinx name them, and targets of MyST."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,3} (.*)$", text, flags=re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r"^\((\w+)\)=$", text, flags=re.MULTILINE))


@each_page
def test_links_lead_to_files_and_their_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / path if path else page
            assert target.is_file(), f"{page.name} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@each_page
def test_pages_are_plain_markdown(page):
    """A code host shows directives of Sphinx as they stand; two pages to which none links are made of them."""
    directives = re.findall(r"^```\{.*", page.read_text(), flags=re.MULTILINE)
    assert not directives or page in (ROOT / "docs" / "index.md", ROOT / "docs" / "reference.md")


@each_page
def test_make_has_the_targets_that_pages_name(page):
    named = set(re.findall(r"(?:^|`|\$ )\s*make ([a-z]+)", page.read_text(), flags=re.MULTILINE))
    assert named <= TARGETS, named - TARGETS


@each_page
def test_named_experiments_exist(page):
    """Those of the project, and those that the tutorial and the page on extensions write."""
    text = page.read_text()
    named = set(re.findall(r"EXPERIMENT=([\w-]+)|posterity check ([\w-]+)", text))
    own = {"mine", "coarse", "lorenz84"}
    known = {path.stem for path in (ROOT / "config" / "experiments").glob("*.yaml")} | own
    assert {name for pair in named for name in pair if name} - {"EXPERIMENT"} <= known


@each_page
def test_experiments_on_pages_name_what_the_catalogue_holds(page):
    own = {"lorenz84", "weighted-laplace", "gaussian-npe"}
    for block in blocks(page, "yaml"):
        experiment = yaml.safe_load(block)
        for method in (experiment.get("methods") or {}).values():
            if method:
                kind = method.get("kind")
                assert kind is None or ":" in kind or kind in catalog.names("method") or kind in own


def test_numbers_by_which_methods_are_chosen_were_measured():
    """Each number of the page that helps to choose stands on the page of what was measured."""
    chosen, measured = (
        set(re.findall(r"(?<![\w.])\d+\.\d+", re.sub(r"\]\([^)]*\)", "]", (ROOT / "docs" / page).read_text())))
        for page in ("which_method.md", "benchmarks.md")
    )
    assert len(chosen) > 50
    assert chosen <= measured, chosen - measured


def test_the_list_of_scores_is_as_generated():
    made = runpy.run_path(str(ROOT / "docs" / "make_scores_reference.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run python docs/make_scores_reference.py"


@each_page
def test_python_on_pages_compiles(page):
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}, block {number}", "exec")
