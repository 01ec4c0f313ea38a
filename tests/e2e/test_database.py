"""PostgreSQL, logical: every database as a tree of files.  A real server; judged by its own tools."""
import json
import re
import subprocess

import pytest

from pgserver import major
from postgres import LOGICAL, cat, fill, keeper, make_server, rows, server, settings  # noqa: F401 (fixtures)

pytestmark = LOGICAL


@pytest.mark.quick
def test_each_table_is_a_file_of_its_rows(keeper, server):
    fill(server)
    keeper.backup(type="database")
    for table, file in (("users", "public/users"), ("empty_table", "public/empty_table"),
                        ("no_columns", "public/no_columns"), ("events_2024", "public/events_2024"),
                        ('"we/ird ""Schema%"."Tab/le ""é%.x"', 'we%2Fird "Schema%25/Tab%2Fle "é%25.x')):
        want = server.run("psql", "-Xqd", "shop", "-c", f"COPY {table} TO STDOUT",
                          env={"PGOPTIONS": "-c timezone=UTC"}).stdout.encode()
        assert rows(cat(keeper, f"database/shop/{file}.copy")) == rows(want), table
    manifest = json.loads(cat(keeper, "database/shop/manifest.json"))
    counts = {table["name"]: table["rows"] for table in manifest["tables"]}
    assert counts["users"] == 1000 and counts["empty_table"] == 0 and counts["no_columns"] == 2
    assert counts["events_2024"] == 366 and "events" not in counts
    assert manifest["complete"]
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", manifest["lsn"])
    assert cat(keeper, "database/shop/large_objects/4713") == b"\x00\xff" * 5000
    assert cat(keeper, "database/shop/large_objects/4712") == b""
    assert b"CREATE ROLE keeper" in cat(keeper, "database/globals.sql")
    keeper.verify()


def test_a_sql_file_loads_into_the_schema_by_psql(keeper, server, work):
    fill(server)
    keeper.backup(type="database")
    out = keeper.fresh("out")
    keeper.restore("latest", target=out)
    top = out / "database" / "shop"
    server.sql('CREATE DATABASE "again"')
    subprocess.run(["chmod", "-R", "a+rX", out], check=True)
    server.run("pg_restore", "--section=pre-data", "-d", "again", top / "schema.dump")
    for file in sorted(top.glob("*/*.sql")):
        if file.name != "objects.sql":
            server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "again", "-f", file)
    for table in ("users", "guarded", "events", "no_columns", '"we/ird ""Schema%"."Tab/le ""é%.x"'):
        query = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
        assert server.sql(query, "again") == server.sql(query, "shop"), table


def test_an_unchanged_database_costs_next_to_nothing_again(keeper, server):
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT i, md5(i::text) AS x, md5((i + 1)::text) AS y FROM generate_series(1, 100000) i", "shop")
    keeper.backup(type="database")
    first = keeper.stored()
    keeper.backup(type="database")
    assert keeper.stored() - first < 30_000 < first / 20
    server.sql("UPDATE t SET x = 'changed' WHERE i = 50000", "shop")
    keeper.backup(type="database")
    assert keeper.stored() - first < first / 4


@pytest.mark.quick
def test_without_a_server_there_is_no_snapshot(keeper, server):
    server.stop()
    result = keeper.run("backup", "--type", "database", rc=1)
    assert "is the server running" in result.errors and "POSTGRES_HOST" in result.errors
    assert keeper.snapshots() == []


def test_a_wrong_password_is_told_and_never_shown(yester, make_server):
    server = make_server("pg", "--auth-host=scram-sha-256")
    server.configure(listen_addresses="'127.0.0.1'")
    server.stop()
    server.start()
    server.sql("ALTER ROLE postgres PASSWORD 'right-one'")
    yester.env.update(settings(server, POSTGRES_HOST="127.0.0.1", POSTGRES_PASSWORD="wrong-one"))
    result = yester.run("backup", "--type", "database", rc=1)
    assert "password authentication failed" in result.errors and "wrong-one" not in result.errors
    yester.env["POSTGRES_PASSWORD"] = ""
    assert "none was given" in yester.run("backup", "--type", "database", rc=1).errors
    yester.env["POSTGRES_PASSWORD"] = "right-one"
    yester.backup(type="database")


# What pg_read_all_data is from 14 on.
READS_ALL = """DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' LOOP
EXECUTE format('GRANT USAGE ON SCHEMA %1$I TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA %1$I TO reader', s); END LOOP; END $$"""


@pytest.mark.quick
def test_a_missing_right_is_named_with_the_table(keeper, server):
    fill(server)
    server.sql("CREATE ROLE reader LOGIN")
    server.sql("GRANT pg_read_all_data TO reader" if major() >= 14 else READS_ALL, "shop")
    keeper.env["POSTGRES_USER"] = "reader"
    result = keeper.run("backup", "--type", "database", rc=3)
    # Row-level security hides rows from whoever may not look past it.
    assert "guarded" in result.errors and "BYPASSRLS" in result.errors
    name = result.lines[-1]
    assert b"name 1" in cat(keeper, "database/shop/public/users.copy", name)
    assert keeper.run("cat", f"{name}:database/shop/public/guarded.copy", rc=None).rc != 0
    server.sql("CREATE ROLE nobody_much LOGIN")
    keeper.env["POSTGRES_USER"] = "nobody_much"
    result = keeper.run("backup", "--type", "database", rc=3)
    assert "permission denied for" in result.errors and ("pg_read_all_data" in result.errors) == (major() >= 14)
    assert "SELECT on it" in result.errors


def test_databases_that_are_not_named_are_left_out(keeper, server):
    for name in ("one", "two", "three"):
        server.sql(f"CREATE DATABASE {name}")
    keeper.env["POSTGRES_DB"] = "one,two"
    keeper.backup(type="database")
    listed = keeper.run("ls", "latest:database").text
    assert "one" in listed and "two" in listed and "three" not in listed and "postgres" not in listed
    keeper.env["POSTGRES_DB"] = "one,nowhere"
    result = keeper.run("backup", "--type", "database", rc=3)
    assert '"nowhere" does not exist' in result.errors
    # Whoever looks is told what is not kept.
    assert "left out    database three" in keeper.run("status").text
    assert keeper.run("--json", "status").json()["databases_left_out"] == ["postgres", "three"]


def test_all_is_files_config_and_database_in_one_snapshot(keeper, server, tree):
    server.sql("CREATE DATABASE shop")
    config = keeper.work / "yester.conf"
    config.write_text(f"[files]\npaths = {tree}\n[config]\npaths = {tree}/app\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    name = keeper.run("backup", "--type", "all").lines[-1]
    assert keeper.snapshots()[-1]["name"] == name
    listed = keeper.run("ls", name).text
    assert "files" in listed and "config" in listed and "database" in listed
    manifest = json.loads(cat(keeper, "database/manifest.json", name))
    assert {d["name"] for d in manifest["databases"]} >= {"shop"}
    assert all(re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", d["lsn"]) for d in manifest["databases"])
