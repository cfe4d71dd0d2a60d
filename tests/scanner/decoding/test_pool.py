"""The pool of decoders: what hostile pictures do to a process harms no other picture."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scanner.classifiers.preprocess import Preprocess
from scanner.decoding import decoder as decoder_module
from scanner.decoding.decode import read
from scanner.decoding.facts import facts_of
from scanner.decoding.fingerprint import sha256_of
from scanner.decoding.pool import DecodePool
from scanner.errors import NoDecoder, OverLimit, Undecodable
from scanner.limits import Limits
from scanner.settings import ScannerSettings
from scanner.testpatterns import draw_pattern
from tests.scanner.decoding.crafted import grey_when_drafted
from tests.scanner.decoding.test_video import two_tracks
from tests.scanner.drawings import encode, photo
from tests.waiting import PATIENCE, until

SMALL = Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
PHOTO = encode(photo("camera", (320, 240)), "PNG")


@pytest.fixture
async def make():
    """Return what makes pools; they are closed at the end."""
    made = []

    def one(decoders=1, limits=Limits(), **settings):
        settings = {"decode_seconds": PATIENCE, **settings}
        made.append(DecodePool(ScannerSettings(decoders=decoders, **settings), limits))
        return made[-1]

    yield one
    for pool in made:
        pool.close()


HANGS = """
def read(self, request, data, real=Child._read):
    place = PLACE
    if len(os.listdir(place)) < TIMES:
        os.mkdir(f"{place}/{os.getpid()}")
        STUCK
    return real(self, request, data)
