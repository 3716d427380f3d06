"""From the first byte to records: handshakes of both sides over a socket, and the records behind them."""

import hashlib
import os
import time as clock

from . import noise, wire
from .wire import Refused

MAX_SKEW_MS = 5_000
SOFT_RECORDS, HARD_RECORDS = 2**20, 3 * 2**19
SOFT_BYTES, HARD_BYTES = 64 << 30, 96 << 30
SOFT_AGE = 120.0


class Truncated(Exception):
    """The bytes ended without a CLOSE."""


class ClearRefusal(Exception):
    """The server's refusal in clear: nobody signed it."""

    def __init__(self, code, low, high, text):
        super().__init__(f"refused in clear: code {code:#04x}, versions {low} to {high}: {text}")
        self.code, self.low, self.high, self.text = code, low, high, text


class Direction:
    """One direction's key and what has passed under it."""

    def __init__(self, cipher):
        self.cipher, self.first, self.rekeys = cipher, True, 0
        self._reset()

    def _reset(self):
        self.records, self.bytes, self.since = 0, 0, clock.monotonic()

    def count(self, length):
        self.records += 1
        self.bytes += length
        self.first = False

    def rekey(self):
        self.cipher.rekey()
        self.rekeys += 1
        self._reset()


class Link:
    """Records over a socket, once one of the handshakes below is done."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""
        self.send = self.receive = None
        self.binding = self.peer_key = self.pattern = self.psk_id = None
        self.sealed = True
        # A lower soft limit, to see keys renewed soon.
        self.rekey_records = SOFT_RECORDS

    # --- bytes ---

    def take(self, count):
        while len(self.buffer) < count:
            more = self.sock.recv(1 << 18)
            if not more:
                raise Truncated("the bytes ended")
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def write(self, data):
        self.sock.sendall(data)

    # --- handshake ---

    def _take_handshake(self, kinds):
        (kind,) = self.take(1)
        if kind not in kinds:
            raise wire.malformed("not a handshake frame")
        length = int.from_bytes(self.take(2), "big")
        if length > (wire.MAX_HANDSHAKE if kind == 0x02 else 4 + wire.MAX_CLEAR_TEXT):
            raise Refused("limit-exceeded", "handshake message" if kind == 0x02 else "text")
        return kind, self.take(length)

    def connect(self, hello):
        """Leads a client's handshake, as `hello` says."""
        preface = hello.preface()
        handshake = hello.handshake(preface.encode())
        self.write(preface.encode() + wire.handshake_frame(0x02, handshake.write()))
        kind, body = self._take_handshake((0x02, 0x03))
        if kind == 0x03:
            reader = wire.Reader(body)
            raise ClearRefusal(reader.number(2), reader.number(1), reader.number(1), reader.text(wire.MAX_CLEAR_TEXT))
        choices = handshake.read(body)
        if choices[:3] != bytes([preface.version, preface.suite, preface.pattern]):
            raise Refused("protocol", "a choice that was not offered")
        if hello.server_key and handshake.rs != hello.server_key:
            raise WrongServer(handshake.rs)
        if not handshake.over:
            self.write(wire.handshake_frame(0x02, handshake.write()))
        self._finish(handshake, hello.pattern, handshake.rs)

    def accept(self, host):
        """Leads a server's handshake, as `host` says. Gives the CLOSE code and text of a refusal by policy, or None."""
        try:
            preface = wire.Preface.read(self.take)
            pattern = host.check(preface)
            handshake = host.handshake(preface, pattern)
            first = self._take_handshake((0x02,))[1]
            self._read_empty(handshake, first, host)
            choices = bytes([1, preface.suite, preface.pattern])
            # A point of low order is met here.
            answer = handshake.write(choices, host.psk_of_key if pattern == "IKpsk2" else None)
        except noise.NotAuthentic as error:
            self.write(wire.clear_refusal("authentication", "handshake message 1 did not open"))
            raise Refused("authentication", "message 1") from error
        except Refused as error:
            self.write(wire.clear_refusal(error.code, error.why))
            raise
        self.write(wire.handshake_frame(0x02, answer))
        if not handshake.over:
            self._read_empty(handshake, self._take_handshake((0x02,))[1], host)
        self.psk_id = preface.key_id if "psk" in pattern else None
        self._finish(handshake, pattern, handshake.rs)
        return host.judge(self, preface)

    def connect_outer(self, preface):
        """Leads a client's start in a mode without a handshake of keys: records are not sealed."""
        self.write(preface.encode())
        kind, body = self._take_handshake((0x02, 0x03))
        if kind == 0x03:
            reader = wire.Reader(body)
            raise ClearRefusal(reader.number(2), reader.number(1), reader.number(1), reader.text(wire.MAX_CLEAR_TEXT))
        if body[:3] != bytes([preface.version, 0, 0]):
            raise Refused("protocol", "a choice that was not offered")
        self.send, self.receive = Direction(noise.Cipher(1)), Direction(noise.Cipher(1))
        self.binding, self.sealed = hashlib.sha256(preface.encode()).digest(), False

    @staticmethod
    def _read_empty(handshake, message, host):
        if handshake.read(message, host.psk_of_key):
            raise wire.malformed("a payload in message 1 or 3")

    def _finish(self, handshake, pattern, peer_key):
        send, receive = handshake.split()
        self.send, self.receive = Direction(send), Direction(receive)
        self.binding, self.peer_key, self.pattern = handshake.hash, peer_key, pattern

    # --- records ---

    def room(self):
        """The most bytes of frames that the next record may hold, a KEY_UPDATE aside."""
        return (wire.FIRST_RECORD if self.send.first else wire.MAX_RECORD) - 16 - 2

    def write_record(self, plain, update=False):
        """Seals whole frames as one record; a KEY_UPDATE ends it where that is asked for, or due."""
        way = self.send
        aged = clock.monotonic() - way.since > SOFT_AGE
        update = update or self.sealed and (way.records + 1 >= self.rekey_records or way.bytes >= SOFT_BYTES or aged)
        if update:
            plain += wire.encode_frame(wire.Frame("KEY_UPDATE"))
        sealed = way.cipher.seal(plain)
        self.write(len(sealed).to_bytes(2, "big") + sealed)
        way.count(2 + len(sealed))
        if update:
            way.rekey()

    def read_record(self):
        """The frames of the next record."""
        way = self.receive
        length = int.from_bytes(self.take(2), "big")
        if length < (17 if self.sealed else 1):
            raise wire.malformed("a record shorter than its tag and a byte")
        if way.first and length > wire.FIRST_RECORD:
            raise Refused("limit-exceeded", "record")
        if way.records >= HARD_RECORDS or way.bytes + 2 + length > HARD_BYTES:
            raise Refused("protocol", "a key past its hard limit")
        try:
            plain = way.cipher.open(self.take(length))
        except noise.NotAuthentic as error:
            raise Refused("authentication", "a record did not open") from error
        frames = wire.decode_frames(plain)
        self._check_order(frames, way.first)
        way.count(2 + length)
        if frames[-1].kind == "KEY_UPDATE":
            if not self.sealed:
                raise Refused("protocol", "KEY_UPDATE where there is no key")
            way.rekey()
        return frames

    @staticmethod
    def _check_order(frames, first):
        kinds = [frame.kind for frame in frames if frame.kind != "PADDING"]
        if "KEY_UPDATE" in [frame.kind for frame in frames[:-1]]:
            raise Refused("protocol", "KEY_UPDATE within a record")
        if kinds and kinds[-1] == "KEY_UPDATE":
            kinds.pop()
        if first and kinds not in (["SETTINGS"], ["CLOSE"]):
            raise Refused("protocol", "the first record holds SETTINGS or CLOSE")
        if not first and "SETTINGS" in kinds:
            raise Refused("protocol", "SETTINGS later than the first record")

    # --- ends ---

    def linger(self):
        """Shuts down writing, then discards for a second or 64 KiB, so that a reset does not eat the reason."""
        try:
            self.sock.shutdown(1)
            self.sock.settimeout(1.0)
            until, left = clock.monotonic() + 1.0, 64 << 10
            while left > 0 and clock.monotonic() < until:
                data = self.sock.recv(left)
                if not data:
                    break
                left -= len(data)
        except OSError:
            pass
        self.sock.close()


