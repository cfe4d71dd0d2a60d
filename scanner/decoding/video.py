"""Decodes samples of a video through PyAV (extra `video`): secret frames, bounded work.

All frames of the file are listed first, from its packets and not from what its header claims;
then those that the seed picks, by number and by time, are decoded, each from the last key frame
in front of it. The first frame is always seen. Work that passes a limit ends early: fewer frames
are seen, from all over the film. `content` is None.

Only ISO (MP4, QuickTime) and Matroska files are opened, by name, without network, playlists or
references to other files, and only with the decoders below, on one thread.
"""

import io
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from PIL import Image

from scanner.decoding.films import Decoded
from scanner.decoding.kept import Kept
from scanner.decoding.sampling import positions, ranks
from scanner.decoding.thumbnail import turn
from scanner.decoding.views import views
from scanner.errors import OverLimit, Undecodable
from scanner.formats.boxes import Box, boxes, inner
from scanner.formats.media_types import MATROSKA, WEBM
from scanner.limits import Limits, within

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

NO_AV = "videos need PyAV: pip install 'fediverdict[video]'"
DECODERS = frozenset({"h264", "hevc", "av1", "libdav1d", "vp8", "vp9"})
ISO_FORMAT, MATROSKA_FORMAT = "mov", "matroska"
OPTIONS = {
    "protocol_whitelist": "none",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
    "max_streams": "32",
    "probesize": "5000000",
    "analyzeduration": "0",
}
ISO_OPTIONS = {"enable_drefs": "0", "use_absolute_path": "0", "ignore_editlist": "1"}
TABLE = (b"trak", b"mdia", b"minf", b"stbl")
REFERENCES = (b"trak", b"mdia", b"minf", b"dinf", b"dref")
REORDER = 32
"""Packets that a decoder may hold back before it gives the frame of one."""
LAST_SHARE = 7
"""The frame shown last counts as long as this part of what is in front of it."""
QUARTER_TURNS = {-90: 6, 180: 3, -180: 3, 90: 8}
"""Rotation in degrees against the clock -> the EXIF orientation that asks for the same."""


@dataclass(slots=True)
class _Track:
    """One film of a file: its packets in the order of decoding, and which are key frames."""

    context: Any
    packets: list[Any] = field(default_factory=list)
    shown_at: list[int | None] = field(default_factory=list)
    """When each one's frame is shown, in ticks of the track; None where the file does not say."""
    keys: list[int] = field(default_factory=list)


