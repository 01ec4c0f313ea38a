/* Objects that must not be there before: by the server's own refusal, else by claims. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/log.h"
#include "backup/base/pool.h"
#include "backup/base/random.h"
#include "backup/store/s3_internal.h"
#include "backup/store/s3_xml.h"

enum { ID_BYTES = 16, CLAIM_SIZE = 64, CLAIM_NAME_SIZE = STORE_NAME_MAX + 48 };

static const char probe_name[] = "tmp/probe";
const char s3_only_new[] = "If-None-Match: *";

/* Below these a name is an archive's random id.  A name below wal/ has as many digits, and is what
 * every host gives that segment. */
static const char *const random_prefixes[] = {"data/", "meta/", "index/", "remap/", "tails/"};

/* A claim counts so long by the store's clock; who made it gives up long before. */
static const int64_t claim_ns = 3600 * NS_PER_SECOND;
static const int64_t claim_use_ns = 600 * NS_PER_SECOND;

int s3_make_id(char out[S3_ID_SIZE], struct err *err)
{
    uint8_t bytes[ID_BYTES];
    int r = random_bytes(bytes, sizeof(bytes), err);

    if (r == 0)
        hex_encode(bytes, sizeof(bytes), out);
    return r;
}

bool s3_is_random(const char *name)
{
    for (size_t i = 0; i < sizeof(random_prefixes) / sizeof(random_prefixes[0]); i++)
        if (strncmp(name, random_prefixes[i], strlen(random_prefixes[i])) == 0)
            return true;
    return false;
}

enum s3_refusal s3_refusal_of(struct s3 *s3)
{
    pthread_mutex_lock(&s3->lock);
    enum s3_refusal refusal = s3->refusal;
    pthread_mutex_unlock(&s3->lock);
    return refusal;
}

static void set_refusal(struct s3 *s3, enum s3_refusal refusal)
{
    pthread_mutex_lock(&s3->lock);
    s3->refusal = refusal;
    pthread_mutex_unlock(&s3->lock);
    log_debug("s3://%s: the server %s", s3->bucket,
              refusal == S3_REFUSES ? "refuses to overwrite" : "would overwrite");
}

static int put(struct s3 *s3, const char *name, const struct s3_label *label, const void *bytes,
               size_t size, bool fresh, int *out_status, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    struct s3_lock_headers lock;
    char id_header[64];
    struct s3_call call = {.method = "PUT", .name = name, .body = bytes, .body_size = size};

    (void)snprintf(id_header, sizeof(id_header), "x-amz-meta-yester-put: %s", label->id);
    if (fresh)
        s3_add_header(&call, s3_only_new);
    s3_add_header(&call, id_header);
    s3_add_header(&call, s3_class_header(s3, name, label));
    int r = s3_add_retention(s3, &lock, &call, err);
    if (r == 0)
        r = s3_add_checksum(s3, &lock, &call, err);
    *out_status = 0;
    if (r < 0)
        return r;
    r = s3_call(s3, &call, &response, err);
    *out_status = response.status;
    return r;
}

/* Once: with a first object that may be there, and then with one that is there. */
static int probe(struct s3 *s3, struct err *err)
{
    enum s3_refusal found = S3_OVERWRITES;
    struct s3_label label = {0};
    struct err ignored;
    int status = 200;
    int r = s3_make_id(label.id, err);

    for (int i = 0; i < 2 && r == 0 && status == 200; i++)
        r = put(s3, probe_name, &label, "yester\n", 7, true, &status, err);
    if (status == 412)
        found = S3_REFUSES;
    if (r < 0 && status != 412 && status != 501)
        return r;
    set_refusal(s3, found);
    if (found == S3_OVERWRITES && s3->store.retention_ns > 0) /* both are versions of it now */
        (void)s3_remove_versions(s3, probe_name, &ignored);
    return 0;
}

