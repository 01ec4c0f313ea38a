#include "fs/find.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "backup/archive/repo.h"
#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/sorter.h"
#include "backup/crypto/digest.h"
#include "backup/source/glob.h"
#include "fs/forest.h"
#include "fs/timeline.h"

#define SCRATCH "/var/tmp"

enum {
    PATTERN_MAX = 1024,
    REGEX_PATH_MAX = 64 * 1024, /* longer paths match no expression */
    PATH_LIMIT = 15 * 1024 * 1024,
    MATCHES_MEMORY = 64 * 1024 * 1024, /* a record may take a quarter */
    FIXED_SIZE = 40,                   /* of a record, behind the path and its NUL */
};

struct find {
    const struct find_query *query;
    const struct timeline *timeline;
    struct blocks *blocks;
    const struct digest_key *key;
    struct glob *glob;
    bool by_path; /* the glob is of the path */
    regex_t regex;
    bool has_regex;
    struct forest *forest;
    struct sorter *matches;
    struct buf path;   /* of the entry in hand: type byte, "/srv/app/.env", NUL */
    struct buf record; /* of the match that is gathered */
    bool gathered;
    struct find_match match; /* points into `record` */
};

static void find_clear(struct find *find)
{
    if (find->has_regex)
        regfree(&find->regex);
    glob_free(find->glob);
    forest_free(find->forest);
    sorter_free(find->matches);
    buf_clear(&find->path);
    buf_clear(&find->record);
}

/* ---- patterns ---------------------------------------------------------------------------- */

/* Back-references make matching take exponential time. */
static int check_regex(const char *pattern, struct err *err)
{
    for (const char *at = pattern; *at != '\0'; at++) {
        if (at[0] == '\\' && at[1] >= '1' && at[1] <= '9')
            return err_set(err, ERR_USAGE, "back-references (\\%c) are not taken", at[1]);
        at += at[0] == '\\' && at[1] != '\0';
    }
    return 0;
}

static int compile(struct find *find, struct err *err)
{
    const char *pattern = find->query->pattern;
    char reason[128];

    if (strlen(pattern) > PATTERN_MAX)
        return err_set(err, ERR_USAGE, "the pattern is longer than %d bytes", PATTERN_MAX);
    if (!find->query->regex) {
        find->by_path = strchr(pattern, '/') != NULL;
        pattern += pattern[0] == '/';
        return glob_new(pattern, strlen(pattern), &find->glob, err);
    }
    int rc = check_regex(pattern, err);
    if (rc < 0)
        return rc;
    int code = regcomp(&find->regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        (void)regerror(code, &find->regex, reason, sizeof(reason));
        return err_set(err, ERR_USAGE, "%.60s: %s", pattern, reason);
    }
    find->has_regex = true;
    return 0;
}

static int make_path(struct find *find, const struct forest_visit *visit, struct err *err)
{
    const uint8_t type = (uint8_t)visit->type;

    find->path.size = 0;
    int rc = buf_append(&find->path, &type, 1, err);
    if (rc == 0)
        rc = buf_append(&find->path, "/", 1, err);
    if (rc == 0 && visit->directory_size > 0) {
        rc = buf_append(&find->path, visit->directory, visit->directory_size, err);
        if (rc == 0)
            rc = buf_append(&find->path, "/", 1, err);
    }
    if (rc == 0)
        rc = buf_append(&find->path, visit->entry->name, visit->entry->name_size, err);
    return rc < 0 ? rc : buf_append(&find->path, "", 1, err);
}

/* The path in hand, as "/srv/app", or as "files/srv/app" where the pattern begins with a type. */
static bool matches_path(const struct find *find, enum snapshot_type type)
{
    const char *path = (const char *)find->path.data + 1;
    size_t size = find->path.size - 2;
    char whole[4096];

    if (find->has_regex)
        return size <= REGEX_PATH_MAX && regexec(&find->regex, path, 0, NULL, 0) == 0;
    if (glob_matches_path(find->glob, path + 1, size - 1))
        return true;
    const char *name = snapshot_type_name(type);
    if (find->query->pattern[0] == '/' || strlen(name) + size >= sizeof(whole))
        return false;
    memcpy(whole, name, strlen(name));
    memcpy(whole + strlen(name), path, size);
    return glob_matches_path(find->glob, whole, strlen(name) + size);
}

