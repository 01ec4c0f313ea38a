/*
 * pgtree — which names below a PostgreSQL data directory belong into a base backup.
 *
 * The same that the server itself leaves out of one ("Base Backup Protocol", BASE_BACKUP, in its
 * manual): what is the running server's own, what it throws away when it starts, temporary tables,
 * and unlogged ones but for the fork by which they are made empty again.  The log is not part of
 * the tree: who copies it takes the segments that he needs.
 *
 * Names are of versions 13 to 18; what one of them does not have it does not meet.
 *
 * Threads: any.
 * Errors:  none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum pgtree_kind {
    PGTREE_NONE,      /* left out */
    PGTREE_FILE,      /* copied */
    PGTREE_DIRECTORY, /* gone through */
    PGTREE_EMPTY,     /* a directory that comes without what is in it */
    PGTREE_CONTROL,   /* global/pg_control: copied when all else is */
};

/* A relation's file: "16384", "16384_fsm", "16384.2", "t3_16384". */
struct pgtree_relation {
    char number[12]; /* its digits, or those behind a temporary one's "t3_" */
    bool temporary;
    bool init;        /* the fork from which an unlogged relation is made empty */
    uint32_t segment; /* of a relation larger than one: 0, 1, 2 … */
};

/* `directory` is below the data directory and clean, "" for itself.  `version_directory` is the
 * server's own in each tablespace: "PG_15_202209061". */
enum pgtree_kind pgtree_judge(const char *directory, const char *name, bool is_directory,
                              const char *version_directory);

/* Whether the directory is a database's. */
bool pgtree_is_database(const char *directory);
/* Whether the files of relations in it consist of pages with checksums. */
bool pgtree_has_pages(const char *directory);
bool pgtree_relation(const char *name, struct pgtree_relation *out);
