"""Noise, revision 34: the eight patterns and two suites of the page."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SUITES = {1: "25519_ChaChaPoly_SHA256", 2: "25519_AESGCM_SHA256"}
NUMBERS = {"XX": 1, "IK": 2, "NK": 3, "KK": 4, "XXpsk3": 5, "IKpsk2": 6, "NNpsk0": 7, "NN": 8}
NAMES = {number: name for name, number in NUMBERS.items()}

# What each side is known by before the first message (initiator, responder), and the tokens of the messages.
PATTERNS = {
    "XX": ("", "", ["e", "e ee s es", "s se"]),
    "IK": ("", "s", ["e es s ss", "e ee se"]),
    "NK": ("", "s", ["e es", "e ee"]),
    "KK": ("s", "s", ["e es ss", "e ee se"]),
    "XXpsk3": ("", "", ["e", "e ee s es", "s se psk"]),
    "IKpsk2": ("", "s", ["e es s ss", "e ee se psk"]),
    "NNpsk0": ("", "", ["psk e", "e ee"]),
    "NN": ("", "", ["e", "e ee"]),
}

MAX_NONCE = 2**64 - 1


class NotAuthentic(Exception):
    """A handshake message or a record that does not open."""


def public_key(secret):
    """The X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def agree(secret, public):
    """X25519. A result of zeros, which comes from points of low order alone, is refused."""
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise NotAuthentic("a public key of low order") from error


class Cipher:
    """A key and its counter; without a key bytes pass as they are."""

    def __init__(self, suite, key=None):
        self.suite, self.key, self.counter = suite, key, 0

    def _aead(self):
        return (ChaCha20Poly1305 if self.suite == 1 else AESGCM)(self.key)

    def _nonce(self, counter):
        return bytes(4) + counter.to_bytes(8, "little" if self.suite == 1 else "big")

    def seal(self, plain, associated=b""):
        if self.key is None:
            return plain
        sealed = self._aead().encrypt(self._nonce(self.counter), plain, associated)
        self.counter += 1
        return sealed

    def open(self, sealed, associated=b""):
        if self.key is None:
            return sealed
        try:
            plain = self._aead().decrypt(self._nonce(self.counter), sealed, associated)
        except Exception as error:
            raise NotAuthentic("the tag does not match") from error
        self.counter += 1
        return plain

    def rekey(self):
        """REKEY(k): the counter goes on."""
        self.key = self._aead().encrypt(self._nonce(MAX_NONCE), bytes(32), b"")[:32]


def hkdf(chaining_key, material, outputs):
    """HKDF of Noise, section 4.3."""
    temporary = hmac.digest(chaining_key, material, "sha256")
    out, last = [], b""
    for number in range(1, outputs + 1):
        last = hmac.digest(temporary, last + bytes([number]), "sha256")
        out.append(last)
    return out


class Handshake:
    """One side of a handshake."""

    def __init__(self, suite, pattern, initiator, prologue, *, static=None, remote=None, psk=None, ephemeral):
        before, after, self.messages = PATTERNS[pattern]
        self.initiator, self.suite, self.turn = initiator, suite, 0
        self.s, self.e, self.rs, self.re, self.psk = static, ephemeral, remote, None, psk
        self.with_psk = "psk" in pattern
        name = f"Noise_{pattern}_{SUITES[suite]}".encode()
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.chaining_key, self.cipher = self.hash, Cipher(suite)
        self._mix_hash(prologue)
        own = public_key(static) if static else None
        for known, key in ((before, own if initiator else remote), (after, remote if initiator else own)):
            if known:
                self._mix_hash(key)

    @property
    def over(self):
        return self.turn == len(self.messages)

    def write(self, payload=b"", find_psk=None):
        """The message. `find_psk` is as in `read`, for IKpsk2, whose psk is mixed in by the answer."""
        out = b""
        if self.psk is None and find_psk:
            self.psk = find_psk(self.rs)
        for token in self.messages[self.turn].split():
            if token == "e":
                out += self._put_ephemeral(public_key(self.e))
            elif token == "s":
                sealed = self.cipher.seal(public_key(self.s), self.hash)
                self._mix_hash(sealed)
                out += sealed
            else:
                self._mix(token)
        self.turn += 1
        sealed = self.cipher.seal(payload, self.hash)
        self._mix_hash(sealed)
        return out + sealed

    def read(self, message, find_psk=None):
        """The payload. `find_psk(key)` gives the psk once the other's static key is known."""
        rest = message
        for token in self.messages[self.turn].split():
            if token == "e":
                self.re, rest = self._take(rest, 32)
                self._put_ephemeral(self.re)
            elif token == "s":
                sealed, rest = self._take(rest, 48 if self.cipher.key else 32)
                self.rs = self.cipher.open(sealed, self.hash)
                self._mix_hash(sealed)
            else:
                if token == "psk" and self.psk is None and find_psk:
                    self.psk = find_psk(self.rs)
                self._mix(token)
        if self.cipher.key and len(rest) < 16:
            raise NotAuthentic("the message is cut short")
        payload = self.cipher.open(rest, self.hash)
        self._mix_hash(rest)
        self.turn += 1
        return payload

    def split(self):
        """The ciphers of both directions: to send, to receive."""
        first, second = hkdf(self.chaining_key, b"", 2)
        forth, back = Cipher(self.suite, first), Cipher(self.suite, second)
        return (forth, back) if self.initiator else (back, forth)

    @staticmethod
    def _take(message, count):
        if len(message) < count:
            raise NotAuthentic("the message is cut short")
        return message[:count], message[count:]

    def _put_ephemeral(self, key):
        self._mix_hash(key)
        if self.with_psk:
            self._mix_key(key)
        return key

    def _mix(self, token):
        if token == "psk":
            self.chaining_key, hashed, key = hkdf(self.chaining_key, self.psk, 3)
            self._mix_hash(hashed)
            self.cipher = Cipher(self.suite, key)
            return
        # The first letter is the initiator's key, the second the responder's.
        mine, other = (token[0], token[1]) if self.initiator else (token[1], token[0])
        self._mix_key(agree(getattr(self, mine), getattr(self, "r" + other)))

    def _mix_hash(self, data):
        self.hash = hashlib.sha256(self.hash + data).digest()

    def _mix_key(self, material):
        self.chaining_key, key = hkdf(self.chaining_key, material, 2)
        self.cipher = Cipher(self.suite, key)
