"""What the cases share: the program np as a server and as a client, a server in Python, and the table of results."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import traceback

from np_protocol import noise, text
from np_protocol.link import Host, Hello, Link, Truncated
from np_protocol.session import Closed, Session
from np_protocol.wire import Refused

NP = os.environ.get("NP_PROGRAM", "np")
TIMEOUT = 20.0

CASES = []


class Skipped(Exception):
    """A case that this machine cannot run, and why."""


def case(group, name, **parameters):
    """Registers a function as a case."""

    def register(function):
        CASES.append((group, name, lambda: function(**parameters)))
        return function

    return register


def run_cases(wanted):
    """Runs the cases whose group or name holds one of the words; prints the table; gives the number of failures."""
    rows, failed = [], 0
    for group, name, function in CASES:
        if wanted and not any(word in f"{group}: {name}" for word in wanted):
            continue
        begun, note = time.monotonic(), ""
        try:
            function()
            outcome = "ok"
        except Skipped as skipped:
            outcome, note = "skipped", f"  {skipped}"
        except Exception:  # noqa: BLE001 - whatever a case fails by is its failure
            outcome, failed = "FAILED", failed + 1
            print(f"--- {group}: {name}\n{traceback.format_exc()}")
        rows.append((group, outcome))
        print(f"{group:<22} {name:<58} {outcome:<8} {time.monotonic() - begun:6.2f} s{note}", flush=True)
    print()
    for group in dict.fromkeys(group for group, _ in rows):
        of_group = [outcome for other, outcome in rows if other == group]
        counts = ", ".join(f"{of_group.count(word)} {word}" for word in ("ok", "skipped", "FAILED") if word in of_group)
        print(f"{group:<22} {counts}")
    return failed


# --- keys -------------------------------------------------------------------------------------------------------------

FOLDER = tempfile.TemporaryDirectory(prefix="np-interop-")


def path(name):
    return pathlib.Path(FOLDER.name) / name


def key_text(secret):
    return text.encode("np", noise.public_key(secret))


def write_secret(name, data):
    """A file that only this user can read, with a key for the program."""
    file = path(name)
    file.write_text(data)
    file.chmod(0o600)
    return str(file)


# One pair and one psk of either side; the cases need no others.
CLIENT = bytes(range(1, 33))
STRANGER = bytes(range(2, 34))
SERVER = bytes(range(3, 35))
PSK = bytes(range(4, 36))


def key_file(secret):
    """A key file as np keygen writes it: the secret key's text."""
    return write_secret(f"{secret[0]}.key", f"{text.encode('npsec', secret)}\n")


def psk_file():
    return write_secret("team.psk", f"{text.encode('nppsk', PSK)}\n")


# --- np serve ---------------------------------------------------------------------------------------------------------


