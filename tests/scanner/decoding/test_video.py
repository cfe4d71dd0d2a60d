"""Videos: which frames are seen, what is refused, and that nothing else is ever opened."""

import io
import socket
import struct
import sys
import time
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from scanner.decoding import video as video_file
from scanner.decoding.decode import read
from scanner.decoding.sampling import positions
from scanner.errors import OverLimit, Undecodable
from scanner.formats.inside import Inside
from scanner.limits import Limits
from tests.scanner.decoding.hostile import video

LIMITS = Limits()
SIZE = (64, 48)
SEED = bytes(range(32))


def shade(number):
    """A frame that tells its number by its red: 0, 6, 12 and so on; its left half is white."""
    image = Image.new("RGB", SIZE, (number * 6 % 256, 100, 50))
    image.paste("white", (0, 0, 20, 48))
    return image


def shades(frames, codec="libx264", container="mp4", **options):
    """A film in which frames are decoded in the order in which they are shown."""
    return video(codec, container, frames, SIZE, {"bf": "0", "g": "25", **options}, shade)


SHORT, LONG = shades(12), shades(200)


def reds(picture):
    return [int(np.asarray(frame)[30, 50, 0]) for frame in picture.frames]


@pytest.mark.parametrize(
    ("codec", "container", "media_type"),
    [
        ("libx264", "mp4", "video/mp4"),
        ("libx265", "mp4", "video/mp4"),
        ("libsvtav1", "mp4", "video/mp4"),
        ("libx264", "mov", "video/quicktime"),
        ("libvpx", "webm", "video/webm"),
        ("libvpx-vp9", "webm", "video/webm"),
        ("libsvtav1", "webm", "video/webm"),
        ("libx264", "matroska", "video/x-matroska"),
    ],
)
def test_each_open_format_is_read(codec, container, media_type):
    picture = read(video(codec, container, 30, SIZE), LIMITS)
    assert picture.media_type == media_type
    assert (picture.frames_seen, picture.frames_total) == (30, 30)
    assert (picture.width, picture.height) == SIZE
    assert picture.frame_numbers[0] == 0
    assert sorted(picture.frame_numbers) == list(range(30))
    assert picture.fingerprint.content is None
    assert len(picture.fingerprint.pdq or b"") == len(picture.fingerprint.phash or b"") == 32
    assert picture.inside == ()


