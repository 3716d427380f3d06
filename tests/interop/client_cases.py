"""The client in Python against `np serve`."""

import os
import socket
import ssl
import subprocess
import time

from np_protocol import compress, noise, wire
from np_protocol.link import ClearRefusal, Link, Truncated
from np_protocol.session import Session
from np_protocol.wire import CLOSE, STATUS, Frame, encode_frame, head

from harness import (
    CLIENT, NP, SERVER, STRANGER, TIMEOUT, Serving, Skipped, case, ends, fails, key_text, known, path, psk_file,
    shared_server,
)

GROUP = "python -> np serve"


def body(count):
    return bytes(at * 7 & 0xFF for at in range(count))


# --- what works -------------------------------------------------------------------------------------------------------


def echoes(pattern, suite, **more):
    session = shared_server().session(known(pattern, suite, **more))
    assert session.call("np.echo", b"hello") == b"hello"
    assert session.call("np.echo", b"hello", codec=2, metadata=[("who", b"python")]) == b"hello"
    session.close()


for _suite, _short in ((1, "ChaChaPoly"), (2, "AESGCM")):
    for _pattern in noise.NUMBERS:
        case(GROUP, f"{_pattern} in {_short}", pattern=_pattern, suite=_suite)(echoes)


@case(GROUP, "bodies from 0 to 3 MiB: whole, in pieces, after a grant")
def sizes():
    session = shared_server().session()
    for count in (0, 1, 1_000, 65_000, 65_600, (256 << 10), (256 << 10) + 1, 3 << 20):
        assert session.call("np.echo", body(count)) == body(count), count
    session.close()


@case(GROUP, "fifty calls at once, with answers in any order")
def many():
    session = shared_server().session()
    calls = [session.open("REQUEST", "np.echo", body(at * 97)) for at in range(50)]
    session.wait(lambda: all(call.ended for call in calls))
    assert [session.result(call) for call in calls] == [body(at * 97) for at in range(50)]
    session.close()


@case(GROUP, "a stream both ways, past the credit of either side")
def streams():
    session = shared_server().session()
    stream = session.open("STREAM", "np.echo-stream", deadline_ms=None)
    messages = [body(count) for count in (0, 1, 300_000, 5, 100_000, 600_000, 0, 70_000)]
    for message in messages:
        session.send(stream, message)
    session.end(stream)
    session.wait(lambda: stream.ended)
    assert list(stream.messages) == messages and stream.status == 0
    assert session.counts["STREAM_CREDIT"] and session.counts["CONNECTION_CREDIT"]
    session.close()


@case(GROUP, "a stream under windows of 1 KiB of the client")
def small_windows():
    small = {"stream_window": 1_024, "connection_window": 4_096, "max_message": 1 << 20}
    session = shared_server().session(settings=small)
    stream = session.open("STREAM", "np.echo-stream")
    for _ in range(20):
        session.send(stream, body(3_000))
    session.end(stream)
    session.wait(lambda: stream.ended)
    assert list(stream.messages) == [body(3_000)] * 20
    # The answer is longer than the window, so that it waits for a grant.
    assert session.call("np.echo", body(5_000)) == body(5_000)
    session.close()


@case(GROUP, "one-way messages end by TRAILERS ok")
def one_way():
    session = shared_server().session()
    sent = session.open("ONE_WAY", "np.echo", b"no answer")
    session.wait(lambda: sent.ended)
    assert sent.status == 0 and sent.reply is None
    session.close()


@case(GROUP, "PING is answered")
def pings():
    session = shared_server().session()
    for _ in range(3):
        session.ping()
    session.close()