/* ---- what else is asked for -------------------------------------------------------------- */

static bool size_fits(const struct find_query *query, const struct entry *entry)
{
    if (query->size_compare == FIND_ANY)
        return true;
    if (entry->type != ENTRY_FILE)
        return false;
    return query->size_compare == FIND_MORE   ? entry->size > query->size
           : query->size_compare == FIND_LESS ? entry->size < query->size
                                              : entry->size == query->size;
}

static int compare_time(const struct entry *entry, int64_t s, uint32_t ns)
{
    if (entry->mtime_s != s)
        return entry->mtime_s < s ? -1 : 1;
    return (entry->mtime_ns > ns) - (entry->mtime_ns < ns);
}

static bool fits(const struct find_query *query, const struct entry *entry)
{
    if (query->kinds != 0 && (query->kinds & 1U << entry->type) == 0)
        return false;
    if (query->has_newer && compare_time(entry, query->newer_s, query->newer_ns) <= 0)
        return false;
    if (query->has_older && compare_time(entry, query->older_s, query->older_ns) >= 0)
        return false;
    return size_fits(query, entry);
}

/* ---- gathering --------------------------------------------------------------------------- */

/* What is told of an entry, in the record behind its path; then comes the node. */
static void encode_fixed(const struct entry *entry, uint8_t out[FIXED_SIZE])
{
    memset(out, 0, FIXED_SIZE);
    out[0] = (uint8_t)entry->type;
    store_le32(out + 4, entry->mode);
    store_le32(out + 8, entry->uid);
    store_le32(out + 12, entry->gid);
    store_le64(out + 16, entry->type == ENTRY_FILE ? entry->size : 0);
    store_le64(out + 24, (uint64_t)entry->mtime_s);
    store_le32(out + 32, entry->mtime_ns);
}

static void decode_fixed(const uint8_t *bytes, struct entry *out)
{
    *out = (struct entry){
        .type = (enum entry_type)bytes[0],
        .mode = load_le32(bytes + 4),
        .uid = load_le32(bytes + 8),
        .gid = load_le32(bytes + 12),
        .size = load_le64(bytes + 16),
        .mtime_s = (int64_t)load_le64(bytes + 24),
        .mtime_ns = load_le32(bytes + 32),
        .links = 1,
    };
}

/* The path in hand matches: once for each state of it that is told differently. */
static int note(struct find *find, const struct entry *entry, struct err *err)
{
    uint8_t fixed[FIXED_SIZE], digest[DIGEST_SIZE];
    uint32_t node;
    bool fresh;

    encode_fixed(entry, fixed);
    int rc = buf_append(&find->path, fixed, sizeof(fixed), err);
    if (rc < 0)
        return rc;
    digest_bytes(find->key, find->path.data, find->path.size, digest);
    rc = forest_hang(find->forest, load_le64(digest), load_le64(digest + 8), &node, &fresh, err);
    if (rc < 0 || !fresh)
        return rc;
    store_le32(find->path.data + find->path.size - 4, node);
    return sorter_add(find->matches, find->path.data, find->path.size, err);
}

static bool wants_name(void *context, const char *name, size_t size)
{
    const struct find *find = context;

    return glob_matches_name(find->glob, name, size);
}

static int each_entry(void *context, const struct forest_visit *visit, struct err *err)
{
    struct find *find = context;
    const struct entry *entry = visit->entry;
    bool by_name = find->glob && !find->by_path;

    if (by_name && !glob_matches_name(find->glob, entry->name, entry->name_size))
        return 0;
    if (!fits(find->query, entry))
        return 0;
    int rc = make_path(find, visit, err);
    if (rc < 0 || (!by_name && !matches_path(find, visit->type)))
        return rc;
    return note(find, entry, err);
}

/* ---- telling ----------------------------------------------------------------------------- */

