"""Bytes: numbers, the preface, handshake frames, settings, metadata and every kind of frame."""

import dataclasses
import hashlib

MAGIC = b"np\r\n"
MAX_RECORD = 65_535
FIRST_RECORD = 4_096
MAX_HANDSHAKE = 1_024
MAX_CLEAR_TEXT = 256
MAX_TEXT = 1_024
MAX_KEY_ID = 64
DEFAULT_DEADLINE_MS = 30_000

STATUS = {
    "ok": 0, "failed": 1, "cancelled": 2, "deadline-exceeded": 3, "unknown-method": 4, "invalid-argument": 5,
    "limit-reached": 6, "unavailable": 7, "internal": 8, "permission-denied": 9, "unsupported-codec": 10,
    "wrong-kind": 11, "schema-mismatch": 12, "outcome-unknown": 13,
}
CLOSE = {
    "normal": 0x00, "drained": 0x01, "max-age": 0x02, "malformed": 0x10, "protocol": 0x11, "version": 0x12,
    "incompatible": 0x13, "not-allowed": 0x20, "clock-skew": 0x21, "replay": 0x22, "unknown-identity": 0x23,
    "authentication": 0x24, "connection-limit": 0x30, "handshake-limit": 0x31, "limit-exceeded": 0x32, "flood": 0x33,
    "replay-guard-full": 0x34, "handshake-timeout": 0x40, "idle-timeout": 0x41, "progress-timeout": 0x42,
    "heartbeat-timeout": 0x43, "internal": 0x50,
}
ENCODINGS = {"plain": 0, "lz4": 1, "zstd": 2}


class Refused(Exception):
    """Bytes of the peer that end the connection, with the code of the CLOSE that says so."""

    def __init__(self, code, why):
        super().__init__(f"{code}: {why}")
        self.code, self.why = code, why


def malformed(why):
    return Refused("malformed", why)


def varint(number):
    """RFC 9000, section 16, in the fewest bytes."""
    for prefix, width in enumerate((1, 2, 4, 8)):
        if number < 1 << (8 * width - 2):
            return (number | prefix << (8 * width - 2)).to_bytes(width, "big")
    raise ValueError("a varint is below 2^62")


def prefixed(data):
    return varint(len(data)) + data


class Reader:
    """Takes fields from the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def __len__(self):
        return len(self.data) - self.at

    def bytes(self, count):
        if len(self) < count:
            raise malformed("cut short")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, width):
        return int.from_bytes(self.bytes(width), "big")

    def varint(self, most=2**62 - 1):
        first = self.number(1)
        width = 1 << (first >> 6)
        number = (first & 0x3F) << 8 * (width - 1) | int.from_bytes(self.bytes(width - 1), "big")
        if len(varint(number)) != width:
            raise malformed("a number in more bytes than it needs")
        if number > most:
            raise malformed("a number that is too large")
        return number

    def varint32(self):
        return self.varint(2**32 - 1)

    def prefixed(self):
        return self.bytes(self.varint())

    def rest(self):
        return self.bytes(len(self))

    def text(self, most=MAX_TEXT):
        data = self.rest()
        if len(data) > most:
            raise Refused("limit-exceeded", "text")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise malformed("a text that is not UTF-8") from error

    def done(self):
        if len(self):
            raise malformed("bytes behind the last field")


# --- preface and handshake -------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Preface:
    """The client's first bytes."""

    suite: int
    pattern: int
    time: int
    nonce: bytes
    hint: bytes = bytes(4)
    key_id: bytes = b""
    min_version: int = 1
    max_version: int = 1
    version: int = 1

    def encode(self):
        numbers = bytes([self.min_version, self.max_version, self.version, self.suite, self.pattern])
        rest = self.nonce + self.hint + bytes([len(self.key_id)]) + self.key_id
        return MAGIC + numbers + self.time.to_bytes(8, "big") + rest

    @classmethod
    def read(cls, take):
        """Reads from `take(count)`, refusing at the earliest byte."""
        for at in range(4):
            if take(1) != MAGIC[at:at + 1]:
                raise malformed("magic")
        low, high, version = take(3)
        if not low <= version <= high:
            raise malformed("the version is not between the lowest and the highest")
        if version != 1:
            raise Refused("version", "no version in common")
        suite, pattern = take(2)
        time = int.from_bytes(take(8), "big")
        nonce, hint, (count,) = take(16), take(4), take(1)
        if count > MAX_KEY_ID:
            raise Refused("limit-exceeded", "key id")
        return cls(suite, pattern, time, nonce, hint, take(count), low, high, version)