/* One thread finds out, others wait for it. */
static int find_refusal(struct s3 *s3, struct err *err)
{
    pthread_mutex_lock(&s3->lock);
    while (s3->is_probing)
        pthread_cond_wait(&s3->probed, &s3->lock);
    bool known = s3->refusal != S3_NOT_TRIED;
    s3->is_probing = !known;
    pthread_mutex_unlock(&s3->lock);
    if (known)
        return 0;
    int r = probe(s3, err);
    pthread_mutex_lock(&s3->lock);
    s3->is_probing = false;
    pthread_cond_broadcast(&s3->probed);
    pthread_mutex_unlock(&s3->lock);
    return r;
}

static void find_refusal_early(void *context)
{
    struct err ignored; /* who needs to know tries again, and tells */

    (void)find_refusal(context, &ignored);
}

/* Behind an index comes what must not be overwritten: a snapshot, or marks. */
static void expect_refusal(struct s3 *s3, const char *name)
{
    struct pool *pool = strncmp(name, "index/", 6) == 0 && s3_refusal_of(s3) == S3_NOT_TRIED
                            ? s3_uploaders(s3)
                            : NULL;

    if (pool)
        (void)pool_try_submit(pool, find_refusal_early, s3);
}

int s3_is_ours(struct s3 *s3, const char *name, const char *id, bool *out, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "HEAD", .name = name};
    char found[S3_ID_SIZE] = "";
    int r = s3_call(s3, &call, &response, err);

    *out = r == 0 && http_header(&response, "x-amz-meta-yester-put", found, sizeof(found)) &&
           strcmp(found, id) == 0;
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int find_exactly(void *context, const char *rest, uint64_t size, struct err *err)
{
    (void)size;
    (void)err;
    *(bool *)context = *(bool *)context || rest[0] == '\0';
    return 0;
}

/* Who may list below the prefix alone is refused a look at what is not there. */
static int find_listed(struct s3 *s3, const char *name, bool *out, struct err *err)
{
    return s3->store.ops->list(&s3->store, name, find_exactly, out, err);
}

int s3_check_free(struct s3 *s3, const char *name, struct err *err)
{
    CLEANUP(http_response_clear) struct http_response response = {.body = {.limit = S3_ANSWER_MAX}};
    const struct s3_call call = {.method = "HEAD", .name = name};
    bool exists = true;
    int r = s3_call(s3, &call, &response, err);

    if (r == -ERR_NOT_FOUND)
        return 0;
    if (r == -ERR_DENIED) {
        exists = false;
        r = find_listed(s3, name, &exists, err);
    }
    return r == 0 && exists ? err_set(err, ERR_EXISTS, "%.120s exists already", name) : r;
}

/* The listing of all claims on a name: how old the others are beside our own. */
struct claims {
    const char *own;
    int64_t own_ns, newest_other_ns;
    bool own_seen, other_seen;
};

static int note_claim(void *context, const struct s3_object_info *object, struct err *err)
{
    struct claims *claims = context;
    const char *last = strrchr(object->key, '/');
    int64_t ns;
    int r = clock_parse_time(object->when, &ns, err);

    if (r < 0 || !last)
        return r;
    if (strcmp(last + 1, claims->own) == 0) {
        claims->own_seen = true;
        claims->own_ns = ns;
    } else if (!claims->other_seen || ns > claims->newest_other_ns) {
        claims->other_seen = true;
        claims->newest_other_ns = ns;
    }
    return 0;
}

static int take_claims(void *context, const struct http_response *response, struct s3_page *page,
                       struct err *err)
{
    return s3_xml_list(&response->body, note_claim, context, page, err);
}

static int list_claims(struct s3 *s3, const char *name, struct claims *claims, struct err *err)
{
    const struct s3_paging paging = {s3_list_query, take_claims, claims};
    char whole[S3_KEY_SIZE];

    (void)snprintf(whole, sizeof(whole), "%sclaims/%s/", s3->prefix, name);
    return s3_list_pages(s3, whole, &paging, err);
}

