"""Keys that are asked for over the network: the conversations with a machine's metadata (IMDSv2), STS and containers, as AWS documents
them, played by a small server.  The keys are those of the real S3 server behind."""
import datetime
import http.server
import json
import threading
import time
import urllib.parse

import pytest
from chaosproxy import ChaosProxy
from conftest import same

pytestmark = pytest.mark.xdist_group("s3")

ROLE = "arn:aws:iam::123456789012:role/backup"


def in_seconds(seconds):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


class Aws:
    """What answers on 169.254.169.254, 169.254.170.2 and sts.REGION.amazonaws.com."""

    def __init__(self, s3):
        self.s3, self.asked, self.lifetime, self.number = s3, [], 3600, 0
        self.old_fashioned = False   # IMDSv1 only
        self.container_token = None  # that has to come with a container's question
        self.web_token, self.refusal = "web-token", None
        self.silence = 0  # seconds until a machine answers
        aws = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                aws.answer(self, b"")

            def do_POST(self):
                aws.answer(self, self.rfile.read(int(self.headers["content-length"])))

            do_PUT = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def keys(self):
        self.number += 1
        return {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": self.s3.key, "SecretAccessKey": self.s3.secret,
                "Token": f"token-{self.number}", "Expiration": in_seconds(self.lifetime)}

    def answer(self, request, body):
        self.asked.append((request.command, request.path))
        status, text = self.find(request.command, request.path, request.headers, body)
        data = text.encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def find(self, method, path, headers, body):
        if path == "/latest/api/token":
            time.sleep(self.silence)
            good = method == "PUT" and headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
            return (404, "") if self.old_fashioned else (200, "session") if good else (400, "")
        if path.startswith("/latest/"):
            if not self.old_fashioned and headers.get("X-aws-ec2-metadata-token") != "session":
                return 401, ""
            return 200, json.dumps(self.keys()) if path.endswith("/backup-role") else "backup-role"
        if path == "/container":
            good = self.container_token is None or headers.get("Authorization") == self.container_token
            return (200, json.dumps(self.keys())) if good else (403, "")
        if method == "POST" and path == "/":
            return self.assume(dict(urllib.parse.parse_qsl(body.decode())))
        return 404, ""

    def assume(self, form):
        if form.get("WebIdentityToken") != self.web_token or form.get("RoleArn") != ROLE:
            return 400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
        assert form["Action"] == "AssumeRoleWithWebIdentity" and form["Version"] == "2011-06-15" and form["RoleSessionName"]
        keys = self.keys()
        return 200, ("<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
                     "<AssumeRoleWithWebIdentityResult><Credentials>"
                     f"<SessionToken>{keys['Token']}</SessionToken><SecretAccessKey>{keys['SecretAccessKey']}</SecretAccessKey>"
                     f"<Expiration>{keys['Expiration']}</Expiration><AccessKeyId>{keys['AccessKeyId']}</AccessKeyId>"
                     "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")