@case(GROUP, "what a reader skips: unknown kinds, settings, entries")
def skipped():
    link = shared_server().link()
    pairs = b"".join(wire.varint(n) + wire.varint(v) for n, v in ((1, 9999), (2, 9), (3, 999), (4, 9999), (77, 7)))
    plain = bytes([0x01 << 3]) + wire.prefixed(pairs)
    link.write_record(plain + bytes([0x00, 3, 0, 0, 0]))
    session = Session.resume(link, {"max_message": 9999, "max_calls": 9, "stream_window": 999, "connection_window": 9999})
    session.wait(lambda: session.peer)
    unknown = bytes([0x0F << 3 | 5]) + wire.prefixed(b"later") + bytes([0x1E << 3]) + b"\x09" + wire.prefixed(b"later")
    method = encode_frame(Frame("METHOD", number=0, name="np.echo"))
    entries = wire.prefixed(wire.varint(9) + wire.prefixed(b"later") + wire.varint(1) + wire.prefixed(b""))
    request = bytes([0x08 << 3 | 5]) + wire.prefixed(b"\x00\x00" + entries + b"skipped")
    call = session.adopt("REQUEST")
    link.write_record(unknown + method + request)
    session.wait(lambda: call.ended)
    assert call.reply == b"skipped"
    session.close()


@case(GROUP, "frames that share a record, and a record for each frame")
def records():
    session = shared_server().session()
    session.wait(lambda: session.peer)
    calls = [session.adopt("REQUEST") for _ in range(3)]
    frames = [Frame("METHOD", number=0, name="np.echo")]
    frames += [head("REQUEST", method=0, remaining_ms="default", body=bytes([at])) for at in range(2)]
    session.link.write_record(b"".join(encode_frame(frame) for frame in frames))
    last = head("REQUEST", method=0, remaining_ms=None, total=4, body=b"ab")
    for frame in (last, Frame("DATA", calls[2].number, fin=False, end=False, body=b"c"),
                  Frame("DATA", calls[2].number, fin=True, end=True, body=b"d")):
        session.link.write_record(encode_frame(frame))
    session.wait(lambda: all(call.ended for call in calls))
    assert [call.reply for call in calls] == [b"\0", b"\1", b"abcd"]
    session.close()


# --- keys -------------------------------------------------------------------------------------------------------------


@case(GROUP, "the client renews its key with every record", suite=1)
@case(GROUP, "the same in AESGCM", suite=2)
def client_rekeys(suite):
    session = shared_server().session(known(suite=suite))
    session.link.rekey_records = 1
    for at in range(20):
        assert session.call("np.echo", body(at * 3_000)) == body(at * 3_000)
    assert session.link.send.rekeys >= 20
    session.close()


@case(GROUP, "both sides renew keys: np every 4 records, python every 3", suite=1)
@case(GROUP, "the same in AESGCM, by bytes", suite=2)
def both_rekey(suite):
    limit = "rekey_records = 4" if suite == 1 else 'rekey_bytes = "64KiB"'
    with Serving(config=f"[transport]\n{limit}\n") as server:
        session = server.session(known(suite=suite))
        session.link.rekey_records = 3
        for at in range(30):
            assert session.call("np.echo", body(at * 2_000)) == body(at * 2_000)
        stream = session.open("STREAM", "np.echo-stream")
        for _ in range(10):
            session.send(stream, body(50_000))
        session.end(stream)
        session.wait(lambda: stream.ended)
        assert len(stream.messages) == 10
        assert session.link.send.rekeys >= 10 and session.link.receive.rekeys >= 5, session.link.receive.rekeys
        session.close()


# --- compression ------------------------------------------------------------------------------------------------------


def compressed(encoding):
    if not compress.AVAILABLE >> encoding & 1:
        raise Skipped("PyPI's lz4 and zstandard are not installed")
    name = {1: "lz4", 2: "zstd"}[encoding]
    with Serving("--compress", name, config="[transport]\ncompression_adaptive = false\n") as server:
        session = server.session(settings={"encodings": 1 << encoding})
        plain = b"".join(b"line %d of a text\n" % (at * at) for at in range(2_000))
        small = compress.shrink(encoding, plain)
        assert session.call("np.echo", small, encoding=encoding, size=len(plain)) == plain
        assert session.expanded == 1, "the answer came plain"
        stream = session.open("STREAM", "np.echo-stream")
        session.send(stream, small, encoding=encoding, size=len(plain))
        session.send(stream, b"plain")
        session.end(stream)
        session.wait(lambda: stream.ended)
        assert list(stream.messages) == [plain, b"plain"]
        # One that says another size than comes out ends its call alone.
        failed = fails("invalid-argument", lambda: session.call("np.echo", small, encoding=encoding, size=len(plain) + 1))
        assert failed.text
        session.close()


