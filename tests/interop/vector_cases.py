"""The vectors of docs/vectors, which the program wrote, read and made again by the implementation in Python."""

import json
import pathlib

from np_protocol import compress, noise, text, wire
from np_protocol.link import ClearRefusal, Direction, Hello, Host, Link, Truncated
from np_protocol.observer import Observer
from np_protocol.session import Session
from np_protocol.wire import Frame, Refused

from harness import Skipped, case

GROUP = "vectors"
FOLDER = pathlib.Path(__file__).parents[2] / "docs/vectors"


def vectors(name):
    return json.loads((FOLDER / name).read_text())


def frame_of(fields):
    """A frame from its fields as the vectors name them."""
    fields = dict(fields)
    for name in ("body",):
        if name in fields:
            fields[name] = bytes.fromhex(fields[name])
    if "metadata" in fields:
        fields["metadata"] = [(key, bytes.fromhex(value)) for key, value in fields["metadata"]]
    return Frame(fields.pop("kind"), fields.pop("stream", None), **fields)


@case(GROUP, "numbers.json: every edge, both ways; longer forms refused")
def numbers():
    for vector in vectors("numbers.json"):
        data = bytes.fromhex(vector["bytes"])
        assert wire.varint(vector["value"]) == data
        assert wire.Reader(data).varint() == vector["value"]


@case(GROUP, "prefaces.json: fields, bytes, and who is refused by which code")
def prefaces():
    host = Host(bytes([0x22] * 32), patterns=tuple(noise.NUMBERS))
    for vector in vectors("prefaces.json"):
        data, refused = bytes.fromhex(vector["bytes"]), None
        try:
            reader = wire.Reader(data)
            preface = wire.Preface.read(reader.bytes)
            host.now = lambda preface=preface: preface.time
            (wire.check_plain if vector.get("plain") else host.check)(preface)
        except Refused as error:
            refused = error.code
        assert (vector["refused"] or "").partition(":")[0] == (refused or ""), f"{vector['about']}: {refused}"
        fields = vector.get("fields")
        if fields:
            for name in ("nonce", "hint", "key_id"):
                fields[name] = bytes.fromhex(fields[name])
            assert wire.Preface(**fields).encode() == data, vector["about"]


@case(GROUP, "conversations.json: both sides of each handshake made again, records opened and sealed")
def conversations():
    for vector in vectors("conversations.json"):
        conversation(vector)


def conversation(vector):
    def field(name):
        return bytes.fromhex(vector[name]) if name in vector else None

    prologue, outer = field("prologue"), field("outer_binding") or b""
    assert prologue.endswith(outer)
    preface = wire.Preface.read(wire.Reader(prologue).bytes)
    pattern, psk = vector["pattern"], field("psk")
    assert preface.pattern == noise.NUMBERS[pattern]
    assert vector["protocol_name"] == f"Noise_{pattern}_{noise.SUITES[preface.suite]}"
    for side in ("client", "server"):
        assert noise.public_key(field(f"{side}_static_secret")) == field(f"{side}_static_public")
    client = noise.Handshake(
        preface.suite, pattern, True, prologue, psk=psk, ephemeral=field("client_ephemeral_secret"),
        static=None if pattern in ("NK", "NN", "NNpsk0") else field("client_static_secret"),
        remote=field("server_static_public") if pattern in wire.HINTED else None,
    )
    server = noise.Handshake(
        preface.suite, pattern, False, prologue, ephemeral=field("server_ephemeral_secret"),
        static=None if pattern in ("NN", "NNpsk0") else field("server_static_secret"),
        remote=preface.key_id if pattern == "KK" else None, psk=psk if preface.key_id else None,
    )
    said = iter(vector["said"])
    find, payload = (lambda key: psk), bytes([1, preface.suite, preface.pattern])
    for at in range(len(client.messages)):
        one = next(said)
        writer, reader = (client, server) if at % 2 == 0 else (server, client)
        sent = payload if at == 1 else b""
        message = writer.write(sent, find)
        whole = (prologue[:len(prologue) - len(outer)] if at == 0 else b"") + wire.handshake_frame(0x02, message)
        assert whole.hex() == one["bytes"], f"{vector['protocol_name']}: {one['what']}"
        assert reader.read(message, find) == sent
    assert client.hash == server.hash == field("handshake_hash")
    ways = {"initiator": client.split()[0], "responder": server.split()[0]}
    opens = {"initiator": server.split()[1], "responder": client.split()[1]}
    for one in said:
        side = one["from"]
        if check_frames(check_record(one, ways[side], opens[side]))[-1].kind == "KEY_UPDATE":
            ways[side].rekey()
            opens[side].rekey()


