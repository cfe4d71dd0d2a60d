"""What a file is by its first bytes, and what its name or declared media type claims it to be."""

from pathlib import PurePosixPath

from scanner.formats.png import SIGNATURE

UNKNOWN = "application/octet-stream"
MP4, QUICKTIME, WEBM, MATROSKA = "video/mp4", "video/quicktime", "video/webm", "video/x-matroska"
VIDEOS = frozenset({MP4, QUICKTIME, WEBM, MATROSKA})
EBML = b"\x1a\x45\xdf\xa3"
EBML_HEADER = 64
"""Bytes in which an EBML header names its document type."""
AVIF_BRANDS = frozenset({b"avif", b"avis", b"mif1", b"msf1"})
OTHER_STILLS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"jxl ", b"crx "}
)
"""Brands of ISO files that are still pictures of formats that are not opened."""
QUICKTIME_STARTS = frozenset({b"moov", b"mdat", b"wide"})

FAMILIES = {
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif", "pjpeg", "pjp", "mpo", "jpg_large"),
    "image/png": ("png", "apng", "x-png"),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "image/avif": ("avif", "avifs", "avif-sequence"),
    MP4: ("mp4", "m4v", "mov", "qt", "3gp", "3g2", "x-m4v", "quicktime", "3gpp", "3gpp2"),
    WEBM: ("webm", "mkv", "x-matroska", "matroska"),
    "image of another kind": (
        *("bmp", "tif", "tiff", "heic", "heif", "jxl", "ico", "psd", "svg", "svg+xml", "x-icon"),
        *("eps", "jp2", "jpx", "tga", "pcx", "x-ms-bmp", "vnd.microsoft.icon", "dng", "raw"),
    ),
    "video or sound of another kind": (
        *("avi", "mpg", "mpeg", "wmv", "flv", "ogv", "ogg", "mp3", "wav", "flac", "m4a", "aac"),
        *("x-msvideo", "ts", "opus"),
    ),
    "no picture": (
        *("txt", "plain", "htm", "html", "xhtml", "xml", "js", "css", "json", "pdf", "zip", "rar"),
        *("7z", "gz", "xz", "bz2", "zst", "tar", "exe", "dll", "msi", "bat", "cmd", "scr"),
        *("ps1", "sh", "php", "phtml", "py", "pl", "jar", "apk", "doc", "docx", "xls", "xlsx"),
        *("ppt", "pptx", "iso", "dmg", "deb", "rpm", "so", "javascript", "gzip"),
        *("x-zip-compressed", "x-msdownload", "csv", "md"),
    ),
}
"""Names, by extension or media subtype, that mean the same kind of file."""
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
SAME_FAMILY = {QUICKTIME: MP4, MATROSKA: WEBM}
TYPES = frozenset({"image", "video", "audio", "text", "application"})
NO_CLAIM = frozenset({"octet-stream", "x-octet-stream", "binary"})


def media_type_of(data: bytes) -> str:
    """Return the media type of a file that may be opened here, else UNKNOWN."""
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(SIGNATURE):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(EBML):
        return _matroska(data[:EBML_HEADER])
    return _iso(data[4:8], data[8:12])


def is_mismatch(media_type: str, name: str) -> bool:
    """Tell whether a file name or media type claims another kind of file than it is.

    A name without an extension that is known here claims nothing.
    """
    claimed = _claimed(name)
    return claimed is not None and claimed != SAME_FAMILY.get(media_type, media_type)


def _matroska(header: bytes) -> str:
    if b"webm" in header:
        return WEBM
    return MATROSKA if b"matroska" in header else UNKNOWN


def _iso(box: bytes, brand: bytes) -> str:
    if box in QUICKTIME_STARTS:
        return QUICKTIME
    if box != b"ftyp" or brand in OTHER_STILLS:
        return UNKNOWN
    if brand in AVIF_BRANDS:
        return "image/avif"
    return QUICKTIME if brand == b"qt  " else MP4


def _claimed(name: str) -> str | None:
    kind, _, rest = name.partition("/")
    subtype = rest.partition(";")[0].strip().lower()
    if kind.lower() in TYPES and "." not in subtype.removeprefix("vnd."):
        return None if subtype in NO_CLAIM else FAMILY_OF.get(subtype)
    return FAMILY_OF.get(PurePosixPath(name).suffix.lower().removeprefix("."))