def hint_of(server_key):
    return hashlib.sha256(server_key).digest()[:4]


HINTED = ("IK", "NK", "KK", "IKpsk2")


def check_key_id(pattern, hint, key_id):
    """Refuses a hint or a key id that the pattern does not take."""
    if pattern not in HINTED and hint != bytes(4):
        raise malformed("a hint in a pattern without one")
    if pattern == "KK":
        right = len(key_id) == 32
    elif pattern == "NNpsk0":
        right = is_psk_id(key_id)
    elif "psk" in pattern:
        right = key_id == b"" or is_psk_id(key_id)
    else:
        right = key_id == b""
    if not right:
        raise malformed("a key id that the pattern does not take")


def check_plain(preface):
    """Refuses what has no place in a mode without a handshake of keys."""
    if preface.suite or preface.pattern:
        raise Refused("incompatible", "this server has no handshake of keys")
    if preface.hint != bytes(4) or preface.key_id:
        raise malformed("a hint or a key id where there are no keys")


def is_psk_id(key_id):
    return 1 <= len(key_id) <= MAX_KEY_ID and all(0x21 <= byte <= 0x7E for byte in key_id)


def handshake_frame(kind, body):
    return bytes([kind]) + len(body).to_bytes(2, "big") + body


def clear_refusal(code, text, low=1, high=1):
    body = CLOSE[code].to_bytes(2, "big") + bytes([low, high]) + text.encode()[:MAX_CLEAR_TEXT]
    return handshake_frame(0x03, body)


# --- settings and metadata -------------------------------------------------------------------------------------------

SETTINGS = {"max_message": 1, "max_calls": 2, "stream_window": 3, "connection_window": 4, "encodings": 5}
DEFAULTS = {
    "max_message": 16 << 20, "max_calls": 1_024, "stream_window": 256 << 10, "connection_window": 1 << 20, "encodings": 0,
}


def encode_settings(settings):
    pairs = [(number, settings.get(name, 0)) for name, number in SETTINGS.items()]
    return b"".join(varint(number) + varint(value) for number, value in pairs if number != 5 or value)


def decode_settings(payload):
    reader, found, last, count = Reader(payload), {"encodings": 0}, -1, 0
    names = {number: name for name, number in SETTINGS.items()}
    while len(reader):
        number, value = reader.varint(), reader.varint()
        count += 1
        if count > 32:
            raise Refused("limit-exceeded", "settings")
        if number <= last:
            raise malformed("the ids of settings do not ascend")
        last = number
        if number in names:
            if value > 2**32 - 1 or number == 5 and value == 0:
                raise malformed("the value of a setting")
            found[names[number]] = value
    if len(found) != 5:
        raise malformed("a setting is missing")
    if found["stream_window"] == 0 or found["connection_window"] < 2 * found["stream_window"]:
        raise malformed("windows that let nothing through")
    return found


KEY_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
NAME_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-")


def encode_extension(metadata):
    pairs = b"".join(prefixed(key.encode()) + prefixed(value) for key, value in metadata)
    return prefixed(varint(1) + prefixed(pairs)) if metadata else b""


def decode_extension(data):
    reader, metadata = Reader(data), None
    while len(reader):
        tag, value = reader.varint(), reader.prefixed()
        if tag == 1:
            if metadata is not None:
                raise malformed("metadata stands twice")
            metadata = decode_metadata(value)
    return metadata or []