static int is_deleted(struct find *find, const struct find_match *match, bool *out, struct err *err)
{
    CLEANUP(held_entry_clear) struct held_entry held = {0};
    enum snapshot_type type = (enum snapshot_type)match->type;
    uint32_t newest;

    *out = false;
    if (!timeline_newest(find->timeline, type, &newest) || match->last >= newest)
        return 0;
    int rc = tree_resolve(find->blocks, &find->timeline->at[newest].directories[type],
                          match->path + 1, strlen(match->path + 1), &held, err);
    *out = rc == -ERR_NOT_FOUND;
    return *out ? 0 : rc;
}

static int tell(struct find *find, find_fn *each, void *context, struct err *err)
{
    bool wanted = find->gathered;
    int rc = 0;

    if (wanted && find->query->deleted)
        rc = is_deleted(find, &find->match, &wanted, err);
    find->gathered = false;
    return rc == 0 && wanted ? each(context, &find->match, err) : rc;
}

/* Whether the record is of the path that is being gathered. */
static bool same_path(const struct find *find, const uint8_t *bytes, size_t size)
{
    size_t key = size - FIXED_SIZE;

    return find->gathered && find->record.size == key && memcmp(find->record.data, bytes, key) == 0;
}

static int gather(struct find *find, const uint8_t *bytes, size_t size, struct err *err)
{
    const uint8_t *fixed = bytes + size - FIXED_SIZE;
    bool more = same_path(find, bytes, size);
    struct find_match *match = &find->match;
    uint32_t first, last;

    forest_range(find->forest, load_le32(fixed + FIXED_SIZE - 4), &first, &last);
    if (!more) {
        find->record.size = 0;
        int rc = buf_append(&find->record, bytes, size - FIXED_SIZE, err);
        if (rc < 0)
            return rc;
        *match = (struct find_match){.type = bytes[0],
                                     .path = (const char *)find->record.data + 1,
                                     .first = first,
                                     .last = last};
        find->gathered = true;
    }
    if (!more || last >= match->last)
        decode_fixed(fixed, &match->entry);
    match->first = first < match->first ? first : match->first;
    match->last = last > match->last ? last : match->last;
    return 0;
}

static int tell_all(struct find *find, find_fn *each, void *context, struct err *err)
{
    const uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = sorter_finish(find->matches, err);

    while (rc == 0 && (rc = sorter_next(find->matches, &bytes, &size, err)) == 0 && bytes) {
        if (find->gathered && !same_path(find, bytes, size))
            rc = tell(find, each, context, err);
        if (rc == 0)
            rc = gather(find, bytes, size, err);
    }
    return rc == 0 ? tell(find, each, context, err) : rc;
}

int find_run(struct blocks *blocks, const struct timeline *timeline, const struct find_query *query,
             find_fn *each, void *context, struct err *err)
{
    CLEANUP(find_clear)
    struct find find = {
        .query = query,
        .timeline = timeline,
        .blocks = blocks,
        .key = keyring_id_key(blocks_repo(blocks)->keyring),
        .path = {.limit = PATH_LIMIT},
        .record = {.limit = PATH_LIMIT},
    };
    int rc = compile(&find, err);

    if (rc == 0)
        rc = forest_new(blocks, timeline, &find.forest, err);
    if (rc == 0 && find.glob && !find.by_path)
        forest_filter(find.forest, wants_name, &find);
    if (rc == 0)
        rc = sorter_new(SCRATCH, MATCHES_MEMORY, &find.matches, err);
    for (enum snapshot_type type = TYPE_FILES; rc == 0 && type <= TYPES; type++)
        if (query->types == 0 || query->types & 1U << type)
            rc = forest_walk(find.forest, type, each_entry, &find, err);
    if (rc == 0)
        rc = forest_finish(find.forest, err);
    if (rc < 0)
        return rc;
    log_debug("find: %llu directories read in %zu snapshots",
              (unsigned long long)forest_directories(find.forest), timeline->count);
    rc = tell_all(&find, each, context, err);
    return rc == 0 ? forest_unread(find.forest, err) : rc;
}
