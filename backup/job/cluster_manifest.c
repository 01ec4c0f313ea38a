/* backup_manifest, as a server would have sent it ("Backup Manifest Format" in PostgreSQL's
 * manual): pg_verifybackup reads it. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/base/cleanup.h"
#include "backup/base/hex.h"
#include "backup/base/lsn.h"
#include "backup/base/text.h"
#include "backup/crypto/sha256.h"
#include "backup/job/cluster_internal.h"
#include "backup/source/pgbase.h"

enum { LINE_MAX_SIZE = 8192, SINCE_17 = 170000, TIME_SIZE = 64 };

struct cluster_manifest {
    pthread_mutex_t lock; /* guards all */
    struct gather_file *file;
    struct sha256_stream *digest;
    bool any;
};

static int push(struct cluster_manifest *manifest, const struct text *text, struct err *err)
{
    int r = sha256_add(manifest->digest, text_of(text), text_size(text), err);

    return r < 0 ? r : gather_push(manifest->file, text_of(text), text_size(text), err);
}

static int begin(struct cluster_manifest *manifest, int version, uint64_t system_id,
                 struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = LINE_MAX_SIZE};

    if (version >= SINCE_17)
        text_format(&text,
                    "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": %" PRIu64
                    ",\n",
                    system_id);
    else
        text_add(&text, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n");
    text_add(&text, "\"Files\": [");
    int r = text_end(&text, err);
    return r < 0 ? r : push(manifest, &text, err);
}

int cluster_manifest_open(struct gather *gather, const struct gather_attributes *attributes,
                          int version, uint64_t system_id, struct cluster_manifest **out,
                          struct err *err)
{
    struct cluster_manifest *manifest = calloc(1, sizeof(*manifest));

    if (!manifest)
        return err_set(err, ERR_NOMEM, "no memory for a manifest");
    pthread_mutex_init(&manifest->lock, NULL);
    int r = sha256_new(&manifest->digest, err);
    if (r == 0)
        r = gather_open(gather, CLUSTER_TOP "/backup_manifest", attributes, GATHER_BY_CONTENT,
                        &manifest->file, err);
    if (r == 0)
        r = begin(manifest, version, system_id, err);
    if (r < 0) {
        cluster_manifest_free(manifest);
        return r;
    }
    *out = manifest;
    return 0;
}

void cluster_manifest_free(struct cluster_manifest *manifest)
{
    if (!manifest)
        return;
    gather_drop(manifest->file);
    sha256_free(manifest->digest);
    pthread_mutex_destroy(&manifest->lock);
    free(manifest);
}

/* ---- files ---- */

static bool is_plain(const char *name)
{
    for (; *name; name++)
        if (*name < ' ' || *name > '~' || *name == '"' || *name == '\\')
            return false;
    return true;
}

/* Names that are not plain come as the hexadecimal digits of their bytes. */
static void add_name(struct text *text, const char *name)
{
    char digits[2 * CLUSTER_PATH_SIZE + 1];
    size_t size = strlen(name);

    if (is_plain(name) || size > CLUSTER_PATH_SIZE) {
        text_add(text, "\"Path\": \"");
        text_add(text, name);
    } else {
        hex_encode(name, size, digits);
        text_add(text, "\"Encoded-Path\": \"");
        text_add(text, digits);
    }
    text_add(text, "\"");
}

static void add_time(struct text *text, int64_t time_s)
{
    time_t at = (time_t)time_s;
    char shown[TIME_SIZE] = "";
    struct tm parts;

    if (gmtime_r(&at, &parts))
        (void)strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M:%S GMT", &parts);
    text_format(text, "\"Last-Modified\": \"%s\"", shown);
}

/* The checksum's bytes as they lie in the server's memory. */
static void add_checksum(struct text *text, uint32_t crc)
{
    char digits[2 * sizeof(crc) + 1];

    hex_encode(&crc, sizeof(crc), digits);
    text_format(text, "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"%s\"", digits);
}

int cluster_manifest_add(struct cluster_manifest *manifest, const struct pgtar_entry *entry,
                         int64_t mtime_s, uint32_t crc, struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = LINE_MAX_SIZE};

    pthread_mutex_lock(&manifest->lock);
    text_add(&text, manifest->any ? ",\n{ " : "\n{ ");
    add_name(&text, entry->name);
    text_format(&text, ", \"Size\": %" PRIu64 ", ", entry->size);
    add_time(&text, mtime_s);
    text_add(&text, ", ");
    add_checksum(&text, crc);
    text_add(&text, " }");
    int r = text_end(&text, err);
    if (r == 0)
        r = push(manifest, &text, err);
    manifest->any = true;
    pthread_mutex_unlock(&manifest->lock);
    return r;
}

/* ---- the end ---- */

static int put_range(struct cluster_manifest *manifest, const struct pgbase_result *result,
                     struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = LINE_MAX_SIZE};
    char start[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE];

    lsn_format(result->start_lsn, start);
    lsn_format(result->end_lsn, end);
    text_format(&text,
                "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": %" PRIu32
                ", \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }\n],\n",
                result->start_timeline, start, end);
    int r = text_end(&text, err);
    return r < 0 ? r : push(manifest, &text, err);
}

/* Of all lines before its own. */
static int put_digest(struct cluster_manifest *manifest, struct err *err)
{
    CLEANUP(text_clear) struct text text = {.buf.limit = LINE_MAX_SIZE};
    char digest[SHA256_HEX_SIZE];

    int r = sha256_finish(manifest->digest, digest, err);
    if (r < 0)
        return r;
    text_format(&text, "\"Manifest-Checksum\": \"%s\"}\n", digest);
    r = text_end(&text, err);
    return r < 0 ? r : gather_push(manifest->file, text_of(&text), text_size(&text), err);
}

int cluster_manifest_finish(struct cluster_manifest *manifest, const struct pgbase_result *result,
                            struct err *err)
{
    int r = put_range(manifest, result, err);

    if (r == 0)
        r = put_digest(manifest, err);
    return r < 0 ? r : gather_close(STEAL(manifest->file), err);
}
