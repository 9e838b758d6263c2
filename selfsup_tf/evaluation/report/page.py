"""The page itself: one file, made of templates, that asks nobody for anything."""

import base64
import functools
import hashlib
import importlib.resources
import io
import pathlib
import sys
from typing import Any

import jinja2
import markupsafe
import PIL.Image

from selfsup_tf.commands import spelled
from selfsup_tf.errors import InputError
from selfsup_tf.evaluation import numbers
from selfsup_tf.evaluation.plotting import COLOURS, DASHES
from selfsup_tf.evaluation.report.gather import reading
from selfsup_tf.evaluation.report.sections import method_name
from selfsup_tf.files import write_atomically

LIMIT = 10_000_000
"""Bytes that a page may have: what a mail takes."""
STEPS = ((2000, 1_500_000), (1600, 600_000), (1100, 250_000), (700, 100_000))
"""Sizes tried until the page fits: longest side in pixels, bytes of a picture."""


_FILTERS = (
    *(numbers.compact, numbers.gain, numbers.interval, numbers.measured_on),
    *(numbers.megabytes, numbers.number, numbers.percent, numbers.plain, method_name),
)


def environment() -> jinja2.Environment:
    """Templates of this package; what a file says is text in them and is escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters |= {write.__name__: write for write in _FILTERS}
    made.globals |= {
        "COLOURS": COLOURS,
        "DASHES": DASHES,
        "must": _must,
        "spelled": spelled,
        "show": functools.partial(_show, made),
        "show_export": functools.partial(_show_export, made),
    }
    return made


def _show(templates: jinja2.Environment, shown: Any, pictures: "Pictures") -> Any:
    """A result by the template of its protocol, which lies beside its module."""
    own = shown.protocol.template if shown.protocol else None
    if own is None:
        template = templates.get_template("result.html.jinja")
    else:
        module = sys.modules[type(shown.protocol).__module__]
        path = pathlib.Path(module.__file__).with_name(own)
        template = templates.from_string(path.read_text(encoding="utf-8"))
    with reading(shown.stored.path):
        return markupsafe.Markup(template.render(shown=shown, pictures=pictures))


def _show_export(templates: jinja2.Environment, run: Any) -> Any:
    """The table of an export's manifest."""
    template = templates.get_template("export.html.jinja")
    with reading(run.directory.manifest):
        return markupsafe.Markup(template.render(manifest=run.manifest))


def write_page(
    path: pathlib.Path, template: str, *, limit: int = LIMIT, **values: Any
) -> pathlib.Path:
    """Writes a page with pictures as good as the limit of its size allows.

    Its policy lets the browser load nothing, and run and style by nothing but what
    stands here: script and style are named by their hashes.

    Args:
        path: The file to write.
        template: Its name.
        limit: Bytes at most.
        values: For the template; "pictures" is added.

    Raises:
        InputError: Even with the smallest pictures it is too large.
    """
    templates = environment()
    assets = importlib.resources.files(__package__).joinpath("templates")
    style, script = (
        markupsafe.Markup(assets.joinpath(name).read_text("utf-8"))
        for name in ("page.css", "page.js")
    )
    for step in range(len(STEPS)):
        pictures = Pictures(step)
        page = templates.get_template(template).render(
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            pictures=pictures,
            **values,
        )
        size = len(page.encode())
        if size <= limit:
            write_atomically(path, page)
            return path
    raise InputError(
        f"a report of {limit / 1e6:.0f} MB at most",
        f"{size / 1e6:.1f} MB, with its pictures as small as they can be read",
        "Make with fewer images what is largest: "
        + ", ".join(map(str, sorted(pictures.sizes, key=pictures.sizes.get)[-2:])),
    )


def _must(holds: bool, otherwise: str) -> str:
    """Refuses values that a template can't show."""
    if not holds:
        raise ValueError(otherwise)
    return ""


def _hash(text: str) -> markupsafe.Markup:
    digest = hashlib.sha256(text.encode()).digest()
    return markupsafe.Markup(f"'sha256-{base64.b64encode(digest).decode()}'")


class Pictures:
    """Makes pictures part of the page, none larger than one step of `STEPS` allows.

    Args:
        step: Number of the step; 0 keeps most pictures as they are.
    """

    def __init__(self, step: int = 0):
        self._side, self._bytes = STEPS[step]
        self.sizes: dict[pathlib.Path, int] = {}

    def inline(self, path: pathlib.Path) -> tuple[str, int, int]:
        """The picture as a data: address, and its width and height on disk.

        Raises:
            InputError: It is no readable picture.
        """
        with reading(path):
            raw = path.read_bytes()
            with PIL.Image.open(io.BytesIO(raw)) as picture:
                size, kind = picture.size, picture.format
                fits = max(size) <= self._side and len(raw) <= self._bytes
                if not fits or kind not in ("PNG", "JPEG"):
                    raw, kind = self._smaller(picture), "JPEG"
        self.sizes[path] = len(raw)
        encoded = base64.b64encode(raw).decode()
        return f"data:image/{kind.lower()};base64,{encoded}", *size

    def _smaller(self, picture: PIL.Image.Image) -> bytes:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture).convert("RGB")
        picture.thumbnail((self._side, self._side), PIL.Image.Resampling.LANCZOS)
        for quality in (90, 80, 65):
            written = io.BytesIO()
            picture.save(written, "JPEG", quality=quality, optimize=True)
            if written.tell() <= self._bytes:
                break
        return written.getvalue()
