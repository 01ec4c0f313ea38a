"""A real web server (nginx, from Debian's package) in front of an S3 server: TLS with an authority of its own, HTTP/1.1 and 2.

nginx is not installed, which would start one: where there is none, its package is unpacked into a directory of the tests.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from ports import free_port

UNPACKED = pathlib.Path(os.environ.get("YESTER_TEST_NGINX", "/var/tmp/yester-nginx"))


def program():
    """The path of nginx, or None."""
    found = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    there = UNPACKED / "usr/sbin/nginx"
    if found or there.exists():
        return found or str(there)
    with tempfile.TemporaryDirectory() as work:
        if subprocess.run(["apt-get", "-qq", "download", "nginx"], cwd=work, capture_output=True).returncode:
            return None
        for package in pathlib.Path(work).glob("nginx_*.deb"):
            subprocess.run(["dpkg", "-x", package, UNPACKED], check=True, capture_output=True)
    return str(there) if there.exists() else None


def openssl(where, *args):
    subprocess.run(["openssl", *args], cwd=where, check=True, capture_output=True)


def make_authority(where, name):
    openssl(where, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return where / f"{name}.pem"


def make_certificate(where, authority, name, days=2):
    """For NAME: an address or a host's name."""
    kind = "IP" if re.fullmatch(r"[\d.]+", name) else "DNS"
    (where / "extensions").write_text(f"subjectAltName={kind}:{name}\nextendedKeyUsage=serverAuth\n")
    openssl(where, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", "server.key", "-out", "server.csr")
    openssl(where, "x509", "-req", "-in", "server.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", str(days), "-extfile", "extensions", "-out", "server.pem")


CONFIGURATION = """
daemon off; master_process off; pid {where}/pid; error_log {where}/errors;
events {{ worker_connections 512; }}
http {{
  log_format protocol '$server_protocol $ssl_protocol $request_method $status';
  access_log {where}/access protocol;
  client_body_temp_path {where}/body; proxy_temp_path {where}/proxy; fastcgi_temp_path {where}/fastcgi;
  uwsgi_temp_path {where}/uwsgi; scgi_temp_path {where}/scgi;
  client_max_body_size 0; keepalive_requests 100000;
  upstream store {{ server {upstream}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} ssl {http2};
    ssl_certificate {where}/server.pem; ssl_certificate_key {where}/server.key;
    location / {{
      proxy_pass http://store; proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_buffering off;
    }}
  }}
}}
"""


class Front:
    def __init__(self, where, upstream, http2=True, name="127.0.0.1", days=2):
        self.where = pathlib.Path(where)
        self.where.mkdir()
        self.authority = make_authority(self.where, "authority")
        make_certificate(self.where, "authority", name, days)
        self.port = free_port()
        self.endpoint = f"https://127.0.0.1:{self.port}"
        (self.where / "nginx.conf").write_text(CONFIGURATION.format(
            where=self.where, port=self.port, upstream="%s:%d" % upstream, http2="http2" if http2 else ""))
        self.process = subprocess.Popen([program(), "-p", self.where, "-c", self.where / "nginx.conf", "-e", self.where / "errors"],
                                        stdin=subprocess.DEVNULL)
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            self.process.poll()
            assert self.process.returncode is None, (self.where / "errors").read_text()
            time.sleep(0.05)
        raise AssertionError("nginx did not come up")

    def requests(self):
        """What was asked: [(protocol, TLS's version, method, status)]."""
        return [tuple(line.split()) for line in (self.where / "access").read_text().splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
