/* What the server says while it sends: pages whose checksums are wrong, and other warnings. */
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/source/pgbase_internal.h"

enum { NAME_MAX_SIZE = 300 };

static void freep(char **text)
{
    free(*text);
}

static const char name_bytes[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";

/* The name of a file that a server needs within a message, whatever its language: from "base/",
 * "pg_xact" … as far as names of files go. */
static bool find_name(const char *text, char out[NAME_MAX_SIZE])
{
    static const char *const tops[] = {"pg_tblspc/",   "base/",        "global/",    "pg_xact",
                                       "pg_multixact", "pg_commit_ts", "pg_logical", "pg_twophase"};

    for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
        const char *at = strstr(text, tops[i]);
        size_t size = at ? strspn(at, name_bytes) : 0;

        if (size == 0 || at[size - 1] == '/' || size >= NAME_MAX_SIZE)
            continue;
        memcpy(out, at, size);
        out[size] = 0;
        return true;
    }
    return false;
}

static bool is_known(const struct pgbase_result *out, const char *name)
{
    for (size_t i = out->damaged_count; i-- > 0;)
        if (strcmp(out->damaged[i].name, name) == 0)
            return true;
    return false;
}

int pgbase_result_damage(struct pgbase_result *out, const char *name, const char *text,
                         struct err *err)
{
    CLEANUP(freep) char *kept_name = strdup(name);
    CLEANUP(freep) char *kept_text = strdup(text);

    if (is_known(out, name))
        return 0;
    if (out->damaged_count == PGBASE_DAMAGED_MAX) {
        out->damaged_more++;
        return 0;
    }
    if (!out->damaged)
        out->damaged = calloc(PGBASE_DAMAGED_MAX, sizeof(*out->damaged));
    if (!out->damaged || !kept_name || !kept_text)
        return err_set(err, ERR_NOMEM, "no memory for the names of damaged files");
    out->damaged[out->damaged_count++] = (struct pgbase_damage){STEAL(kept_name), STEAL(kept_text)};
    return 0;
}

void pgbase_notice(void *context, const PGresult *result)
{
    struct pgbase *base = context;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    char name[NAME_MAX_SIZE];
    struct err err;

    if (!text || !severity || strcmp(severity, "WARNING") != 0)
        return;
    if (!find_name(text, name)) {
        base->options->note(base->options->context, text);
        return;
    }
    if (pgbase_result_damage(base->out, name, text, &err) < 0)
        base->no_memory = true;
}
