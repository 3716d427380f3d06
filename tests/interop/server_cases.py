"""`np call` against the server in Python."""

from np_protocol import compress, noise, wire
from np_protocol.link import Host, Truncated
from np_protocol.session import CallFailed, Closed, Session
from np_protocol.wire import CLOSE, STATUS, Frame, encode_frame, head

from harness import (
    CLIENT, METHODS, PSK, SERVER, STRANGER, PythonServer, Skipped, call, case, ends, key_text, path, psk_file,
    serve_until_closed,
)

GROUP = "np call -> python"
PUBLIC = noise.public_key(CLIENT)


def file_of(name, data):
    file = path(name)
    file.write_bytes(data)
    return f"@{file}"


def body(count):
    return bytes(at * 13 & 0xFF for at in range(count))


# --- what works -------------------------------------------------------------------------------------------------------


def echoes(pattern, suite):
    host = Host(SERVER, patterns=(pattern,), suites=(suite,), allow={PUBLIC}, psks={b"team": PSK})
    with PythonServer(host=host) as server:
        arguments = ["--pattern", pattern.lower() if pattern != "NN" else "danger-nn"]
        address = f"{server.address}&suite={'chacha' if suite == 1 else 'aes'}"
        if "psk" in pattern:
            arguments += ["--psk", psk_file(), "--psk-id", "team"]
        if pattern in ("NNpsk0", "NN"):
            address = f"{server.place}?suite={'chacha' if suite == 1 else 'aes'}"
        if pattern == "NN":
            arguments.append("--danger-trust-anyone")
        if pattern in ("NK", "NN"):
            host.allow = None
        shows = None if pattern in ("NK", "NN", "NNpsk0") else CLIENT
        out, _ = call(address, *arguments, "np.echo", "hello", known_as=shows)
        assert out == b"hello"


for _suite, _short in ((1, "ChaChaPoly"), (2, "AESGCM")):
    for _pattern in noise.NUMBERS:
        case(GROUP, f"{_pattern} in {_short}", pattern=_pattern, suite=_suite)(echoes)


@case(GROUP, "a psk that the server finds by the client's key", pattern="XXpsk3")
@case(GROUP, "the same in IKpsk2", pattern="IKpsk2")
def psk_by_key(pattern):
    host = Host(SERVER, patterns=(pattern,), psks_by_key={PUBLIC: PSK})
    with PythonServer(host=host) as server:
        arguments = ["--pattern", pattern.lower(), "--psk", psk_file(), "--psk-id", ""]
        assert call(server.address, *arguments, "np.echo", "by key")[0] == b"by key"


SMALL = {"stream_window": 1_024, "connection_window": 4_096, "max_message": 1 << 20}


@case(GROUP, "bodies from 0 to 3 MiB: whole, in pieces, after a grant", settings=None, counts=(0, 1, 65_600, 3 << 20))
@case(GROUP, "the same under windows of 1 KiB", settings=SMALL, counts=(1_024, 1_025, 100_000))
def sizes(settings, counts):
    for count in counts:
        with PythonServer(lambda link: serve_until_closed(link, settings)) as server:
            assert call(server.address, "np.echo", file_of("body", body(count)))[0] == body(count)


@case(GROUP, "a stream both ways, past the credit of either side", settings=None)
@case(GROUP, "the same under windows of 1 KiB", settings=SMALL)
def streams(settings):
    lines = b"".join(b"%d" % at * (at % 400) + b"\n" for at in range(1_000))
    with PythonServer(lambda link: serve_until_closed(link, settings)) as server:
        assert call(server.address, "--stream", "np.echo-stream", file_of("lines", lines))[0] == lines
    counts = server.result.counts
    assert counts["STREAM_CREDIT"] and counts["STREAM"] == 1, counts


@case(GROUP, "the server renews its key with every record", suite="chacha")
@case(GROUP, "the same in AESGCM", suite="aes")
def server_rekeys(suite):
    with PythonServer(lambda link: serve_until_closed(link, rekey=1)) as server:
        address = f"{server.address}&suite={suite}"
        assert call(address, "np.echo", file_of("body", body(2 << 20)))[0] == body(2 << 20)
    assert server.result.link.send.rekeys > 32


