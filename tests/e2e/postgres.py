"""The program beside a real PostgreSQL server: what the tests of logical backups share."""
import os
import signal
import time

import pytest

from conftest import NOBODY, ROOT
from pgserver import Server, bindir, dumps

AWKWARD = ROOT / "tests" / "harness" / "awkward_schema.sql"

LOGICAL = [pytest.mark.skipif(bindir() is None, reason="no PostgreSQL server here"),
           pytest.mark.skipif(not dumps(), reason="pg_dump is older than the server"),
           pytest.mark.xdist_group("postgres")]


def settings(server, **more):
    """What the program is told of a server."""
    return {"PATH": f"{server.bin}:{os.environ['PATH']}", "POSTGRES_HOST": str(server.directory),
            "POSTGRES_PORT": str(server.port), "POSTGRES_USER": "postgres", **more}


@pytest.fixture
def make_server(work):
    servers = []

    def make(name="pg", *options):
        server = Server(work / name, user=NOBODY if os.geteuid() == 0 else None)
        servers.append(server)
        server.init(*options)
        return server.start()

    yield make
    for server in servers:
        server.stop("immediate")


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def keeper(yester, server):
    """The program with the server's settings."""
    yester.env.update(settings(server))
    return yester


def fill(server, database="shop"):
    server.sql(f'CREATE DATABASE "{database}"')
    with open(AWKWARD) as schema:  # opened here: the user of the server may not see where the project lies
        server.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-", stdin=schema)


def cat(yester, path, snapshot="latest"):
    return yester.run("cat", f"{snapshot}:{path}").out


def rows(data):
    return sorted(data.splitlines())


def big_table(server, name, rows=300_000):
    server.sql(f"CREATE TABLE {name} AS SELECT i, repeat(md5(i::text), 8) AS x FROM generate_series(1, {rows}) i", "shop")


def copying(server):
    return server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'") != "0"


def sessions(server):
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('yester', 'pg_dump')"))


def interrupt(process, within=20):
    """SIGINT, and how it ended; the machine may be busy."""
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - started < within
    return err


def databases(server):
    return set(server.sql("SELECT datname FROM pg_database WHERE NOT datistemplate").splitlines())


def roles(server):
    """All of them with their passwords."""
    text = server.run("pg_dumpall", "--globals-only", "--restrict-key=yester").stdout
    return [line for line in text.splitlines() if not line.startswith("--")]