class _Budget:
    """Counts the work of decoding one of several tracks."""

    def __init__(self, limits: Limits, tracks: int) -> None:
        self._frames = max(1, limits.video_decoded_frames // tracks)
        self._pixels = limits.video_decoded_pixels // tracks
        self._until = time.monotonic() + limits.video_seconds / tracks
        self.is_spent = False

    def take(self, pixels: int) -> bool:
        """Tell whether one more frame may be decoded, and count it."""
        if self._frames < 1 or self._pixels < pixels or time.monotonic() > self._until:
            self.is_spent = True
            return False
        self._frames -= 1
        self._pixels -= pixels
        return True

    def has_room(self, frames: int, pixels: int) -> bool:
        """Tell whether so many frames fit, their time apart."""
        return frames <= self._frames and frames * pixels <= self._pixels


def decode_video(
    data: bytes, media_type: str, limits: Limits, seed: bytes
) -> tuple[Decoded, tuple[int, int]]:
    """Return the samples of a video, and width and height as it is shown, in pixels.

    Raises ScannerError and others.
    """
    try:
        import av  # noqa: PLC0415  34 MB of libraries that most processes never need
    except ModuleNotFoundError as error:
        raise Undecodable(f"{NO_AV} (no module named {error.name})") from error
    av.logging.set_level(None)
    matroska = media_type in {WEBM, MATROSKA}
    if not matroska:
        _check_boxes(data, limits)
    options = OPTIONS if matroska else OPTIONS | ISO_OPTIONS
    name = MATROSKA_FORMAT if matroska else ISO_FORMAT
    file = io.BytesIO(data)
    with av.open(
        file,
        "r",
        format=name,
        options={"max_pixels": str(limits.pixels)},  # while it is being looked at, too
        container_options=options,
        metadata_errors="replace",
    ) as opened:
        return _decode(opened, limits, seed)


def _decode(
    opened: "InputContainer", limits: Limits, seed: bytes
) -> tuple[Decoded, tuple[int, int]]:
    tracks, unseen = _tracks(opened, limits)
    kept, sizes = Kept(limits.view_pixels), []
    for film, track in enumerate(tracks):
        count = max(1, limits.frames // len(tracks))
        chosen = positions(seed, len(track.packets), count, _times(track.shown_at))
        order = dict(zip(chosen, ranks(len(chosen)), strict=True))
        budget = _Budget(limits, len(tracks))
        for rank, number, image in _samples(track, order, budget, limits):
            sizes.append(image.size)
            if kept.wants(rank * len(tracks) + film):
                kept.add(rank * len(tracks) + film, film, number, views(image))
        if not film:
            _check_first(kept, budget)
    total = sum(len(track.packets) for track in tracks) + unseen
    seen = sum(kept.seen(film) for film in range(len(tracks)))
    return Decoded(kept, seen, total, None), sizes[0]


def _check_first(kept: Kept, budget: _Budget) -> None:
    """Raise ScannerError for a video whose first frame was not seen."""
    if kept.seen(0):
        return
    if budget.is_spent:
        raise OverLimit("the first frame of the video takes more decoding than the limits allow")
    raise Undecodable("no frame of the video can be decoded")


def _tracks(opened: "InputContainer", limits: Limits) -> tuple[list[_Track], int]:
    """Return the films of a file with all their packets, and how many cover pictures it has."""
    from av.stream import Disposition  # noqa: PLC0415

    streams = opened.streams.video
    covers = [stream for stream in streams if stream.disposition & Disposition.attached_pic]
    films = [stream for stream in streams if stream not in covers]
    if not films:
        raise Undecodable("the file has no video, only sound")
    within(len(streams), limits.video_tracks, "video tracks")
    tracks = {stream.index: _Track(_context(stream, limits)) for stream in films}
    size = frames = 0
    for packet in opened.demux(films):
        if not packet.size:
            continue
        size, frames = size + packet.size, frames + 1
        within(size, limits.image_bytes, "bytes of unpacked video")
        within(frames, limits.video_frames, "frames of video")
        track = tracks[packet.stream_index]
        if packet.is_keyframe or not track.packets:
            track.keys.append(len(track.packets))
        track.packets.append(packet)
        track.shown_at.append(packet.pts)
    found = [track for track in tracks.values() if track.packets]
    if not found:
        raise Undecodable("the video has no frames")
    return found, len(covers)


def _context(stream: Any, limits: Limits) -> Any:
    """Return the decoder of a stream, one thread and of the allowed ones; raises ScannerError."""
    context = stream.codec_context
    if context is None or context.codec.name not in DECODERS:
        raise Undecodable(f"a video coded otherwise than in {', '.join(sorted(DECODERS))}")
    if stream.metadata.get("alpha_mode", "0") != "0":
        raise Undecodable("a transparent video, which cannot be shown as viewers do")
    within(context.width * context.height, limits.pixels, "pixels")
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.pixels)}
    return context


def _times(shown_at: Sequence[int | None]) -> list[int]:
    """Return how long each frame is shown, the one shown last for an eighth; [] if it is not told.

    It stays on display when the film ends, whatever its place in the order of decoding.
    """
    known = [tick for tick in shown_at if tick is not None]
    if len(known) != len(shown_at) or len(known) < 2:
        return []
    order = sorted(range(len(known)), key=known.__getitem__)
    times = [0] * len(known)
    for number, following in pairwise(order):
        times[number] = known[following] - known[number]
    times[order[-1]] = max(known[order[-1]] - known[order[0]], 1) // LAST_SHARE + 1
    return times


