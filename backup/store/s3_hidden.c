/* What somebody hid under delete markers, or put other bytes over: the first version counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { KEY_SIZE = 2048, REMEMBERED_MAX = 65536 };

struct s3_hidden {
    char name[STORE_NAME_MAX + 1];
    char query[S3_VERSION_QUERY_SIZE]; /* of its first version */
};

void s3_hidden_clear(struct s3 *s3)
{
    free(s3->hidden);
    s3->hidden = NULL;
    s3->hidden_count = s3->hidden_room = 0;
}

/* Under the lock; NULL: nothing is known of it. */
static struct s3_hidden *find(struct s3 *s3, const char *name)
{
    for (size_t i = 0; i < s3->hidden_count; i++)
        if (strcmp(s3->hidden[i].name, name) == 0)
            return &s3->hidden[i];
    return NULL;
}

/* Under the lock.  One that finds no room is looked for when it is read. */
static struct s3_hidden *add(struct s3 *s3)
{
    size_t room = s3->hidden_room > 0 ? 2 * s3->hidden_room : 16;

    if (s3->hidden_count < s3->hidden_room)
        return &s3->hidden[s3->hidden_count++];
    struct s3_hidden *more =
        room <= REMEMBERED_MAX ? reallocarray(s3->hidden, room, sizeof(*more)) : NULL;
    if (!more)
        return NULL;
    s3->hidden = more;
    s3->hidden_room = room;
    return &s3->hidden[s3->hidden_count++];
}

static void warn_once(struct s3 *s3, const char *name)
{
    pthread_mutex_lock(&s3->lock);
    bool warned = s3->has_warned;
    s3->has_warned = true;
    pthread_mutex_unlock(&s3->lock);
    if (!warned)
        log_warn("s3://%s: objects are hidden by delete markers or overwritten, such as %s: their "
                 "first versions are read (docs/s3.md)",
                 s3->bucket, name);
}

static void remember(struct s3 *s3, const char *name, const char *query)
{
    pthread_mutex_lock(&s3->lock);
    struct s3_hidden *hidden = find(s3, name);
    if (!hidden)
        hidden = add(s3);
    if (hidden) {
        (void)snprintf(hidden->name, sizeof(hidden->name), "%s", name);
        (void)snprintf(hidden->query, sizeof(hidden->query), "%s", query);
    }
    pthread_mutex_unlock(&s3->lock);
}

/* Copies what is known; whether all is. */
static bool look_up(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE])
{
    pthread_mutex_lock(&s3->lock);
    const struct s3_hidden *hidden = find(s3, name);
    bool known = hidden != NULL;
    (void)snprintf(out, S3_VERSION_QUERY_SIZE, "%s", hidden ? hidden->query : "");
    for (size_t i = 0; i < s3->listed_count && !known; i++)
        known = strncmp(name, s3->listed[i], strlen(s3->listed[i])) == 0;
    pthread_mutex_unlock(&s3->lock);
    return known;
}

static void note_listed(struct s3 *s3, const char *prefix)
{
    size_t size = strlen(prefix);
    bool news = size < S3_LISTED_SIZE && (size == 0 || prefix[size - 1] == '/');

    pthread_mutex_lock(&s3->lock);
    for (size_t i = 0; i < s3->listed_count && news; i++)
        news = strcmp(s3->listed[i], prefix) != 0;
    if (news && s3->listed_count < S3_LISTED_MAX)
        strcpy(s3->listed[s3->listed_count++], prefix);
    pthread_mutex_unlock(&s3->lock);
}

static int ignore(void *context, const char *key, uint64_t size, struct err *err)
{
    (void)context;
    (void)key;
    (void)size;
    (void)err;
    return 0;
}

int s3_which_version(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err)
{
    out[0] = '\0';
    if (!s3_is_retained(s3, name) || look_up(s3, name, out))
        return 0;
    int r = s3_list_kept(s3, name, ignore, NULL, err);
    (void)look_up(s3, name, out);
    return r == -ERR_DENIED ? 0 : r; /* who may not see versions sees the newest */
}

int s3_find_hidden(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                   struct err *err)
{
    if (!s3_is_retained(s3, name))
        return err_set(err, ERR_NOT_FOUND, "%.120s is not there", name);
    int r = s3_first_version(s3, name, out, err);
    if (r < 0)
        return r;
    warn_once(s3, name);
    remember(s3, name, out);
    return 0;
}

/* ---- listing ----------------------------------------------------------------------------- */

/* The key that is being listed, from its newest version to its first. */
struct group {
    struct s3 *s3;
    store_list_fn *each; /* gets whole keys */
    void *context;
    char key[KEY_SIZE];
    char query[S3_VERSION_QUERY_SIZE]; /* of the oldest version so far */
    uint64_t newest_size, size;
    size_t entries;
    bool has_version, is_hidden; /* the newest is a marker */
};

static int end_group(struct group *group, struct err *err)
{
    struct s3 *s3 = group->s3;
    size_t skip = strlen(s3->prefix);
    const char *name = group->key + skip;
    bool kept = strncmp(group->key, s3->prefix, skip) == 0 && store_is_name(name) &&
                s3_is_retained(s3, name);

    if (!group->has_version || (group->is_hidden && !kept))
        return 0;
    if (kept && group->entries > 1)
        remember(s3, name, group->query);
    if (kept && (group->is_hidden || group->newest_size != group->size))
        warn_once(s3, name);
    return group->each(group->context, group->key, group->size, err);
}

static int take(void *context, const struct s3_version *version, struct err *err)
{
    struct group *group = context;
    int r = 0;

    if (group->entries == 0 || strcmp(group->key, version->key) != 0) {
        r = group->entries > 0 ? end_group(group, err) : 0;
        (void)snprintf(group->key, sizeof(group->key), "%s", version->key);
        group->entries = 0;
        group->has_version = false;
        group->is_hidden = version->is_marker;
    }
    group->entries++;
    if (r != 0 || version->is_marker)
        return r;
    size_t skip = strlen(group->s3->prefix);
    bool passing = strlen(group->key) > skip && s3_is_passing(group->key + skip);
    if (group->has_version && passing) /* the newest counts */
        return 0;
    group->newest_size = group->has_version ? group->newest_size : version->size;
    group->has_version = true;
    group->size = version->size;
    return s3_version_query(version->id, group->query, err);
}

int s3_list_kept(struct s3 *s3, const char *prefix, store_list_fn *each, void *context,
                 struct err *err)
{
    struct group group = {.s3 = s3, .each = each, .context = context};
    int r = s3_list_versions(s3, prefix, take, &group, err);

    if (r == 0 && group.entries > 0)
        r = end_group(&group, err);
    if (r == 0)
        note_listed(s3, prefix);
    return r;
}