@case(GROUP, "what a reader skips: unknown kinds, settings, entries, later bytes")
def skipped():
    def act(link):
        pairs = [(1, 9999), (2, 9), (3, 999), (4, 9999), (66, 6)]
        plain = b"".join(wire.varint(number) + wire.varint(value) for number, value in pairs)
        link.write_record(bytes([0x01 << 3]) + wire.prefixed(plain) + bytes([0, 2, 0, 0]))
        session = Session(link, False, greet=False)
        by_hand(session)
        entries = wire.prefixed(wire.varint(7) + wire.prefixed(b"later"))
        unknown = bytes([0x0E << 3 | 7]) + wire.prefixed(b"later") + bytes([0x1F << 3]) + b"\x05" + wire.prefixed(b"")
        response = bytes([0x10 << 3 | 4]) + b"\x00" + wire.prefixed(b"\x00" + entries + b"skipped")
        link.write_record(unknown + response)
        return serve_on(session)

    with PythonServer(act) as server:
        assert call(server.address, "np.echo", "hello")[0] == b"skipped"


def by_hand(session):
    """Waits for the first call, and leaves all that is sent to the case."""
    session.begun = []
    session.flush = lambda: None
    for kind in ("request", "one_way", "stream"):
        setattr(session, f"_on_{kind}", session.begun.append)
    session.wait(lambda: session.begun)
    session.peer_opened = 1


def serve_on(session):
    try:
        while True:
            session.pump()
    except Closed as closed:
        session.link.linger()
        return closed


def compressed(encoding):
    if not compress.AVAILABLE >> encoding & 1:
        raise Skipped("PyPI's lz4 and zstandard are not installed")
    name = {1: "lz4", 2: "zstd"}[encoding]
    plain = b"".join(b"line %d of a text\n" % (at * at) for at in range(20_000))
    for offered in (1 << encoding, 0):
        with PythonServer(lambda link, offered=offered: serve_until_closed(link, {"encodings": offered})) as server:
            assert call(server.address, "--compress", name, "np.echo", file_of("body", plain))[0] == plain
        assert server.result.expanded == (1 if offered else 0), "an encoding that was not named, or none"


case(GROUP, "LZ4 where the settings name it, and not else", encoding=1)(compressed)
case(GROUP, "Zstandard where the settings name it, and not else", encoding=2)(compressed)


# --- refusals by the server ---------------------------------------------------------------------------------------------


@case(GROUP, "a stranger's key: np says not-allowed, and ends with 4", pattern="xx")
@case(GROUP, "the same in IK", pattern="ik")
def stranger(pattern):
    with PythonServer(host=Host(SERVER, allow={PUBLIC})) as server:
        _, said = call(server.address, "--pattern", pattern, "np.echo", known_as=STRANGER, code=4)
    assert server.result[0] == "not-allowed" and "not" in said, said


@case(GROUP, "another server's key in XX: np refuses before it shows its own")
def wrong_server_xx():
    def raw(link):
        host = Host(STRANGER)
        preface = wire.Preface.read(link.take)
        handshake = host.handshake(preface, host.check(preface))
        handshake.read(link._take_handshake((0x02,))[1])
        link.write(wire.handshake_frame(0x02, handshake.write(bytes([1, preface.suite, 1]))))
        try:
            link.take(1)
        except (Truncated, ConnectionError):
            return True
        return False

    with PythonServer(raw, raw=True) as server:
        call(server.address, "np.echo", code=4)
    assert server.result is True, "bytes came behind message 2"


@case(GROUP, "another server's key in IK: unknown-identity in clear")
def wrong_server_ik():
    with PythonServer(host=Host(STRANGER)) as server:
        _, said = call(server.address, "--pattern", "ik", "np.echo", code=4)
    assert server.result.code == "unknown-identity", said


def refuses_in_clear(code, exit_code):
    def raw(link):
        wire.Preface.read(link.take)
        link._take_handshake((0x02,))
        link.write(wire.clear_refusal(code, "because \x1b[31m", 2, 3))
        link.linger()

    with PythonServer(raw, raw=True) as server:
        _, said = call(server.address, "np.echo", code=exit_code)
    assert "\x1b" not in said and code in said, said


for _code, _exit in (
    ("version", 4), ("incompatible", 4), ("clock-skew", 4), ("replay", 4), ("connection-limit", 6), ("authentication", 4),
):
    case(GROUP, f"{_code} in clear: np says so, ends with {_exit}", code=_code, exit_code=_exit)(refuses_in_clear)


@case(GROUP, "choices that were not offered: np refuses")
def wrong_choices():
    for choices in (b"\x02\x01\x01", b"\x01\x02\x01", b"\x01\x01\x02", b"\x01\x01"):

        def raw(link, choices=choices):
            host = Host(SERVER)
            preface = wire.Preface.read(link.take)
            handshake = host.handshake(preface, host.check(preface))
            handshake.read(link._take_handshake((0x02,))[1])
            link.write(wire.handshake_frame(0x02, handshake.write(choices)))
            try:
                link.take(1)
            except (Truncated, ConnectionError):
                return True
            return False

        with PythonServer(raw, raw=True) as server:
            call(f"{server.address}&suite=chacha", "np.echo", code=4)
        assert server.result is True, choices


