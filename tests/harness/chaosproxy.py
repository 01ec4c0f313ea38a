"""A proxy in front of an S3 server that does, by a seed, what networks and servers do on a bad day.

FAULTS are kinds; of each request one is drawn with probability RATE, else it passes.  What was
asked is kept in `requests` as (method, path, range), so that tests can count.  DELAY seconds are
added to each request.  `before` is called with the number of each request, in order.  `glacier` (glacier.py) makes some
storage classes cold.
"""
import random
import re
import socket
import struct
import threading
import time

FAULTS = ("500", "503", "slowdown", "reset-request", "reset-answer", "applied-reset", "delay", "truncated",
          "corrupt", "short-list", "expired")
# Faults after which what is read may be wrong, and not only absent.
LYING = ("corrupt", "short-list")

_ERROR = (b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>chaos</Message></Error>')


class Cut(Exception):
    """The connection ended."""


class Stream:
    def __init__(self, sock):
        self.sock, self.data = sock, b""

    def more(self):
        some = self.sock.recv(256 * 1024)
        if not some:
            raise Cut
        self.data += some

    def head(self):
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def exactly(self, count):
        out = bytearray(count)
        have = min(count, len(self.data))
        out[:have], self.data = self.data[:have], self.data[have:]
        view = memoryview(out)
        while have < count:
            got = self.sock.recv_into(view[have:])
            if not got:
                raise Cut
            have += got
        return bytes(out)

    def chunked(self):
        out = b""
        while True:
            while b"\r\n" not in self.data:
                self.more()
            line, self.data = self.data.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            some = self.exactly(size + 2)
            out += some[:-2]
            if size == 0:
                return out


def header(head, name):
    found = re.search(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)
    return found[1] if found else None


def read_answer(upstream, method):
    """Head and body of the server's answer, with a length instead of chunks."""
    head = upstream.head()
    while head.startswith(b"HTTP/1.1 100"):
        head = upstream.head()
    status = int(head.split()[1])
    if method == "HEAD" or status in (204, 304):
        return head, b""
    if (header(head, b"transfer-encoding") or b"").lower() == b"chunked":
        body = upstream.chunked()
        head = re.sub(rb"(?im)^transfer-encoding:.*?\r\n", b"", head)
    else:
        body = upstream.exactly(int(header(head, b"content-length") or 0))
    return with_length(head, len(body)), body


def with_length(head, length):
    head = re.sub(rb"(?im)^content-length:.*?\r\n", b"", head)
    return head[:-2] + b"Content-Length: %d\r\n\r\n" % length


class ChaosProxy:
    def __init__(self, upstream, seed=0, rate=0.0, faults=FAULTS, delay=0.0):
        self.upstream, self.rate, self.faults, self.delay = upstream, rate, faults, delay
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.requests, self.drawn, self.before = [], [], None
        self.guarded = []  # (method, path) of what came with If-None-Match
        self.refused_token, self.refused = None, 0
        self.down = False  # no request gets an answer
        self.deny = None   # what it says of (method, path) is refused for want of rights; or (status, code)
        self.silent = False  # … nor an end of its connection
        self.lose = None   # what it says of (method, path) is done, and gets no answer
        self.glacier = None
        self.server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = "http://127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        upstream = None
        try:
            upstream = socket.create_connection(self.upstream)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            here, there = Stream(client), Stream(upstream)
            while True:
                self._one(here, there)
        except (Cut, OSError, ValueError, IndexError):
            pass
        finally:
            client.close()
            if upstream:
                upstream.close()

    def _draw(self, method, path, head):
        with self.lock:
            number = len(self.requests)
            self.requests.append((method, path, (header(head, b"range") or b"").decode()))
            if header(head, b"if-none-match"):
                self.guarded.append((method, path))
            fault = self.random.choice(self.faults) if self.random.random() < self.rate else None
            if fault:
                self.drawn.append(fault)
            chance = self.random.random()
        if self.before:
            self.before(number)
        return fault, chance

    def _reset(self, here):
        """An end without a goodbye."""
        here.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Cut

    def _answer(self, here, status, code, extra=b""):
        body = _ERROR % code
        here.sock.sendall(b"HTTP/1.1 %s\r\n%sContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"
                          % (status, extra, len(body), body))

    def _one(self, here, there):
        head = here.head()
        method, path = (part.decode() for part in head.split()[:2])
        fault, chance = self._draw(method, path, head)
        length = int(header(head, b"content-length") or 0)
        while self.silent:
            time.sleep(0.05)
        if self.down:
            self._reset(here)
        if fault == "reset-request":
            here.exactly(int(length * chance))
            self._reset(here)
        if (header(head, b"expect") or b"").lower() == b"100-continue":
            here.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?im)^expect:.*?\r\n", b"", head)
        body = here.exactly(length)
        time.sleep(self.delay + (chance * 0.5 if fault == "delay" else 0))
        token = header(head, b"x-amz-security-token")
        if self._refuse(here, fault, token, method):
            return
        denial = self.deny and self.deny(method, path)
        if denial:
            status, code = denial if isinstance(denial, tuple) else ("403 Forbidden", "AccessDenied")
            self._answer(here, status.encode(), code.encode())
            return
        cold = self.glacier and self.glacier.answer(method, path, head, body)
        if cold:
            status, text = (part.encode() for part in cold)
            answer = b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\n\r\n" % status, text
        else:
            there.sock.sendall(head + body)
            answer = read_answer(there, method)
            if self.glacier:
                answer = self.glacier.change(method, path, head, *answer)
        if cold:
            answer = with_length(answer[0], len(answer[1])), answer[1]
        if self.lose and self.lose(method, path):
            self._reset(here)
        self._give(here, fault, chance, method, path, *answer)

    def _refuse(self, here, fault, token, method):
        """What is answered without asking the server."""
        if fault == "500":
            self._answer(here, b"500 Internal Server Error", b"InternalError")
        elif fault == "503":
            here.sock.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        elif fault == "slowdown":
            self._answer(here, b"503 Slow Down", b"SlowDown", b"Retry-After: 1\r\n")
        elif (fault == "expired" and token) or (token and token == self.refused_token):
            self.refused += 1
            self._answer(here, b"400 Bad Request", b"ExpiredToken")
        else:
            return False
        return True

    def _give(self, here, fault, chance, method, path, head, body):
        if fault == "applied-reset":
            self._reset(here)
        elif fault in ("truncated", "reset-answer"):
            here.sock.sendall((head + body)[:int((len(head) + len(body)) * chance)])
            if fault == "reset-answer":
                self._reset(here)
            raise Cut
        elif fault == "corrupt" and body:
            at = int(len(body) * chance)
            body = body[:at] + bytes([body[at] ^ 1 << int(chance * 8)]) + body[at + 1:]
        elif fault == "short-list" and b"<ListBucketResult" in body:
            kept = [item for item in re.findall(rb"<Contents>.*?</Contents>", body, re.DOTALL)]
            kept = kept[:int(len(kept) * chance)]
            body = re.sub(rb"<Contents>.*</Contents>", b"".join(kept), body, flags=re.DOTALL)
            body = body.replace(b"<IsTruncated>true", b"<IsTruncated>false")
            head = with_length(head, len(body))
        here.sock.sendall(head + body)