def _samples(
    track: _Track, order: dict[int, int], budget: _Budget, limits: Limits
) -> Iterator[tuple[int, int, Image.Image]]:
    """Yield rank, number and image of the wanted frames; of the first one, the first there is.

    A frame's number is that of its packet. In one pass where all fit the budget; else in passes
    that each halve the distances, so that what is seen when it ends is spread over the film.
    """
    run = _Run(track, budget)
    whole = budget.has_room(len(track.packets), run.pixels)
    levels = {number: 1 if whole and rank else rank.bit_length() for number, rank in order.items()}
    for _, target in sorted((level, number) for number, level in levels.items()):
        for frame in run.until(target, order):
            place = frame.pts or 0
            number = 0 if 0 in order else place
            if number in order:
                yield order.pop(number), place, _image(frame, track.context, limits)


class _Run:
    """Decodes a track forward, and jumps to a key frame where that is nearer."""

    def __init__(self, track: _Track, budget: _Budget) -> None:
        self._track, self._budget = track, budget
        self.pixels = track.context.width * track.context.height
        self._start, self._place = len(track.packets), -1  # nothing is being decoded yet

    def until(self, target: int, order: dict[int, int]) -> "Iterator[av.VideoFrame]":
        """Yield frames until the target is out of `order`, the budget spent, or it is lost."""
        packets, keys = self._track.packets, self._track.keys
        key = keys[max(bisect_right(keys, target) - 1, 0)]
        if target in order and not (self._start <= target and key <= self._place):
            self._track.context.flush_buffers()
            self._start = self._place = key
        stop = min(target + REORDER, len(packets))
        while target in order and self._place <= stop and self._budget.take(self.pixels):
            packet = packets[self._place] if self._place < len(packets) else None
            yield from _frames(self._track.context, packet, self._place)
            self._place += 1
        if self._place > len(packets):
            self._start = len(packets)  # it was drained: nothing more comes before it is flushed


def _frames(context: Any, packet: Any, number: int) -> "Iterator[av.VideoFrame]":
    """Yield the sound frames that a packet releases, or all that are left for None.

    Each one's `pts` is the number of its own packet: times in a file may lie.
    """
    import av  # noqa: PLC0415

    if packet is not None:
        packet.pts = packet.dts = number
    try:
        yield from (frame for frame in context.decode(packet) if not frame.is_corrupt)
    except av.error.FFmpegError:
        return  # a frame that is broken is not seen, which `frames_seen` tells


def _image(frame: "av.VideoFrame", context: Any, limits: Limits) -> Image.Image:
    """Return a frame as it is shown, as RGB: with square pixels, turned as its matrix says."""
    within(frame.width * frame.height, limits.pixels, "pixels")
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    shape = float(context.sample_aspect_ratio or 1)
    if shape > 0 and shape != 1:  # only ever made smaller
        width, height = image.width * min(shape, 1), image.height / max(shape, 1)
        image = image.resize((max(1, round(width)), max(1, round(height))))
    return turn(image, QUARTER_TURNS.get(round(frame.rotation), 1))


def _check_boxes(data: bytes, limits: Limits) -> None:
    """Refuse tables longer than any film's, compressed headers and references to other files."""
    for box in boxes(data, 0, len(data)):
        if box.kind == b"moov":
            _check_movie(data, box, limits)


def _check_movie(data: bytes, movie: Box, limits: Limits) -> None:
    if any(inner(data, movie, b"cmov")):
        raise Undecodable("a video with a compressed header")
    for table in (b"stsz", b"stz2"):
        for box in inner(data, movie, *TABLE, table):
            count = int.from_bytes(data[box.body + 8 : box.body + 12])
            if count > limits.video_frames * 10:
                raise OverLimit(f"{count} samples, the limit is {limits.video_frames * 10}")
    for box in inner(data, movie, *REFERENCES):
        for entry in boxes(data, box.body + 8, box.end):
            if not data[entry.body + 3] & 1:
                raise Undecodable("a video that refers to another file")
