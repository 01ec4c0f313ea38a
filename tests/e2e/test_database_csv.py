"""Tables as CSV beside COPY's text, where the settings ask for it.  Judged by PostgreSQL's own \\copy."""
import csv
import io
import subprocess

import pytest

from postgres import LOGICAL, cat, fill, keeper, make_server, server  # noqa: F401 (fixtures)

pytestmark = LOGICAL

ODD = r"""
CREATE TABLE odd (id int PRIMARY KEY, a text, "b,""c" text);
INSERT INTO odd SELECT i, chr(i), 'x' || chr(i) || 'y' || chr(i) FROM generate_series(1, 300) i;
INSERT INTO odd VALUES (1001, NULL, ''), (1002, '', NULL), (1003, NULL, NULL), (1004, '\N', '\\N'), (1005, '\.', '\\.'),
    (1006, E'a\r\nb', E'\n'), (1007, '"', '""'), (1008, ',', ' , '), (1009, E'\t', '\t'), (1010, 'NULL', ' '),
    (1011, repeat('long "field", ' || E'\n', 100000), repeat('\', 40000));
CREATE TABLE lone (x text); INSERT INTO lone VALUES ('\.'), (NULL), (''), ('\N'), (E'\n'), (' '), ('x');
CREATE TABLE one_row AS SELECT 'é ü 漢' AS "Näme";
"""
TABLES = {"users": "public/users", "empty_table": "public/empty_table", "no_columns": "public/no_columns",
          "all_generated": "public/all_generated", "events_2024": "public/events_2024", "guarded": "public/guarded",
          "large_objects.t": "%6Carge_objects/t", "odd": "public/odd", "lone": "public/lone", "one_row": "public/one_row",
          '"we/ird ""Schema%"."Tab/le ""é%.x"': 'we%2Fird "Schema%25/Tab%2Fle "é%25.x'}


@pytest.fixture
def with_csv(keeper):  # noqa: F811
    config = keeper.work / "yester.conf"
    config.write_text("[database]\ncsv = yes\n")
    keeper.env["YESTER_CONFIG"] = str(config)
    return keeper


def fill_odd(server):  # noqa: F811
    fill(server)
    server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "shop", input=ODD)


def content(server, database, table):  # noqa: F811
    return server.sql(f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t", database)


@pytest.mark.quick
def test_each_csv_loads_into_an_empty_table_as_it_was(with_csv, server):  # noqa: F811
    fill_odd(server)
    with_csv.backup(type="database")
    with_csv.verify()
    out = with_csv.fresh("out")
    with_csv.restore("latest", target=out)
    subprocess.run(["chmod", "-R", "a+rX", out], check=True)
    top = out / "database" / "shop"
    server.sql('CREATE DATABASE "again"')
    server.run("pg_restore", "--section=pre-data", "-d", "again", top / "schema.dump")
    for table, file in TABLES.items():
        server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "again", input=f"\\copy {table} from '{top / file}.csv' csv header\n",
                   env={"PGCLIENTENCODING": "UTF8"})
        assert content(server, "again", table) == content(server, "shop", table), table
        assert (top / f"{file}.csv").read_bytes() == cat(with_csv, f"database/shop/{file}.csv"), table


def test_others_read_it_as_csv_too(with_csv, server):  # noqa: F811
    fill_odd(server)
    with_csv.backup(type="database")
    csv.field_size_limit(10_000_000)
    lines = list(csv.reader(io.StringIO(cat(with_csv, "database/shop/public/odd.csv").decode(), newline="")))
    assert lines[0] == ["id", "a", 'b,"c']
    for line, i in zip(lines[1:], range(1, 301)):
        assert line == [str(i), chr(i), f"x{chr(i)}y{chr(i)}"]
    assert lines[-1] == ["1011", 'long "field", \n' * 100000, "\\" * 40000] and len(lines) == 1 + 300 + 11


def test_a_csv_stands_for_its_table_and_is_read_in_pieces_in_the_mount(with_csv, server):  # noqa: F811
    fill_odd(server)
    name = with_csv.backup(type="database")
    whole = cat(with_csv, "database/shop/public/users.csv")
    with with_csv.mount() as mount:
        file = mount.path / name / "database/shop/public/users.csv"
        assert file.stat().st_size == len(whole)
        with open(file, "rb") as f:
            for at in (len(whole) - 7, 0, len(whole) // 2):
                f.seek(at)
                assert f.read(1000) == whole[at:at + 1000]
    with_csv.run("restore", "latest", "database/shop/public/users.csv", "--into", "rescued")
    assert server.sql("SELECT count(*) FROM rescued.users", "shop") == "1000"
    with_csv.run("restore", "latest", "database/shop", "--into", "again")
    for table in TABLES:
        assert content(server, "again", table) == content(server, "shop", table), table


def test_what_did_not_change_is_not_stored_again(with_csv, server):  # noqa: F811
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE t AS SELECT i, md5(i::text) AS x FROM generate_series(1, 100000) i", "shop")
    with_csv.backup(type="database")
    first = with_csv.stored()
    with_csv.backup(type="database")
    assert with_csv.stored() - first < 30_000 < first / 20


@pytest.mark.quick
def test_nobody_gets_csv_who_did_not_ask(keeper, server):  # noqa: F811
    fill(server)
    keeper.backup(type="database")
    listed = keeper.run("ls", "latest:database/shop/public").text
    assert "users.copy" in listed and ".csv" not in listed


def test_a_table_that_cannot_be_read_leaves_no_csv(with_csv, server):  # noqa: F811
    fill(server)
    server.sql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
    with_csv.env["POSTGRES_USER"] = "reader"
    name = with_csv.run("backup", "--type", "database", rc=3).lines[-1]
    listed = with_csv.run("ls", f"{name}:database/shop/public").text
    assert "users.csv" in listed and "guarded.csv" not in listed


def test_a_setting_that_is_neither_yes_nor_no_is_refused(with_csv):
    (with_csv.work / "yester.conf").write_text("[database]\ncsv = perhaps\n")
    assert "csv" in with_csv.run("backup", "--type", "database", rc=2).errors
