"""What a PNG file holds, before a decoder inflates it.

A decoder inflates a stream to its end, though the image ends before: two megabytes of
zeros behind a header of 16 x 16 become two gigabytes. The header bounds what is of use.
"""

import struct
import zlib

_SIGNATURE = b"\x89PNG"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a colour type
_MOST = 2**30  # bytes, whatever the header claims
_MOST_CHUNKS = 2**16
_PIECE = 2**12  # inflates to 4 MB at most


def bounded_png(contents: bytes) -> bytes:
    """A PNG file as a decoder may have it; other contents as they are.

    What it keeps is the image: chunks of texts and profiles are left out, whose streams
    a decoder inflates as well. What follows the file's end or a broken chunk is gone,
    and that the file is cut short is then the decoder's to say.

    Raises:
        ValueError: Its stream is longer than what the header announces.

    Reference: https://www.w3.org/TR/png-3/#5DataRep
    """
    if not contents.startswith(_SIGNATURE):
        return contents
    kept, stream, position = [contents[:8]], [], 8
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(contents):
            break
        size, kind = struct.unpack_from(">I4s", contents, position)
        end = position + 12 + size
        # A capital letter says that there is no image without it.
        if end <= len(contents) and (kind[:1].isupper() or kind == b"tRNS"):
            kept.append(contents[position:end])
            if kind == b"IDAT":
                stream.append(contents[position + 8 : end - 4])
        if kind == b"IEND":
            break
        position = end
    file = b"".join(kept)
    if file[12:16] == b"IHDR" and len(file) >= 33:
        width, height, depth, colour = struct.unpack_from(">IIBB", file, 16)
        row = 1 + (width * depth * _CHANNELS.get(colour, 4) + 7) // 8
        # Interlaced images have up to twice the rows.
        if _inflates_beyond(min(2 * height * row, _MOST), b"".join(stream)):
            raise ValueError(
                f"expected the data of {height} x {width} (height x width), which the "
                "PNG's header claims; received more than twice as much"
            )
    return file


def _inflates_beyond(most: int, stream: bytes) -> bool:
    inflate = zlib.decompressobj()
    for start in range(0, len(stream), _PIECE):
        try:
            most -= len(inflate.decompress(stream[start : start + _PIECE]))
        except zlib.error:
            return False  # the decoder's to say
        if most < 0 or inflate.eof:
            break
    return most < 0