Child._read = read
"""
SLEEPS = "time.sleep(999)"
SPINS = "re.match('(a+)+b', 'a' * 99)"  # in C, where no handler of Python's is called


def that_hangs(place, times, stuck):
    """Return the command of decoders that hang in `times` pictures, and leave their pids there."""
    place.mkdir()
    hangs = HANGS.replace("PLACE", repr(str(place))).replace("TIMES", str(times))
    hanging = f"import Child, main\n{hangs.replace('STUCK', stuck)}\nmain()"
    return "import os, re, time\n" + decoder_module.COMMAND.replace("import main; main()", hanging)


@pytest.fixture
def spawned(monkeypatch):
    """Return the processes of all decoders that are started."""
    begun, real = [], decoder_module.Decoder._spawn

    def spawn(*arguments):
        begun.append(real(*arguments))
        return begun[-1]

    monkeypatch.setattr(decoder_module.Decoder, "_spawn", spawn)
    return begun


@pytest.fixture
def hanging(monkeypatch, tmp_path):
    """Let decoders hang in so many pictures; what it returns gives the next process that does."""
    seen = set()

    def hang(times, stuck=SLEEPS):
        place = tmp_path / "hanging"
        monkeypatch.setattr(decoder_module, "COMMAND", that_hangs(place, times, stuck))

        async def following():
            await until(lambda: new(place))
            (process,) = new(place)
            seen.add(process)
            return process

        return following

    def new(place):
        return {int(one.name) for one in place.iterdir()} - seen

    return hang


async def test_a_classifier_is_given_a_jpeg_as_viewers_show_it(make):
    data = grey_when_drafted(np.asarray(draw_pattern(0, (512, 512)).convert("L")) // 2)
    async with make().open(data, sha256_of(data)) as opened:
        (chunk,) = [chunk async for chunk in opened.chunks(SMALL, 8)]
        again = [chunk.pixels async for chunk in opened.chunks(SMALL, 8)]
    assert chunk.pixels.std() > 5
    assert np.array_equal(chunk.pixels, again[0])


async def facts(pool, data, **options):
    async with pool.open(data, sha256_of(data), **options) as opened:
        return opened.facts


def decoders(pool):
    return pool._all


async def test_it_tells_what_reading_it_here_tells(make):
    assert await facts(make(), PHOTO) == facts_of(read(PHOTO, Limits()))


async def test_pixels_come_in_chunks_and_are_those_of_the_picture(make):
    frames = [photo("camera", (64, 48)).rotate(angle) for angle in range(0, 100, 10)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=40)
    async with make().open(data, sha256_of(data)) as opened:
        chunks = [chunk async for chunk in opened.chunks(SMALL, 4)]
    assert [len(chunk.pixels) for chunk in chunks] == [4, 4, 2]
    assert [chunk.last for chunk in chunks] == [False, False, True]
    there = read(data, Limits())
    assert np.array_equal(np.concatenate([c.pixels for c in chunks]), SMALL.apply(there.frames))
    assert sum((chunk.frames for chunk in chunks), ()) == there.plain


async def test_the_code_of_a_frame_is_its_own_though_another_film_has_one_of_its_number(make):
    data = two_tracks(lambda number: photo("camera", (64, 48)).rotate(9 * number))
    there = read(data, Limits())
    assert len(set(there.frame_numbers)) < len(there.frames)
    async with make().open(data, sha256_of(data)) as opened:
        chunks = [chunk async for chunk in opened.chunks(SMALL, 8)]
        frames = [frame for chunk in chunks for frame in chunk.frames]
        codes = [await opened.near_code(frame) for frame in frames]
    hashes = [there.hashes_of(index) for index in range(len(there.frames))]
    assert codes == [(one.variants[0], one.quality) for one in hashes]


@pytest.mark.parametrize("data", [b"", b"no picture", PHOTO[:500]])
async def test_what_cannot_be_decoded_leaves_the_process_to_the_next(make, data):
    pool = make()
    for _ in range(3):
        with pytest.raises(Undecodable):
            await facts(pool, data)
    await facts(pool, PHOTO)
    assert [one.pictures for one in decoders(pool)] == [4]


async def test_a_picture_whose_process_is_killed_is_tried_in_another(make, hanging):
    following = hanging(1)
    task = asyncio.create_task(facts(make(), PHOTO))
    os.kill(await following(), signal.SIGKILL)
    assert (await task).width == 320


async def test_a_picture_that_ends_two_processes_is_undecodable_and_the_pool_heals(make, hanging):
    following, pool = hanging(2), make()
    task = asyncio.create_task(facts(pool, PHOTO))
    for _ in range(2):
        os.kill(await following(), signal.SIGKILL)
    with pytest.raises(Undecodable, match="ends the decoder process"):
        await task
    assert (await facts(pool, PHOTO)).width == 320


async def test_a_picture_that_takes_too_long_is_undecodable_and_the_pool_heals(
    make, hanging, spawned, monkeypatch
):
    pool, usual = make(decode_seconds=1), decoder_module.COMMAND
    hanging(1)
    with pytest.raises(Undecodable, match="more than 1 seconds"):
        await facts(pool, PHOTO)
    assert [process.poll() for process in spawned] == [-signal.SIGKILL]
    monkeypatch.setattr(decoder_module, "COMMAND", usual)
    pool._settings = ScannerSettings(decode_seconds=PATIENCE)
    assert (await facts(pool, PHOTO)).width == 320


async def test_a_file_over_the_limit_is_not_even_sent_and_one_at_the_limit_is(make):
    await facts(make(limits=Limits(image_bytes=len(PHOTO))), PHOTO)
    pool = make(limits=Limits(image_bytes=len(PHOTO) - 1))
    with pytest.raises(OverLimit):
        await facts(pool, PHOTO)
    assert not decoders(pool)


async def test_a_picture_that_takes_too_much_memory_is_over_limit(make):
    flat = encode(Image.new("RGBA", (7_700, 7_700), (1, 2, 3, 4)), "PNG")
    with pytest.raises(OverLimit):
        await facts(make(decoder_bytes=300_000_000), flat)
    assert (await facts(make(), flat)).width == 7_700


async def test_who_is_cancelled_in_the_middle_takes_its_process_along(make, hanging):
    following, pool = hanging(1), make()
    task = asyncio.create_task(facts(pool, PHOTO))
    process = await following()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(process)
    assert (await facts(pool, PHOTO)).width == 320


@pytest.mark.parametrize("limit", [1, 3])
async def test_only_so_many_pictures_are_open_at_once(make, limit):
    pool, held, most = make(limit), 0, 0

    async def one():
        nonlocal held, most
        async with pool.open(PHOTO, sha256_of(PHOTO)):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0.05)
            held -= 1

    await asyncio.gather(*(one() for _ in range(9)))
    assert most == limit
    assert len(decoders(pool)) == limit


async def test_a_picture_given_back_early_makes_room_and_has_no_pixels_left(make):
    pool = make()
    async with pool.open(PHOTO, sha256_of(PHOTO)) as opened:
        opened.give_back()
        assert (await facts(pool, PHOTO)).width == 320
        with pytest.raises(Undecodable):
            async with pool.open(PHOTO, sha256_of(PHOTO)) as other:
                other.give_back()
                _ = [chunk async for chunk in other.chunks(SMALL, 4)]


async def test_a_process_knows_no_secret_of_its_owner(make, monkeypatch):
    monkeypatch.setenv("FEDIVERDICT_DATABASE__URL", "postgresql://secret@/x")
    pool = make()
    await facts(pool, PHOTO)
    process = decoders(pool)[0]._process.pid
    with open(f"/proc/{process}/environ", "rb") as file:  # noqa: PTH123
        assert b"secret" not in file.read()


async def test_processes_end_with_the_pool_and_with_their_owner(make):
    pool = make(2)
    await asyncio.gather(*(facts(pool, PHOTO) for _ in range(4)))
    processes = [one._process for one in decoders(pool)]
    pool.close()
    assert all(process.poll() is not None for process in processes)


LIES = {
    "nothing": "c.close()",
    "noise": "c.sendall(b'x' * 100)",
    "a long header": "c.sendall(b'\\xff' * 8)",
    "a long body": "c.sendall(frame({'facts': {}}, 1 << 31))",
    "no JSON": "c.sendall(struct.pack('>II', 3, 0) + b'abc')",
    "a list": "c.sendall(struct.pack('>II', 2, 0) + b'[]')",
    "no facts": "c.sendall(frame({}))",
    "half the facts": "c.sendall(frame({'facts': {'numbers': [1, 1, 1, 1]}}))",
    "another picture": "c.sendall(frame({'facts': FACTS}))",
    "a reason that no terminal should see": "c.sendall(frame({'error': 'x', 'why': '\\33[2J'}))",
    "a number that is none": "c.sendall(frame({'facts': {**FACTS, 'numbers': [1, 1e999, 1, 1]}}))",
}
CHILD = """
import json, socket, struct, sys
def frame(header, body=0):
    text = json.dumps(header).encode()
    return struct.pack(">II", len(text), body) + text
