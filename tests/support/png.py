"""Whether some bytes are a whole PNG picture, looked at without a library: signature, checksums, pixels."""

import struct
import zlib


def size(data):
    """(width, height) of a PNG whose every chunk and pixel row is there; an AssertionError says what is wrong."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"no PNG signature: {data[:16]!r}"
    at, head, pixels, ended = 8, None, b"", False
    while at < len(data):
        (length,) = struct.unpack(">I", data[at:at + 4])
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length:at + 12 + length])
        assert zlib.crc32(kind + body) == check, f"the checksum of {kind} is wrong"
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            pixels += body
        ended, at = kind == b"IEND", at + 12 + length
    assert ended, "the end is missing"
    width, height, depth, colour = head[:4]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    assert len(zlib.decompress(pixels)) == row * height, "pixels are missing"
    return width, height