def decode_metadata(data):
    reader, pairs, size = Reader(data), {}, 0
    while len(reader):
        key, value = reader.prefixed(), reader.prefixed()
        if not 1 <= len(key) <= 64 or not KEY_LETTERS.issuperset(key) or key.decode() in pairs:
            raise malformed("a key of metadata")
        pairs[key.decode()] = value
        size += len(key) + len(value)
        if len(pairs) > 32 or size > 8_192:
            raise Refused("limit-exceeded", "metadata")
    return list(pairs.items())


# --- frames ----------------------------------------------------------------------------------------------------------

KINDS = {
    "PADDING": 0x00, "SETTINGS": 0x01, "CLOSE": 0x02, "GO_AWAY": 0x03, "PING": 0x04, "PONG": 0x05, "KEY_UPDATE": 0x06,
    "METHOD": 0x07, "REQUEST": 0x08, "ONE_WAY": 0x09, "STREAM": 0x0A, "CONNECTION_CREDIT": 0x0B, "CALL_ALLOWANCE": 0x0C,
    "RESPONSE": 0x10, "DATA": 0x11, "TRAILERS": 0x12, "CANCEL": 0x13, "STREAM_CREDIT": 0x14, "COMPRESSED": 0x15,
}
KIND_NAMES = {number: name for name, number in KINDS.items()}
OPENING = ("REQUEST", "ONE_WAY", "STREAM")
FLAGS = {"REQUEST": 7, "ONE_WAY": 7, "STREAM": 7, "RESPONSE": 6, "DATA": 3, "TRAILERS": 4, "COMPRESSED": 2}

# The kinds whose payload is numbers alone: their names, and which of them are varint32.
NUMBERS = {
    "GO_AWAY": ("accepted", "code"), "PING": ("token",), "PONG": ("token",), "CONNECTION_CREDIT": ("bytes",),
    "CALL_ALLOWANCE": ("calls",), "CANCEL": ("status",), "STREAM_CREDIT": ("bytes",), "KEY_UPDATE": (),
}


class Frame:
    """A kind and its fields; a field that does not stand there is None, and metadata that does not is empty."""

    def __init__(self, kind, stream=None, **fields):
        self.kind, self.stream = kind, stream
        self.__dict__.update(fields)

    def __repr__(self):
        return f"Frame({self.__dict__})"

    def __eq__(self, other):
        return self.__dict__ == other.__dict__


def head(kind, **given):
    """An opening or answering frame: what is not given has the value that takes no room."""
    fields = {"codec": 0, "encoding": 0, "size": None, "total": None, "metadata": [], "body": b""}
    if kind in OPENING:
        fields["remaining_ms"] = None
    return Frame(kind, **{**fields, **given})


def _encode_head(frame):
    flags, out = 0, b""
    opening = frame.kind in OPENING
    if opening:
        out += varint(frame.method)
    out += bytes([frame.encoding << 4 | frame.codec])
    if frame.encoding:
        out += varint(frame.size)
    if opening and frame.remaining_ms == "default":
        flags |= 1
    elif opening:
        out += varint(0 if frame.remaining_ms is None else frame.remaining_ms + 1)
    if frame.total is not None:
        flags |= 2
        out += varint(frame.total)
    if frame.metadata:
        flags |= 4
        out += encode_extension(frame.metadata)
    return flags, out + frame.body


def _encode_payload(frame):
    kind = frame.kind
    if kind in OPENING or kind == "RESPONSE":
        return _encode_head(frame)
    if kind in NUMBERS:
        return 0, b"".join(varint(getattr(frame, name)) for name in NUMBERS[kind])
    if kind == "PADDING":
        return 0, bytes(frame.zeros)
    if kind == "SETTINGS":
        return 0, encode_settings(frame.settings)
    if kind == "CLOSE":
        return 0, varint(frame.code) + frame.text.encode()
    if kind == "METHOD":
        return 0, varint(frame.number) + frame.name.encode()
    if kind == "DATA":
        return (1 if frame.fin else 0) | (2 if frame.end else 0), frame.body
    if kind == "TRAILERS":
        return (4 if frame.metadata else 0), varint(frame.status) + encode_extension(frame.metadata) + frame.text.encode()
    assert kind == "COMPRESSED"
    return (2 if frame.end else 0), bytes([frame.encoding << 4]) + varint(frame.size) + frame.body


