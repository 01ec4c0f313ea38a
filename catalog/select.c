#include "catalog/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "catalog/catalog.h"

enum { ALL_TYPES = (1 << TYPE_FILES) | (1 << TYPE_CONFIG) | (1 << TYPE_DATABASE) };
enum { LIST_SIZE = 160, OLDER_DIGITS = 9 };

/* What somebody wrote. */
enum form { FORM_LATEST, FORM_NAME, FORM_PREFIX };

struct wanted {
    enum form form;
    size_t older;     /* FORM_LATEST */
    const char *text; /* the others */
    uint8_t types;
    bool every_type; /* those of `types` were asked for one by one: none may be missing */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with a '_' at the ninth place, up to the length of a name. */
static bool is_beginning_of_name(const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (i == 8 ? text[i] != '_' : !is_digit(text[i]))
            return false;
    }
    return length > 0 && length < SNAPSHOT_NAME_SIZE;
}

static bool parse_latest(const char *text, size_t *out_older)
{
    size_t older = 0, digits = 0;

    if (strncmp(text, "latest", 6) != 0)
        return false;
    text += 6;
    if (*text == '~') {
        for (text++; is_digit(*text) && digits < OLDER_DIGITS; text++, digits++)
            older = older * 10 + (size_t)(*text - '0');
        if (digits == 0)
            return false;
    }
    *out_older = older;
    return *text == '\0';
}

static int parse(const struct select_query *query, struct wanted *out, struct err *err)
{
    const char *text = query->snapshot ? query->snapshot : "latest";

    out->types = query->types ? query->types : ALL_TYPES;
    out->every_type = (out->types & ALL_TYPES) != ALL_TYPES;
    out->text = text;
    if (parse_latest(text, &out->older)) {
        out->form = FORM_LATEST;
        return 0;
    }
    if (!is_beginning_of_name(text))
        return err_set(err, ERR_USAGE,
                       "\"%.60s\" names no snapshot: write a timestamp (YYYYMMDD_HHMMSS), the "
                       "beginning of one, latest or latest~N",
                       text);
    if (query->before_ns != 0)
        return err_set(err, ERR_USAGE, "--before goes with latest, not with a timestamp (%s)",
                       text);
    out->form = strlen(text) == SNAPSHOT_NAME_SIZE - 1 ? FORM_NAME : FORM_PREFIX;
    return 0;
}

/* Appends ", NAME"; what does not fit any more becomes "…" once. */
static void list_add(char list[LIST_SIZE], const char *name)
{
    size_t used = strlen(list);
    const char *gap = used ? ", " : "";

    if (used >= 3 && strcmp(list + used - 3, "...") == 0)
        return;
    if (used + strlen(gap) + strlen(name) + sizeof(", ...") > LIST_SIZE)
        name = "...";
    snprintf(list + used, LIST_SIZE - used, "%s%s", gap, name);
}

static void list_types(uint8_t types, char list[LIST_SIZE])
{
    list[0] = '\0';
    for (unsigned type = 1; type <= TYPES; type++) {
        if (types & 1U << type)
            list_add(list, snapshot_type_name((enum snapshot_type)type));
    }
}

int select_host(struct catalog *catalog, const struct select_query *query, struct selection *out,
                struct err *err)
{
    CLEANUP(strings_clear) struct strings hosts = {0};
    char list[LIST_SIZE] = "";
    bool own = false;
    int r = catalog_hosts(catalog, &hosts, err);

    for (size_t i = 0; i < hosts.count; i++) {
        own = own || strcmp(hosts.at[i], query->host) == 0;
        list_add(list, hosts.at[i]);
    }
    if (r < 0)
        return r;
    if (hosts.count == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "there are no snapshots yet: `yester backup` makes the first");
    if (!own && query->host_given)
        return err_set(err, ERR_NOT_FOUND, "no snapshot of host %.80s; there are some of: %s",
                       query->host, list);
    if (!own && hosts.count > 1)
        return err_set(err, ERR_USAGE,
                       "no snapshot of this host (%.40s); say whose with --host: %s", query->host,
                       list);
    out->other_host = !own;
    snprintf(out->host, sizeof(out->host), "%s", own ? query->host : hosts.at[0]);
    return 0;
}

