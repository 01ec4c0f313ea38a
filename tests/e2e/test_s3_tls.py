"""Buckets behind TLS: HTTP/1.1 and 2 by a real server, and certificates that have to be right."""
import os

import pytest
import tlsfront
from conftest import same, same_on_mount

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def front(s3_yester, work):
    """Makes fronts; the program goes through the last one."""
    if tlsfront.program() is None:
        pytest.skip("there is no nginx, nor a package of it to be had")
    opened = []

    def make(**options):
        made = tlsfront.Front(work / f"front{len(opened)}", s3_yester.s3.address, **options)
        opened.append(made)
        s3_yester.env.update(AWS_ENDPOINT_URL=made.endpoint, AWS_CA_BUNDLE=str(made.authority))
        return made

    yield make
    for made in opened:
        made.__exit__()


@pytest.mark.parametrize("http2, protocol", [(True, "HTTP/2.0"), (False, "HTTP/1.1")])
def test_all_works_over_tls_by_either_protocol(s3_yester, front, tree, work, http2, protocol):
    y, made = s3_yester, front(http2=http2)
    name = y.backup(tree)
    source = work / "large"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(40 << 20))
    large = y.backup(source)
    same(tree, y.restored(tree, name))
    same(source, y.restored(source, large))
    with y.mount() as mount:
        same_on_mount(tree, mount.tree(name, tree))
    y.run("forget", large)
    y.run("prune", "--grace", "1s")
    y.verify()
    asked = made.requests()
    assert {a[0] for a in asked} == {protocol}
    assert {a[2] for a in asked} >= {"GET", "PUT", "POST"}
    assert {a[1] for a in asked} <= {"TLSv1.2", "TLSv1.3"}


def refused(y, **env):
    settings = y.work / "impatient.conf"
    settings.write_text("[s3]\npatience = 2\n")
    result = y.run("list", env={"YESTER_CONFIG": str(settings), **env}, rc=1)
    assert "certificate" in result.errors.lower() or "SSL" in result.errors, result.errors
    return result


def test_an_authority_that_nobody_named_is_refused(s3_yester, front):
    made = front()
    assert "AWS_CA_BUNDLE" in refused(s3_yester, AWS_CA_BUNDLE="").errors
    other = tlsfront.make_authority(made.where, "other")
    assert "AWS_CA_BUNDLE" in refused(s3_yester, AWS_CA_BUNDLE=str(other)).errors
    assert not made.requests()
    s3_yester.run("list")


def test_a_certificate_of_another_host_is_refused(s3_yester, front):
    made = front(name="other.example")
    refused(s3_yester)
    assert not made.requests()


def test_a_certificate_that_has_expired_is_refused(s3_yester, front):
    made = front(days=-1)
    refused(s3_yester)
    assert not made.requests()


def test_a_bundle_that_is_not_there_is_said(s3_yester, front):
    front()
    assert "/nowhere" in refused(s3_yester, AWS_CA_BUNDLE="/nowhere/ca.pem").errors