def check_record(one, seal, opener):
    """A record: opened, its frames read and written again, and sealed again."""
    data, plain = bytes.fromhex(one["bytes"]), bytes.fromhex(one["plaintext"])
    assert int.from_bytes(data[:2], "big") == len(data) - 2
    assert seal.counter == opener.counter == one.get("record", one.get("number"))
    assert opener.open(data[2:]) == plain
    assert seal.seal(plain) == data[2:]
    return plain


def check_frames(plain):
    frames = wire.decode_frames(plain)
    assert b"".join(wire.encode_frame(frame) for frame in frames) == plain
    return frames


@case(GROUP, "records.json: each suite, under one key and after two rekeys")
def records():
    for vector in vectors("records.json"):
        suite = next(number for number, name in noise.SUITES.items() if name == vector["suite"])
        seal, opener = (noise.Cipher(suite, bytes.fromhex(vector["key"])) for _ in range(2))
        rekeyed = 0
        for one in vector["records"]:
            while rekeyed < one["rekeyed"]:
                seal.rekey()
                opener.rekey()
                rekeyed += 1
            check_record(one, seal, opener)


@case(GROUP, "rekeys.json: two sessions that renew keys every two records")
def rekeys():
    for vector in vectors("rekeys.json"):
        suite = next(number for number, name in noise.SUITES.items() if name == vector["suite"])
        keys = {side: bytes.fromhex(vector[f"{side}_key"]) for side in ("initiator", "responder")}
        pairs = {side: [noise.Cipher(suite, key) for _ in range(2)] for side, key in keys.items()}
        times = dict.fromkeys(keys, 0)
        for one in vector["said"]:
            side = one["from"]
            assert one["rekeyed"] == times[side]
            frames = check_frames(check_record(one, *pairs[side]))
            if frames[-1].kind == "KEY_UPDATE":
                times[side] += 1
                for cipher in pairs[side]:
                    cipher.rekey()
        assert min(times.values()) >= 1, times


@case(GROUP, "frames.json: every kind and flag both ways, and bytes that are refused")
def frames():
    kinds = set()
    for vector in vectors("frames.json"):
        data, refused, frame = bytes.fromhex(vector["bytes"]), None, None
        try:
            reader = wire.Reader(data)
            frame = wire.decode_frame(reader)
            reader.done()
        except Refused as error:
            refused = error.code
        wanted = vector.get("refused")
        assert refused == (wanted.partition(":")[0] if wanted else None), f"{vector['about']}: {refused}"
        if wanted:
            continue
        kinds.add(frame.kind)
        if vector["frame"]["kind"] == "UNKNOWN":
            assert frame.kind == "UNKNOWN"
            continue
        assert frame == frame_of(vector["frame"]), f"{vector['about']}: {frame}"
        if "nobody knows" not in vector["about"] and "says nothing" not in vector["about"]:
            assert wire.encode_frame(frame) == data, vector["about"]
    assert kinds == {*wire.KINDS, "UNKNOWN"}


def body(count):
    return bytes(at * 7 & 0xFF for at in range(count))


# What the calls of streams.json come to: method, messages of the caller, messages of the callee, status.
CALLS = {
    "two calls of one method": [
        ("np.echo", [body(5)], [body(5)], 0), ("np.echo", [body(256)], [body(256)], 0), ("note", [body(20)], [], 0),
    ],
    "requests and responses above": [
        ("np.echo", [body(1_500)], [body(1_500)], 0), ("np.echo", [body(257)], [body(257)], 0),
    ],
    "a stream with messages": [("np.echo-stream", [body(0), body(600), body(3)], [body(0), body(600), body(3)], 0)],
    "a call that fails": [("shop.buy", [body(4)], [], 1), ("shop.watch", [], [], 2)],
    "a server that drains": [("np.echo", [body(3)], [body(3)], 0), ("np.echo", [body(4)], [], 7)],
}


@case(GROUP, "streams.json: calls, streams, credit, grants, ends: every rule held")
def streams():
    told = vectors("streams.json")
    assert len(told) == len(CALLS)
    for vector in told:
        observer = Observer()
        for one in vector["said"]:
            plain = bytes.fromhex(one["plaintext"])
            heard = check_frames(plain)
            assert heard == [frame_of(fields) for fields in one["frames"]], vector["about"]
            observer.hear(one["from"], heard)
        seen = [
            (call.method, call.messages["initiator"], call.messages["responder"], call.status)
            for call in observer.calls.values()
        ]
        wanted = next(calls for about, calls in CALLS.items() if vector["about"].startswith(about))
        assert seen == wanted, f"{vector['about']}: {seen}"


class Script:
    """A socket that says what it was given, and keeps what it is told."""

    def __init__(self):
        self.input, self.output = b"", b""

    def feed(self, plain):
        self.input += len(plain).to_bytes(2, "big") + plain

    def recv(self, count):
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def sendall(self, data):
        self.output += data

    def shutdown(self, _):
        pass

    def settimeout(self, _):
        pass

    def close(self):
        pass