def test_a_long_video_is_sampled_at_the_places_of_the_seed():
    picture = read(LONG, LIMITS, seed=SEED)
    assert (picture.frames_seen, picture.frames_total) == (64, 200)
    ticks = 12_800 // 25
    times = [ticks] * 199 + [199 * ticks // 7 + 1]  # the last one stays
    assert sorted(picture.frame_numbers) == list(positions(SEED, 200, 64, times))
    assert picture.frame_numbers != read(LONG, LIMITS, seed=bytes(32)).frame_numbers


@pytest.mark.parametrize("seed", [bytes([number]) * 32 for number in range(8)])
def test_a_frame_that_stays_on_display_is_seen_among_hundreds_that_flash_by(seed):
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=1000, options={"bf": "0", "g": "50"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(700):
            colour = "red" if number == 345 else "blue"
            frame = av.VideoFrame.from_image(Image.new("RGB", SIZE, colour))
            frame.pts = number * 10 + (2_000 if number > 345 else 0)
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    picture = read(target.getvalue(), LIMITS, seed=seed)
    assert (picture.frames_seen, picture.frames_total) == (64, 700)
    assert 345 in picture.frame_numbers and max(reds(picture)) > 200


def test_each_view_is_of_the_frame_whose_number_it_has():
    for limits in (LIMITS, Limits(video_decoded_frames=60)):
        picture = read(LONG, limits, seed=SEED)
        for number, red in zip(picture.frame_numbers, reds(picture), strict=True):
            assert abs(red - number * 6 % 256) <= 4


def test_hashes_come_from_the_first_frame():
    picture = read(LONG, LIMITS, seed=SEED)
    assert picture.hashes_of(0).variants == picture.pdq_variants
    assert read(LONG, LIMITS).fingerprint == picture.fingerprint


def test_what_a_header_claims_does_not_count():
    """Of a film whose header says that it lasts a thousandth of its time, the end is seen too."""
    data = bytearray(LONG)
    for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        start = data.index(box) + at
        data[start : start + 4] = struct.pack(">I", 1)
    picture = read(bytes(data), LIMITS, seed=SEED)
    assert (picture.frames_seen, picture.frames_total) == (64, 200)


def test_an_edit_list_hides_nothing():
    data = bytearray(LONG)
    at = data.index(b"elst") + 12
    data[at : at + 4] = struct.pack(">I", 1)
    assert read(bytes(data), LIMITS, seed=SEED).frames_total == 200


def test_a_film_is_shown_turned_as_its_matrix_says():
    data = bytearray(SHORT)
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    plain, turned = read(SHORT, LIMITS), read(bytes(data), LIMITS)
    assert (turned.width, turned.height) == (48, 64)
    shown = plain.frames[0].transpose(Image.Transpose.ROTATE_270)  # by 90 degrees clockwise
    assert np.array_equal(np.asarray(turned.frames[0]), np.asarray(shown))


def test_pixels_that_are_not_square_are_shown_as_they_are_meant():
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        out.mux(stream.encode(av.VideoFrame.from_image(shade(0))))
        out.mux(stream.encode())
    picture = read(target.getvalue(), LIMITS)
    assert (picture.width, picture.height) == (64, 24)


def test_without_the_extra_a_video_is_undecodable_and_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Undecodable, match=r"fediverdict\[video\]"):
        read(SHORT, LIMITS)


def two_tracks(second=shade):
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(40):
            for stream, draw in zip(streams, (shade, second), strict=True):
                out.mux(stream.encode(av.VideoFrame.from_image(draw(number))))
        for stream in streams:
            out.mux(stream.encode())
    return target.getvalue()


def test_every_track_is_seen():
    """Which one a player shows is its own affair."""
    picture = read(two_tracks(lambda _: Image.new("RGB", SIZE, "blue")), LIMITS)
    assert (picture.frames_seen, picture.frames_total) == (64, 80)
    blue = [np.asarray(frame)[30, 50, 2] > 200 for frame in picture.frames]
    assert blue.count(True) == 32
    assert not blue[0] and blue[1]


def test_tracks_at_the_limit_pass_and_one_more_does_not():
    assert read(two_tracks(), Limits(video_tracks=2))
    with pytest.raises(OverLimit, match="video tracks"):
        read(two_tracks(), Limits(video_tracks=1))


def test_frames_at_the_limit_pass_and_one_more_does_not():
    assert read(SHORT, Limits(video_frames=12)).frames_total == 12
    with pytest.raises(OverLimit, match="frames of video"):
        read(SHORT, Limits(video_frames=11))


def test_judged_frames_at_the_limit_are_all_and_of_one_more_a_sample():
    assert read(SHORT, Limits(frames=12)).frames_seen == 12
    assert read(SHORT, Limits(frames=11)).frames_seen == 11


def test_pixels_at_the_limit_pass_and_one_more_does_not():
    assert read(SHORT, Limits(pixels=64 * 48))
    with pytest.raises(OverLimit, match="pixels"):
        read(SHORT, Limits(pixels=64 * 48 - 1))


def test_decoded_frames_at_the_limit_show_all_and_one_less_does_not():
    """Draining a decoder counts as one."""
    enough = next(n for n in range(1, 20) if seen_with(video_decoded_frames=n) == 12)
    assert enough in {12, 13}
    assert seen_with(video_decoded_frames=enough - 1) < 12


def test_decoded_pixels_at_the_limit_show_all_and_one_less_does_not():
    area = SIZE[0] * SIZE[1]
    enough = next(n for n in range(1, 20) if seen_with(video_decoded_pixels=n * area) == 12)
    assert enough in {12, 13}
    assert seen_with(video_decoded_pixels=enough * area - 1) < 12


def seen_with(**limits):
    try:
        picture = read(SHORT, Limits(**limits))
    except OverLimit:
        return 0
    assert picture.frames_total == 12
    return picture.frames_seen


def test_seconds_of_decoding_are_limited():
    with pytest.raises(OverLimit, match="first frame"):
        read(SHORT, Limits(video_seconds=1e-9))
    clock = iter(range(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: float(next(clock)))
        picture = read(SHORT, Limits(video_seconds=8.0))
        assert 0 < picture.frames_seen < picture.frames_total == 12


def test_a_first_frame_that_takes_more_than_the_limits_is_over_them():
    with pytest.raises(OverLimit, match="first frame"):
        read(SHORT, Limits(video_decoded_pixels=64 * 48 - 1))


def test_what_is_seen_when_work_ends_early_is_spread_over_the_film():
    picture = read(LONG, Limits(video_decoded_frames=40), seed=SEED)
    assert 5 < picture.frames_seen < 64
    assert picture.frames_total == 200
    seen = [*sorted(picture.frame_numbers), 200]
    assert max(after - before for before, after in pairwise(seen)) < 80


def test_coded_bytes_that_overlap_count_again_and_again():
    """Every frame of this film is said to be the same half a kilobyte: 100 kB of a 20 kB file."""
    data = bytearray(LONG)
    at = data.index(b"stsz") + 8
    data[at : at + 4] = struct.pack(">I", 500)
    at = data.index(b"stsc") + 8
    data[at : at + 16] = struct.pack(">4I", 1, 1, 1, 1)  # one frame a chunk
    at = data.index(b"stco")
    end = at - 4 + int.from_bytes(data[at - 4 : at])
    table = struct.pack(">201I", 200, *[int.from_bytes(data[at + 12 : at + 16])] * 200)
    grown = len(table) - (end - at - 8)
    data[at + 8 : end] = table
    grow(data, grown, b"stco", b"stbl", b"minf", b"mdia", b"trak", b"moov")
    with pytest.raises(OverLimit, match="unpacked"):
        read(bytes(data), Limits(image_bytes=len(data)))


def grow(data, count, *names):
    """Add to the sizes of boxes, of which each name has one."""
    for name in names:
        at = data.index(name) - 4
        data[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4]) + count)