case(GROUP, "LZ4 both ways", encoding=1)(compressed)
case(GROUP, "Zstandard both ways", encoding=2)(compressed)


# --- refusals in the handshake ------------------------------------------------------------------------------------------


def in_clear(code, hello=None, first=None, server=None):
    """The server answers in clear, and nothing after it."""
    server = server or shared_server()
    link = Link(server.socket())
    try:
        if first is None:
            link.connect(hello)
        else:
            link.write(first)
            kind, refusal = link._take_handshake((0x02, 0x03))
            assert kind == 0x03, "message 2 came"
            reader = wire.Reader(refusal)
            raise ClearRefusal(reader.number(2), reader.number(1), reader.number(1), reader.text(256))
    except ClearRefusal as refusal:
        assert refusal.code == CLOSE[code], f"{refusal}, not {code}"
        assert (refusal.low, refusal.high) == (1, 1)
        try:
            link.take(1)
        except (Truncated, ConnectionError):
            return refusal
        raise AssertionError("bytes came behind the refusal") from refusal
    raise AssertionError("it was not refused")


def flight(hello):
    """The first flight of a hello."""
    preface = hello.preface().encode()
    return preface + wire.handshake_frame(0x02, hello.handshake(preface).write())


@case(GROUP, "a stranger's key: the first record holds CLOSE not-allowed", pattern="XX")
@case(GROUP, "the same in IK", pattern="IK")
def stranger(pattern):
    link = shared_server().link(known(pattern, static=STRANGER))
    ends(Session(link, True), "not-allowed")


@case(GROUP, "a server's key that it does not hold: unknown-identity")
def wrong_server():
    other = noise.public_key(STRANGER)
    in_clear("unknown-identity", known("IK", server_key=other))


@case(GROUP, "the hint of its key and another key: authentication")
def forged_hint():
    hint = wire.hint_of(noise.public_key(SERVER))
    in_clear("authentication", known("IK", server_key=noise.public_key(STRANGER), hint=hint))


@case(GROUP, "a version that nobody speaks yet: version, with 1 to 1")
def version():
    in_clear("version", known(min_version=2, max_version=3, version=2))


@case(GROUP, "the same by its first seven bytes, and with others of its own")
def early_version():
    # The server answers while the preface is shorter than one of version 1, and where byte 37 means something else.
    for first in (b"np\r\n\x02\x03\x02", b"np\r\n\x01\x02\x02" + b"\xff" * 40):
        in_clear("version", first=first)
    with Serving(listen="tcp://127.0.0.1:0?mode=danger-plaintext", allow=("anonymous",)) as server:
        in_clear("version", first=b"np\r\n\x02\x02\x02", server=server)


@case(GROUP, "an unknown suite and pattern: incompatible")
def unknown_numbers():
    for at, number in ((7, 99), (8, 99), (7, 0)):
        first = bytearray(flight(known()))
        first[at] = number
        in_clear("incompatible", first=bytes(first))


@case(GROUP, "a pattern that the server does not offer: incompatible")
def not_offered():
    with Serving("--pattern", "ik") as server:
        in_clear("incompatible", known("XX"), server=server)


@case(GROUP, "no np preface, a hint or key id that has no place: malformed")
def malformed_first():
    in_clear("malformed", first=b"GET / HTTP/1.1\r\n\r\n")
    in_clear("malformed", known("XX", hint=b"hint"))
    in_clear("malformed", known("XX", key_id=b"id"))
    in_clear("malformed", known("NNpsk0", key_id=b""))
    in_clear("malformed", known("NNpsk0", key_id=b"a b"))
    in_clear("malformed", known("KK", key_id=b"short"))


@case(GROUP, "a clock 6 s off: clock-skew; 4 s: welcome")
def clocks():
    now = int(time.time() * 1000)
    for offset in (-6_000, 6_000):
        refusal = in_clear("clock-skew", known(time=now + offset))
        assert "s" in refusal.text
    for offset in (-4_000, 4_000):
        shared_server().session(known(time=int(time.time() * 1000) + offset)).close()


@case(GROUP, "a first flight that is sent again: replay, in IK")
def replay_ik():
    taped = []
    server = shared_server()
    link = Link(server.socket())
    link.sock = Tape(link.sock, taped)
    link.connect(known("IK"))
    session = Session(link, True)
    assert session.call("np.echo", b"once") == b"once"
    session.close()
    in_clear("replay", first=taped[0])


