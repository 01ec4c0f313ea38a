/* What somebody hid under delete markers, or put other bytes over: the first version counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

void s3_hidden_clear(struct s3 *s3)
{
    nametable_clear(&s3->hidden);
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
    nametable_put(&s3->hidden, name, query);
    pthread_mutex_unlock(&s3->lock);
}

/* Copies what is known; whether all is.  When there are more hidden ones than can be remembered, a
 * listing that was seen says nothing of those that are not. */
static bool look_up(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE])
{
    pthread_mutex_lock(&s3->lock);
    const char *query = nametable_get(&s3->hidden, name);
    bool known = query != NULL;
    (void)snprintf(out, S3_VERSION_QUERY_SIZE, "%s", query ? query : "");
    for (size_t i = 0; i < s3->listed_count && !known && !s3->hidden.is_partial; i++)
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

static int ignore(void *context, const struct s3_object_info *object, struct err *err)
{
    (void)context;
    (void)object;
    (void)err;
    return 0;
}

/* For one that may have found no room. */
static int ask_first(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err)
{
    pthread_mutex_lock(&s3->lock);
    bool is_partial = s3->hidden.is_partial;
    pthread_mutex_unlock(&s3->lock);
    int r = is_partial ? s3_first_version(s3, name, out, err) : 0;
    return r == -ERR_NOT_FOUND ? 0 : r; /* who reads it is told */
}

int s3_which_version(struct s3 *s3, const char *name, char out[S3_VERSION_QUERY_SIZE],
                     struct err *err)
{
    out[0] = '\0';
    if (!s3_is_retained(s3, name) || look_up(s3, name, out))
        return 0;
    int r = s3_list_kept(s3, name, ignore, NULL, err);
    if (!look_up(s3, name, out) && r == 0)
        r = ask_first(s3, name, out, err);
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
    s3_object_fn *each;
    void *context;
    char key[S3_KEY_SIZE];
    char query[S3_VERSION_QUERY_SIZE]; /* of the oldest version so far; its … */
    char class[S3_CLASS_SIZE], when[CLOCK_TEXT_SIZE];
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
    const struct s3_object_info object = {
        .key = group->key, .class = group->class, .when = group->when, .size = group->size};
    return group->each(group->context, &object, err);
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
    (void)snprintf(group->class, sizeof(group->class), "%s", version->class);
    (void)snprintf(group->when, sizeof(group->when), "%s", version->when);
    return s3_version_query(version->id, group->query, err);
}

int s3_list_kept(struct s3 *s3, const char *prefix, s3_object_fn *each, void *context,
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
