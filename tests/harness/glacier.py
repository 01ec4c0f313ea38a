"""Cold storage as AWS documents it, played by the chaos proxy in front of a server that knows storage classes and no thaw.

    with ChaosProxy(address) as proxy:
        proxy.glacier = glacier = Glacier()

What was put or copied into GLACIER or DEEP_ARCHIVE is listed and answers HEAD; GET is refused (403 InvalidObjectState), and
so is a copy of it.  POST ?restore gives 202, 409 while that is under way, 200 when it is there.  It is there when `thaw` is
called, or `takes` seconds later; and cold again when its days are over by `clock`, which is ahead of the real one by `ahead`
seconds, also in the Date of every answer and the LastModified of what is listed.  `asked` has (key, days, tier) of each request that was accepted.
"""
import email.utils
import re
import threading
import time
import urllib.parse

FROZEN = ("GLACIER", "DEEP_ARCHIVE")
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message>%s</Error>'


def _header(head, name):
    found = re.search(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)
    return found[1].decode() if found else None


def _of_version(query):
    """The query without the version that is asked for: there is one that was put, whatever was laid over it."""
    return re.sub(r"&?versionId=[^&]*", "", query)


def with_length(head, length):
    head = re.sub(rb"(?im)^content-length:.*?\r\n", b"", head)
    return head[:-2] + b"Content-Length: %d\r\n\r\n" % length


class Glacier:
    def __init__(self, takes=None):
        self.takes, self.ahead, self.lock = takes, 0, threading.Lock()
        self.classes, self.ready, self.until = {}, {}, {}  # by key: its class; when it is there; and until when
        self.stored = {}  # by key: when, by this clock
        self.asked, self.refused, self.no_capacity = [], [], False

    def clock(self):
        return time.time() + self.ahead

    def thaw(self):
        """All that was asked for is there."""
        with self.lock:
            for key in self.ready:
                self.ready[key] = 0

    def frozen(self, key):
        """Whether it cannot be read now."""
        if self.classes.get(key) not in FROZEN:
            return False
        return key not in self.ready or self.ready[key] > self.clock() or self.until[key] < self.clock()

    def _restore_header(self, key):
        if key not in self.ready or (self.until[key] < self.clock() and self.ready[key] <= self.clock()):
            return None
        if self.ready[key] > self.clock():
            return 'ongoing-request="true"'
        return 'ongoing-request="false", expiry-date="%s"' % email.utils.formatdate(self.until[key], usegmt=True)

    def answer(self, method, path, head, body):
        """(status line, body) of what the server is not asked, or None."""
        key, _, query = path.partition("?")
        query = _of_version(query)
        with self.lock:
            if method == "GET" and not query and self.frozen(key):
                if _header(head, b"range") != "bytes=0-0":  # that is only a look
                    self.refused.append(key)
                return self._refusal(key)
            if method == "POST" and query in ("restore", "restore="):
                return self._restore(key, body.decode())
            source = _header(head, b"x-amz-copy-source")
            if method == "PUT" and source and self.frozen(source):
                return "403 Forbidden", _ERROR % ("ObjectNotInActiveTierError", "The source object of the COPY action is not in"
                                                  " the active tier and is only stored in Amazon S3 Glacier.", "")
        return None

    def _refusal(self, key):
        return "403 Forbidden", _ERROR % ("InvalidObjectState", "The operation is not valid for the object's storage class",
                                          f"<StorageClass>{self.classes[key]}</StorageClass>")

    def _restore(self, key, body):
        tier, days = re.search("<Tier>(.*?)</Tier>", body)[1], re.search("<Days>([0-9]+)</Days>", body)
        name = self.classes.get(key)
        if name not in FROZEN:
            return "403 Forbidden", _ERROR % ("InvalidObjectState", "Restore is not allowed for the object's current storage"
                                              " class", "")
        if not days or int(days[1]) < 1 or tier not in ("Standard", "Bulk", "Expedited") or \
                (name == "DEEP_ARCHIVE" and tier == "Expedited"):
            return "400 Bad Request", _ERROR % ("InvalidArgument", "no", "")
        if tier == "Expedited" and self.no_capacity:
            return "503 Service Unavailable", _ERROR % ("GlacierExpeditedRetrievalNotAvailable", "Glacier expedited retrievals"
                                                        " are currently not available, please try again later", "")
        if key in self.ready and self.ready[key] > self.clock():
            return "409 Conflict", _ERROR % ("RestoreAlreadyInProgress", "Object restore is already in progress", "")
        there = not self.frozen(key)
        self.asked.append((key, int(days[1]), tier))
        if not there:
            self.ready[key] = float("inf") if self.takes is None else self.clock() + self.takes
        self.until[key] = self.clock() + int(days[1]) * 86400
        return ("200 OK" if there else "202 Accepted"), ""

    def change(self, method, path, request, head, body):
        """The server's answer, with what a server with cold storage and this clock adds."""
        key, _, query = path.partition("?")
        good = head.split()[1][:1] == b"2"
        head = re.sub(rb"(?im)^date:.*?\r\n", b"Date: %s\r\n" % email.utils.formatdate(self.clock(), usegmt=True).encode(), head)
        with self.lock:
            name = _header(request, b"x-amz-storage-class")
            if good and ((method == "PUT" and not query) or (method == "POST" and query.startswith("uploads"))):
                self.classes[key], self.stored[key] = name or "STANDARD", self.clock()
                self.ready.pop(key, None)
            if good and method == "DELETE" and not query:
                self.classes.pop(key, None)
            if good and method == "HEAD" and self.classes.get(key, "STANDARD") != "STANDARD":
                head = re.sub(rb"(?im)^x-amz-storage-class:.*?\r\n", b"", head)
                head = head[:-2] + b"x-amz-storage-class: %s\r\n\r\n" % self.classes[key].encode()
                state = self._restore_header(key)
                head = head[:-2] + b"x-amz-restore: %s\r\n\r\n" % state.encode() if state else head
            if b"<ListBucketResult" in body:
                body = re.sub(rb"<Contents>.*?</Contents>", lambda m: self._dated(key, m[0].decode()).encode(), body,
                              flags=re.DOTALL)
        return with_length(head, len(body)) if body else head, body

    def _dated(self, bucket, item):
        key = bucket.rstrip("/") + "/" + urllib.parse.unquote(re.search("<Key>(.*?)</Key>", item)[1])
        if key not in self.stored:
            return item
        text = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(self.stored[key]))
        return re.sub("<LastModified>.*?</LastModified>", f"<LastModified>{text}</LastModified>", item)
