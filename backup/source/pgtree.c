#include "backup/source/pgtree.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 10 /* digits of an OID */, SEGMENT_MAX = 6 /* digits */ };

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof((names)[0]))

static bool starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* A number, up to a slash or the end; NULL: none. */
static const char *skip_number(const char *at)
{
    size_t size = digits(at);

    if (size == 0 || size > NUMBER_MAX || (at[size] != 0 && at[size] != '/'))
        return NULL;
    return at + size;
}

/* Behind "pg_tblspc/OID/PG_…/"; NULL: it is no such directory. */
static const char *skip_tablespace(const char *directory)
{
    static const char top[] = "pg_tblspc/";

    if (!starts_with(directory, top))
        return NULL;
    const char *at = skip_number(directory + sizeof(top) - 1);
    if (!at || !starts_with(at, "/PG_"))
        return NULL;
    at = strchr(at + 1, '/');
    return at ? at + 1 : NULL;
}

bool pgtree_is_database(const char *directory)
{
    const char *at =
        starts_with(directory, "base/") ? directory + strlen("base/") : skip_tablespace(directory);

    at = at ? skip_number(at) : NULL;
    return at && *at == 0;
}

bool pgtree_has_pages(const char *directory)
{
    return strcmp(directory, "global") == 0 || pgtree_is_database(directory);
}

/* "_fsm", "_vm", "_init" or nothing. */
static const char *skip_fork(const char *at, bool *out_init)
{
    static const char *const forks[] = {"_fsm", "_vm", "_init"};

    *out_init = false;
    for (size_t i = 0; i < sizeof(forks) / sizeof(forks[0]); i++)
        if (starts_with(at, forks[i])) {
            *out_init = strcmp(forks[i], "_init") == 0;
            return at + strlen(forks[i]);
        }
    return at;
}

bool pgtree_relation(const char *name, struct pgtree_relation *out)
{
    struct pgtree_relation relation = {.temporary = name[0] == 't'};
    const char *at = name;

    if (relation.temporary) {
        size_t backend = digits(++at);
        if (backend == 0 || backend > NUMBER_MAX || at[backend] != '_')
            return false;
        at += backend + 1;
    }
    size_t size = digits(at);
    if (size == 0 || size > NUMBER_MAX)
        return false;
    memcpy(relation.number, at, size);
    at = skip_fork(at + size, &relation.init);
    if (*at == '.') {
        size_t segment = digits(++at);
        if (segment == 0 || segment > SEGMENT_MAX)
            return false;
        relation.segment = (uint32_t)strtoul(at, NULL, 10);
        at += segment;
    }
    if (*at != 0)
        return false;
    *out = relation;
    return true;
}

/* "pg_tblspc/OID" */
static bool is_tablespace(const char *directory)
{
    static const char top[] = "pg_tblspc/";

    return starts_with(directory, top) && !strchr(directory + sizeof(top) - 1, '/');
}

static enum pgtree_kind judge_directory(const char *directory, const char *name,
                                        const char *version_directory)
{
    static const char *const empty_tops[] = {
        "pg_dynshmem",  "pg_notify",   "pg_replslot", "pg_serial",
        "pg_snapshots", "pg_stat_tmp", "pg_subtrans",
    };
    static const char *const of_the_log[] = {"archive_status", "summaries"};

    if (directory[0] == 0 && IS_ONE_OF(name, empty_tops))
        return PGTREE_EMPTY;
    if (strcmp(directory, "pg_wal") == 0)
        return IS_ONE_OF(name, of_the_log) ? PGTREE_EMPTY : PGTREE_NONE;
    if (strcmp(directory, "pg_tblspc") == 0) {
        const char *end = skip_number(name);
        return end && *end == 0 ? PGTREE_DIRECTORY : PGTREE_NONE;
    }
    /* Another version's directory in the same tablespace is another server's. */
    if (is_tablespace(directory))
        return strcmp(name, version_directory) == 0 ? PGTREE_DIRECTORY : PGTREE_NONE;
    return PGTREE_DIRECTORY;
}

static enum pgtree_kind judge_file(const char *directory, const char *name)
{
    static const char *const left_out[] = {
        "postgresql.auto.conf.tmp", "current_logfiles.tmp", "backup_label",    "tablespace_map",
        "backup_manifest",          "postmaster.pid",       "postmaster.opts",
    };
    struct pgtree_relation relation;

    if (strcmp(directory, "pg_wal") == 0 || strcmp(directory, "pg_tblspc") == 0 ||
        is_tablespace(directory))
        return PGTREE_NONE;
    if (IS_ONE_OF(name, left_out) || starts_with(name, "pg_internal.init"))
        return PGTREE_NONE;
    if (strcmp(directory, "global") == 0 && strcmp(name, "pg_control") == 0)
        return PGTREE_CONTROL;
    if (pgtree_is_database(directory) && pgtree_relation(name, &relation) && relation.temporary)
        return PGTREE_NONE;
    return PGTREE_FILE;
}

enum pgtree_kind pgtree_judge(const char *directory, const char *name, bool is_directory,
                              const char *version_directory)
{
    if (starts_with(name, "pgsql_tmp"))
        return PGTREE_NONE;
    return is_directory ? judge_directory(directory, name, version_directory)
                        : judge_file(directory, name);
}