class WrongServer(Exception):
    """The server proved another key than the one that was asked for."""


class Hello:
    """What a client brings to a handshake."""

    def __init__(self, pattern="XX", suite=1, *, static=None, server_key=None, psk=None, psk_id=b"", **other):
        self.pattern, self.suite, self.static, self.server_key = pattern, suite, static, server_key
        self.psk, self.psk_id, self.other = psk, psk_id, other
        self.ephemeral = other.pop("ephemeral", None) or os.urandom(32)

    def preface(self):
        fields = {
            "suite": self.suite, "pattern": noise.NUMBERS[self.pattern], "time": int(clock.time() * 1000),
            "nonce": os.urandom(16),
            "hint": wire.hint_of(self.server_key) if self.pattern in wire.HINTED else bytes(4),
            "key_id": noise.public_key(self.static) if self.pattern == "KK" else self.psk_id,
        }
        return wire.Preface(**{**fields, **self.other})

    def handshake(self, prologue):
        remote = self.server_key if self.pattern in wire.HINTED else None
        static = None if self.pattern in ("NK", "NN", "NNpsk0") else self.static
        return noise.Handshake(
            self.suite, self.pattern, True, prologue,
            static=static, remote=remote, psk=self.psk, ephemeral=self.ephemeral,
        )


