/* Whether the data directory of the server that answers is here. */
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/pgfiles_internal.h"
#include "backup/source/pgpage.h"

enum { NOT_HERE = 1, SINCE_15 = 150000, SQL_SIZE = 1024, PID_FILE_MAX = 4096 };

#define WAL_SEGMENT_MAX (UINT64_C(1) << 30)

static int not_here(struct err *why, const char *text)
{
    (void)err_set(why, ERR_NOT_FOUND, "%s", text);
    return NOT_HERE;
}

/* ---- what the server says ---- */

enum column {
    IS_STANDBY,
    MAY_BEGIN,
    MAY_END,
    MAY_REPLICATE,
    DIRECTORY,
    BLOCK_SIZE,
    SEGMENT_BLOCKS,
    WAL_SEGMENT_SIZE,
    CHECKSUMS,
    SYSTEM_ID,
    CATALOG_VERSION,
};

static void make_question(const struct pg_conn *conn, char out[SQL_SIZE])
{
    bool renamed = pg_version(conn) >= SINCE_15;

    (void)snprintf(
        out, SQL_SIZE,
        "SELECT pg_is_in_recovery(), has_function_privilege('pg_catalog.%s', 'EXECUTE'),"
        " has_function_privilege('pg_catalog.%s', 'EXECUTE'),"
        " (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),"
        " current_setting('data_directory'), current_setting('block_size'),"
        " (SELECT setting FROM pg_settings WHERE name = 'segment_size'),"
        " (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'),"
        " current_setting('data_checksums'), system_identifier, catalog_version_no"
        " FROM pg_control_system()",
        renamed ? "pg_backup_start(text, boolean)" : "pg_start_backup(text, boolean, boolean)",
        renamed ? "pg_backup_stop(boolean)" : "pg_stop_backup(boolean, boolean)");
}

static bool read_number(const struct pg_result *row, enum column column, uint64_t least,
                        uint64_t most, uint64_t *out)
{
    const char *text = pg_text(row, 0, (int)column);
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 && *out >= least && *out <= most;
}

static bool is_power_of_two(uint64_t number)
{
    return (number & (number - 1)) == 0;
}

static bool read_answer(struct pgfiles *files, const struct pg_result *row)
{
    uint64_t block_size, segment_blocks, catalog;

    if (pg_count(row) != 1 ||
        !read_number(row, BLOCK_SIZE, PGPAGE_SIZE_MIN, PGPAGE_SIZE_MAX, &block_size) ||
        !read_number(row, SEGMENT_BLOCKS, 1, INT32_MAX, &segment_blocks) ||
        !read_number(row, WAL_SEGMENT_SIZE, 1 << 20, WAL_SEGMENT_MAX, &files->wal_segment_size) ||
        !read_number(row, SYSTEM_ID, 0, UINT64_MAX, &files->system_id) ||
        !read_number(row, CATALOG_VERSION, 1, UINT32_MAX, &catalog) ||
        !is_power_of_two(block_size) || !is_power_of_two(files->wal_segment_size))
        return false;
    files->block_size = (uint32_t)block_size;
    files->segment_blocks = (uint32_t)segment_blocks;
    files->checksums = strcmp(pg_text(row, 0, CHECKSUMS), "on") == 0;
    (void)snprintf(files->version_directory, sizeof(files->version_directory), "PG_%d_%u",
                   pg_version(files->conn) / PG_VERSION_MAJOR, (unsigned)catalog);
    return true;
}

static int judge(struct pgfiles *files, const struct pg_result *row, struct err *why)
{
    if (!read_answer(files, row))
        return not_here(why, "the server's answer is not understood");
    if (pg_is_true(row, 0, IS_STANDBY))
        return not_here(why, "it is a standby");
    if (!pg_is_true(row, 0, MAY_BEGIN) || !pg_is_true(row, 0, MAY_END) ||
        !pg_is_true(row, 0, MAY_REPLICATE))
        return not_here(why, "the role may not begin a backup by a function, or keep the log");
    return 0;
}

