"""Makes hostile files, the same ones for a seed: for tests here, of the pool, and for benchmarks.

`corpus` gives the crafted ones: cut short at every kind of place, bombs of pixels, of frames and
of compressed chunks, wrong types, zeros, nothing. `mutations` damages small sound files of every
format at random. Only drawn pictures are used. Neither needs PyAV; where it is installed, videos
come along.
"""

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

from PIL import Image

from scanner.testpatterns import draw_shape

SIZE = (48, 36)
PNG_START = b"\x89PNG\r\n\x1a\n"
BOMB_BYTES = 50_000_000
"""What each compressed chunk unpacks to."""
WORDS: tuple[bytes, ...] = (
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"IDAT",
    b"IEND",
    b"acTL",
    b"fcTL",
    b"\x21\xf9",
)
WORDS += (b"moov", b"stsz", b"VP8X", b"ANMF", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")


def has_video() -> bool:
    """Tell whether PyAV is installed."""
    return find_spec("av") is not None


def mutations(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of `count` damaged files; the same for the same seed."""
    dice = random.Random(seed)
    sound = list(sound_files().items())
    for number in range(count):
        kind, data = dice.choice(sound)
        way = dice.choice(WAYS)
        yield f"{number}-{way.__name__.strip('_')}-{kind}", way(data, dice)


def corpus(seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every crafted file."""
    yield from _nothing()
    for kind, data in sound_files().items():
        for place in _places(data, random.Random(f"{seed}/{kind}")):
            yield f"cut-{place}-{kind}", data[:place]
        yield f"zeroed-{kind}", data[: len(data) // 3] + bytes(len(data) - len(data) // 3)
        yield f"no-start-{kind}", data[1:]
        yield f"other-start-{kind}", PNG_START + data[8:]
    yield from _pixel_bombs()
    yield from _frame_bombs()
    yield from _chunk_bombs()
    yield from _metadata_bombs()


@cache
def sound_files() -> dict[str, bytes]:
    """Return small sound files of every format, by name."""
    image = draw_shape(1, SIZE)
    film = [draw_shape(seed, SIZE) for seed in range(4)]
    more = {"save_all": True, "append_images": film[1:], "duration": 40, "loop": 0}
    tags = Image.Exif()
    tags[0x0112] = 6
    files = {
        "jpg": _encoded(image, "JPEG", exif=tags.tobytes(), comment=b"drawn"),
        "progressive.jpg": _encoded(image, "JPEG", progressive=True),
        "cmyk.jpg": _encoded(image.convert("CMYK"), "JPEG"),
        "mpo.jpg": _encoded(image, "MPO", save_all=True, append_images=film[1:3]),
        "png": _encoded(image, "PNG"),
        "palette.png": _encoded(image.convert("P"), "PNG", transparency=0),
        "16.png": _encoded(image.convert("I;16"), "PNG"),
        "apng.png": _encoded(film[0], "PNG", **more),
        "gif": _encoded(image, "GIF"),
        "film.gif": _encoded(film[0], "GIF", **more),
        "webp": _encoded(image, "WEBP"),
        "lossless.webp": _encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "film.webp": _encoded(film[0], "WEBP", **more),
        "avif": _encoded(image, "AVIF"),
        "film.avif": _encoded(film[0], "AVIF", **more),
    }
    if has_video():
        files |= {
            "mp4": video("libx264", "mp4", 12),
            "av1.mp4": video("libsvtav1", "mp4", 6, (64, 64)),
        }
        files |= {
            "hevc.mp4": video("libx265", "mp4", 6, (128, 96))
        }  # its encoder fails on small ones
        files |= {"webm": video("libvpx-vp9", "webm", 12), "mkv": video("libx264", "matroska", 12)}
    return files


def video(
    codec: str, container: str, frames: int, size: Any = SIZE, options: Any = None, draw: Any = None
) -> bytes:
    """Return a drawn video; `draw(number)` gives each frame's picture."""
    import av  # noqa: PLC0415  an extra

    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    target = io.BytesIO()
    with av.open(target, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=25, options={**quiet, **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = draw(number) if draw else draw_shape(number // 4, size)
            out.mux(stream.encode(av.VideoFrame.from_image(image)))
        out.mux(stream.encode())
    return target.getvalue()


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of chunks (name, body), the checksums right."""
    return PNG_START + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def png_header(width: int, height: int, depth: int = 8, kind: int = 2) -> tuple[bytes, bytes]:
    """Return an IHDR chunk."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)


def bomb(size: int = BOMB_BYTES) -> bytes:
    """Return zeros, compressed."""
    return zlib.compress(bytes(size), 9)


def _nothing() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    for size in (1, 4, 12, 1000, 1_000_000):
        yield f"zeros-{size}", bytes(size)
        yield f"ones-{size}", b"\xff" * size
    starts: tuple[bytes, ...] = (
        b"\xff\xd8\xff",
        PNG_START,
        b"GIF89a",
        b"RIFF\x40\0\0\0WEBP",
        b"\0\0\0\x20ftypavif",
    )
    starts += (b"\0\0\0\x20ftypmp42", b"\0\0\0\x20ftypheic", b"\x1a\x45\xdf\xa3\x9fB\x86webm")
    starts += (
        b"BM",
        b"II*\0",
        b"%PDF-1.7",
        b"<svg/>",
        b"PK\3\4",
        b"#EXTM3U\n",
        b"ffconcat version 1.0",
    )
    for number, start in enumerate(starts):
        yield f"start-{number}", start
        yield f"start-{number}-zeros", start + bytes(5000)
        yield f"start-{number}-noise", start + random.Random(number).randbytes(5000)


def _places(data: bytes, dice: random.Random) -> list[int]:
    """Return where to cut: in the first bytes, near the end, and in between."""
    size = len(data)
    near = {
        1,
        2,
        3,
        5,
        8,
        12,
        13,
        20,
        33,
        size // 4,
        size // 2,
        size * 9 // 10,
        size - 1,
        size - 12,
    }
    return sorted(place for place in near | {dice.randrange(size) for _ in range(4)} if place > 0)


def _pixel_bombs() -> Iterator[tuple[str, bytes]]:
    pixels = bomb(2_000_000)
    for width, height in ((2**31 - 1, 2**31 - 1), (50_000, 50_000), (7_800, 7_800), (2**31 - 1, 1)):
        yield (
            f"bomb-{width}x{height}.png",
            png_of(png_header(width, height), (b"IDAT", pixels), (b"IEND", b"")),
        )
    yield (
        "bomb.1bit.png",
        png_of(png_header(7_700, 7_700, 1, 0), (b"IDAT", bomb(7_700 * 964)), (b"IEND", b"")),
    )
    gif = sound_files()["gif"]
    yield "bomb-screen.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:]
    jpeg = sound_files()["jpg"]
    at = jpeg.index(b"\xff\xc0") + 5
    yield "bomb.jpg", jpeg[:at] + b"\xff\xdc\xff\xdc" + jpeg[at + 4 :]
    webp = sound_files()["lossless.webp"]
    yield "bomb.webp", webp[:21] + b"\xff\xff\xff\x0f" + webp[25:]
    avif = sound_files()["avif"]
    at = avif.index(b"ispe") + 8
    yield "bomb.avif", avif[:at] + b"\0\0\xff\xff\0\0\xff\xff" + avif[at + 8 :]


def _frame_bombs() -> Iterator[tuple[str, bytes]]:
    gif = sound_files()["film.gif"]
    frame = gif[gif.rindex(b"\x21\xf9") : -1]
    for count in (1_000, 30_000):
        yield f"frames-{count}.gif", gif[:-1] + frame * count + b";"
    yield "frames-empty.gif", gif[:-1] + b",\0\0\0\0\1\0\1\0\0\2\0" * 20_000 + b";"
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 25, 0, 0)
    pixel = zlib.compress(b"\0\0\0\0")
    yield (
        "frames.png",
        png_of(
            png_header(1, 1),
            (b"acTL", struct.pack(">II", 20_000, 0)),
            *[(b"fcTL", control), (b"IDAT", pixel)],
            *[(b"fcTL", control), (b"fdAT", bytes(4) + pixel)] * 19_999,
            (b"IEND", b""),
        ),
    )
    yield (
        "frames-claimed.png",
        png_of(png_header(1, 1), (b"acTL", struct.pack(">II", 2**31 - 1, 0)), (b"IDAT", pixel)),
    )
    webp = sound_files()["film.webp"]
    at = webp.index(b"ANMF")
    size = 8 + int.from_bytes(webp[at + 4 : at + 8], "little")
    body = webp[8:] + webp[at : at + size + size % 2] * 20_000
    yield "frames.webp", b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk_bombs() -> Iterator[tuple[str, bytes]]:
    head, pixels, end = png_header(1, 1), (b"IDAT", zlib.compress(b"\0\0\0\0")), (b"IEND", b"")
    packed = bomb()
    bodies = {
        b"zTXt": b"Comment\0\0" + packed,
        b"iTXt": b"Comment\0\1\0\0\0" + packed,
        b"iCCP": b"profile\0\0" + packed,
    }
    for name, body in bodies.items():
        yield f"bomb-{name.decode()}.png", png_of(head, (name, body), pixels, end)
        yield f"bombs-{name.decode()}.png", png_of(head, *[(name, body)] * 40, pixels, end)
    yield "bomb-IDAT.png", png_of(head, (b"IDAT", packed), end)


def _metadata_bombs() -> Iterator[tuple[str, bytes]]:
    jpeg = sound_files()["jpg"]
    yield "comments.jpg", jpeg[:2] + b"\xff\xfe\0\2" * 300_000 + jpeg[2:]
    yield "fill.jpg", jpeg[:2] + b"\xff" * 1_000_000 + jpeg[2:]
    exif = b"\xff\xe1\0\x10Exif\0\0" + b"II*\0\x08\0\0\0"
    yield "exif.jpg", jpeg[:2] + exif * 5_000 + jpeg[2:]
    loop = b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"  # an IFD that is its own
    yield (
        "exif-loop.jpg",
        (jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(loop) + 8) + b"Exif\0\0" + loop + jpeg[2:]),
    )
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    yield "scans.jpg", jpeg[:-2] + scan * 20_000 + b"\xff\xd9"
    yield "tail.jpg", jpeg + b"MZ" * 10_000_000
    yield "words.jpg", jpeg + b"PK\5\6" * 5_000_000


def _flip(data: bytes, dice: random.Random) -> bytes:
    """Change some bits."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 2, 8, 64))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _head(data: bytes, dice: random.Random) -> bytes:
    """Change bytes of the first 200, where the sizes stand."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 2, 4))):
        changed[dice.randrange(min(200, len(changed)))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(changed)


def _word(data: bytes, dice: random.Random) -> bytes:
    """Write a marker, a name or an extreme number somewhere."""
    at, word = dice.randrange(len(data)), dice.choice(WORDS)
    return data[:at] + word + data[at + len(word) :]


def _cut(data: bytes, dice: random.Random) -> bytes:
    """Leave out a stretch, or the rest."""
    at = dice.randrange(len(data))
    return data[:at] + (data[at + dice.randrange(1, 64) :] if dice.random() < 0.5 else b"")


def _double(data: bytes, dice: random.Random) -> bytes:
    """Repeat a stretch, up to a thousand times."""
    at = dice.randrange(len(data))
    part = data[at : at + dice.randrange(1, 200)]
    return data[:at] + part * dice.choice((2, 3, 1000)) + data[at:]


def _splice(data: bytes, dice: random.Random) -> bytes:
    """Go on as another file does."""
    other = dice.choice(list(sound_files().values()))
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def _append(data: bytes, dice: random.Random) -> bytes:
    """Put noise, or another file, behind the end."""
    other = dice.choice(list(sound_files().values()))
    return data + (other if dice.random() < 0.5 else dice.randbytes(dice.randrange(1, 2000)))


WAYS = (_flip, _head, _word, _cut, _double, _splice, _append)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
