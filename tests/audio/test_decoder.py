"""Reading recordings: whatever the format, whoever sent it, and nothing but the recording."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, strategies as st
from modelhost import BadInputError, Blob, Context
from modelhost.audio import SAMPLE_RATE, Encoder, Limits, Samples, decode, decoded, from_pcm, to_pcm
from modelhost.audio.decoder import CODECS, CONTAINERS, LARGEST_PACKET
from recordings import KINDS, TONE, kind_of_file, recorded, tone, wav


def pitch(samples: Samples) -> float:
    """The loudest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()])


def opened_without_care(data: bytes, **options: str) -> int:
    """What a plain `av.open` would decode, in samples: proof that an attack works on who is careless."""
    with av.open(io.BytesIO(data), options=options) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@pytest.mark.parametrize("name", KINDS)
def test_a_recording_of_any_usual_kind_is_read_as_16_khz_mono(name: str) -> None:
    samples = decode(Blob(kind_of_file(name)))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(1.5 * SAMPLE_RATE, abs=0.08 * SAMPLE_RATE)
    middle = samples[SAMPLE_RATE // 2 : SAMPLE_RATE]
    assert pitch(middle) == pytest.approx(TONE, abs=3)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("claimed", ["", "mp3", "webm", "../../etc/passwd", "ffconcat"])
def test_the_content_decides_and_not_the_claimed_format(claimed: str) -> None:
    assert len(decode(Blob(kind_of_file("flac")), format=claimed)) == 1.5 * SAMPLE_RATE


@pytest.mark.parametrize("name", KINDS)
def test_a_file_sent_as_raw_pcm_by_mistake_is_read_as_what_it_is(name: str) -> None:
    assert pitch(decode(Blob(kind_of_file(name)), format="pcm", sample_rate=44_100)) == pytest.approx(TONE, abs=3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_raw_pcm_is_read_at_the_rate_of_the_request(rate: int) -> None:
    pcm = to_pcm(tone(1, rate)[0])
    samples = decode(Blob(pcm + b"\x01"), format="pcm", sample_rate=rate)
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2)
    assert pitch(samples) == pytest.approx(TONE, abs=1)


def test_pcm_of_16_khz_passes_bit_by_bit() -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 50_000).astype("<i2").tobytes()
    assert to_pcm(decode(Blob(pcm), format="pcm")) == pcm == to_pcm(from_pcm(pcm))


def test_a_file_on_disk_and_bytes_in_memory_give_the_same(tmp_path: Path) -> None:
    data = kind_of_file("mp3")
    (tmp_path / "speech").write_bytes(data)
    assert np.array_equal(decode(Blob(path=tmp_path / "speech")), decode(Blob(data)))


def test_blocks_are_about_a_second_long_and_together_the_whole() -> None:
    blocks = list(decoded(Blob(kind_of_file("mp3", seconds=5))))
    assert all(SAMPLE_RATE <= len(block) < 1.3 * SAMPLE_RATE for block in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks), decode(Blob(kind_of_file("mp3", seconds=5))))


def test_loud_channels_do_not_exceed_full_scale_when_they_are_mixed() -> None:
    loud = np.clip(tone(1, 48_000, channels=2) * 4, -1, 1)
    mixed = decode(Blob(recorded("wav", "pcm_f32le", loud, 48_000, "stereo")))
    assert np.abs(np.sort(mixed)[100:-100]).max() <= 1
    assert np.abs(mixed).max() > 0.95