/* A snapshot is of the second in its name, or of the earlier one at which it began when that name
 * was taken. */
static bool is_before(const struct snapshot_row *row, int64_t before_ns)
{
    struct err err;
    int64_t named;

    if (before_ns == 0 || row->start_ns <= before_ns)
        return true;
    return clock_parse_name(row->name, &named, &err) == 0 && named <= before_ns;
}

static bool counts_as_latest(const struct snapshot_row *row, unsigned type, int64_t before_ns)
{
    return row->complete && !row->adhoc && (row->complete_types & 1U << type) &&
           is_before(row, before_ns);
}

/* The newest but `older` that has this type complete, or NULL. */
static const struct snapshot_row *latest_of(const struct snapshot_rows *rows, unsigned type,
                                            size_t older, int64_t before_ns)
{
    for (size_t i = rows->count; i > 0; i--) {
        const struct snapshot_row *row = &rows->at[i - 1];
        if (!counts_as_latest(row, type, before_ns))
            continue;
        if (older == 0)
            return row;
        older--;
    }
    return NULL;
}

/* Reads the root of a snapshot, unless the selection has it already. */
static int add_root(struct catalog *catalog, const char *name, struct selection *out,
                    struct err *err)
{
    for (size_t i = 0; i < out->count; i++) {
        if (strcmp(out->roots[i].name, name) == 0)
            return 0;
    }
    if (!out->roots)
        out->roots = calloc(TYPES, sizeof(*out->roots));
    if (!out->roots)
        return err_set(err, ERR_NOMEM, "out of memory");
    int r = catalog_root(catalog, name, &out->roots[out->count], err);
    if (r == 0)
        out->count++;
    return r;
}

/* Types of one snapshot. */
static int take_types(const struct root *root, const struct wanted *wanted, struct selection *out,
                      struct err *err)
{
    char has[LIST_SIZE], missing[LIST_SIZE];
    unsigned present = 0;

    for (unsigned type = 1; type <= TYPES; type++) {
        if (root->types[type].present)
            present |= 1U << type;
        if (root->types[type].present && (wanted->types & 1U << type))
            out->types[type] = root;
    }
    unsigned lacking = wanted->types & ~present;
    if (lacking == 0 || (!wanted->every_type && present != 0))
        return 0;
    list_types((uint8_t)lacking, missing);
    list_types((uint8_t)present, has);
    return err_set(err, ERR_NOT_FOUND, "snapshot %s has no %s; it has: %s", root->name, missing,
                   has[0] ? has : "nothing");
}

/* The whole name is unique in the repository, so it says which host is meant, too. */
static int select_name(struct catalog *catalog, const struct select_query *query,
                       const struct wanted *wanted, struct selection *out, struct err *err)
{
    int r = add_root(catalog, wanted->text, out, err);

    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "no snapshot %s: `yester list` shows what there is",
                       wanted->text);
    if (r < 0)
        return r;
    const struct root *root = &out->roots[0];
    out->other_host = strcmp(root->host, query->host) != 0;
    if (out->other_host && query->host_given)
        return err_set(err, ERR_NOT_FOUND, "snapshot %s is of host %.60s, not of %.60s", root->name,
                       root->host, query->host);
    snprintf(out->host, sizeof(out->host), "%s", root->host);
    return take_types(root, wanted, out, err);
}

