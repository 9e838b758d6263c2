"""Brings the notebooks, with what they printed and drew, into the site.

A notebook is JSON: its cells become a page of Markdown, its pictures files beside it.
Nothing is run, and nothing beyond mkdocs is needed.
"""

import base64
import html
import json
import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def on_files(files, config):
    """Adds a page for each notebook, and its pictures, to the files that are built."""
    for path in NOTEBOOKS:
        text, pictures = page_of(path)
        for name, contents in (*pictures.items(), (f"{path.stem}.md", text)):
            place = f"notebooks/{name}"
            files.append(File.generated(config, place, content=contents))
    return files


def page_of(path):
    """A notebook as Markdown, and its pictures by their names."""
    parts, pictures = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            parts.append(_shown(output, path.stem, pictures))
    heading, rest = parts[0].split("\n", 1)
    where = f"*To run it yourself: `{path.relative_to(ROOT).as_posix()}`.*"
    return "\n\n".join([heading, where, rest, *parts[1:]]), pictures


def _shown(output, stem, pictures):
    """An output: a picture, a table or text, whichever comes first of these."""
    data = output.get("data", {"text/plain": output.get("text", [])})
    if "image/png" in data:
        name = f"{stem}_{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![Drawn by the cell above]({name})"
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"])}</div>'
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    text = html.escape("".join(data["text/plain"]).rstrip(), quote=False)
    return f'<pre class="output">{text}</pre>'