class Quiet:
    """A stream's handler that says nothing."""

    def __init__(self, *_):
        pass

    def message(self, _):
        pass

    def finished(self):
        pass


@case(GROUP, "handshakes.json: what either side makes of bytes before the first record")
def handshakes():
    for vector in vectors("handshakes.json"):
        link = Link(Script())
        link.sock.input = bytes.fromhex(vector["bytes"])
        result = (client_reads if vector["to"] == "initiator" else server_reads)(link, vector["pattern"])
        assert result == vector["result"], f"{vector['about']}: {result}"


TIME = 1_800_000_000_000


def client_reads(link, pattern):
    hello = Hello(pattern, static=bytes([0x11] * 32), ephemeral=bytes([0x33] * 32), time=TIME, nonce=bytes([0x55] * 16))
    try:
        link.connect(hello)
    except ClearRefusal as refusal:
        return f"is refused: {refusal.code}"
    except (Refused, noise.NotAuthentic):
        return "refuses"
    return "goes on"


def server_reads(link, pattern):
    host = Host(bytes([0x22] * 32), patterns=(pattern,))
    host.now, host.ephemeral = (lambda: TIME), (lambda: bytes([0x44] * 32))
    try:
        link.accept(host)
    except (Refused, noise.NotAuthentic):
        said = link.sock.output
        assert len(said) == 3 + int.from_bytes(said[1:3], "big"), "one frame, and nothing after it"
        if said[0] == 0x02:
            return "refuses without a word"
        codes = {number: name for name, number in wire.CLOSE.items()}
        return f"refuses in clear: {codes[int.from_bytes(said[3:5], 'big')]}"
    return "goes on"


def scripted():
    link = Link(Script())
    link.send, link.receive, link.sealed = Direction(noise.Cipher(1)), Direction(noise.Cipher(1)), False
    return link


@case(GROUP, "endings.json: what ends a connection, by the same code in python")
def endings():
    for vector in vectors("endings.json"):
        link, plain = scripted(), bytes.fromhex(vector["plaintext"])
        first = vector["about"].startswith("first record")
        is_stream = bytes([0x0A << 3]) in (plain[at:at + 1] for at in range(len(plain))) or b"\x51" in plain
        serve = {"np.echo": Quiet if is_stream else (lambda *_: b"")}
        budget = vector.get("useless_acts")
        session = Session(link, vector["to"] == "initiator", vector["settings"], serve, useless_acts=budget)
        if not first:
            link.sock.feed(wire.encode_frame(Frame("SETTINGS", settings=vector["settings"])))
            session.pump()
        if "opened" in vector:
            session.open(vector["opened"], "np.echo", deadline_ms=None)
        link.sock.feed(plain)
        code = None
        try:
            while True:
                session.pump()
        except Refused as refused:
            code = refused.code
        except Truncated:
            pass
        assert code == vector["closes"], f"{vector['about']}: {code}, not {vector['closes']}"
        assert vector.get("limit", "") in session.closed.text, f"{vector['about']}: {session.closed.text}"
        if budget:
            # Settings are no act: of the others the last alone is one too many.
            assert sum(session.counts.values()) - 1 == len(wire.decode_frames(plain)), vector["about"]
        assert link.sock.output.endswith(wire.encode_frame(Frame("CLOSE", code=wire.CLOSE[code], text=session.closed.text)))


@case(GROUP, "compression.json: LZ4 bodies read, or refused", encoding=1)
@case(GROUP, "compression.json: Zstandard bodies read, or refused", encoding=2)
def compression(encoding):
    if not compress.AVAILABLE >> encoding & 1:
        raise Skipped("PyPI's lz4 and zstandard are not installed")
    for vector in (one for one in vectors("compression.json") if one["encoding"] == encoding):
        try:
            message = compress.expand(encoding, bytes.fromhex(vector["body"]), vector["size"]).hex()
        except compress.Unsound:
            message = None
        assert message == vector.get("message"), f"{vector['about']}: {message}"


@case(GROUP, "PROTOCOL.md: the key as text, both ways, and every wrong letter")
def keys():
    page = (FOLDER.parent / "PROTOCOL.md").read_text()
    written = page.partition("The public key of the secret 32 times `11` is `")[2].partition("`")[0]
    key = noise.public_key(bytes([0x11] * 32))
    assert text.encode("np", key) == written and text.decode("np", written) == key
    for at in range(3, len(written)):
        wrong = written[:at] + ("q" if written[at] != "q" else "p") + written[at + 1:]
        try:
            text.decode("np", wrong)
        except ValueError:
            continue
        raise AssertionError(f"a wrong letter at {at} was taken")