/* ---- what the system says ---- */

/* The process at the other end of the socket, where it is one of this machine; 0: none. */
static pid_t find_peer(const struct pg_conn *conn)
{
    struct sockaddr_storage own = {0};
    socklen_t own_size = sizeof(own);
    struct ucred peer = {0};
    socklen_t peer_size = sizeof(peer);
    int fd = PQsocket(conn);

    if (fd < 0 || getsockname(fd, (struct sockaddr *)&own, &own_size) < 0 ||
        own.ss_family != AF_UNIX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) < 0)
        return 0;
    return peer.pid;
}

/* Whether this is `ours`, as /proc has it of the process. */
static bool is_same(pid_t pid, const char *what, const struct stat *ours)
{
    char path[64];
    struct stat theirs;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    return stat(path, &theirs) == 0 && theirs.st_dev == ours->st_dev &&
           theirs.st_ino == ours->st_ino;
}

/* The first line of postmaster.pid. */
static bool is_postmaster(int directory, pid_t peer)
{
    CLEANUP(buf_clear) struct buf text = {.limit = PID_FILE_MAX};
    char line[24];
    struct err ignored;

    (void)snprintf(line, sizeof(line), "%d\n", (int)peer);
    return io_read_file(directory, "postmaster.pid", PID_FILE_MAX, &text, &ignored) == 0 &&
           text.size >= strlen(line) && memcmp(text.data, line, strlen(line)) == 0;
}

/* It begins with the number that the server calls its own. */
static bool has_system_id(int directory, uint64_t system_id)
{
    CLEANUP(closep) int fd = -1;
    struct err ignored;
    uint64_t found;
    size_t got;

    return io_openat(directory, "global/pg_control", O_RDONLY, 0, &fd, &ignored) == 0 &&
           io_read_full(fd, &found, sizeof(found), &got, &ignored) == 0 && got == sizeof(found) &&
           found == system_id;
}

static int open_directory(struct pgfiles *files, const char *path, struct err *why)
{
    pid_t peer = find_peer(files->conn);
    CLEANUP(closep) int fd = -1;
    struct stat directory, mounts, root;

    if (peer <= 0)
        return not_here(why, "it is not reached by a socket of this machine");
    if (path[0] != '/' || io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &fd, why) < 0 ||
        fstat(fd, &directory) < 0)
        return not_here(why, "its data directory cannot be read here");
    if (stat("/proc/self/ns/mnt", &mounts) < 0 || stat("/", &root) < 0 ||
        !is_same(peer, "ns/mnt", &mounts) || !is_same(peer, "root", &root) ||
        !is_same(peer, "cwd", &directory) || !is_postmaster(fd, peer) ||
        !has_system_id(fd, files->system_id))
        return not_here(why, "the directory of that name is not known to be the server's");
    files->directory = fd;
    fd = -1;
    return 0;
}

/* ---- both ---- */

static int ask(struct pgfiles *files, struct err *why)
{
    CLEANUP(pg_clearp) struct pg_result *row = NULL;
    char sql[SQL_SIZE];

    make_question(files->conn, sql);
    /* Paths are bytes: none is to be converted. */
    int r = pg_run(files->conn, "SET client_encoding = 'SQL_ASCII'", why);
    if (r == 0)
        r = pg_query(files->conn, sql, &row, why);
    if (r == 0)
        r = judge(files, row, why);
    return r == 0 ? open_directory(files, pg_text(row, 0, DIRECTORY), why) : r;
}

int pgfiles_find(struct pgfiles *files, const struct pg_server *server, struct err *why)
{
    static const char *const homes[] = {"postgres", "template1"};
    int r = -1;

    for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]) && r < 0; i++) {
        r = pg_connect(server, homes[i], PG_PLAIN, &files->conn, why);
        if (r == -ERR_CANCELLED)
            return r;
    }
    if (r == 0)
        r = ask(files, why);
    return r < 0 && r != -ERR_CANCELLED ? NOT_HERE : r;
}
