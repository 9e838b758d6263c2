"""Brings the pages that lie outside docs/ into the site, and its links to them.

A link of a document is that of the repository, such as ../distill_tf/README.md, so that
it works wherever the files are looked at. In the site those pages have other places.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    **{
        f"{path.parent.name}/README.md": f"methods/{path.parent.name}.md"
        for path in sorted(ROOT.glob("*_tf/README.md"))
    },
}
"""Documents by their paths in the repository, and where they lie in the site."""
NOTEBOOKS = {
    f"notebooks/{path.name}": f"notebooks/{path.stem}.md"
    for path in sorted(ROOT.glob("notebooks/*.ipynb"))
}
"""Likewise; `notebook_pages` makes their pages."""
PLACES = DOCUMENTS | NOTEBOOKS
SOURCES = {place: path for path, place in PLACES.items()}

_LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")


def on_files(files, config):
    """Adds the documents to the files that are built."""
    for path, place in DOCUMENTS.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns the links of a page from the repository's places to those of the site."""
    place = page.file.src_uri
    here = posixpath.dirname(SOURCES.get(place, f"docs/{place}"))

    def moved(link):
        path = posixpath.normpath(posixpath.join(here, link[1]))
        if not (ROOT / path).exists():
            return link[1]  # a program that looks like a link; mkdocs tells of others
        target = PLACES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(place) or ".")

    return _LINK.sub(moved, markdown)