static int select_prefix(struct catalog *catalog, const struct snapshot_rows *rows,
                         const struct wanted *wanted, struct selection *out, struct err *err)
{
    const struct snapshot_row *found = NULL;
    char list[LIST_SIZE] = "";
    size_t count = 0;

    for (size_t i = 0; i < rows->count; i++) {
        if (strncmp(rows->at[i].name, wanted->text, strlen(wanted->text)) != 0)
            continue;
        found = &rows->at[i];
        list_add(list, found->name);
        count++;
    }
    if (count == 0)
        return err_set(err, ERR_NOT_FOUND, "no snapshot of %.60s begins with %s; the newest is %s",
                       out->host, wanted->text, rows->at[rows->count - 1].name);
    if (count > 1)
        return err_set(err, ERR_USAGE, "%s can be %zu snapshots, write more of it: %s",
                       wanted->text, count, list);
    int r = add_root(catalog, found->name, out, err);
    return r < 0 ? r : take_types(&out->roots[0], wanted, out, err);
}

static int no_latest(const struct snapshot_rows *rows, const struct wanted *wanted, uint8_t missing,
                     const struct selection *selection, struct err *err)
{
    char types[LIST_SIZE];

    list_types(missing, types);
    return err_set(
        err, ERR_NOT_FOUND,
        "%s: host %.60s has no such complete snapshot with %s (%zu in all, the newest %s; "
        "incomplete and adhoc ones are taken by name only)",
        wanted->text, selection->host, types, rows->count,
        rows->count ? rows->at[rows->count - 1].name : "none");
}

static int select_latest(struct catalog *catalog, const struct snapshot_rows *rows,
                         int64_t before_ns, const struct wanted *wanted, struct selection *out,
                         struct err *err)
{
    const struct snapshot_row *chosen[TYPES + 1] = {NULL};
    unsigned missing = 0;
    int r = 0;

    for (unsigned type = 1; type <= TYPES; type++) {
        if (!(wanted->types & 1U << type))
            continue;
        chosen[type] = latest_of(rows, type, wanted->older, before_ns);
        if (!chosen[type])
            missing |= 1U << type;
    }
    if (missing == wanted->types || (missing != 0 && wanted->every_type))
        return no_latest(rows, wanted, (uint8_t)missing, out, err);
    for (unsigned type = 1; r == 0 && type <= TYPES; type++) {
        if (chosen[type])
            r = add_root(catalog, chosen[type]->name, out, err);
    }
    for (unsigned type = 1; r == 0 && type <= TYPES; type++) {
        for (size_t i = 0; chosen[type] && i < out->count; i++) {
            if (strcmp(out->roots[i].name, chosen[type]->name) == 0)
                out->types[type] = &out->roots[i];
        }
    }
    return r;
}

int select_snapshots(struct catalog *catalog, const struct select_query *query,
                     struct selection *out, struct err *err)
{
    CLEANUP(snapshot_rows_clear) struct snapshot_rows rows = {0};
    CLEANUP(selection_clear) struct selection selection = {0};
    struct wanted wanted = {0};
    int r = parse(query, &wanted, err);

    if (r == 0 && wanted.form == FORM_NAME)
        r = select_name(catalog, query, &wanted, &selection, err);
    if (r == 0 && wanted.form != FORM_NAME) {
        r = select_host(catalog, query, &selection, err);
        if (r == 0)
            r = catalog_snapshots(catalog, selection.host, &rows, err);
        if (r == 0 && wanted.form == FORM_PREFIX)
            r = select_prefix(catalog, &rows, &wanted, &selection, err);
        else if (r == 0)
            r = select_latest(catalog, &rows, query->before_ns, &wanted, &selection, err);
    }
    if (r < 0)
        return r;
    *out = selection; /* `roots` does not move, so `types` still points into it */
    selection = (struct selection){0};
    return 0;
}

void selection_clear(struct selection *selection)
{
    for (size_t i = 0; i < selection->count; i++)
        root_clear(&selection->roots[i]);
    free(selection->roots);
    *selection = (struct selection){0};
}
