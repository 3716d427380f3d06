"""Calls and streams of one connection, for both roles: one loop that reads a record, acts on it, and writes what may go."""

import collections
import time as clock

from . import compress, wire
from .wire import CLOSE, DEFAULTS, STATUS, Frame, Refused, encode_frame, head


class Closed(Exception):
    """The connection is over: the peer's CLOSE, or what this side refused."""

    def __init__(self, code, text, by_peer):
        super().__init__(f"closed by {'the peer' if by_peer else 'this side'}: {code:#04x} {text}")
        self.code, self.text, self.by_peer = code, text, by_peer


class CallFailed(Exception):
    """A call that ended by TRAILERS."""

    def __init__(self, status, text):
        super().__init__(f"status {status}: {text}")
        self.status, self.text = status, text


class Message:
    """A message that comes in, until it is whole."""

    def __init__(self, codec, encoding, size, total, large):
        self.codec, self.encoding, self.size, self.total, self.large = codec, encoding, size, total, large
        self.body = bytearray()


class Call:
    """One call or stream, seen from either side."""

    def __init__(self, number, kind, own, window):
        self.number, self.kind, self.own = number, kind, own
        self.ended = False
        self.method = self.incoming = self.status = self.text = self.reply = None
        self.codec, self.metadata, self.messages = 0, [], collections.deque()
        # What this side still has to send: [bytes, offset, ends the direction, credit is reserved].
        self.out = collections.deque()
        self.credit = window if kind == "STREAM" else 0
        self.window, self.owed = (0, 0)
        self.discard = self.out_done = self.in_done = self.finish = False
        self.deadline = None
        self.trailers = None


