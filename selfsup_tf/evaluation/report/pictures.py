"""Pictures inside the page, and how it is kept small."""

import base64
import io
import pathlib

import PIL.Image

from selfsup_tf.evaluation.report.gather import reading

STEPS = ((2000, 1_500_000), (1600, 600_000), (1100, 250_000), (700, 100_000))
"""Sizes tried until the page fits: longest side in pixels, bytes of a picture."""


class Pictures:
    """Makes pictures part of the page, none larger than one step of `STEPS` allows.

    Args:
        step: Number of the step; 0 keeps most pictures as they are.
    """

    def __init__(self, step: int = 0):
        self._side, self._bytes = STEPS[step]

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