@case(GROUP, "a whole XX conversation that is sent again never gets in")
def replay_xx():
    taped = []
    server = shared_server()
    link = Link(server.socket())
    link.sock = Tape(link.sock, taped)
    link.connect(known("XX"))
    session = Session(link, True)
    assert session.call("np.echo", b"once") == b"once"
    session.close()
    in_clear("replay", first=b"".join(taped))


class Tape:
    """A socket that keeps what is sent."""

    def __init__(self, sock, taped):
        self.sock, self.taped = sock, taped

    def sendall(self, data):
        self.taped.append(data)
        self.sock.sendall(data)

    def __getattr__(self, name):
        return getattr(self.sock, name)


@case(GROUP, "message 1 with a changed byte, or too long")
def broken_message_1():
    first = bytearray(flight(known("IK")))
    first[-1] ^= 1
    in_clear("authentication", first=bytes(first))
    preface = known("XX").preface().encode()
    in_clear("limit-exceeded", first=preface + b"\x02\x04\x01")
    in_clear("limit-exceeded", first=preface[:37] + b"\x41")
    in_clear("malformed", first=preface + b"\x07\x00\x20")


@case(GROUP, "a preface with a changed byte breaks the handshake")
def changed_preface():
    # The nonce: nothing else looks at it, so that the prologue alone notices.
    first = bytearray(flight(known("IK")))
    first[20] ^= 1
    in_clear("authentication", first=bytes(first))


@case(GROUP, "message 3 with a changed byte ends without a word")
def broken_message_3():
    link = Link(shared_server().socket())
    hello = known("XX")
    preface = hello.preface().encode()
    handshake = hello.handshake(preface)
    link.write(preface + wire.handshake_frame(0x02, handshake.write()))
    handshake.read(link._take_handshake((0x02,))[1])
    third = bytearray(handshake.write())
    third[-1] ^= 1
    link.write(wire.handshake_frame(0x02, bytes(third)))
    silent(link)


def silent(link):
    try:
        link.take(1)
    except (Truncated, ConnectionError):
        link.sock.close()
        return
    raise AssertionError("a byte came")


@case(GROUP, "points of low order: authentication")
def low_order():
    for point in (bytes(32), (1).to_bytes(32, "little")):
        preface = known("IK").preface().encode()
        in_clear("authentication", first=preface + wire.handshake_frame(0x02, point + bytes(64)))


@case(GROUP, "an unknown psk id and a wrong psk cannot be told apart")
def psks():
    for wrong in ({"psk": bytes(32)}, {"psk_id": b"nobody"}):
        in_clear("authentication", known("NNpsk0", **wrong))
        link = Link(shared_server().socket())
        link.connect(known("XXpsk3", **wrong))
        silent(link)


@case(GROUP, "a psk that the server finds by the client's key")
def psk_by_key():
    arguments = ["--psk", psk_file(), "--psk-id", key_text(CLIENT)]
    with Serving(*arguments, allow=(key_text(CLIENT),)) as server:
        for pattern in ("XXpsk3", "IKpsk2"):
            session = server.session(known(pattern, psk_id=b""))
            assert session.call("np.echo", b"by key") == b"by key"
            session.close()


# --- refusals in the first record ---------------------------------------------------------------------------------------


def first_record(plain, code):
    link = shared_server().link()
    link.write_record(plain)
    ends(Session.resume(link), code)


SETTINGS = encode_frame(Frame("SETTINGS", settings=wire.DEFAULTS))


@case(GROUP, "a first record without SETTINGS, with them twice, or with more")
def first_records():
    ping = encode_frame(Frame("PING", token=1))
    for plain in (ping, SETTINGS + SETTINGS, SETTINGS + ping, bytes([0, 2, 0, 0])):
        first_record(plain, "protocol")