@pytest.fixture
def aws(s3_yester):
    made = Aws(s3_yester.s3)
    s3_yester.env.update(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    yield made
    made.close()


@pytest.fixture
def machine(s3_yester, aws):
    s3_yester.env.update(AWS_EC2_METADATA_DISABLED="", AWS_EC2_METADATA_SERVICE_ENDPOINT=aws.url, AWS_METADATA_SERVICE_TIMEOUT="60")
    return aws


def works(y, tree):
    same(tree, y.restored(tree, y.backup(tree)))


def test_a_machines_role_is_asked_for_by_imdsv2(s3_yester, machine, tree):
    works(s3_yester, tree)
    assert machine.asked[:3] == [("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/iam/security-credentials/"),
                                 ("GET", "/latest/meta-data/iam/security-credentials/backup-role")]
    assert machine.number == 2  # once for each command


@pytest.mark.parametrize("text", ["0", "301", "2s", "-1", "99999999999999999999"])
def test_how_long_a_machine_may_take_is_seconds(s3_yester, machine, text):
    errors = s3_yester.run("list", rc=2, env={"AWS_METADATA_SERVICE_TIMEOUT": text}).errors
    assert f'AWS_METADATA_SERVICE_TIMEOUT is "{text}"; it has to be seconds from 1 to 300' in errors and not machine.asked


def test_a_machine_that_is_silent_has_the_time_that_was_set(s3_yester, machine):
    machine.silence = 3
    assert "no S3 credentials" in s3_yester.run("list", rc=1, env={"AWS_METADATA_SERVICE_TIMEOUT": "1"}).errors
    s3_yester.run("list")


def test_a_machine_that_only_knows_imdsv1_is_not_asked_further(s3_yester, machine):
    machine.old_fashioned = True
    assert "no S3 credentials" in s3_yester.run("list", rc=1).errors
    assert {path for _, path in machine.asked} == {"/latest/api/token"}


def test_keys_about_to_expire_are_fetched_again_while_a_run_goes_on(s3_yester, machine, tree):
    machine.lifetime = 301  # they are renewed five minutes before
    with ChaosProxy(s3_yester.s3.address, delay=0.25) as proxy:
        s3_yester.backup(tree, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert machine.number > 1
    same(tree, s3_yester.restored(tree))


def test_keys_that_the_server_calls_expired_are_fetched_again(s3_yester, machine, tree):
    with ChaosProxy(s3_yester.s3.address) as proxy:
        def expire(number):
            if number == 6:
                proxy.refused_token = b"token-1"

        proxy.before = expire
        s3_yester.backup(tree, env={"AWS_ENDPOINT_URL": proxy.endpoint})
        assert proxy.refused and machine.number == 2
    same(tree, s3_yester.restored(tree))


def test_a_web_identity_is_exchanged_for_keys(s3_yester, aws, tree, work):
    token = work / "web token"
    token.write_text(aws.web_token + "\n")
    s3_yester.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE, AWS_ENDPOINT_URL_STS=aws.url)
    works(s3_yester, tree)
    assert aws.asked[0] == ("POST", "/")
    token.write_text("another one")
    result = s3_yester.run("list", rc=1)
    assert "web identity" in result.errors and "another one" not in result.errors


def test_a_web_identitys_token_is_read_again_from_its_file(s3_yester, aws, tree, work):
    """It is renewed there by whoever runs the container."""
    aws.lifetime = 301
    token = work / "token"
    token.write_text(aws.web_token)
    s3_yester.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE, AWS_ENDPOINT_URL_STS=aws.url)
    with ChaosProxy(s3_yester.s3.address, delay=0.25) as proxy:
        def renew(number):
            if number == 4:
                aws.web_token = "renewed"
                token.write_text("renewed")

        proxy.before = renew
        s3_yester.backup(tree, env={"AWS_ENDPOINT_URL": proxy.endpoint})
    assert aws.number > 1
    same(tree, s3_yester.restored(tree))


@pytest.mark.parametrize("how", ["variable", "file", "none"])
def test_a_container_gives_keys(s3_yester, aws, tree, work, how):
    aws.container_token = None if how == "none" else "Bearer secret"
    s3_yester.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + "/container"
    if how == "file":
        (work / "authorization").write_text("Bearer secret\n")
        s3_yester.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(work / "authorization")
    elif how == "variable":
        s3_yester.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "Bearer secret"
    works(s3_yester, tree)
    assert ("GET", "/container") in aws.asked


def test_a_container_that_refuses_is_said_without_its_token(s3_yester, aws):
    aws.container_token = "right"
    s3_yester.env.update(AWS_CONTAINER_CREDENTIALS_FULL_URI=aws.url + "/container", AWS_CONTAINER_AUTHORIZATION_TOKEN="very-secret")
    result = s3_yester.run("list", rc=1)
    assert "container" in result.errors and "403" in result.errors and "very-secret" not in result.errors


def test_the_order_is_environment_then_web_identity_then_container(s3_yester, aws, tree, work):
    token = work / "token"
    token.write_text(aws.web_token)
    s3_yester.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE, AWS_ENDPOINT_URL_STS=aws.url,
                         AWS_CONTAINER_CREDENTIALS_FULL_URI=aws.url + "/container")
    s3_yester.run("list")
    assert aws.asked == [("POST", "/")]
    s3_yester.run("list", env={"AWS_ACCESS_KEY_ID": s3_yester.s3.key, "AWS_SECRET_ACCESS_KEY": s3_yester.s3.secret})
    assert aws.asked == [("POST", "/")]