def test_a_table_longer_than_any_film_is_refused_before_it_is_built():
    data = bytearray(SHORT)
    at = data.index(b"stsz") + 8
    data[at : at + 8] = struct.pack(">II", 1, 2**31 - 1)
    with pytest.raises(OverLimit, match="samples"):
        read(bytes(data), LIMITS)


def test_frames_that_are_damaged_are_not_seen_and_that_is_told():
    start = LONG.index(b"mdat") + 2000
    damaged = LONG[:start] + bytes(1500) + LONG[start + 1500 :]
    picture = read(damaged, Limits(frames=200))
    assert picture.frames_seen < picture.frames_total == 200


def sound(container="mp4"):
    target = io.BytesIO()
    with av.open(target, "w", format=container) as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return target.getvalue()


def test_sound_alone_is_undecodable():
    for container in ("mp4", "matroska"):
        with pytest.raises(Undecodable, match="only sound"):
            read(sound(container), LIMITS)


def test_other_codecs_stay_shut():
    with pytest.raises(Undecodable, match="coded otherwise"):
        read(video("mpeg4", "mp4", 3, SIZE), LIMITS)


def test_a_transparent_video_is_undecodable():
    """Over which ground a page shows it is not known, and the decoder leaves alpha out."""
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as out:
        stream = out.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuva420p"
        out.mux(stream.encode(av.VideoFrame.from_image(shade(0)).reformat(format="yuva420p")))
        out.mux(stream.encode())
        stream.metadata["alpha_mode"] = "1"
    with pytest.raises(Undecodable, match="transparent"):
        read(target.getvalue(), LIMITS)


def referring(address):
    """A film whose data are said to lie at an address."""
    data = bytearray(SHORT)
    body = address.encode() + b"\0"
    at = data.index(b"url ")
    data[at + 4 : at + 8] = bytes(4)  # not "in this file"
    data[at + 8 : at + 8] = body
    grow(data, len(body), b"url ", b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov")
    return bytes(data)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def test_a_film_that_refers_to_another_file_is_refused():
    with pytest.raises(Undecodable, match="another file"):
        read(referring("file:///etc/hostname"), LIMITS)


def test_no_address_in_a_film_is_ever_asked(listener, monkeypatch):
    """Not even if the check in front of the decoder fails to see it."""
    monkeypatch.setattr(video_file, "_check_boxes", lambda *_: None)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/film.mp4"
    read(referring(address), LIMITS)
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{address}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=control:{address}\n",
        f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>',
    ]
    for text in playlists:
        for start in (b"", b"\0\0\0\x10ftypmp42\0\0\0\0", b"\x1a\x45\xdf\xa3\x42\x82\x84webm"):
            with pytest.raises(Undecodable):
                read(start + text.encode(), LIMITS, name="film.mp4")
    with pytest.raises(TimeoutError):
        listener.accept()


def test_findings_in_a_video():
    assert read(SHORT + b"PK" * 20, LIMITS, name="film.mp4").inside == (Inside.APPENDED_DATA,)
    assert read(SHORT, LIMITS, name="film.gif").inside == (Inside.TYPE_MISMATCH,)
    assert read(SHORT, LIMITS, name="video/quicktime").inside == ()