FACTS = {"sha256": "00" * 32, "content": None, "pdq_quality": 1, "phash": None,
    "variants": ["00" * 32] * 8, "numbers": [1, 1, 1, 1], "media_type": "image/png", "inside": []}
c = socket.socket(fileno=int(sys.argv[2]))
c.sendall(frame({}))
c.recv(1 << 20)
LIE
import time
time.sleep(999)
"""


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_process_that_a_picture_took_over_is_not_believed(make, monkeypatch, lie):
    monkeypatch.setattr(decoder_module, "COMMAND", CHILD.replace("LIE", lie))
    with pytest.raises(Undecodable):
        await facts(make(), PHOTO)


WHOLE = {
    "no pixels": {"frames": [], "next": 1, "left": 1},
    "no end": {"frames": [0], "next": 1, "left": 1},
    "a place that is none": {"frames": [0], "next": float("inf"), "left": 0},
    "less than none": {"frames": [0], "next": 1, "left": -1},
}


@pytest.mark.parametrize("header", WHOLE.values(), ids=WHOLE.keys())
async def test_a_process_that_would_have_its_owner_ask_for_ever_is_ended(make, monkeypatch, header):
    pool = make()
    pixels = bytes(32 * 32 * 3 * len(header["frames"]))

    async def lie(*_):
        return header, pixels

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Undecodable):
            async with pool.open(PHOTO, sha256_of(PHOTO)) as opened:
                monkeypatch.setattr(opened._decoder, "_ask", lie)
                _ = [chunk async for chunk in opened.chunks(SMALL, 4)]
    assert not decoders(pool)


async def test_processes_that_end_while_they_wait_cost_no_picture_its_answer(make):
    """The system may end many at once, for want of memory; no picture was in them."""
    pool = make(3)
    await asyncio.gather(*(facts(pool, PHOTO) for _ in range(6)))
    assert len(pool.processes) == 3
    for process in pool.processes:
        os.kill(process, signal.SIGKILL)
    await until(lambda: not pool.processes)
    assert (await facts(pool, PHOTO)).width == 320
    assert len(pool.processes) == 1


@pytest.mark.parametrize("command", ["raise SystemExit(1)", "import os; os.kill(os.getpid(), 9)"])
async def test_where_no_process_can_be_started_no_picture_is_blamed(make, monkeypatch, command):
    pool = make()
    for _ in range(3):  # no place is lost by it
        with monkeypatch.context() as patch, pytest.raises(NoDecoder, match="limits of memory"):
            patch.setattr(decoder_module, "COMMAND", command)
            await facts(pool, PHOTO)
    assert (await facts(pool, PHOTO)).width == 320


async def test_a_process_that_never_becomes_ready_is_ended(make, monkeypatch, spawned):
    pool = make()
    monkeypatch.setattr(decoder_module, "COMMAND", "import time; time.sleep(999)")
    monkeypatch.setattr(decoder_module, "START_SECONDS", 0.5)
    with pytest.raises(NoDecoder):
        await facts(pool, PHOTO)
    monkeypatch.setattr(decoder_module, "START_SECONDS", PATIENCE)
    task = asyncio.create_task(facts(pool, PHOTO))
    await until(lambda: len(spawned) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [process.poll() for process in spawned] == [-9, -9]


async def test_being_asked_to_stop_is_its_owner_s_business(make):
    """A service manager asks every process of a service; the pictures in flight are finished."""
    pool = make()
    await facts(pool, PHOTO)
    before = pool.processes
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(before[0], number)
    assert os.getpgid(before[0]) != os.getpgid(0)
    await asyncio.sleep(0.2)
    assert (await facts(pool, PHOTO)).width == 320
    assert pool.processes == before


OWNER = """
import asyncio, sys
from scanner.decoding import decoder
from scanner.decoding.pool import DecodePool
from scanner.limits import Limits
from scanner.settings import ScannerSettings
decoder.COMMAND = sys.argv[1]
async def main():
    settings = ScannerSettings(decoders=1, decode_seconds=999)
    async with DecodePool(settings, Limits()).open(b"x", bytes(32)): pass
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an alarm ends it, later")
async def test_a_process_without_end_ends_with_its_killed_owner(hanging):
    following = hanging(1, SPINS)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, decoder_module.COMMAND])
    try:
        process = await following()
        assert running(process)
    finally:
        owner.kill()
        owner.wait()
    await until(lambda: not running(process))


def running(process):
    """Tell whether a process is there, and no zombie that nobody waits for."""
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


async def test_pixels_of_another_shape_are_refused(make, monkeypatch):
    pool = make()
    async with pool.open(PHOTO, sha256_of(PHOTO)) as opened:
        decoder = opened._decoder

        async def lie(*_):
            return {"frames": [0], "next": 1, "left": 0}, b"\0" * 5

        monkeypatch.setattr(decoder, "_ask", lie)
        with pytest.raises(Exception, match="other pixels"):
            _ = [chunk async for chunk in opened.chunks(SMALL, 4)]