@case(GROUP, "choices with bytes of later versions behind them")
def later_choices():
    class Later(Host):
        def handshake(self, preface, pattern):
            handshake = super().handshake(preface, pattern)
            write = handshake.write
            handshake.write = lambda payload, find: write(payload + b"later", find)
            return handshake

    with PythonServer(host=Later(SERVER)) as server:
        assert call(server.address, "np.echo", "hello")[0] == b"hello"


@case(GROUP, "a server that ends, or answers with something else")
def no_np():
    for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\x04\x01", b"\x03\x01\x05"):

        def raw(link, answer=answer):
            link.take(38)
            link.write(answer)
            link.linger()

        with PythonServer(raw, raw=True) as server:
            _, said = call(server.address, "np.echo", code=None)
        assert said.startswith("np: "), said


# --- calls --------------------------------------------------------------------------------------------------------------


@case(GROUP, "an unknown method, a failure, a wrong kind: np ends with 1")
def failing_calls():
    def fail(_session, _call, _body):
        raise CallFailed(STATUS["failed"], "out of stock \x07")

    methods = {**METHODS, "shop.buy": fail}
    for method, word in (("no.such", "unknown-method"), ("shop.buy", "out of stock"), ("np.echo-stream", "wrong-kind")):
        with PythonServer(lambda link: serve_until_closed(link, methods=methods)) as server:
            _, said = call(server.address, method, code=1)
        assert word in said and "\x07" not in said, said


def answers(act, code, word="", arguments=("np.echo", "hello")):
    """A server that acts by hand once the call is there; gives what it came to."""

    def run(link):
        session = Session(link, False, None, METHODS)
        by_hand(session)
        return act(session)

    with PythonServer(run) as server:
        out, said = call(server.address, *arguments, code=code)
    assert word in said, said
    return server.result, out


def sends(*frames):
    """An act: these frames in one record, then what np closes with."""

    def act(session):
        session.link.write_record(b"".join(f if isinstance(f, bytes) else encode_frame(f) for f in frames))
        return serve_on(session)

    return act


def breaks(code, exit_code, frames, arguments):
    closed, _ = answers(sends(*frames), exit_code, arguments=arguments)
    assert closed.code == CLOSE[code], closed
    assert code != "limit-exceeded" or "limit max_message " in closed.text, closed.text


ECHO, STREAM = ("np.echo", "hello"), ("--stream", "np.echo-stream", "-")


def response(**fields):
    return head("RESPONSE", stream=0, **fields)


def data(stream, data=b"", fin=False, end=False):
    return Frame("DATA", stream, fin=fin, end=end, body=data)


def trailers(status, stream=0):
    return Frame("TRAILERS", stream, status=STATUS[status], metadata=[], text="")


BROKEN = (
    ("a RESPONSE for a stream that was never opened", "protocol", (head("RESPONSE", stream=2),), ECHO),
    ("a RESPONSE whose id is the callee's", "protocol", (head("RESPONSE", stream=1),), ECHO),
    ("TRAILERS ok for a REQUEST", "protocol", (trailers("ok"),), ECHO),
    ("CANCEL from the callee", "protocol", (Frame("CANCEL", 0, status=2),), ECHO),
    ("a RESPONSE on a STREAM", "protocol", (response(),), STREAM),
    ("a FIN of the callee on a STREAM", "protocol", (data(0, b"", True),), STREAM),
    ("TRAILERS ok within a message", "protocol", (data(0, b"a"), trailers("ok")), STREAM),
    ("a body longer than its total", "protocol", (response(total=2), data(0, b"abc", True, True)), ECHO),
    ("a body shorter than its total", "protocol", (response(total=4), data(0, b"abc", True, True)), ECHO),
    ("DATA before the RESPONSE", "protocol", (data(0, b"abc", True, True),), ECHO),
    ("a RESPONSE above max_message", "limit-exceeded", (response(total=(16 << 20) + 1),), ECHO),
    ("a large RESPONSE with a body", "protocol", (response(total=(256 << 10) + 1, body=b"a"),), ECHO),
    ("GO_AWAY for two where one was opened", "protocol", (Frame("GO_AWAY", accepted=2, code=1),), ECHO),
    ("SETTINGS again", "protocol", (Frame("SETTINGS", settings=wire.DEFAULTS),), ECHO),
    ("a PONG for no PING", "protocol", (Frame("PONG", token=7),), ECHO),
    ("an unknown flag", "malformed", (bytes([0x05 << 3 | 1, 1, 1]),), ECHO),
    ("a frame that is cut short", "malformed", (bytes([0x05 << 3, 9, 1]),), ECHO),
)
for _about, _code, _frames, _arguments in BROKEN:
    case(GROUP, f"{_code}: {_about}", code=_code, exit_code=None, frames=_frames, arguments=_arguments)(breaks)