def test_every_voice_of_a_surround_recording_is_in_the_mix() -> None:
    for channel in (0, 1, 2, 4, 5):  # 3 is the low-frequency effects
        sound = np.zeros((6, 48_000), np.float32)
        sound[channel] = tone(1, 48_000)[0]
        assert np.abs(decode(Blob(recorded("wav", "pcm_f32le", sound, 48_000, "5.1")))).max() > 0.05


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("quad", 4)])
def test_channels_that_are_opposed_do_not_cancel_each_other(layout: str, channels: int) -> None:
    sound = tone(2, 48_000, channels=channels)
    sound[1::2] *= -1
    mixed = decode(Blob(recorded("wav", "pcm_s16le", sound, 48_000, layout)))
    assert pitch(mixed[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2]) == pytest.approx(TONE, abs=3)
    assert np.abs(mixed[SAMPLE_RATE // 2 : -SAMPLE_RATE // 2]).max() == pytest.approx(0.5, abs=0.06)


def test_what_becomes_opposed_on_the_way_is_heard_from_then_on_too() -> None:
    sound = tone(6, SAMPLE_RATE, channels=2)
    sound[1, 2 * SAMPLE_RATE :] *= -1
    mixed = decode(Blob(recorded("flac", "flac", sound, SAMPLE_RATE, "stereo")))
    seconds = np.abs(mixed[: 6 * SAMPLE_RATE].reshape(6, -1)).max(axis=1)
    assert all(seconds[at] == pytest.approx(0.5, abs=0.06) for at in (0, 1, 4, 5))


def test_channels_with_different_sounds_are_mixed_as_ever() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32)
    mixed = decode(Blob(recorded("wav", "pcm_f32le", sound, SAMPLE_RATE, "stereo")))
    assert mixed == pytest.approx(sound.mean(axis=0), abs=1e-4)


def test_rate_and_channels_may_change_on_the_way() -> None:
    joined = b"".join(
        recorded("adts", "aac", tone(1, rate, channels=channels), rate, layout)
        for rate, channels, layout in [(16_000, 1, "mono"), (44_100, 2, "stereo"), (8_000, 1, "mono")]
    )
    samples = decode(Blob(joined))
    assert len(samples) == pytest.approx(3 * SAMPLE_RATE, abs=0.5 * SAMPLE_RATE)
    assert all(pitch(samples[int(at * SAMPLE_RATE) :][:8000]) == pytest.approx(TONE, abs=5) for at in (0.3, 1.4, 2.5))


def test_a_file_of_floats_with_no_numbers_in_it_gives_numbers() -> None:
    data = np.array([np.nan, np.inf, -np.inf, 1e30] * 4000, "<f4").tobytes()
    samples = decode(Blob(wav(data, bits=32, tag=3)))
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


def test_a_title_that_is_no_text_does_not_matter() -> None:
    file = kind_of_file("mp3")
    title = b"TIT2" + struct.pack(">I", 3) + b"\0\0" + b"\x03\xff\xfe"
    assert len(decode(Blob(b"ID3\x04\0\0\0\0\0" + bytes([len(title)]) + title + file))) > SAMPLE_RATE


@pytest.mark.parametrize("name", ["wav", "mp3", "aac", "flac", "ogg opus", "webm", "matroska"])
def test_of_a_recording_that_is_cut_off_there_is_what_came_before(name: str) -> None:
    whole = kind_of_file(name, seconds=4)
    samples = decode(Blob(whole[: len(whole) // 2]))
    assert SAMPLE_RATE < len(samples) < 3.2 * SAMPLE_RATE
    assert pitch(samples[: SAMPLE_RATE // 2]) == pytest.approx(TONE, abs=5)


def test_a_damaged_part_is_left_out_and_the_rest_is_read() -> None:
    whole = bytearray(kind_of_file("mp3", seconds=4))
    whole[len(whole) // 2 : len(whole) // 2 + 2000] = os.urandom(2000)
    assert len(decode(Blob(bytes(whole)))) > 3 * SAMPLE_RATE


def no_sound() -> dict[str, bytes]:
    video = io.BytesIO()
    with av.open(video, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for packet in (*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode(None)):
            out.mux(packet)
    png = av.CodecContext.create("png", "w")
    png.width, png.height, png.pix_fmt, png.time_base = 8, 8, "rgb24", 1
    return {
        "nothing": b"",
        "one byte": b"x",
        "noise": bytes(range(256)) * 40,
        "text": b"please transcribe this\n" * 100,
        "video without sound": video.getvalue(),
        "picture": b"".join(bytes(packet) for packet in (*png.encode(av.VideoFrame(8, 8, "rgb24")), *png.encode(None))),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="secret.wav"/></svg>',
        "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nsecret.wav\n",
        "head of a wav": wav(b"")[:20],
        "wav of no samples": wav(b""),
        "m4a without its index": kind_of_file("m4a")[:2000],
    }


@pytest.mark.parametrize("name", no_sound())
def test_what_is_no_recording_is_refused_with_what_would_be_taken(name: str) -> None:
    with pytest.raises(BadInputError, match=r"MP3, M4A.*format `pcm`") as refused:
        decode(Blob(no_sound()[name]))
    assert refused.value.param == "audio"


def test_raw_pcm_of_half_a_sample_is_refused() -> None:
    with pytest.raises(BadInputError, match="no sound"):
        decode(Blob(b"x"), format="pcm")


class TestNothingElseIsOpened:
    """Each attack reads a secret file where nobody takes care; here it reads nothing."""

    @pytest.fixture(autouse=True)
    def secret(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        secret = tmp_path / "secret.wav"
        secret.write_bytes(wav(to_pcm(tone(1)[0])))
        return secret

    def test_a_list_of_files_to_join(self) -> None:
        attack = b"ffconcat version 1.0\nfile secret.wav\n"
        assert opened_without_care(attack) == SAMPLE_RATE
        for claimed in ("", "wav", "ffconcat", "concat"):
            with pytest.raises(BadInputError, match="no recording"):
                decode(Blob(attack), format=claimed)

    def test_a_playlist(self, secret: Path) -> None:
        secret.with_suffix(".aac").write_bytes(recorded("adts", "aac", tone(1), SAMPLE_RATE))
        attack = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.aac\n#EXT-X-ENDLIST\n"
        careless = {"allowed_extensions": "ALL", "extension_picky": "0", "protocol_whitelist": "file"}
        Path("list.m3u8").write_bytes(attack)
        with av.open("list.m3u8", options=careless) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) >= SAMPLE_RATE
        for blob in (Blob(attack), Blob(path="list.m3u8")):
            with pytest.raises(BadInputError, match="no recording"):
                decode(blob)

    @pytest.mark.parametrize("path", [b"secret.raw", b"/secret.raw"])
    def test_a_track_whose_samples_are_in_another_file(self, secret: Path, path: bytes) -> None:
        secret.with_suffix(".raw").write_bytes(to_pcm(tone(1)[0]))
        attack = quicktime(SAMPLE_RATE, elsewhere=path)
        if not path.startswith(b"/"):
            assert opened_without_care(attack, enable_drefs="1", use_absolute_path="1") == SAMPLE_RATE
        with pytest.raises(BadInputError, match="no sound"):
            decode(Blob(attack))

    def test_the_same_track_with_its_samples_inside_is_read(self) -> None:
        assert len(decode(Blob(quicktime(SAMPLE_RATE, to_pcm(tone(1)[0]))))) == SAMPLE_RATE

    def test_an_attachment_is_no_recording(self, secret: Path) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as out:
            stream = out.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
            out.add_attachment("secret.wav", "audio/wav", secret.read_bytes())
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            out.mux([*stream.encode(frame), *stream.encode(None)])
        samples = decode(Blob(file.getvalue()))
        assert len(samples) == 8000
        assert not samples.any()

    def test_a_segment_that_says_it_goes_on_in_another_file(self, secret: Path) -> None:
        file = recorded("matroska", "pcm_s16le", tone(1), SAMPLE_RATE)
        info = file.index(bytes.fromhex("1549a966"))
        linked = element(0x3E83BB, b"secret.wav") + element(0x3EB923, bytes(16))  # NextFilename, NextUUID
        size = int.from_bytes(file[info + 4 : info + 6], "big") + len(linked)
        assert file[info + 4] >> 6 == 1, "the size of the Info element has two bytes, as this test changes it"
        attack = file[: info + 4] + size.to_bytes(2, "big") + linked + file[info + 6 :]
        assert len(decode(Blob(attack))) == SAMPLE_RATE

    @pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
    def test_no_attack_calls_the_system_to_open_the_secret(self) -> None:
        """Asks the kernel, for what FFmpeg opens by itself no Python code sees."""
        traced = ["strace", "-f", "-e", "trace=open,openat,connect", sys.executable, "-c", ATTACKS]
        try:
            done = subprocess.run(traced, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            pytest.skip("needs strace")
        if "ptrace" in done.stderr and "Operation not permitted" in done.stderr:
            pytest.skip("this machine does not let processes be traced")
        assert done.stdout.split() == ["refused"] * 3, done.stderr[-2000:]
        assert "hidden-recording" not in done.stderr
        assert "connect(" not in done.stderr


ATTACKS = """
from modelhost import BadInputError, Blob
from modelhost.audio import decode
for attack in (
    b"ffconcat version 1.0\\nfile hidden-recording.wav\\n",
    b"#EXTM3U\\n#EXT-X-TARGETDURATION:1\\n#EXTINF:1,\\nhttp://127.0.0.1:9/hidden-recording.ts\\n#EXT-X-ENDLIST\\n",
    b"v=0\\no=- 0 0 IN IP4 127.0.0.1\\ns=x\\nc=IN IP4 127.0.0.1\\nt=0 0\\nm=audio 9 RTP/AVP 0\\n",
):
    try:
        decode(Blob(attack))
    except BadInputError:
        print("refused")
"""


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", flags), *parts)


def element(name: int, data: bytes) -> bytes:
    return name.to_bytes(3, "big") + bytes([0x80 | len(data)]) + data


def quicktime(count: int, data: bytes = b"", elsewhere: bytes | None = None) -> bytes:
    """A QuickTime file of 16-bit PCM that is inside, or in another file by an alias, which only FFmpeg still follows."""
    head = box(b"ftyp", b"qt  ", bytes(4), b"qt  ")
    place = full(b"url ", flags=1) if elsewhere is None else full(b"alis", alias(elsewhere))
    entry = box(b"sowt", bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, 16, 0, 0, SAMPLE_RATE << 16))
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), entry),
        full(b"stts", struct.pack(">III", 1, count, 1)),
        full(b"stsc", struct.pack(">IIII", 1, 1, count, 1)),
        full(b"stsz", struct.pack(">II", 2, count)),
        full(b"stco", struct.pack(">II", 1, 0 if elsewhere else len(head) + 8)),
    )
    references = box(b"dinf", full(b"dref", struct.pack(">I", 1), place))
    media = box(
        b"mdia",
        full(b"mdhd", struct.pack(">IIIIHH", 0, 0, SAMPLE_RATE, count, 0, 0)),
        full(b"hdlr", b"mhlr", b"soun", bytes(13)),
        box(b"minf", full(b"smhd", bytes(4)), references, table),
    )
    track = box(b"trak", full(b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, count), bytes(60), flags=7), media)
    return (
        head + box(b"mdat", data) + box(b"moov", full(b"mvhd", struct.pack(">IIII", 0, 0, SAMPLE_RATE, count), bytes(80)), track)
    )


def alias(path: bytes) -> bytes:
    name = path.rpartition(b"/")[2]
    fixed = bytes(10) + bytes(28) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 1, 1)
    return (fixed + bytes(16) + struct.pack(">hH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">hH", -1, 0)).ljust(
        160, b"\0"
    )


class TestLimits:
    """A hostile recording is refused, and costs next to nothing."""

    @pytest.mark.parametrize("rate", [1, 3_999, 192_001, 2**31 - 1])
    def test_a_rate_nobody_records_at(self, rate: int) -> None:
        with pytest.raises(BadInputError, match=f"{rate} Hz, 4000 to 192000"):
            decode(Blob(wav(bytes(64_000), rate=rate)))

    @pytest.mark.parametrize("channels", [9, 64, 255])
    def test_too_many_channels(self, channels: int) -> None:
        with pytest.raises(BadInputError, match=f"{channels} channels, 8 are allowed"):
            decode(Blob(wav(bytes(640_000), channels=channels)))

    def test_channels_that_change_on_the_way_are_counted_too(self) -> None:
        joined = b"".join(
            recorded("adts", "aac", tone(1, channels=n), SAMPLE_RATE, layout) for n, layout in [(1, "mono"), (2, "stereo")]
        )
        with pytest.raises(BadInputError, match="2 channels, 1 are allowed"):
            decode(Blob(joined), limits=Limits(channels=1))

    def test_too_many_bytes_are_refused_unread(self) -> None:
        with pytest.raises(BadInputError, match="1001 bytes, 1000 are allowed"):
            decode(Blob(bytes(1001)), limits=Limits(bytes=1000))

    def test_too_many_streams(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as out:
            streams = [out.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in range(17)]
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            for stream in streams:
                out.mux(stream.encode(frame))
        with pytest.raises(BadInputError, match="17 streams, 16 are allowed"):
            decode(Blob(file.getvalue()))

    def test_too_long_is_found_while_decoding(self) -> None:
        blocks = decoded(Blob(kind_of_file("flac", seconds=5)), limits=Limits(seconds=2.5))
        assert sum(len(next(blocks)) for _ in range(2)) < 2.5 * SAMPLE_RATE
        with pytest.raises(BadInputError, match=r"longer than 2\.5 seconds"):
            next(blocks)

    def test_raw_pcm_has_the_same_limits(self) -> None:
        with pytest.raises(BadInputError, match="longer than 1 seconds"):
            decode(Blob(bytes(80_000)), format="pcm", limits=Limits(seconds=1))
        with pytest.raises(BadInputError, match="8000 to 192000 Hz") as refused:
            decode(Blob(bytes(80_000)), format="pcm", sample_rate=2**40)
        assert refused.value.param == "sample_rate"

    def test_a_small_file_that_holds_hours_needs_memory_for_what_is_read_only(self, tmp_path: Path) -> None:
        """Half an hour of silence: 330 kB of FLAC, 29 million samples, of which no more than a block is kept."""
        encoder = Encoder("flac", 8_000)
        bomb = b"".join([*(encoder.encode(bytes(1_600_000)) for _ in range(18)), encoder.finish()])
        assert len(bomb) < 500_000
        assert memory_for(bomb, tmp_path, seconds=1500) < 20_000_000

    @pytest.mark.parametrize("claimed", [2**28, 2**31 - 1, 2**32 - 2])
    def test_a_comment_that_claims_gigabytes_is_not_made_room_for(self, claimed: int, tmp_path: Path) -> None:
        comment = b"LIST" + struct.pack("<I", claimed) + b"INFOISFT" + struct.pack("<I", claimed - 12) + b"x"
        assert memory_for(wav(b"")[:36] + comment, tmp_path) < 20_000_000

    def test_a_packet_of_no_reasonable_size_is_not_decoded(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as out:
            stream = out.add_stream("pcm_s16le", rate=192_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, LARGEST_PACKET // 2 + 1), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 192_000, 0
            out.mux([*stream.encode(frame), *stream.encode(None)])
        with pytest.raises(BadInputError, match="no sound"):
            decode(Blob(file.getvalue()))

    def test_sound_compressed_in_a_rare_way_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="compressed in a way that is not read"):
            decode(Blob(recorded("matroska", "ac3", tone(1, 48_000), 48_000)))

    def test_every_name_of_a_container_and_a_codec_is_one_that_ffmpeg_knows(self) -> None:
        formats = {name for known in av.formats_available for name in known.split(",")}
        assert set(CONTAINERS) <= formats
        assert set(CODECS) <= set(av.codecs_available)


def memory_for(data: bytes, folder: Path, **limits: float) -> int:
    """Bytes that a process of its own needs to read a recording block by block, up to where it is refused."""
    (folder / "hostile").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, folder / "hostile", repr(limits)], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


REFUSED = """
import resource, sys
from modelhost import BadInputError, Blob
from modelhost.audio import Limits, decode, decoded
decode(Blob(bytes(8000)), format="pcm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for block in decoded(Blob(path=sys.argv[1]), limits=Limits(**eval(sys.argv[2]))):
        pass
except BadInputError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_cancelled_call_gets_what_was_read_until_then() -> None:
    context = Context()
    blocks = decoded(Blob(kind_of_file("mp3", seconds=5)), context=context)
    first = next(blocks)
    context.cancel()
    assert list(blocks) == []
    assert len(first) < 1.3 * SAMPLE_RATE
    assert len(decode(Blob(kind_of_file("mp3")), context=context)) == 0


@given(st.binary(max_size=600), st.sampled_from(["", "wav", "pcm", "mp3"]))
def test_noise_is_read_or_refused_and_nothing_else(noise: bytes, claimed: str) -> None:
    try:
        samples = decode(Blob(noise), format=claimed)
    except BadInputError:
        return
    assert np.isfinite(samples).all()


FILES = {name: kind_of_file(name, seconds=0.3) for name in ("wav", "mp3", "m4a", "flac", "ogg opus", "webm", "aac")}


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_recording_with_bytes_changed_is_read_or_refused_and_nothing_else(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), min_size=1, max_size=12)
    ):
        file[place] = value
    try:
        samples = decode(Blob(bytes(file)), limits=Limits(seconds=60))
    except BadInputError:
        return
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


class TestWhatAnMp4Claims:
    """FFmpeg believes a track's table of sizes as it opens the file: 20 kB of them took 7 GB."""

    @staticmethod
    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", len(body) + 8, kind) + body

    def track(self, samples: int) -> bytes:
        table = self.box(b"stbl", self.box(b"stsz", bytes(4), struct.pack(">II", 64, samples)))
        return self.box(b"trak", self.box(b"mdia", self.box(b"minf", table)))

    @pytest.mark.hostile
    @pytest.mark.parametrize(("tracks", "samples"), [(10, 5_000_000), (1, 2**32 - 1), (17, 1)])
    def test_more_than_a_day_or_than_sixteen_tracks_is_refused_before_it_is_opened(self, tracks: int, samples: int) -> None:
        bomb = self.box(b"ftyp", b"M4A \0\0\0\0") + self.box(b"moov", *[self.track(samples)] * tracks)
        with pytest.raises(BadInputError, match="streams"):
            decode(Blob(bomb))

    @pytest.mark.hostile
    @pytest.mark.parametrize(
        "filling", [b"\0\0\0\x08free" * 300_000, b"\0\0\0\x08moov" * 300_000, b"\xff\xff\xff\xffmoov" * 5000]
    )
    def test_endless_boxes_are_not_followed(self, filling: bytes) -> None:
        with pytest.raises(BadInputError):
            decode(Blob(b"\0\0\0\x10ftypM4A \0\0\0\0" + filling))