@case(GROUP, "settings that are missing, out of order, zero or in too many bytes")
def bad_settings():
    def settings(*pairs):
        return bytes([0x01 << 3]) + wire.prefixed(b"".join(wire.varint(n) + wire.varint(v) for n, v in pairs))

    good = [(1, 9999), (2, 9), (3, 999), (4, 9999)]
    first_record(settings(*good[:3]), "malformed")
    first_record(settings(*good[1:], good[0]), "malformed")
    first_record(settings(*good, (5, 0)), "malformed")
    first_record(settings(*good[:2], (3, 0), good[3]), "malformed")
    first_record(settings(*good[:3], (4, 1997)), "malformed")
    first_record(bytes([0x01 << 3]) + wire.prefixed(b"\x40\x01\x09\x02\x09\x03\x09\x04\x12"), "malformed")
    first_record(settings(*good, *((at, 1) for at in range(6, 35))), "limit-exceeded")


@case(GROUP, "a first record above 4,096 bytes")
def long_first_record():
    link = shared_server().link()
    link.write((4_097).to_bytes(2, "big"))
    ends(Session.resume(link), "limit-exceeded")


@case(GROUP, "a first record of exactly 4,096 bytes, by padding")
def longest_first_record():
    link = shared_server().link()
    room = 4_096 - 16 - len(SETTINGS)
    link.write_record(SETTINGS + b"\x00" + wire.varint(room - 3) + bytes(room - 3))
    session = Session.resume(link)
    session.wait(lambda: session.peer)
    session.close()


@case(GROUP, "a KEY_UPDATE ends the first record, and may")
def early_rekey():
    link = shared_server().link()
    link.write_record(SETTINGS, update=True)
    session = Session.resume(link)
    assert session.call("np.echo", b"the second key") == b"the second key"
    session.close()


@case(GROUP, "a record with a changed byte, repeated, or too short")
def broken_records():
    for change in ("flip", "repeat", "short"):
        session = shared_server().session()
        session.wait(lambda: session.peer)
        sealed = session.link.send.cipher.seal(encode_frame(Frame("PING", token=1)))
        record = len(sealed).to_bytes(2, "big") + sealed
        if change == "flip":
            record = record[:-1] + bytes([record[-1] ^ 1])
        if change == "repeat":
            record += record
        if change == "short":
            record = b"\x00\x10" + bytes(16)
        session.link.write(record)
        session.pings.append(1)
        ends(session, "malformed" if change == "short" else "authentication")


# --- refusals of frames -------------------------------------------------------------------------------------------------


def breaks(code, *frames, name="np.echo", server=None):
    """Frames (or bytes) in one record end the connection with this code."""
    session = (server or shared_server()).session()
    session.wait(lambda: session.peer)
    plain = encode_frame(Frame("METHOD", number=0, name=name))
    plain += b"".join(frame if isinstance(frame, bytes) else encode_frame(frame) for frame in frames)
    session.opened += 8
    session.link.write_record(plain)
    return ends(session, code)


def passes(limit, *frames):
    """As `breaks`, by a limit that the CLOSE names."""
    closed = breaks("limit-exceeded", *frames)
    assert f"limit {limit} " in closed.text, closed.text


def request(**fields):
    return head("REQUEST", **{"method": 0, "remaining_ms": None, **fields})


def data(stream, body=b"", fin=False, end=False):
    return Frame("DATA", stream, fin=fin, end=end, body=body)


STREAM = head("STREAM", method=0, remaining_ms=None)

