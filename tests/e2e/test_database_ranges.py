"""Large tables, which are read by several connections at a time, range by range.  Judged by the server's one COPY."""
import json
import re
import threading

import pytest

from conftest import wait_for
from pgserver import bindir, major
from postgres import LOGICAL, cat, copying, keeper, make_server, rows, server  # noqa: F401 (fixtures)

pytestmark = LOGICAL

RANGE = 4096  # blocks; a table is large from 64 MiB on


@pytest.fixture
def shop(keeper, server):  # noqa: F811
    config = keeper.work / "yester.conf"
    config.write_text("[database]\nranges = yes\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    server.sql("CREATE DATABASE shop")
    return server


def large(server, count=40_000):  # noqa: F811
    """Four ranges of blocks, with some 10 MB of rows in them."""
    server.sql(f"CREATE TABLE big WITH (fillfactor = 10) AS SELECT i, repeat(md5(i::text), 7) AS x FROM generate_series(1, {count}) i",
               "shop")
    assert 3 * RANGE < int(server.sql("SELECT pg_relation_size('big') / 8192", "shop")) < 4 * RANGE


def with_noise(server):  # noqa: F811
    """20 MB of what is stored are with the rows: who reads has to wait for who stores."""
    server.sql("ALTER TABLE big ADD y text; UPDATE big SET y = (SELECT string_agg(md5(random()::text || g || i), '')"
               " FROM generate_series(1, 3200) g) WHERE i % 100 = 0", "shop")


def one_copy(server, what="big"):  # noqa: F811
    """As the rows lie there, by one connection."""
    return server.run("psql", "-Xqd", "shop", "-c", f"COPY {what} TO STDOUT",
                      env={"PGOPTIONS": "-c synchronize_seqscans=off -c max_parallel_workers_per_gather=0"}).stdout.encode()


def listed(keeper, name="latest"):  # noqa: F811
    return {t["name"]: t for t in json.loads(cat(keeper, "database/shop/manifest.json", name))["tables"]}


def test_a_large_table_is_what_one_copy_gives_whatever_is_missing_in_it(keeper, shop):  # noqa: F811
    config = keeper.work / "yester.conf"
    config.write_text("[database]\nranges = yes\ncsv = yes\n")
    shop.configure(log_statement="all", log_line_prefix="'<%p> '")
    shop.stop()
    shop.start()
    large(shop)
    # A hole in a range, a range without any row, and nothing at the end, once vacuumed and once not.
    shop.sql(f"DELETE FROM big WHERE ctid >= '(100,0)' AND ctid < '(900,0)' OR ctid >= '({RANGE},0)' AND ctid < '({2 * RANGE},0)'", "shop")
    shop.sql("CREATE TABLE part () INHERITS (big); INSERT INTO part SELECT 1, 'of another table'", "shop")
    shop.sql("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler", "shop")
    shop.sql("CREATE TABLE elsewhere USING other WITH (fillfactor = 10) AS SELECT * FROM ONLY big", "shop")
    for step in ("VACUUM (TRUNCATE false) big", "DELETE FROM ONLY big WHERE i > 37000", "SELECT 1"):
        shop.sql(step, "shop")
        keeper.backup(type="database")
        want = one_copy(shop, "big")
        assert cat(keeper, "database/shop/public/big.copy") == want, step
        sql = cat(keeper, "database/shop/public/big.sql")
        assert sql.endswith(b"FROM stdin;\n" + want + b"\\.\n") and sql.startswith(b"SET client_encoding")
        assert cat(keeper, "database/shop/public/big.csv") == b"i,x\n" + want.replace(b"\t", b",")
        assert cat(keeper, "database/shop/public/elsewhere.copy") == one_copy(shop, "elsewhere")
        assert listed(keeper)["big"]["rows"] == want.count(b"\n") and listed(keeper)["big"]["bytes"] == len(want)
    keeper.verify()
    log = shop.log.read_text()
    ranges = re.findall(r"<(\d+)> .*COPY \(SELECT i, x FROM ONLY public\.big +WHERE ctid >= '\((\d+),0\)'( AND ctid < )?", log)
    assert ("public.elsewhere (i, x)" in log) and "FROM ONLY public.elsewhere" not in log
    if major() >= 14:
        assert len({pid for pid, _, _ in ranges}) > 3, "by several connections"
        assert len(ranges) == 3 * 4 and {int(start) % RANGE for _, start, _ in ranges} == {0}
        assert [end for _, start, end in ranges if int(start) == 3 * RANGE] == [""] * 3


def write(server, over):  # noqa: F811
    """Rows move, go, come at the end and in the room that others left."""
    i = 0
    while i == 0 or not over.is_set():
        i += 1
        server.sql(f"UPDATE big SET x = x || 'changed' WHERE i % 1000 = {i};"
                   f"DELETE FROM big WHERE i % 1000 = {i + 500};"
                   f"INSERT INTO big SELECT 1000000 + i, repeat('new', 300) FROM generate_series(1, 2000) i", "shop")
        server.sql("VACUUM big", "shop")


@pytest.mark.long
def test_a_large_table_that_grows_meanwhile_is_of_one_moment(keeper, shop):  # noqa: F811
    large(shop)
    with_noise(shop)
    want = one_copy(shop)
    over = threading.Event()
    writer = threading.Thread(target=write, args=(shop, over))
    process = keeper.start("backup", "--type", "database", "--bwlimit", "4M")
    wait_for(lambda: copying(shop), "the first COPY")
    writer.start()
    try:
        out, err = process.communicate(timeout=180)
    finally:
        over.set()
        writer.join()
    assert process.returncode == 0, err
    name = out.decode().split()[-1]
    assert cat(keeper, "database/shop/public/big.copy", name) == want
    assert one_copy(shop) != want
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/big.copy") == one_copy(shop)


def test_of_a_large_table_what_changed_is_stored(keeper, shop):  # noqa: F811
    large(shop)
    keeper.backup(type="database")
    first = keeper.stored()
    keeper.backup(type="database")
    assert keeper.stored() - first < 30_000 < first / 20
    second = keeper.stored()
    # It grows by a range: borders stay where they were.
    shop.sql(f"UPDATE big SET x = 'changed' WHERE i IN (5, 20000);"
             f"INSERT INTO big SELECT i, repeat('new', 70) FROM generate_series(50000, 65000) i", "shop")
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/big.copy") == one_copy(shop)
    assert keeper.stored() - second < first / 8


def test_a_range_of_large_values_waits_for_those_before_it(keeper, shop):  # noqa: F811
    """Its 300 MB are more than may be read ahead."""
    large(shop)
    shop.sql("ALTER TABLE big ADD y text", "shop")
    shop.sql("UPDATE big SET y = repeat('value ', 500000) WHERE i > 30000 AND i % 100 = 0", "shop")
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/big.copy") == one_copy(shop)


@pytest.mark.skipif(major() < 14 if bindir() else True, reason="the server reads no ranges of blocks")
def test_a_connection_that_is_lost_leaves_no_hole(keeper, shop):  # noqa: F811
    large(shop)
    with_noise(shop)
    for i in range(3):
        shop.sql(f"CREATE TABLE t{i} AS SELECT {i} AS i", "shop")
    process = keeper.start("backup", "--type", "database", "--bwlimit", "4M")
    several = "FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%ctid%' AND pid <> pg_backend_pid()"
    wait_for(lambda: int(shop.sql(f"SELECT count(*) {several}")) > 1, "several connections")
    shop.sql(f"SELECT pg_terminate_backend(pid) {several} ORDER BY backend_start DESC LIMIT 1")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert cat(keeper, "database/shop/public/big.copy") == one_copy(shop)
    assert all(table["complete"] for table in listed(keeper).values())


def test_a_large_table_with_row_level_security_is_named_or_whole(keeper, shop):  # noqa: F811
    large(shop)
    shop.sql("ALTER TABLE big ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON big USING (i < 10);"
             "CREATE ROLE reader LOGIN; GRANT SELECT ON big TO reader; GRANT SELECT ON pg_largeobject TO reader", "shop")
    result = keeper.run("backup", "--type", "database", rc=3, env={"POSTGRES_USER": "reader", "POSTGRES_DB": "shop"})
    assert "big" in result.errors and "row-level security" in result.errors
    assert not listed(keeper, result.lines[-1])["big"]["complete"]
    keeper.backup(type="database")
    assert cat(keeper, "database/shop/public/big.copy") == one_copy(shop)


def large_rows(server):  # noqa: F811
    """Of 220 MB, in few rows."""
    server.sql("CREATE TABLE big (i int, x text, y text); ALTER TABLE big ALTER x SET STORAGE PLAIN;"
               "INSERT INTO big SELECT i, repeat(md5(i::text), 240), NULL FROM generate_series(1, 30000) i", "shop")


def content(server, database):  # noqa: F811
    return server.sql("SELECT count(*), sum(hashtextextended(t::text, 1)), max(length(y)) FROM big t", database)


def test_a_large_table_is_loaded_by_several_connections(keeper, shop):  # noqa: F811
    shop.configure(log_statement="all", log_line_prefix="'<%p> '")
    shop.stop()
    shop.start()
    large_rows(shop)
    shop.sql("CREATE TABLE small AS SELECT 1 AS i", "shop")
    # Rows that are longer than a slice, and breaks within rows.
    shop.sql(r"INSERT INTO big SELECT -i, 'long', repeat(E'long\n\\\t', 2000000) FROM generate_series(1, 3) i; INSERT INTO big VALUES (0)", "shop")
    shop.sql(r"UPDATE big SET y = E'\\\n' || i WHERE i % 1000 = 1", "shop")
    keeper.backup(type="database")
    keeper.run("restore", "latest", "database/shop", "--into", "again")
    assert content(shop, "again") == content(shop, "shop")
    assert shop.sql("SELECT * FROM small", "again") == "1"
    log = shop.log.read_text()
    assert len(set(re.findall(r"<(\d+)> .*COPY \"?public\"?\.\"?big\"? .*FROM STDIN$", log, re.M))) > 1, "by several connections"
    assert re.search(r"COPY \"?public\"?\.\"?small\"? .*FREEZE", log)


# Several load for a moment only: the server itself looks for it.
END_ONE_OF_SEVERAL = """
SET statement_timeout = '60s';
DO $$
DECLARE loading int[];
BEGIN
    LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT array_agg(pid) INTO loading FROM pg_stat_activity WHERE query LIKE 'COPY%FROM STDIN';
        EXIT WHEN cardinality(loading) > 1;
        PERFORM pg_sleep(0.002);
    END LOOP;
    ASSERT pg_terminate_backend(loading[1]);
END $$"""


@pytest.mark.parametrize("is_there", [False, True], ids=["its own", "one that was empty"])
def test_a_connection_that_is_lost_takes_the_load_along(keeper, shop, is_there):  # noqa: F811
    large_rows(shop)
    keeper.backup(type="database")
    if is_there:
        shop.sql("CREATE DATABASE again")
    process = keeper.start("restore", "latest", "database/shop", "--into", "again")
    shop.sql(END_ONE_OF_SEVERAL)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 1 and b"big" in err, err
    assert shop.sql("SELECT datname FROM pg_database WHERE datname LIKE 'again%'") == ("again" if is_there else "")
    assert (b"half loaded" in err) == is_there


def test_a_load_does_without_connections_that_are_refused(keeper, shop):  # noqa: F811
    large_rows(shop)
    shop.sql("CREATE TABLE small AS SELECT 1 AS i", "shop")
    keeper.backup(type="database")
    (keeper.work / "yester.conf").write_text("[database]\nranges = yes\njobs = 8\n")
    shop.configure(max_connections="8", log_connections="on")
    shop.stop()
    shop.start()
    keeper.run("restore", "latest", "database/shop", "--into", "again")
    assert content(shop, "again") == content(shop, "shop")
    assert shop.sql("SELECT * FROM small", "again") == "1"
    assert "too many clients" in shop.log.read_text()
