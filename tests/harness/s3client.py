"""A small S3 client by another hand: signs with the standard library alone, and knows no retries."""
import datetime
import hashlib
import hmac
import http.client
import re
import urllib.parse


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:300]!r}")
        self.status = status


class Client:
    def __init__(self, endpoint, region, key, secret):
        self.netloc, self.region, self.key, self.secret = urllib.parse.urlsplit(endpoint).netloc, region, key, secret

    def _sign(self, method, path, query, headers):
        date = headers["x-amz-date"]
        scope = f"{date[:8]}/{self.region}/s3/aws4_request"
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join((method, path, query, lines, names, headers["x-amz-content-sha256"]))
        text = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(request.encode()).hexdigest()))
        key = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, Signature={signature}"

    def call(self, method, path, query=None, body=b"", headers=None):
        return self.ask(method, path, query, body, headers)[1]

    def ask(self, method, path, query=None, body=b"", headers=None):
        """(headers of the answer, body)"""
        query = "&".join(f"{k}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted((query or {}).items()))
        headers = {
            "host": self.netloc, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-amz-date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ"),
            **(headers or {}),
        }
        headers["authorization"] = self._sign(method, path, query, headers)
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        try:
            connection.request(method, path + ("?" + query if query else ""), body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, data)
        return {name.lower(): value for name, value in answer.getheaders()}, data

    def make_bucket(self, bucket, lock=False):
        try:
            self.call("PUT", "/" + bucket, headers={"x-amz-bucket-object-lock-enabled": "true"} if lock else None)
        except Refused as error:
            if error.status != 409:
                raise

    def keys(self, bucket, prefix=""):
        """{key: size}"""
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            page = self.call("GET", "/" + bucket, query).decode()
            for item in re.findall(r"<Contents>(.*?)</Contents>", page, re.DOTALL):
                found[re.search("<Key>(.*?)</Key>", item)[1]] = int(re.search("<Size>(.*?)</Size>", item)[1])
            if "<IsTruncated>true" not in page:
                return found
            token = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", page)[1]

    def get(self, bucket, key):
        return self.call("GET", f"/{bucket}/{key}")

    def versions(self, bucket, prefix):
        """[(key, version, "Version" or "DeleteMarker")], of a key the newest first."""
        found, marker = [], {}
        while True:
            page = self.call("GET", "/" + bucket, {"versions": "", "prefix": prefix, **marker}).decode()
            for kind, item in re.findall(r"<(Version|DeleteMarker)>(.*?)</\1>", page, re.DOTALL):
                found.append((re.search("<Key>(.*?)</Key>", item)[1],
                              re.search("<VersionId>(.*?)</VersionId>", item)[1], kind))
            if "<IsTruncated>true" not in page:
                return found
            marker = {"key-marker": re.search("<NextKeyMarker>(.*?)</NextKeyMarker>", page)[1],
                      "version-id-marker": re.search("<NextVersionIdMarker>(.*?)</NextVersionIdMarker>", page)[1]}

    def locked(self, bucket, key, version):
        """(mode, until when), or (None, None)."""
        headers = self.ask("HEAD", f"/{bucket}/{key}", {"versionId": version})[0]
        until = headers.get("x-amz-object-lock-retain-until-date")
        when = until and datetime.datetime.fromisoformat(until[:19] + "+00:00").timestamp()
        return headers.get("x-amz-object-lock-mode"), when

    def delete_version(self, bucket, key, version):
        return self.call("DELETE", f"/{bucket}/{key}", {"versionId": version})

    def put(self, bucket, key, data):
        return self.call("PUT", f"/{bucket}/{key}", body=data)

    def delete(self, bucket, key):
        return self.call("DELETE", f"/{bucket}/{key}")

    def uploads(self, bucket):
        """Keys of the uploads in parts that nobody has ended."""
        return re.findall("<Upload>.*?<Key>(.*?)</Key>", self.call("GET", "/" + bucket, {"uploads": ""}).decode(),
                          re.DOTALL)
