"""LZ4 blocks and Zstandard frames, where PyPI's `lz4` and `zstandard` are there."""

try:
    import lz4.block as lz4_block
except ImportError:
    lz4_block = None
try:
    import zstandard
except ImportError:
    zstandard = None

LZ4, ZSTD = 1, 2
AVAILABLE = (1 << LZ4 if lz4_block else 0) | (1 << ZSTD if zstandard else 0)
MAX_RATIO = 256


class Unsound(Exception):
    """A compressed body that is not what it says."""


def shrink(encoding, body):
    """The compressed body, or None where nothing is won."""
    if encoding == LZ4:
        small = lz4_block.compress(body, store_size=False)
    else:
        options = {"write_checksum": False, "write_content_size": True, "write_dict_id": False}
        small = zstandard.ZstdCompressor(level=3, **options).compress(body)
    return small if len(small) < len(body) <= MAX_RATIO * len(small) else None


def check(encoding, body, size):
    """What a reader refuses before it reserves memory."""
    if size > MAX_RATIO * len(body) or size <= len(body):
        raise Unsound("a declared size that is not larger than the body, or more than 256 times it")
    if encoding == ZSTD:
        check_zstd(body, size)


def check_zstd(body, size):
    """One frame that states its content's size, without dictionary and checksum."""
    if body[:4] != b"\x28\xb5\x2f\xfd":
        raise Unsound("not a Zstandard frame")
    told = zstandard.get_frame_parameters(body)
    if told.content_size != size or told.dict_id or told.has_checksum or told.window_size > max(size, 1_024):
        raise Unsound("the head of the Zstandard frame")


def expand(encoding, body, size):
    """The message of a body; a plain one is itself."""
    if encoding == 0:
        return body
    check(encoding, body, size)
    try:
        if encoding == LZ4:
            message = lz4_block.decompress(body, uncompressed_size=size)
        else:
            inflater = zstandard.ZstdDecompressor().decompressobj()
            message = inflater.decompress(body)
            if not inflater.eof or inflater.unused_data:
                raise Unsound("bytes behind the frame, or too few")
    except (lz4_block.LZ4BlockError if lz4_block else Unsound, zstandard.ZstdError if zstandard else Unsound) as error:
        raise Unsound(str(error)) from error
    if len(message) != size:
        raise Unsound("another size than declared")
    return message