MALFORMED = {
    "a number in more bytes than it needs": bytes([0x04 << 3]) + wire.prefixed(b"\x40\x01"),
    "a frame that is cut short": bytes([0x04 << 3, 9, 1]),
    "bytes behind the last field": bytes([0x04 << 3]) + wire.prefixed(b"\x01\x01"),
    "a flag that the kind does not have": bytes([0x04 << 3 | 1]) + wire.prefixed(b"\x01"),
    "padding that is not zero": bytes([0x00, 2, 0, 1]),
    "metadata that stands twice": bytes([0x08 << 3 | 4])
    + wire.prefixed(b"\x00\x00\x00" + wire.prefixed(b"\x01\x00\x01\x00")),
    "a key of metadata in capitals": request(metadata=[("Who", b"")]),
    "a key of metadata twice": request(metadata=[("a", b"1"), ("a", b"2")]),
    "a method's name with a space": Frame("METHOD", number=1, name="a b"),
    "a method without a name": Frame("METHOD", number=1, name=""),
    "a status above 65,535": Frame("CANCEL", 0, status=65_536),
    "a COMPRESSED with encoding 0": bytes([0x15 << 3]) + b"\x00" + wire.prefixed(b"\x00\x09a"),
    "a COMPRESSED with a codec": bytes([0x15 << 3]) + b"\x00" + wire.prefixed(b"\x11\x09a"),
}
PROTOCOL = {
    "a method's number that was never given": (request(method=1),),
    "a method's number out of turn": (Frame("METHOD", number=2, name="a"),),
    "SETTINGS later than first": (Frame("SETTINGS", settings=wire.DEFAULTS),),
    "KEY_UPDATE within a record": (Frame("KEY_UPDATE"), Frame("PING", token=1)),
    "a stream that was never opened": (data(8),),
    "RESPONSE from the caller": (request(total=9), head("RESPONSE", stream=0)),
    "TRAILERS from the caller": (STREAM, Frame("TRAILERS", 0, status=0, metadata=[], text="")),
    "STREAM with a body": (head("STREAM", method=0, remaining_ms=None, body=b"a"),),
    "a total that is not larger than the body": (request(total=2, body=b"ab"),),
    "a body longer than its total": (request(total=2), data(0, b"abc", True, True)),
    "a body shorter than its total": (request(total=4), data(0, b"abc", True, True)),
    "FIN without END in a body": (request(total=2), data(0, b"ab", True, False)),
    "FIN with END before the end of a body": (request(total=4), data(0, b"ab", False, True)),
    "a large message with a body before its grant": (request(total=(256 << 10) + 1, body=b"a"),),
    "COMPRESSED within a request": (
        request(total=9),
        Frame("COMPRESSED", 0, encoding=1, size=9, end=False, body=b"a"),
    ),
    "a PONG for no PING": (Frame("PONG", token=1),),
    "GO_AWAY for more than was opened": (Frame("GO_AWAY", accepted=1, code=0),),
    "GO_AWAY twice": (Frame("GO_AWAY", accepted=0, code=0),) * 2,
}
# The frame, and the limit that the text of the CLOSE names.
LIMITS = {
    "a method's name of 129 bytes": (Frame("METHOD", number=1, name="a" * 129), "method name"),
    "metadata of 8,193 bytes": (request(metadata=[("a", bytes(8_192))]), "metadata"),
    "33 pairs of metadata": (request(metadata=[(f"k{at}", b"") for at in range(33)]), "metadata"),
    "a text of 1,025 bytes": (Frame("CLOSE", code=0, text="a" * 1_025), "text"),
}

for _about, _frame in MALFORMED.items():
    case(GROUP, f"malformed: {_about}", code="malformed", frames=(_frame,))(
        lambda code, frames: breaks(code, *frames)
    )
for _about, _frames in PROTOCOL.items():
    case(GROUP, f"protocol: {_about}", code="protocol", frames=_frames)(lambda code, frames: breaks(code, *frames))
for _about, (_frame, _limit) in LIMITS.items():
    case(GROUP, f"limit-exceeded, by its name: {_about}", limit=_limit, frames=(_frame,))(
        lambda limit, frames: passes(limit, *frames)
    )


@case(GROUP, "limit-exceeded: the 1,025th method name")
def too_many_names():
    names = b"".join(encode_frame(Frame("METHOD", number=at, name=f"m{at}")) for at in range(1, 1_025))
    passes("method names", names)


@case(GROUP, "protocol: DATA after FIN, FIN within a message")
def stream_ends():
    for frames in ((data(0, b"", True), data(0, b"a")), (data(0, b"a"), data(0, b"", True))):
        breaks("protocol", STREAM, *frames, name="np.echo-stream")


@case(GROUP, "protocol: bytes beyond the credit of a stream, and of the connection")
def no_credit():
    windows = '[transport]\nstream_window = "1KiB"\nconnection_window = "4KiB"\nmax_window = "4KiB"\n'
    with Serving(config=windows) as server:
        breaks("protocol", STREAM, data(0, bytes(1_025)), name="np.echo-stream", server=server)
        # Four that fit, each by itself, of requests that are not whole; and one too many.
        begun = [request(total=1_001, body=bytes(1_000)) for _ in range(5)]
        breaks("protocol", *begun, server=server)