static void make_claim(uint8_t out[CLAIM_SIZE])
{
    struct clock *clock = clock_system();

    memset(out, 0, CLAIM_SIZE);
    memcpy(out, "YSTRCLAI", 8);
    store_le16(out + 8, 1);
    store_le64(out + 16, (uint64_t)clock->now_ns(clock));
}

static void drop_claim(struct s3 *s3, const char *claim)
{
    struct err ignored;

    http_tidy(s3->http);
    (void)store_remove(&s3->store, claim, &ignored);
}

/* Two that see each other both give way: they should not meet again at the next name. */
static void pause_by_chance(void)
{
    struct clock *clock = clock_system();
    uint32_t chance = 0;
    struct err ignored;

    (void)random_bytes(&chance, sizeof(chance), &ignored);
    clock->sleep_ns(clock, chance % (NS_PER_SECOND / 2));
}

/* Whether nobody else claims the name, and it is free. */
static int look_around(struct s3 *s3, const char *name, const char *id, struct err *err)
{
    struct claims claims = {.own = id};
    int r = list_claims(s3, name, &claims, err);

    if (r == 0 && !claims.own_seen)
        r = err_set(err, ERR_REMOTE, "claims/%.100s: the server does not list what it just stored",
                    name);
    if (r == 0 && claims.other_seen && claims.newest_other_ns > claims.own_ns - claim_ns) {
        pause_by_chance();
        return err_set(err, ERR_EXISTS, "%.120s is claimed by another host", name);
    }
    return r < 0 ? r : s3_check_free(s3, name, err);
}

/* For servers that overwrite: docs/format.md, "Claims". */
static int create_by_claim(struct s3 *s3, const char *name, const struct s3_label *label,
                           const void *bytes, size_t size, struct err *err)
{
    uint8_t content[CLAIM_SIZE];
    char claim[CLAIM_NAME_SIZE];
    int64_t began = clock_monotonic_ns();
    int status;

    (void)snprintf(claim, sizeof(claim), "claims/%s/%s", name, label->id);
    make_claim(content);
    int r = put(s3, claim, label, content, sizeof(content), false, &status, err);
    if (r < 0)
        return r;
    r = look_around(s3, name, label->id, err);
    if (r == 0 && clock_monotonic_ns() - began > claim_use_ns)
        r = err_set(err, ERR_BUSY, "%.120s: the claim on this name took too long", name);
    if (r == 0)
        r = put(s3, name, label, bytes, size, false, &status, err);
    drop_claim(s3, claim);
    return r;
}

static int create_by_refusal(struct s3 *s3, const char *name, const struct s3_label *label,
                             const void *bytes, size_t size, struct err *err)
{
    struct err ignored;
    bool ours = false;
    int status;
    int r = put(s3, name, label, bytes, size, true, &status, err);

    if (r < 0 && status == 501) { /* only where nothing else was known yet */
        set_refusal(s3, S3_OVERWRITES);
        return put(s3, name, label, bytes, size, false, &status, err);
    }
    /* What was refused, or got no answer, may be there from an attempt before. */
    if ((r == -ERR_EXISTS || r == -ERR_REMOTE) &&
        s3_is_ours(s3, name, label->id, &ours, &ignored) == 0 && ours)
        return 0;
    return r;
}

int s3_create(struct s3 *s3, const char *name, const struct s3_label *label, const void *bytes,
              size_t size, struct err *err)
{
    bool random = s3_is_random(name);
    int status;
    int r = s3_check_retention(s3, name, err);

    if (r == 0 && !random)
        r = find_refusal(s3, err);
    if (r < 0)
        return r;
    if (random)
        expect_refusal(s3, name);
    if (s3_refusal_of(s3) != S3_OVERWRITES)
        return create_by_refusal(s3, name, label, bytes, size, err);
    if (!random)
        return create_by_claim(s3, name, label, bytes, size, err);
    return put(s3, name, label, bytes, size, false, &status, err);
}
