"""SIGINT while a server works, waits for a lock, or says nothing."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import suspended, wait_for
from postgres import LOGICAL, big_table, copying, interrupt, keeper, make_server, server, sessions  # noqa: F401 (fixtures)

pytestmark = LOGICAL


def test_an_interrupt_publishes_nothing(keeper, server):
    server.sql("CREATE DATABASE shop")
    for i in range(4):
        big_table(server, f"t{i}", 200_000)
    process = keeper.start("backup", "--type", "database", "--bwlimit", "500K")
    wait_for(lambda: copying(server), "the first COPY")
    interrupt(process)
    assert keeper.snapshots() == []
    wait_for(lambda: sessions(server) == 0, "the end of every session")


def test_an_interrupt_does_not_wait_for_a_server_that_says_nothing(keeper, server):
    """The server's side of a COPY stands still."""
    server.sql("CREATE DATABASE shop")
    big_table(server, "t", 200_000)
    process = keeper.start("backup", "--type", "database", "--bwlimit", "500K")
    wait_for(lambda: copying(server), "the first COPY")
    with suspended(process):
        pids = [int(pid) for pid in server.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%'").split()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    try:
        interrupt(process)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert keeper.snapshots() == []
    wait_for(lambda: sessions(server) == 0, "the end of every session")


def test_an_interrupt_ends_waiting_for_a_lock(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT 1 AS i", "shop")
    holder = subprocess.Popen(server.command(server.bin / "psql", "-Xq", "-d", "shop"), env=server.env,
                              cwd=server.directory, stdin=subprocess.PIPE)
    try:
        holder.stdin.write(b"BEGIN; LOCK TABLE t;\n")
        holder.stdin.flush()
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'") != "0", "the lock")
        process = keeper.start("backup", "--type", "database")
        wait_for(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0", "somebody who waits")
        interrupt(process)
        wait_for(lambda: sessions(server) == 0, "the end of every session")
    finally:
        holder.communicate(b"ROLLBACK;\n", timeout=30)
    assert keeper.snapshots() == []
    keeper.backup(type="database")


@pytest.fixture
def silent():
    """A server that takes connections in and says nothing; how many it has taken."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def take():
        try:
            while True:
                taken.append(listener.accept()[0])
        except OSError:
            pass  # it was closed

    threading.Thread(target=take, daemon=True).start()
    yield {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(listener.getsockname()[1])}, taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("how", [(), ("--physical",)])
def test_an_interrupt_does_not_wait_for_a_server_that_takes_connections_and_says_nothing(yester, silent, how):
    env, taken = silent
    process = yester.start("backup", "--type", "database", *how, env=env)
    wait_for(lambda: taken, "the connection")
    interrupt(process)
    assert yester.snapshots() == []


def test_an_interrupted_restore_does_not_wait_for_a_server_that_says_nothing(keeper, server, silent):
    server.sql("CREATE DATABASE shop")
    keeper.backup(type="database")
    env, taken = silent
    process = keeper.start("restore", "latest", "--type", "database", env=env)
    wait_for(lambda: taken, "the connection")
    interrupt(process)


def test_a_receiver_that_is_told_to_end_does_not_wait_for_a_server_that_says_nothing(yester, silent):
    env, taken = silent
    process = yester.start("wal", "receive", env=env)
    wait_for(lambda: taken, "the connection")
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stored" not in err, err
    assert time.monotonic() - started < 20