@case(GROUP, "protocol: DATA of a large message that was not granted")
def no_grant():
    # The budget for messages that are put together takes two of these.
    large = [request(total=16 << 20) for _ in range(3)]
    breaks("protocol", *large, data(4, b"a"))


@case(GROUP, "flood: more useless pings than a budget takes")
def flood():
    session = shared_server().session()
    session.wait(lambda: session.peer)
    session.last_ping = 9_000
    session.pings = list(range(1, 9_001))

    def pour():
        for start in range(1, 9_000, 500):
            record = b"".join(encode_frame(Frame("PING", token=at)) for at in range(start, start + 500))
            session.link.write_record(record)

    assert "limit pings " in ends(session, "flood", pour).text


# --- refusals of calls --------------------------------------------------------------------------------------------------


@case(GROUP, "an unknown method, a wrong kind, an unknown codec and encoding")
def bad_calls():
    session = shared_server().session()
    fails("unknown-method", lambda: session.call("np.nothing"))
    fails("wrong-kind", lambda: session.call("np.echo-stream"))
    stream = session.open("STREAM", "np.echo")
    session.wait(lambda: stream.ended)
    assert stream.status == STATUS["wrong-kind"]
    fails("unsupported-codec", lambda: session.call("np.echo", b"x", encoding=9, size=5))
    assert session.call("np.echo", b"still there") == b"still there"
    session.close()


@case(GROUP, "a schema that the method does not have, and np-once where it is not offered")
def schemas():
    session = shared_server().session()
    fails("schema-mismatch", lambda: session.call("np.echo", metadata=[("np-schema", bytes(8))]))
    fails("invalid-argument", lambda: session.call("np.echo", metadata=[("np-once", bytes(48))]))
    session.close()


@case(GROUP, "a request above max_message: limit-reached, and no more")
def oversize():
    session = shared_server().session()
    session.wait(lambda: session.peer)
    total = session.peer["max_message"] + 1
    call = session.adopt("REQUEST")
    first = request(total=total)
    session.control = [Frame("METHOD", number=0, name="np.echo"), first]
    session.names["np.echo"] = 0
    session.flush()
    session.wait(lambda: call.ended)
    assert call.status == STATUS["limit-reached"]
    assert session.call("np.echo", b"still there") == b"still there"
    session.close()


@case(GROUP, "more calls than max_calls: unavailable, and the others go on")
def allowance():
    with Serving(config="[server]\nbackpressure_limit = 2\n") as server:
        session = server.session()
        streams = [session.open("STREAM", "np.echo-stream") for _ in range(2)]
        assert session.allowance == 2
        session.allowance = 3
        third = session.open("STREAM", "np.echo-stream")
        session.wait(lambda: third.ended)
        assert third.status == STATUS["unavailable"]
        for stream in streams:
            session.end(stream)
        session.wait(lambda: all(stream.ended for stream in streams))
        assert [stream.status for stream in streams] == [0, 0]
        session.close()


@case(GROUP, "CANCEL is answered by TRAILERS cancelled")
def cancels():
    session = shared_server().session()
    for status in ("cancelled", "ok", "unavailable", "deadline-exceeded"):
        stream = session.open("STREAM", "np.echo-stream")
        session.cancel(stream, status)
        session.wait(lambda stream=stream: stream.ended)
        wanted = status if status == "deadline-exceeded" else "cancelled"
        assert stream.status == STATUS[wanted], stream.status
    session.close()


@case(GROUP, "a deadline of 100 ms: deadline-exceeded")
def deadline():
    session = shared_server().session()
    stream = session.open("STREAM", "np.echo-stream", deadline_ms=100)
    session.wait(lambda: stream.ended)
    assert stream.status == STATUS["deadline-exceeded"]
    session.close()


