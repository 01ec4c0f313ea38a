#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/path.h"
#include "catalog/catalog.h"
#include "fs/mount_internal.h"
#include "fs/view.h"

enum { MANIFEST_MAX = 16 * 1024 * 1024 };

/* Numbers of snapshots and hosts are never given out again: nodes name them. */
struct shots {
    struct repo *repo;
    char wanted_host[HOST_NAME_MAX_SIZE + 1];
    pthread_mutex_t lock; /* guards what follows */
    struct shot *at;
    uint32_t *by_name; /* numbers of those that are not gone */
    size_t count, named, room;
    struct strings hosts;
    uint64_t files, bytes; /* in all, and stored */
};

struct shots *shots_new(struct repo *repo, const char *wanted_host)
{
    struct shots *shots = calloc(1, sizeof(*shots));

    if (!shots)
        return NULL;
    shots->repo = repo;
    (void)snprintf(shots->wanted_host, sizeof(shots->wanted_host), "%s", wanted_host);
    pthread_mutex_init(&shots->lock, NULL);
    return shots;
}

void shots_free(struct shots *shots)
{
    if (!shots)
        return;
    strings_clear(&shots->hosts);
    free(shots->at);
    free(shots->by_name);
    pthread_mutex_destroy(&shots->lock);
    free(shots);
}

void shot_changes_clear(struct shot_changes *changes)
{
    free(changes->at);
    *changes = (struct shot_changes){0};
}

static int note_change(struct shot_changes *changes, const struct shot *shot, struct err *err)
{
    if (changes->count == changes->room) {
        size_t room = changes->room > 0 ? changes->room * 2 : 16;
        struct shot_change *at = reallocarray(changes->at, room, sizeof(*at));
        if (!at)
            return err_set(err, ERR_NOMEM, "out of memory");
        changes->at = at;
        changes->room = room;
    }
    struct shot_change *change = &changes->at[changes->count++];
    change->host = shot->host;
    change->gone = shot->gone;
    memcpy(change->name, shot->name, sizeof(change->name));
    return 0;
}

static int host_number(struct shots *shots, const char *host, uint16_t *out, struct err *err)
{
    size_t i = 0;

    while (i < shots->hosts.count && strcmp(shots->hosts.at[i], host) != 0)
        i++;
    if (i >= MOUNT_HOSTS_MAX - 1)
        return err_set(err, ERR_TOO_LARGE, "the repository has too many hosts");
    if (i == shots->hosts.count) {
        int rc = strings_add(&shots->hosts, host, strlen(host), err);
        if (rc < 0)
            return rc;
    }
    *out = (uint16_t)i;
    return 0;
}

static int make_room(struct shots *shots, struct err *err)
{
    if (shots->count < shots->room)
        return 0;
    size_t room = shots->room > 0 ? shots->room * 2 : 64;
    struct shot *at = reallocarray(shots->at, room, sizeof(*at));
    if (!at)
        return err_set(err, ERR_NOMEM, "out of memory");
    shots->at = at;
    uint32_t *by_name = reallocarray(shots->by_name, room, sizeof(*by_name));
    if (!by_name)
        return err_set(err, ERR_NOMEM, "out of memory");
    shots->by_name = by_name;
    shots->room = room;
    return 0;
}

static void fill(struct shot *shot, const struct snapshot_row *row)
{
    shot->revision = row->revision;
    shot->start_ns = row->start_ns;
    shot->end_ns = row->end_ns;
    shot->complete = row->complete;
    shot->adhoc = row->adhoc;
    shot->types = row->types;
    shot->complete_types = row->complete_types;
    shot->loaded = false;
}

static int insert(struct shots *shots, size_t where, const struct snapshot_row *row,
                  struct shot_changes *out, struct err *err)
{
    struct shot shot = {0};
    int rc = host_number(shots, row->host, &shot.host, err);

