"""Reading Markdown pages, and what can be said about them. No engine is needed for any of it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

WORDS_PER_MINUTE = 200
MOST_TERMS = 15
MOST_PAGES_OF_A_TERM = 4
SKIPPED_FOLDERS = {".git", ".venv", ".treadle", "node_modules", "__pycache__"}

_fence = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_heading = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.MULTILINE)
_link = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_word = re.compile(r"[a-z][a-z'-]{2,}")
_COMMON_WORDS = """
the and for that with not this are from has but its can all one which when what who does was than then them they into each
only also same any more have their there these those over after before where while would will may must been both such some
other two without within how out own per very about between because until
"""
"""They say nothing about a page."""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass
class Page:
    """What was read from one file."""

    path: str
    title: str
    words: int
    headings: list[str]
    code_blocks: int
    links: list[str] = field(default_factory=list)
    terms: dict[str, int] = field(default_factory=dict)


@dataclass
class Library:
    """All pages."""

    pages: list[Page]
    links: int


@dataclass
class Statistics:
    """Figures about all pages together."""

    pages: int
    words: int
    headings: int
    code_blocks: int
    minutes_to_read: int
    longest: list[tuple[str, int]]


@dataclass
class Term:
    """A word, and the pages that use it most."""

    word: str
    count: int
    pages: list[str]


@dataclass
class BrokenLink:
    """A link that leads nowhere."""

    page: str
    target: str


def find_pages(folder: Path) -> list[str]:
    """The Markdown files below a folder, by their paths from it."""
    found = (path.relative_to(folder) for path in folder.rglob("*.md"))
    return sorted(str(path) for path in found if not SKIPPED_FOLDERS & set(path.parts))


def read_page(folder: Path, path: str) -> Page:
    """Read one file. Code is counted, and then left out: its words are not the author's."""
    text = (folder / path).read_text(encoding="utf-8", errors="replace")
    prose, blocks = _fence.subn("", text)
    headings = [match[2] for match in _heading.finditer(prose)]
    words = _word.findall(prose.lower())
    terms = Counter(word for word in words if word not in _COMMON)
    return Page(
        path=path,
        title=headings[0] if headings else Path(path).stem,
        words=len(prose.split()),
        headings=headings,
        code_blocks=blocks,
        links=[match[2] for match in _link.finditer(prose)],
        terms=dict(terms.most_common(100)),
    )


def measure(pages: list[Page]) -> Statistics:
    """Add up."""
    words = sum(page.words for page in pages)
    by_length = sorted(pages, key=lambda page: page.words, reverse=True)
    return Statistics(
        pages=len(pages),
        words=words,
        headings=sum(len(page.headings) for page in pages),
        code_blocks=sum(page.code_blocks for page in pages),
        minutes_to_read=-(-words // WORDS_PER_MINUTE),
        longest=[(page.path, page.words) for page in by_length[:5]],
    )


def index_terms(pages: Iterable[Page]) -> list[Term]:
    """The words used most, each with the pages that use it most."""
    uses: dict[str, dict[str, int]] = defaultdict(dict)
    for page in pages:
        for word, count in page.terms.items():
            uses[word][page.path] = count
    most = sorted(uses, key=lambda word: (-sum(uses[word].values()), word))[:MOST_TERMS]
    return [
        Term(
            word,
            sum(uses[word].values()),
            sorted(uses[word], key=lambda path: (-uses[word][path], path))[:MOST_PAGES_OF_A_TERM],
        )
        for word in most
    ]


def find_broken_links(folder: Path, pages: Iterable[Page]) -> list[BrokenLink]:
    """Links to files that are not there. Other addresses are left alone: nothing is fetched."""
    return [
        BrokenLink(page.path, target)
        for page in pages
        for target in page.links
        if not re.match(r"[a-z]+:|#", target)
        if not (folder / page.path).parent.joinpath(target.split("#")[0]).exists()
    ]


def compose(folder: str, figures: Statistics, terms: list[Term], broken: list[BrokenLink] | None) -> str:
    """The report, as Markdown."""
    lines = [
        f"# What is in {Path(folder).name or folder}",
        "",
        f"{figures.pages} pages, {figures.words:,} words, {figures.headings} headings, {figures.code_blocks} code blocks:",
        f"{figures.minutes_to_read} minutes to read.",
        "",
        "## The longest pages",
        "",
        *(f"- {path}: {words:,} words" for path, words in figures.longest),
        "",
        "## The words used most",
        "",
        *(f"- **{term.word}** ({term.count}): {', '.join(term.pages)}" for term in terms),
        "",
        "## Links",
        "",
    ]
    if broken is None:
        lines.append("There are none.")
    elif not broken:
        lines.append("All links to files lead somewhere.")
    else:
        lines += [f"- {each.page}: {each.target} leads nowhere" for each in broken]
    return "\n".join(lines)