@case(GROUP, "exactly once: an epoch, one run for two attempts, an acknowledged call")
def exactly_once():
    with Serving(config="[server]\nexactly_once = true\n") as server:
        session, instance = server.session(), os.urandom(16)
        epoch = session.call("np.once", instance)
        assert len(epoch) == 16

        def attempt(on, sequence, below=0, under=epoch):
            value = instance + under + sequence.to_bytes(8, "big") + below.to_bytes(8, "big")
            return on.call("np.echo", b"number %d" % sequence, metadata=[("np-once", value)])

        assert attempt(session, 0) == b"number 0"
        session.close()
        again = server.session()
        assert again.call("np.once", instance) == epoch
        assert attempt(again, 0) == b"number 0"
        assert attempt(again, 1, below=1) == b"number 1"
        fails("outcome-unknown", lambda: attempt(again, 0, below=1))
        fails("outcome-unknown", lambda: attempt(again, 2, under=bytes(16)))
        again.close()


# --- ends ---------------------------------------------------------------------------------------------------------------


@case(GROUP, "SIGTERM: GO_AWAY, open streams finish, then CLOSE drained")
def drains():
    with Serving() as server:
        session = server.session()
        stream = session.open("STREAM", "np.echo-stream")
        session.send(stream, b"before")
        session.flush()
        session.wait(lambda: stream.messages)
        server.terminate()
        session.wait(lambda: session.go_away)
        assert session.go_away.accepted == 1 and session.go_away.code == CLOSE["drained"]
        # A call that crosses it is refused as safe to send again.
        late = session.adopt("REQUEST")
        session.control.append(Frame("METHOD", number=1, name="np.echo"))
        session.control.append(request(method=1))
        session.send(stream, b"after")
        session.end(stream)
        session.wait(lambda: stream.ended and late.ended)
        assert list(stream.messages) == [b"before", b"after"] and stream.status == 0
        assert late.status == STATUS["unavailable"]
        ends(session, "drained")


@case(GROUP, "the client's GO_AWAY, and its CLOSE")
def client_goes():
    session = shared_server().session()
    assert session.call("np.echo", b"a") == b"a"
    session.drain("normal")
    assert session.call("np.echo", b"still its right") == b"still its right"
    session.close()


# --- modes without a handshake of keys ------------------------------------------------------------------------------------


def plain_preface():
    return wire.Preface(0, 0, int(time.time() * 1000), os.urandom(16))


@case(GROUP, "danger-plaintext: records that are not sealed")
def plaintext():
    with Serving(listen="tcp://127.0.0.1:0?mode=danger-plaintext", allow=("anonymous",)) as server:
        link = Link(server.socket())
        link.connect_outer(plain_preface())
        unsealed(link)
        # Another mode's preface is refused.
        in_clear("incompatible", known("XX"), server=server)
        link = Link(server.socket())
        link.connect_outer(plain_preface())
        session = Session(link, True)
        session.wait(lambda: session.peer)
        link.write(b"\x00\x02\x30\x00")
        ends(session, "protocol")


@case(GROUP, "local: a Unix socket and the system's word")
def local():
    if not hasattr(socket, "AF_UNIX"):
        raise Skipped("this system has no Unix sockets")
    file = path("np.sock")
    with Serving(listen=f"unix:{file}?mode=local", allow=(f"user:{os.getuid()}",)):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(str(file))
        link = Link(sock)
        link.connect_outer(plain_preface())
        unsealed(link)


@case(GROUP, "tls: certificates, ALPN np/1, records that are not sealed")
def tls():
    folder = path("certs")
    subprocess.run([NP, "cert", "dev", "--out", str(folder)], check=True, capture_output=True, timeout=TIMEOUT)
    arguments = ["--cert", str(folder / "server.pem"), "--key", str(folder / "server-key.pem")]
    with Serving(*arguments, listen="tls://127.0.0.1:0", allow=("anonymous",)) as server:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.set_alpn_protocols(["np/1"])
        link = Link(context.wrap_socket(server.socket(), server_hostname="localhost"))
        link.connect_outer(plain_preface())
        unsealed(link)
        without = ssl.create_default_context(cafile=folder / "ca.pem")
        try:
            without.wrap_socket(server.socket(), server_hostname="localhost")
        except (ssl.SSLError, ConnectionError):
            return
        raise AssertionError("a client without ALPN np/1 was let in")


def unsealed(link):
    session = Session(link, True)
    assert session.call("np.echo", body(1_000)) == body(1_000)
    assert session.call("np.echo", body(300_000)) == body(300_000)
    session.close()
