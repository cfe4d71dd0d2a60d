"""Writes content_vectors.json: small files and their `content` v1, hashed by hand.

The digests are computed here from the design's words, not by `scanner.formats.content`.

    python -m tests.scanner.formats.make_content_vectors
"""

import base64
import hashlib
import json
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageCms

from tests.scanner.drawings import encode, photo


def digest(*items):
    """SHA-256 over items: 4 bytes of length, then the bytes; None is nothing, ints are 4 bytes."""
    out = hashlib.sha256()
    for item in items:
        data = b"" if item is None else struct.pack(">I", item) if isinstance(item, int) else item
        out.update(struct.pack(">I", len(data)) + data)
    return out.hexdigest()


def split_jpeg(data):
    """The segments of a plain JPEG as (marker, bytes); scan data have marker None."""
    at, out = 2, []
    while data[at + 1] != 0xD9:
        marker, end = data[at + 1], at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        out.append((marker, data[at:end]))
        at = end
        if marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
            out.append((None, data[end:at]))
    return out


def jpeg_digest(data, orientation=None):
    """The digest of a JPEG whose orientation is known."""
    left_out = {0xFE, *range(0xE1, 0xF0)} - {0xE2, 0xEE}
    kept = [body for marker, body in split_jpeg(data) if marker not in left_out]
    return digest(b"fv-jpeg-1", *kept, orientation)


def exif(orientation):
    """EXIF data with nothing but an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def vectors():
    """Name -> (file, digest or None)."""
    small = photo("camera", (24, 16))
    grey, clear = small.convert("L"), small.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((24, 16)))
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()[:400]
    frames = [photo(name, (12, 8)) for name in ("aero", "ascent")]
    moving = {"save_all": True, "append_images": frames[1:], "duration": [40, 125], "loop": 3}
    rgba = [frame.convert("RGBA").tobytes() for frame in frames]
    shape = (b"fv-px-1", 24, 16, 1)
    animation = (b"fv-px-1", 12, 8, 2, 3, rgba[0], 40, rgba[1], 125, *[None] * 6)
    still = (None, small.convert("RGBA").tobytes(), 0)
    plain = encode(small, "JPEG", quality=70)
    progressive = encode(small, "JPEG", progressive=True, quality=60)
    noted = encode(small, "JPEG", quality=70, comment=b"hello", exif=exif(6), icc_profile=icc)
    gamma = encode(small, "PNG")
    chunk = b"gAMA" + struct.pack(">I", 45455)
    at = 33
    gamma = gamma[:at] + b"\0\0\0\4" + chunk + struct.pack(">I", crc(chunk)) + gamma[at:]
    return {
        "jpeg": (plain, jpeg_digest(plain)),
        "jpeg-grey": (encode(grey, "JPEG"), jpeg_digest(encode(grey, "JPEG"))),
        "jpeg-progressive": (progressive, jpeg_digest(progressive)),
        "jpeg-comment-exif-icc": (noted, jpeg_digest(noted, 6)),
        "jpeg-cmyk": (encode(small.convert("CMYK"), "JPEG"), None),
        "png": (encode(small, "PNG"), digest(*shape, *still, *[None] * 6)),
        "png-alpha": (
            encode(clear, "PNG"),
            digest(*shape, None, clear.tobytes(), 0, *[None] * 6),
        ),
        "png-icc-orientation": (
            encode(small, "PNG", icc_profile=icc, exif=exif(3)),
            digest(*shape, *still, icc, *[None] * 4, 3),
        ),
        "png-gamma": (gamma, digest(*shape, *still, None, struct.pack(">I", 45455), *[None] * 4)),
        "png-16-bit": (encode(Image.new("I;16", (8, 8), 4000), "PNG"), None),
        "png-moving": (encode(frames[0], "PNG", **moving), digest(*animation)),
        "webp-lossless": (
            encode(small, "WEBP", lossless=True),
            digest(*shape, *still, *[None] * 6),
        ),
        "webp-lossless-moving": (
            encode(frames[0], "WEBP", lossless=True, **moving),
            digest(*animation),
        ),
        "webp-lossy": (encode(small, "WEBP"), None),
        "avif": (encode(small, "AVIF"), None),
        "gif": (
            encode(grey, "GIF"),
            digest(*shape, None, grey.convert("RGBA").tobytes(), 0, *[None] * 6),
        ),
    }


def crc(data):
    """A PNG chunk's checksum."""
    return zlib.crc32(data)


if __name__ == "__main__":
    rows = [
        {"name": name, "file": base64.b64encode(data).decode(), "content": wanted}
        for name, (data, wanted) in vectors().items()
    ]
    path = Path(__file__).parent / "content_vectors.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")
