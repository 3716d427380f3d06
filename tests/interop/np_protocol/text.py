"""Keys as text: bech32m (BIP 350) with the prefixes that the page names."""

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32M = 0x2BC830A3


def _polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                check ^= generator
    return check


def _expand(prefix):
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def _regroup(values, width, into, pad):
    """Numbers of `width` bits as numbers of `into` bits."""
    bits = pending = 0
    out = []
    for value in values:
        pending, bits = pending << width | value, bits + width
        while bits >= into:
            bits -= into
            out.append(pending >> bits & ((1 << into) - 1))
    rest = pending & ((1 << bits) - 1)
    if pad and bits:
        out.append(rest << (into - bits))
    elif not pad and (bits >= width or rest):
        raise ValueError("not a key: bits are left over")
    return out


def encode(prefix, key):
    """The text of a key: `np`, `npsec` or `nppsk` and 32 bytes."""
    data = _regroup(key, 8, 5, pad=True)
    check = _polymod(_expand(prefix) + data + [0] * 6) ^ BECH32M
    data += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return prefix + "1" + "".join(ALPHABET[value] for value in data)


def decode(prefix, text):
    """The 32 bytes of a key's text."""
    found, _, rest = text.strip().rpartition("1")
    if found != prefix:
        raise ValueError(f"a text of {prefix}1 was wanted")
    data = [ALPHABET.index(letter) for letter in rest]
    if _polymod(_expand(prefix) + data) != BECH32M:
        raise ValueError("not a key: its checksum does not match")
    key = bytes(_regroup(data[:-6], 5, 8, pad=False))
    if len(key) != 32:
        raise ValueError("a key holds 32 bytes")
    return key