@case(GROUP, "statuses, known and unknown, reach the user")
def statuses():
    for status, word, code in ((6, "limit-reached", 6), (9, "permission-denied", None), (999, "0x03e7", None)):
        frame = Frame("TRAILERS", 0, status=status, metadata=[], text="")
        answers(sends(frame), code, word)


@case(GROUP, "a response in pieces, in records of one byte of body")
def pieces():
    frames = [response(total=5), *(data(0, b"%d" % at) for at in range(4)), data(0, b"4", True, True)]

    def act(session):
        for frame in frames:
            session.link.write_record(encode_frame(frame))
        return serve_on(session)

    _, out = answers(act, 0)
    assert out == b"01234"


@case(GROUP, "a record with a changed byte: authentication")
def broken_record():
    def act(session):
        sealed = session.link.send.cipher.seal(encode_frame(response(body=b"forged")))
        session.link.write(len(sealed).to_bytes(2, "big") + sealed[:-1] + bytes([sealed[-1] ^ 1]))
        return serve_on(session)

    closed, out = answers(act, None)
    assert closed.code == CLOSE["authentication"] and out == b""


@case(GROUP, "a cut without CLOSE: np ends with 3, outcome unknown")
def cut():
    def act(session):
        session.link.sock.close()

    answers(act, 3, "outcome unknown")


@case(GROUP, "a CLOSE while the call is open: np says why")
def closes():
    def act(session):
        session.close("limit-exceeded", "too much")

    answers(act, None, "limit-exceeded")


@case(GROUP, "GO_AWAY that accepts the call: it is answered, then CLOSE drained")
def drains():
    def act(session):
        session.link.write_record(encode_frame(Frame("GO_AWAY", accepted=1, code=CLOSE["drained"])))
        session.link.write_record(encode_frame(response(body=b"the last")))
        return serve_on(session)

    closed, out = answers(act, 0)
    assert out == b"the last" and closed.code in (CLOSE["normal"], CLOSE["drained"])


@case(GROUP, "GO_AWAY that does not accept it: not processed, safe to send again")
def goes_away():
    answers(sends(Frame("GO_AWAY", accepted=0, code=CLOSE["drained"])), None, "not processed")


@case(GROUP, "a server that does not answer: CANCEL deadline-exceeded, np ends with 5")
def deadline():
    def act(session):
        remaining = session.begun[0].remaining_ms
        assert remaining == "default" or remaining <= 1_500, remaining
        session.cancelled = []
        session._on_cancel = session.cancelled.append
        try:
            session.wait(lambda: session.cancelled)
        except Closed:
            session.link.linger()
            return "closed"
        session.link.write_record(encode_frame(trailers("deadline-exceeded")))
        serve_on(session)
        return session.cancelled[0].status

    def act_checked(session):
        return act(session)

    result, _ = answers(act_checked, 5, arguments=("--timeout", "1500ms", "np.echo", "hello"))
    assert result in ("closed", STATUS["deadline-exceeded"]), result


@case(GROUP, "a PING is answered, and those before it with it")
def pings():
    def act(session):
        session.link.write_record(b"".join(encode_frame(Frame("PING", token=at)) for at in (3, 5, 9)))
        session.pings = [3, 5, 9]
        session.wait(lambda: not session.pings)
        session.link.write_record(encode_frame(response(body=b"alive")))
        return serve_on(session)

    _, out = answers(act, 0)
    assert out == b"alive"


@case(GROUP, "calls by the server to the client: its ids are odd")
def server_calls():
    def act(session):
        frames = [Frame("METHOD", number=0, name="np.echo"), head("REQUEST", method=0, remaining_ms=None, body=b"back")]
        back = session.adopt("REQUEST")
        assert back.number == 1
        session.link.write_record(b"".join(encode_frame(frame) for frame in frames))
        session.wait(lambda: back.ended)
        session.link.write_record(encode_frame(response(body=b"after you")))
        serve_on(session)
        return back

    back, out = answers(act, 0)
    assert out == b"after you" and (back.reply == b"back" or back.status == STATUS["unknown-method"])