    if (rc == 0)
        rc = make_room(shots, err);
    if (rc < 0)
        return rc;
    memcpy(shot.name, row->name, sizeof(shot.name));
    fill(&shot, row);
    memmove(&shots->by_name[where + 1], &shots->by_name[where],
            (shots->named - where) * sizeof(*shots->by_name));
    shots->by_name[where] = (uint32_t)shots->count;
    shots->named++;
    shots->at[shots->count++] = shot;
    return note_change(out, &shot, err);
}

static int drop(struct shots *shots, size_t where, struct shot_changes *out, struct err *err)
{
    struct shot *shot = &shots->at[shots->by_name[where]];

    shot->gone = true;
    shots->named--;
    memmove(&shots->by_name[where], &shots->by_name[where + 1],
            (shots->named - where) * sizeof(*shots->by_name));
    return note_change(out, shot, err);
}

/* Both are sorted by name. */
static int merge(struct shots *shots, const struct snapshot_rows *rows, struct shot_changes *out,
                 struct err *err)
{
    size_t at = 0, row = 0;
    int rc = 0;

    while (rc == 0 && (at < shots->named || row < rows->count)) {
        struct shot *shot = at < shots->named ? &shots->at[shots->by_name[at]] : NULL;
        const struct snapshot_row *next = row < rows->count ? &rows->at[row] : NULL;
        int order = !shot ? 1 : !next ? -1 : strcmp(shot->name, next->name);

        if (order < 0) {
            rc = drop(shots, at, out, err);
            continue;
        }
        if (order > 0) {
            rc = insert(shots, at, next, out, err);
        } else if (shot->revision != next->revision) {
            fill(shot, next);
            rc = note_change(out, shot, err);
        }
        at++;
        row++;
    }
    return rc;
}

int shots_update(struct shots *shots, const struct snapshot_rows *rows, struct shot_changes *out,
                 struct err *err)
{
    uint64_t files = 0, bytes = 0;

    for (size_t i = 0; i < rows->count; i++) {
        files += rows->at[i].files;
        bytes += rows->at[i].new_bytes;
    }
    pthread_mutex_lock(&shots->lock);
    shots->files = files;
    shots->bytes = bytes;
    int rc = merge(shots, rows, out, err);
    pthread_mutex_unlock(&shots->lock);
    return rc;
}

/* The wanted host, or the only other one, as where a snapshot is chosen. */
static bool top_host(const struct shots *shots, uint16_t *out)
{
    bool found = false, several = false;

    for (size_t i = 0; i < shots->named; i++) {
        const struct shot *shot = &shots->at[shots->by_name[i]];
        if (strcmp(shots->hosts.at[shot->host], shots->wanted_host) == 0) {
            *out = shot->host;
            return true;
        }
        several = several || (found && shot->host != *out);
        *out = shot->host;
        found = true;
    }
    return found && !several;
}

bool shots_top(struct shots *shots, uint16_t *out_host)
{
    pthread_mutex_lock(&shots->lock);
    bool found = top_host(shots, out_host);
    pthread_mutex_unlock(&shots->lock);
    return found;
}

size_t shots_host_count(struct shots *shots)
{
    pthread_mutex_lock(&shots->lock);
    size_t count = shots->hosts.count;
    pthread_mutex_unlock(&shots->lock);
    return count;
}

bool shots_host(struct shots *shots, uint16_t host, char out[HOST_NAME_MAX_SIZE + 1])
{
    pthread_mutex_lock(&shots->lock);
    bool known = host < shots->hosts.count;
    const char *name = known ? shots->hosts.at[host] : "";
    size_t size = strnlen(name, HOST_NAME_MAX_SIZE);
    memcpy(out, name, size); /* for each entry that is listed */
    out[size] = '\0';
    pthread_mutex_unlock(&shots->lock);
    return known;
}

bool shots_next(struct shots *shots, uint16_t host, uint32_t *number, struct shot *out)
{
    pthread_mutex_lock(&shots->lock);
    while (*number < shots->count && (shots->at[*number].gone || shots->at[*number].host != host))
        ++*number;
    bool found = *number < shots->count;
    if (found)
        *out = shots->at[*number];
    pthread_mutex_unlock(&shots->lock);
    return found;
}