def encode_frame(frame):
    flags, payload = _encode_payload(frame)
    number = KINDS[frame.kind]
    stream = varint(frame.stream) if number >= 0x10 else b""
    return bytes([number << 3 | flags]) + stream + prefixed(payload)


def _decode_head(kind, flags, reader, stream):
    fields = {"method": reader.varint32()} if kind in OPENING else {}
    both = reader.number(1)
    fields["codec"], fields["encoding"] = both & 15, both >> 4
    fields["size"] = reader.varint32() if both >> 4 else None
    if kind in OPENING:
        if flags & 1:
            fields["remaining_ms"] = "default"
        else:
            remaining = reader.varint()
            fields["remaining_ms"] = remaining - 1 if remaining else None
    fields["total"] = reader.varint32() if flags & 2 else None
    fields["metadata"] = decode_extension(reader.prefixed()) if flags & 4 else []
    fields["body"] = reader.rest()
    return Frame(kind, stream, **fields)


def _decode_payload(kind, flags, reader, stream):
    if kind in OPENING or kind == "RESPONSE":
        return _decode_head(kind, flags, reader, stream)
    if kind in NUMBERS:
        narrow = kind in ("CONNECTION_CREDIT", "CALL_ALLOWANCE", "STREAM_CREDIT")
        frame = Frame(kind, stream, **{name: reader.varint32() if narrow else reader.varint() for name in NUMBERS[kind]})
        if kind in ("CANCEL", "GO_AWAY") and getattr(frame, NUMBERS[kind][-1]) > 65_535:
            raise malformed("a code")
        return frame
    if kind == "PADDING":
        zeros = reader.rest()
        if zeros.strip(b"\0"):
            raise malformed("padding that is not zero")
        return Frame(kind, zeros=len(zeros))
    if kind == "SETTINGS":
        return Frame(kind, settings=decode_settings(reader.rest()))
    if kind == "CLOSE":
        return Frame(kind, code=reader.varint(65_535), text=reader.text())
    if kind == "METHOD":
        number, name = reader.varint32(), reader.rest()
        if len(name) > 128:
            raise Refused("limit-exceeded", "method name")
        if not name or not NAME_LETTERS.issuperset(name):
            raise malformed("a method's name")
        return Frame(kind, number=number, name=name.decode())
    if kind == "DATA":
        return Frame(kind, stream, fin=bool(flags & 1), end=bool(flags & 2), body=reader.rest())
    if kind == "TRAILERS":
        status = reader.varint(65_535)
        metadata = decode_extension(reader.prefixed()) if flags & 4 else []
        return Frame(kind, stream, status=status, metadata=metadata, text=reader.text())
    both, size, body = reader.number(1), reader.varint32(), reader.rest()
    if both & 15 or not both >> 4 or not body:
        raise malformed("the head of COMPRESSED")
    return Frame(kind, stream, encoding=both >> 4, size=size, end=bool(flags & 2), body=body)


def decode_frame(reader):
    """The next frame; one of an unknown kind is Frame("UNKNOWN")."""
    first = reader.number(1)
    number, flags = first >> 3, first & 7
    stream = reader.varint() if number >= 0x10 else None
    payload = Reader(reader.prefixed())
    kind = KIND_NAMES.get(number)
    if kind is None:
        return Frame("UNKNOWN", stream)
    if flags & ~FLAGS.get(kind, 0):
        raise malformed("the flags of a frame")
    frame = _decode_payload(kind, flags, payload, stream)
    payload.done()
    return frame


def decode_frames(data):
    reader, frames = Reader(data), []
    while len(reader):
        frames.append(decode_frame(reader))
    return frames