class Host:
    """What a server brings to handshakes, and its memory of first flights."""

    def __init__(self, static, *, patterns=("XX", "IK"), suites=(1, 2), allow=None, psks=None, psks_by_key=None):
        self.static, self.patterns, self.suites, self.allow = static, patterns, suites, allow
        self.psks, self.psks_by_key = psks or {}, psks_by_key or {}
        self.nonces = set()
        self.ephemeral = lambda: os.urandom(32)
        self.now = lambda: int(clock.time() * 1000)

    def check(self, preface):
        """Refuses a preface before any Diffie-Hellman; gives the pattern's name."""
        pattern = noise.NAMES.get(preface.pattern)
        if pattern not in self.patterns or preface.suite not in self.suites:
            raise Refused("incompatible", "this server offers other patterns or suites")
        wire.check_key_id(pattern, preface.hint, preface.key_id)
        skew = preface.time - self.now()
        if abs(skew) > MAX_SKEW_MS:
            raise Refused("clock-skew", f"the clocks differ by {skew} ms")
        if preface.nonce in self.nonces:
            raise Refused("replay", "this first flight was seen before")
        if pattern in wire.HINTED and preface.hint != wire.hint_of(noise.public_key(self.static)):
            raise Refused("unknown-identity", "no key has this hint")
        return pattern

    def handshake(self, preface, pattern):
        by_id = self.psks.get(preface.key_id, os.urandom(32)) if "psk" in pattern and preface.key_id else None
        return noise.Handshake(
            preface.suite, pattern, False, preface.encode(),
            static=None if pattern in ("NN", "NNpsk0") else self.static,
            remote=preface.key_id if pattern == "KK" else None, psk=by_id, ephemeral=self.ephemeral(),
        )

    def psk_of_key(self, key):
        return self.psks_by_key.get(key, os.urandom(32))

    def judge(self, link, preface):
        """Who is let in; a nonce is kept in one step with it."""
        if link.pattern in ("NK", "NN"):
            return None if self.allow is None else ("not-allowed", "this client proves nothing")
        if self.allow is not None and link.peer_key and link.peer_key not in self.allow:
            return ("not-allowed", "this key is not allowed")
        if preface.nonce in self.nonces:
            return ("replay", "this first flight was seen before")
        self.nonces.add(preface.nonce)
        return None