static bool find_name(const struct shots *shots, const char *name, uint32_t *out)
{
    size_t low = 0, high = shots->named;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(shots->at[shots->by_name[middle]].name, name);
        if (order == 0) {
            *out = shots->by_name[middle];
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool shots_by_name(struct shots *shots, uint16_t host, const char *name, uint32_t *out_number,
                   struct shot *out)
{
    pthread_mutex_lock(&shots->lock);
    bool found = find_name(shots, name, out_number) && shots->at[*out_number].host == host;
    if (found)
        *out = shots->at[*out_number];
    pthread_mutex_unlock(&shots->lock);
    return found;
}

bool shots_get(struct shots *shots, uint32_t number, struct shot *out)
{
    pthread_mutex_lock(&shots->lock);
    bool known = number < shots->count;
    if (known)
        *out = shots->at[number];
    pthread_mutex_unlock(&shots->lock);
    return known;
}

static int read_root(struct shots *shots, const struct shot *shot, struct root *root,
                     struct buf *manifest, struct err *err)
{
    int rc = root_read(shots->repo, shot->name, shot->revision, root, err);

    return rc < 0 ? rc : view_manifest(root, manifest, err);
}

int shots_manifest(struct shots *shots, uint32_t number, struct buf *out, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    struct shot shot;

    if (!shots_get(shots, number, &shot))
        return err_set(err, ERR_NOT_FOUND, "no such snapshot");
    return read_root(shots, &shot, &root, out, err);
}

int shots_load(struct shots *shots, uint32_t number, struct shot *out, struct err *err)
{
    CLEANUP(root_clear) struct root root = {0};
    CLEANUP(buf_clear) struct buf manifest = {.limit = MANIFEST_MAX};

    if (!shots_get(shots, number, out))
        return err_set(err, ERR_NOT_FOUND, "no such snapshot");
    if (out->loaded)
        return 0;
    int rc = read_root(shots, out, &root, &manifest, err);
    if (rc < 0)
        return rc;
    for (size_t type = 1; type <= TYPES; type++)
        out->directories[type] = root.types[type].directory;
    out->manifest_size = manifest.size;
    out->loaded = true;
    pthread_mutex_lock(&shots->lock);
    struct shot *shot = &shots->at[number];
    if (shot->revision == out->revision) {
        memcpy(shot->directories, out->directories, sizeof(shot->directories));
        shot->manifest_size = out->manifest_size;
        shot->loaded = true;
    }
    pthread_mutex_unlock(&shots->lock);
    return 0;
}

bool shots_latest(struct shots *shots, uint16_t host, unsigned type, uint32_t *out_number,
                  struct shot *out)
{
    bool found = false;

    pthread_mutex_lock(&shots->lock);
    for (size_t i = shots->named; !found && i-- > 0;) {
        *out_number = shots->by_name[i];
        *out = shots->at[*out_number];
        found = out->host == host && out->complete && !out->adhoc &&
                (out->complete_types & 1u << type) != 0;
    }
    pthread_mutex_unlock(&shots->lock);
    return found;
}

int64_t shots_newest_ns(struct shots *shots, uint16_t host)
{
    int64_t newest = 0;

    pthread_mutex_lock(&shots->lock);
    for (size_t i = shots->named; newest == 0 && i-- > 0;) {
        const struct shot *shot = &shots->at[shots->by_name[i]];
        newest = shot->host == host ? shot->end_ns : 0;
    }
    pthread_mutex_unlock(&shots->lock);
    return newest;
}

void shots_sums(struct shots *shots, uint64_t *out_files, uint64_t *out_bytes)
{
    pthread_mutex_lock(&shots->lock);
    *out_files = shots->files;
    *out_bytes = shots->bytes;
    pthread_mutex_unlock(&shots->lock);
}