class Serving:
    """`np serve`, until the end of a `with`."""

    def __init__(self, *arguments, listen="tcp://127.0.0.1:0", allow=("anyone",), config=""):
        command = [NP, "serve", "--listen", listen, "--drain", "3s"]
        if "mode=" not in listen and not listen.startswith("tls:"):
            command += ["--identity", key_file(SERVER)]
        for who in allow:
            command += ["--allow", who]
        if config:
            file = path("serve.toml")
            file.write_text(config)
            command += ["--config", str(file)]
        self.process = subprocess.Popen(
            command + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            raise RuntimeError(self.process.stderr.read())
        self.address = line.split()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def socket(self):
        place = self.address.partition("?")[0].partition("://")[2]
        host, _, port = place.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def link(self, hello=None):
        link = Link(self.socket())
        link.connect(hello or known())
        return link

    def session(self, hello=None, settings=None, serve=None):
        return Session(self.link(hello), True, settings, serve)


_SHARED = contextlib.ExitStack()
_KEPT = {}


def shared_server():
    """One `np serve` for all cases that leave no trace in it."""
    if "server" not in _KEPT:
        patterns = ("xx", "ik", "nk", "kk", "xxpsk3", "ikpsk2", "nnpsk0", "danger-nn")
        arguments = [word for pattern in patterns for word in ("--pattern", pattern)]
        arguments += ["--psk", psk_file(), "--psk-id", "team"]
        allow = (key_text(CLIENT), "psk:team", "anonymous")
        _KEPT["server"] = _SHARED.enter_context(Serving(*arguments, allow=allow))
    return _KEPT["server"]


def stop_shared():
    _SHARED.close()


def known(pattern="XX", suite=1, **other):
    """The hello of the client that the shared server knows."""
    given = {"static": CLIENT, "server_key": noise.public_key(SERVER)}
    if "psk" in pattern:
        given.update(psk=PSK, psk_id=b"team")
    if pattern in ("NNpsk0", "NN"):
        given["server_key"] = None
    return Hello(pattern, suite, **{**given, **other})


# --- a server in Python -----------------------------------------------------------------------------------------------


class EchoStream:
    """Sends each message of a stream back."""

    def __init__(self, session, call):
        self.session, self.call = session, call

    def message(self, body):
        self.session.send(self.call, body)

    def finished(self):
        self.session.end(self.call)


def echo(_session, _call, body):
    return body


METHODS = {"np.echo": echo, "np.echo-stream": EchoStream}


def serve_until_closed(link, settings=None, methods=METHODS, rekey=None):
    """Answers calls until the client closes in order."""
    if rekey:
        link.rekey_records = rekey
    session = Session(link, False, settings, methods)
    try:
        while True:
            session.pump()
    except Closed:
        link.linger()
    return session


class PythonServer:
    """A server in Python that takes one connection, in a thread, until the end of a `with`."""

    def __init__(self, act=serve_until_closed, host=None, raw=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT)
        self.host = host or Host(SERVER)
        self.act, self.raw = act, raw
        self.result = self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.place = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.address = f"{self.place}?key={key_text(SERVER)}"

    def _run(self):
        try:
            sock, _ = self.listener.accept()
            sock.settimeout(TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(sock)
            if self.raw:
                self.result = self.act(link)
                return
            try:
                refused = link.accept(self.host)
            except Refused as error:
                self.result = error
                link.linger()
                return
            if refused:
                refuse(link, *refused)
                self.result = refused
                return
            self.result = self.act(link)
        except Exception as error:  # noqa: BLE001 - told in the case's own thread
            self.error = error

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.thread.join(TIMEOUT)
        self.listener.close()
        if kind is None and self.error is not None:
            raise self.error


def refuse(link, code, why):
    """A refusal by policy: the first record holds CLOSE alone."""
    from np_protocol.wire import CLOSE, Frame, encode_frame

    link.write_record(encode_frame(Frame("CLOSE", code=CLOSE[code], text=why)))
    link.linger()


def call(address, *arguments, body=None, known_as=CLIENT, code=0):
    """`np call`; checks its exit code where one is given; gives standard output and standard error."""
    identity = ["--identity", key_file(known_as)] if known_as else []
    limit = [] if "--timeout" in arguments else ["--timeout", "10s"]
    command = [NP, "call", address, *identity, *limit, *arguments]
    done = subprocess.run(command, input=body, capture_output=True, timeout=TIMEOUT)
    said = done.stderr.decode(errors="replace")
    assert code is None or done.returncode == code, f"np call ended with {done.returncode}, not {code}: {said}"
    return done.stdout, said


# --- expectations -----------------------------------------------------------------------------------------------------


def ends(session_or_link, code, act=None):
    """The peer ends the connection by a CLOSE with this code."""
    from np_protocol.wire import CLOSE

    session = session_or_link
    try:
        if act:
            act()
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            session.pump()
    except Closed as closed:
        assert closed.by_peer and closed.code == CLOSE[code], f"{closed}, not {code}"
        session.link.sock.close()
        return closed
    except (Truncated, OSError) as error:
        raise AssertionError(f"no CLOSE came: {error}") from error
    raise AssertionError("the connection goes on")


def fails(status, function):
    """The call ends with this status."""
    from np_protocol.session import CallFailed
    from np_protocol.wire import STATUS

    try:
        function()
    except CallFailed as failed:
        assert failed.status == STATUS[status], f"{failed}, not {status}"
        return failed
    raise AssertionError(f"it did not fail by {status}")
