"""Files that show a viewer another picture than a careless decoder finds; drawn patterns only."""

import struct
from functools import cache

import numpy as np

from scanner.formats.boxes import boxes

ZIGZAG = [
    *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27),
    *(20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51),
    *(58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63),
]
STEP = 64
"""The quantisation of every coefficient."""
GREY = 128


def grey_when_drafted(tones):
    """A grey JPEG of 8 x 8 pixels for each tone (rows, columns; 0..128), flat at an eighth.

    A block is of its tone but for one pixel, so bright that all of them are grey in the mean:
    who cuts it to 255 before averaging sees the tone, who averages first sees grey.
    """
    rows, columns = tones.shape
    bits, last = [], 0
    for tone in tones.ravel():
        block = _block(int(tone))
        bits.append(_coded(block[0] - last, 4, block[0] - last) + _alternating(block))
        last = block[0]
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\0")
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, bytes([0, *[STEP] * 64])),
            _segment(0xC0, struct.pack(">BHHBBBB", 8, rows * 8, columns * 8, 1, 1, 0x11, 0)),
            _segment(0xC4, bytes([0, 0, 0, 0, 12, *[0] * 12, *range(12)])),
            _segment(0xC4, bytes([0x10, *[0] * 7, len(SYMBOLS), *[0] * 8, *SYMBOLS])),
            _segment(0xDA, b"\1\1\0\0\x3f\0"),
            scan,
            b"\xff\xd9",
        )
    )


SYMBOLS = [0, 0xF0, *(run * 16 + size for run in range(16) for size in range(1, 11))]


def _segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


@cache
def _block(tone):
    """The 64 quantised coefficients in zigzag order."""
    pixels = np.full((8, 8), tone - GREY, float)
    pixels[3, 3] += (GREY - tone) * 64
    place, frequency = np.arange(8)[None, :], np.arange(8)[:, None]
    rows = np.cos(np.pi * frequency * (2 * place + 1) / 16) / 2
    rows[0] /= np.sqrt(2)
    coefficients = np.rint(rows @ pixels @ rows.T / STEP).astype(int).ravel()
    return tuple(int(coefficients[at]) for at in ZIGZAG)


def _coded(value, length, number):
    """A Huffman code of `length` bits for the size of `number`, and its bits."""
    size = abs(value).bit_length()
    return f"{size:0{length}b}" + _magnitude(number, size)


def _magnitude(number, size):
    return f"{number if number > 0 else number + (1 << size) - 1:0{size}b}" if size else ""


@cache
def _alternating(block):
    bits, run = [], 0
    for number in block[1:]:
        if not number:
            run += 1
            continue
        bits += [f"{SYMBOLS.index(0xF0):08b}"] * (run // 16)
        size = abs(number).bit_length()
        bits += [f"{SYMBOLS.index(run % 16 * 16 + size):08b}", _magnitude(number, size)]
        run = 0
    return "".join(bits) + (f"{SYMBOLS.index(0):08b}" if run else "")


def profile_of(shown):
    """An ICC profile of sRGB's primaries that shows each of 256 sample values as `shown` has it."""
    curve = b"curv" + bytes(4) + struct.pack(">I256H", 256, *(_linear(tone) for tone in shown))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"wtpt": _xyz(0.9642, 1, 0.8249),
        b"rXYZ": _xyz(0.4360747, 0.2225045, 0.0139322),
        b"gXYZ": _xyz(0.3850649, 0.7168786, 0.0971045),
        b"bXYZ": _xyz(0.1430804, 0.0606169, 0.7141733),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    start = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    head = struct.pack(">I", start + len(bodies)) + bytes(4) + b"\x02\x10\0\0mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(0.9642, 1, 0.8249)[8:] + bytes(48)
    return head + table + bodies


def _xyz(*values):
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def _linear(tone):
    value = tone / 255
    return round(65535 * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4))


def cropped_avif(data, width, height, right, down):
    """A still AVIF with a clean aperture: its size and how far its middle lies off, in pixels."""
    aperture = _box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1))
    outer = {box.kind: data[box.body : box.end] for box in boxes(data, 0, len(data))}
    meta = {box.kind: box for box in boxes(outer[b"meta"], 4, len(outer[b"meta"]))}
    parts = {kind: outer[b"meta"][box.body : box.end] for kind, box in meta.items()}
    inner = {
        box.kind: parts[b"iprp"][box.body : box.end]
        for box in boxes(parts[b"iprp"], 0, len(parts[b"iprp"]))
    }
    count = sum(1 for _ in boxes(inner[b"ipco"], 0, len(inner[b"ipco"])))
    links = bytearray(inner[b"ipma"])  # version 0, of one item: count 4, item 2, links 1
    links[10] += 1
    inner |= {b"ipco": inner[b"ipco"] + aperture, b"ipma": bytes(links) + bytes([0x80 | count + 1])}
    parts[b"iprp"] = b"".join(_box(*item) for item in inner.items())
    start = data.index(b"mdat") + 4
    moved = struct.pack(">I", start + len(aperture) + 1)
    parts[b"iloc"] = parts[b"iloc"].replace(struct.pack(">I", start), moved)
    outer[b"meta"] = outer[b"meta"][:4] + b"".join(_box(*item) for item in parts.items())
    return b"".join(_box(*item) for item in outer.items())


def _box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body