class Session:
    """A connection that is past its handshake. `serve` names the methods that this side answers."""

    def __init__(self, link, initiator, settings=None, serve=None, greet=True, useless_acts=None):
        self.link, self.initiator = link, initiator
        self.settings, self.peer = {**DEFAULTS, **(settings or {})}, None
        self.serve = serve or {}
        self.calls, self.opened, self.peer_opened = {}, 0, 0
        self.waiting = collections.deque()
        self.names, self.peer_names, self.peer_name_bytes = {}, [], 0
        self.credit = 0
        self.window, self.owed = self.settings["connection_window"], 0
        self.allowance, self.go_away, self.gone = 0, None, False
        self.last_ping, self.pings, self.pong = 0, [], None
        self.control = []
        self.closed = None
        self.counts = collections.Counter()
        self.acts, self.useless_acts = collections.Counter(), useless_acts
        self.expanded = 0
        if greet:
            link.write_record(encode_frame(Frame("SETTINGS", settings=self.settings)))

    @classmethod
    def resume(cls, link, settings=None):
        """A client whose first record a case has written by hand."""
        return cls(link, True, settings, greet=False)

    def adopt(self, kind):
        """A call whose frames a case writes by hand."""
        call = Call(self.opened * 2 + (0 if self.initiator else 1), kind, True, self.peer["stream_window"])
        call.window = self.settings["stream_window"] if kind == "STREAM" else 0
        self.opened += 1
        self.calls[call.number] = call
        return call

    # --- what the application wants ---

    def open(self, kind, method, body=b"", *, codec=0, deadline_ms=30_000, metadata=(), encoding=0, size=None):
        """Opens a call or stream as soon as the peer's settings and allowance let it."""
        while self.peer is None or self.active(own=True) >= self.allowance:
            self.pump()
        if self.go_away is not None:
            raise RuntimeError("the peer takes no further calls")
        number = self.opened * 2 + (0 if self.initiator else 1)
        call = Call(number, kind, True, self.peer["stream_window"])
        call.window = self.settings["stream_window"] if kind == "STREAM" else 0
        self.opened += 1
        call.method = method
        self.calls[number] = call
        fresh = method not in self.names
        if fresh:
            self.names[method] = len(self.names)
            self.control.append(Frame("METHOD", number=self.names[method], name=method))
        first = head(kind, method=self.names[method], codec=codec, encoding=encoding, size=size, metadata=list(metadata))
        first.remaining_ms = "default" if deadline_ms == 30_000 else deadline_ms
        self._begin(call, first, body)
        return call

    def _begin(self, call, first, body):
        """Queues an opening or answering frame with its body."""
        if call.kind == "STREAM":
            self.control.append(first)
        else:
            call.out.append([first, body, 0, False])
            self.waiting.append(call)
        self.flush()

    def send(self, call, message, *, encoding=0, size=None):
        """Queues a message of a stream."""
        call.out.append([("message", encoding, size), message, 0, False])
        if call not in self.waiting:
            self.waiting.append(call)

    def end(self, call):
        """This side's direction of a stream ends behind what is queued."""
        call.finish = True
        if call not in self.waiting:
            self.waiting.append(call)
        self.flush()

    def cancel(self, call, status="cancelled"):
        call.out.clear()
        call.out_done = True
        self.control.append(Frame("CANCEL", call.number, status=STATUS[status]))
        self.flush()

    def call(self, method, body=b"", **more):
        """A unary call from its opening to its answer."""
        call = self.open("REQUEST", method, body, **more)
        self.wait(lambda: call.ended)
        return self.result(call)

    @staticmethod
    def result(call):
        if call.status:
            raise CallFailed(call.status, call.text)
        return call.reply

    def ping(self):
        self.last_ping += 1
        token = self.last_ping
        self.pings.append(token)
        self.control.append(Frame("PING", token=token))
        self.flush()
        self.wait(lambda: token not in self.pings)

    def drain(self, code="drained"):
        """Takes no further calls; the connection ends once those that were accepted have."""
        self.gone = True
        self.control.append(Frame("GO_AWAY", accepted=self.peer_opened, code=CLOSE[code]))
        self.flush()

    def close(self, code="normal", text=""):
        if self.closed is None:
            self.link.write_record(encode_frame(Frame("CLOSE", code=CLOSE[code], text=text)))
            self.closed = Closed(CLOSE[code], text, False)
        self.link.linger()

    def active(self, own):
        return sum(1 for call in self.calls.values() if call.own == own)

    # --- the loop ---

    def wait(self, until, timeout=20.0):
        ends = clock.monotonic() + timeout
        while not until():
            if clock.monotonic() > ends:
                raise TimeoutError("nothing came of it")
            self.pump()

    def pump(self):
        """Reads one record, acts on it, and writes what may go."""
        if self.closed:
            raise self.closed
        try:
            frames = self.link.read_record()
            for frame in frames:
                if frame.kind == "CLOSE":
                    self.closed = Closed(frame.code, frame.text, True)
                    raise self.closed
                self.counts[frame.kind] += 1
                self._act(frame)
        except Refused as error:
            self.close(error.code, error.why)
            raise
        self.flush()

    def _act(self, frame):
        getattr(self, "_on_" + frame.kind.lower())(frame)

    def _useless(self, kind):
        """Counts an act that is legal and of no use, where a budget is given. Neither time nor work fills it again here."""
        self.acts[kind] += 1
        if self.useless_acts is not None and self.acts[kind] > self.useless_acts:
            raise Refused("flood", f"limit {kind} of {self.useless_acts} reached")

    def _on_padding(self, frame):
        pass

    def _on_unknown(self, frame):
        pass

    _on_key_update = _on_padding

    def _on_settings(self, frame):
        self.peer = frame.settings
        self.credit += self.peer["connection_window"]
        self.allowance = self.peer["max_calls"]

    def _on_go_away(self, frame):
        if self.go_away is not None or frame.accepted > self.opened:
            raise Refused("protocol", "GO_AWAY")
        self.go_away = frame

    def _on_ping(self, frame):
        self.pong = frame.token
        self._useless("pings")

    def _on_pong(self, frame):
        if frame.token not in self.pings:
            raise Refused("protocol", "a PONG for no PING")
        self.pings = [token for token in self.pings if token > frame.token]

    def _on_method(self, frame):
        if frame.number != len(self.peer_names):
            raise Refused("protocol", "method numbers count up")
        self.peer_name_bytes += len(frame.name)
        if len(self.peer_names) == 1_024 or self.peer_name_bytes > 65_536:
            raise Refused("limit-exceeded", "method names")
        self.peer_names.append(frame.name)

    def _on_connection_credit(self, frame):
        self.credit += frame.bytes
        if self.credit > 2**62 - 1:
            raise Refused("protocol", "a window beyond 2^62 - 1")

    def _on_call_allowance(self, frame):
        self.allowance = frame.calls
        self._useless("call allowances")

    # --- calls of the peer ---

    def _opening(self, frame):
        if frame.method >= len(self.peer_names):
            raise Refused("protocol", "a method without a name")
        number = self.peer_opened * 2 + (1 if self.initiator else 0)
        self.peer_opened += 1
        call = Call(number, frame.kind, False, self.peer["stream_window"])
        call.window = self.settings["stream_window"] if frame.kind == "STREAM" else 0
        call.method, call.codec, call.metadata = self.peer_names[frame.method], frame.codec, frame.metadata
        if frame.remaining_ms is not None:
            left = wire.DEFAULT_DEADLINE_MS if frame.remaining_ms == "default" else frame.remaining_ms
            call.deadline = clock.monotonic() + left / 1000
        crowded = self.active(own=False) >= self.settings["max_calls"]
        self.calls[number] = call
        refusal = None
        if self.gone or crowded:
            refusal = ("unavailable", "no room for another call")
        elif call.method not in self.serve:
            refusal = ("unknown-method", f"no method {call.method}")
        elif (frame.kind == "STREAM") != isinstance(self.serve[call.method], type):
            refusal = ("wrong-kind", "unary or a stream")
        elif any(key == "np-schema" for key, _ in frame.metadata):
            refusal = ("schema-mismatch", "this method has no schema")
        elif any(key == "np-once" for key, _ in frame.metadata):
            refusal = ("invalid-argument", "no exactly-once calls are offered")
        if frame.kind == "STREAM":
            if frame.body or frame.total is not None:
                raise Refused("protocol", "a STREAM with a body")
            if refusal is None:
                call.handler = self.serve[call.method](self, call)
        else:
            self._body_begins(call, frame)
            refusal = refusal or self._too_large(call)
        if refusal:
            self._refuse(call, *refusal)
        elif frame.kind != "STREAM":
            self._grant(call)
            self._body_goes_on(call, frame.body)

    _on_request = _on_one_way = _on_stream = _opening

    def _too_large(self, call):
        message, most = call.incoming, self.settings["max_message"]
        if (message.total or 0) > most or (message.size or 0) > most:
            return ("limit-reached", f"a message may have {most} bytes (max_message)")
        if message.encoding and not self.settings["encodings"] >> message.encoding & 1:
            return ("unsupported-codec", "this encoding is not read here")
        return None

    def _refuse(self, call, status, text):
        call.discard = True
        body = call.incoming.body if call.incoming else b""
        self._owe(call, len(body))
        self._answer(call, status, text)

    def _answer(self, call, status, text=""):
        """The callee ends a call by TRAILERS."""
        call.out.clear()
        self.control.append(Frame("TRAILERS", call.number, status=STATUS[status], metadata=[], text=text))
        self._over(call)

    def _over(self, call):
        call.ended = True
        self.calls.pop(call.number, None)

    # --- bodies that come ---

    def _body_begins(self, call, frame):
        total = len(frame.body) if frame.total is None else frame.total
        if frame.total is not None and total <= len(frame.body):
            raise Refused("protocol", "a total that is not larger than the body")
        large = total > self.settings["stream_window"]
        if large and (frame.body or frame.total is None):
            raise Refused("protocol", "a large message before its grant")
        call.incoming = Message(frame.codec, frame.encoding, frame.size, total, large)

    def _grant(self, call):
        if call.incoming.large:
            call.window = call.incoming.total
            self.control.append(Frame("STREAM_CREDIT", call.number, bytes=call.window))

    def _body_goes_on(self, call, data):
        message = call.incoming
        self._spend(call, data, of_stream=message.large)
        message.body += data
        if message.large:
            self._owe(call, len(data))
        if len(message.body) > message.total:
            raise Refused("protocol", "a body longer than its total")
        if len(message.body) == message.total:
            call.in_done = True
            self._message_is_whole(call, message)
            if not message.large:
                self._owe(call, len(message.body))

    def _spend(self, call, data, of_stream):
        self.window -= len(data)
        if of_stream:
            call.window -= len(data)
        if self.window < 0 or of_stream and call.window < 0:
            raise Refused("protocol", "bytes without credit")

    def _owe(self, call, count, of_stream=False):
        self.owed += count
        if of_stream and not call.ended and not call.in_done:
            call.owed += count

    def _message_is_whole(self, call, message):
        try:
            body = compress.expand(message.encoding, bytes(message.body), message.size)
        except compress.Unsound as error:
            if call.own:
                call.status, call.text = STATUS["invalid-argument"], str(error)
                return self._over(call)
            return self._answer(call, "invalid-argument", str(error))
        self.expanded += message.encoding != 0
        if call.own:
            call.status, call.reply = 0, body
            return self._over(call)
        try:
            reply = self.serve[call.method](self, call, body)
        except CallFailed as error:
            names = {number: name for name, number in STATUS.items()}
            return self._answer(call, names[error.status], error.text)
        if call.kind == "ONE_WAY":
            return self._answer(call, "ok")
        return self._begin(call, head("RESPONSE", stream=call.number, codec=call.codec), reply)

    def _on_response(self, frame):
        call = self._find(frame, own=True)
        if call is None:
            return self._stray(len(frame.body))
        if call.kind != "REQUEST" or call.incoming:
            raise Refused("protocol", "a RESPONSE that nothing asked for")
        call.out.clear()
        call.metadata = frame.metadata
        self._body_begins(call, frame)
        if self._too_large(call):
            raise Refused("limit-exceeded", "max_message")
        self._grant(call)
        return self._body_goes_on(call, frame.body)

    def _on_data(self, frame):
        call = self._find(frame)
        if call is None:
            return self._stray(len(frame.body))
        if call.kind == "STREAM":
            return self._stream_data(call, frame)
        message = call.incoming
        if message is None or call.in_done:
            raise Refused("protocol", "DATA without a body that was begun")
        last = len(message.body) + len(frame.body) == message.total
        if frame.fin != last or frame.end != last:
            raise Refused("protocol", "FIN and END stand on the last DATA of a body")
        return self._body_goes_on(call, frame.body)

    def _on_compressed(self, frame):
        call = self._find(frame)
        if call is None:
            return self._stray(len(frame.body))
        if call.kind != "STREAM" or call.incoming or call.in_done:
            raise Refused("protocol", "COMPRESSED where no message begins")
        if frame.size > self.settings["max_message"]:
            raise Refused("limit-exceeded", "max_message")
        call.incoming = Message(call.codec, frame.encoding, frame.size, None, False)
        frame.fin = False
        return self._stream_data(call, frame)

    def _stream_data(self, call, frame):
        if call.in_done:
            raise Refused("protocol", "DATA after FIN")
        if frame.fin and call.own:
            raise Refused("protocol", "a FIN of the callee")
        self._spend(call, frame.body, of_stream=True)
        if not (frame.body or frame.fin or frame.end):
            self._useless("empty data")
        if call.incoming is None and (frame.body or frame.end):
            call.incoming = Message(0, 0, None, None, False)
        if call.incoming:
            call.incoming.body += frame.body
            if len(call.incoming.body) > self.settings["max_message"]:
                raise Refused("limit-exceeded", "max_message")
        self._owe(call, len(frame.body), of_stream=True)
        if frame.end:
            message, call.incoming = call.incoming, None
            try:
                body = compress.expand(message.encoding, bytes(message.body), message.size)
            except compress.Unsound as error:
                if not call.own:
                    return self._answer(call, "invalid-argument", str(error))
                return self.cancel(call, "invalid-argument")
            if call.own:
                call.messages.append(body)
            else:
                call.handler.message(body)
        if frame.fin:
            if call.incoming:
                raise Refused("protocol", "a FIN within a message")
            call.in_done = True
            if not call.ended:
                call.handler.finished()
        return None

    def _on_trailers(self, frame):
        call = self._find(frame, own=True)
        if call is None:
            return
        if frame.status == 0 and (call.kind == "REQUEST" or call.incoming):
            raise Refused("protocol", "TRAILERS ok")
        call.status, call.text, call.metadata = frame.status, frame.text, frame.metadata
        call.out.clear()
        self._over(call)

    def _on_cancel(self, frame):
        call = self._find(frame, own=False)
        if call is None:
            return
        if call.incoming and not call.in_done:
            self._owe(call, 0 if call.incoming.large else len(call.incoming.body))
        names = {number: name for name, number in STATUS.items()}
        status = names.get(frame.status, "cancelled")
        self._answer(call, "cancelled" if status in ("ok", "unavailable") else status)

    def _on_stream_credit(self, frame):
        call = self._find(frame)
        if call is not None:
            call.credit += frame.bytes
            if call.credit > 2**62 - 1:
                raise Refused("protocol", "a window beyond 2^62 - 1")

    def _find(self, frame, own=None):
        """The call of a frame, or None where it is over."""
        mine = frame.stream % 2 == (0 if self.initiator else 1)
        if frame.stream // 2 >= (self.opened if mine else self.peer_opened):
            raise Refused("protocol", "a stream that was never opened")
        if own is not None and mine != own:
            raise Refused("protocol", f"{frame.kind} from the wrong side")
        return self.calls.get(frame.stream)

    def _stray(self, count):
        """A body for what is over: counted, and given back at once."""
        self.window -= count
        if self.window < 0:
            raise Refused("protocol", "bytes without credit")
        self.owed += count

    # --- what may go ---

    def flush(self):
        """Writes control frames, then bodies as far as credit goes, then what is owed."""
        if self.closed or self.peer is None:
            return
        self._expire()
        while True:
            frames = self.control + self._credits()
            if self.pong is not None:
                frames.append(Frame("PONG", token=self.pong))
            self.control, self.pong = [], None
            record = b"".join(encode_frame(frame) for frame in frames)
            record += self._bodies(self.link.room() - len(record))
            if not record:
                return
            self.link.write_record(record)

    def _expire(self):
        for call in list(self.calls.values()):
            if not call.own and call.deadline is not None and clock.monotonic() > call.deadline:
                self._answer(call, "deadline-exceeded")

    def _credits(self):
        """Credit that is worth its frame: a quarter of the window."""
        frames = []
        if self.owed >= self.settings["connection_window"] // 4:
            frames.append(Frame("CONNECTION_CREDIT", bytes=self.owed))
            self.window, self.owed = self.window + self.owed, 0
        for call in self.calls.values():
            if call.kind == "STREAM" and not call.in_done and call.owed >= max(1, self.settings["stream_window"] // 4):
                frames.append(Frame("STREAM_CREDIT", call.number, bytes=call.owed))
                call.window, call.owed = call.window + call.owed, 0
        return frames

    def _bodies(self, room):
        out = b""
        for _ in range(len(self.waiting)):
            call = self.waiting.popleft()
            while room - len(out) > 64 and (piece := self._piece(call, room - len(out) - 64)):
                out += piece
            if not call.ended and (call.out or call.finish):
                self.waiting.append(call)
        return out

    def _piece(self, call, room):
        """The next frame of a call's bodies, of at most `room` bytes of body; nothing where it must wait."""
        if call.ended:
            return b""
        if not call.out:
            return self._last(call)
        entry = call.out[0]
        first, body, at, _ = entry
        if call.kind == "STREAM":
            return self._stream_piece(call, entry, min(room, call.credit, self.credit))
        if isinstance(first, Frame):
            return self._unary_begins(call, entry, room)
        large = len(body) > self.peer["stream_window"]
        count = min(room, len(body) - at, min(call.credit, self.credit) if large else room)
        if count <= 0:
            return b""
        if large:
            call.credit -= count
            self.credit -= count
        entry[2] = at + count
        last = entry[2] == len(body)
        piece = encode_frame(Frame("DATA", call.number, fin=last, end=last, body=body[at:at + count]))
        if last:
            self._sent(call)
        return piece

    def _unary_begins(self, call, entry, room):
        first, body = entry[0], entry[1]
        if len(body) > self.peer["stream_window"]:
            first.total, entry[0] = len(body), None
            return encode_frame(first)
        if self.credit < len(body):
            return b""
        extra = len(encode_frame(first)) + 8
        if room < extra:
            return b""
        self.credit -= len(body)
        first.body = body[:room - extra]
        if len(first.body) < len(body):
            first.total = len(body)
        entry[0], entry[2] = None, len(first.body)
        piece = encode_frame(first)
        if entry[2] == len(body):
            self._sent(call)
        return piece

    def _sent(self, call):
        call.out.popleft()
        if not call.own:
            self._over(call)

    def _stream_piece(self, call, entry, room):
        (_, encoding, size), body, at, begun = entry
        count = min(room, len(body) - at)
        if count <= 0 and len(body) > at:
            return b""
        entry[2] = at + count
        last = entry[2] == len(body)
        call.credit -= count
        self.credit -= count
        data = body[at:at + count]
        if last:
            call.out.popleft()
        if encoding and at == 0:
            return encode_frame(Frame("COMPRESSED", call.number, encoding=encoding, size=size, end=last, body=data))
        return encode_frame(Frame("DATA", call.number, fin=False, end=last, body=data))

    def _last(self, call):
        """How this side's direction of a stream ends."""
        if not call.finish or call.out_done:
            return b""
        call.finish, call.out_done = False, True
        if call.own:
            return encode_frame(Frame("DATA", call.number, fin=True, end=False, body=b""))
        self._over(call)
        return encode_frame(Frame("TRAILERS", call.number, status=0, metadata=[], text=""))
