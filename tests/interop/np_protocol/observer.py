"""Listens to both sides of a connection, and holds every frame against the rules of the page: credit, order, ends."""



class Broken(Exception):
    """A side did what the page does not let it do."""


def demand(truth, rule):
    if not truth:
        raise Broken(rule)


class Half:
    """What one side has said, and what it may say."""

    def __init__(self):
        self.settings, self.credit, self.opened, self.names = None, 0, 0, []
        self.pings, self.going, self.closed = [], None, False


class Seen:
    """A call or stream: its messages each way, and how it ended."""

    def __init__(self, kind, method, opener):
        self.kind, self.method, self.opener = kind, method, opener
        self.messages = {"initiator": [], "responder": []}
        self.open_body = {"initiator": None, "responder": None}
        self.credit = {"initiator": 0, "responder": 0}
        self.total = {"initiator": None, "responder": None}
        self.finished = self.cancelled = False
        self.status = None


class Observer:
    """Both sides, from their first records on."""

    def __init__(self):
        self.sides = {"initiator": Half(), "responder": Half()}
        self.calls = {}

    def hear(self, who, frames):
        """One record of a side."""
        half, other = self.sides[who], "responder" if who == "initiator" else "initiator"
        demand(not half.closed, "nothing follows a CLOSE")
        if half.settings is None:
            demand([frame.kind for frame in frames] in (["SETTINGS"], ["CLOSE"]), "the first record holds SETTINGS")
        for frame in frames:
            getattr(self, "_" + frame.kind.lower())(who, other, frame)

    def _settings(self, who, other, frame):
        demand(self.sides[who].settings is None, "SETTINGS come once")
        self.sides[who].settings = frame.settings
        self.sides[other].credit += frame.settings["connection_window"]

    def _close(self, who, other, frame):
        self.sides[who].closed = True

    def _go_away(self, who, other, frame):
        demand(self.sides[who].going is None and frame.accepted <= self.sides[other].opened, "GO_AWAY")
        self.sides[who].going = frame.accepted

    def _ping(self, who, other, frame):
        demand(not self.sides[who].pings or frame.token > self.sides[who].pings[-1], "tokens grow")
        self.sides[who].pings.append(frame.token)

    def _pong(self, who, other, frame):
        demand(frame.token in self.sides[other].pings, "a PONG answers a PING")

    def _method(self, who, other, frame):
        demand(frame.number == len(self.sides[who].names), "numbers of methods count up")
        self.sides[who].names.append(frame.name)

    def _connection_credit(self, who, other, frame):
        self.sides[other].credit += frame.bytes

    def _call_allowance(self, who, other, frame):
        pass

    def _padding(self, who, other, frame):
        pass

    _key_update = _padding

    def _opening(self, who, other, frame):
        half = self.sides[who]
        number = half.opened * 2 + (who == "responder")
        half.opened += 1
        active = sum(1 for call in self.calls.values() if call.opener == who and call.status is None)
        demand(active < self.sides[other].settings["max_calls"], "no more calls than max_calls")
        call = self.calls[number] = Seen(frame.kind, half.names[frame.method], who)
        if frame.kind == "STREAM":
            for side, peer in ((who, other), (other, who)):
                call.credit[side] = self.sides[peer].settings["stream_window"]
        else:
            self._begin(who, other, call, frame)

    _request = _one_way = _stream = _opening

    def _begin(self, who, other, call, frame):
        """A body whose head is here: credit for all of it, or none before its grant."""
        total = len(frame.body) if frame.total is None else frame.total
        call.open_body[who], call.total[who] = b"", total
        if total > self.sides[other].settings["stream_window"]:
            demand(frame.total is not None and frame.body == b"", "a large message waits for its grant")
        else:
            self._spend(who, total)
            call.total[who] = total
        self._goes_on(who, call, frame.body)

    def _spend(self, who, count):
        self.sides[who].credit -= count
        demand(self.sides[who].credit >= 0, "no byte without credit of the connection")

    def _goes_on(self, who, call, data):
        call.open_body[who] += data
        if len(call.open_body[who]) == call.total[who]:
            call.messages[who].append(call.open_body[who])
            call.open_body[who] = None
            if who != call.opener:
                self._end(call, 0)

    def _response(self, who, other, frame):
        call = self.calls[frame.stream]
        demand(who != call.opener and call.kind == "REQUEST" and call.status is None, "the callee answers a REQUEST once")
        self._begin(who, other, call, frame)

    def _data(self, who, other, frame):
        call = self.calls[frame.stream]
        if call.kind == "STREAM":
            return self._stream_data(who, call, frame)
        large = call.total[who] > self.sides[other].settings["stream_window"]
        if large:
            self._spend(who, len(frame.body))
            call.credit[who] -= len(frame.body)
            demand(call.credit[who] >= 0, "a large message keeps to its grant")
        last = len(call.open_body[who]) + len(frame.body) == call.total[who]
        demand(frame.fin == last and frame.end == last, "FIN and END stand on the last DATA of a body")
        return self._goes_on(who, call, frame.body)

    def _stream_data(self, who, call, frame):
        demand(call.status is None, "nothing follows the terminal frame")
        self._spend(who, len(frame.body))
        call.credit[who] -= len(frame.body)
        demand(call.credit[who] >= 0, "no byte without credit of the stream")
        if frame.body or frame.end:
            call.open_body[who] = (call.open_body[who] or b"") + frame.body
        if frame.end:
            call.messages[who].append(call.open_body[who])
            call.open_body[who] = None
        if frame.fin:
            demand(who == call.opener and not call.finished and call.open_body[who] is None, "FIN is the caller's, once")
            call.finished = True

    def _trailers(self, who, other, frame):
        call = self.calls[frame.stream]
        demand(who != call.opener, "the callee ends a call")
        demand(frame.status != 0 or call.kind != "REQUEST" and call.open_body[who] is None, "TRAILERS ok")
        self._end(call, frame.status)

    def _end(self, call, status):
        demand(call.status is None, "one terminal frame for each call")
        call.status = status

    def _cancel(self, who, other, frame):
        call = self.calls[frame.stream]
        demand(who == call.opener, "the caller cancels")
        call.cancelled = True

    def _stream_credit(self, who, other, frame):
        call = self.calls[frame.stream]
        if call.kind != "STREAM":
            demand(frame.bytes == call.total[other] and call.credit[other] == 0, "one grant for the whole message")
        call.credit[other] += frame.bytes


