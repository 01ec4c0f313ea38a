#include "backup/job/backup.h"

#include <stdlib.h>
#include <string.h>

#include "backup/archive/blocks.h"
#include "backup/archive/idtable.h"
#include "backup/archive/repo.h"
#include "backup/archive/treewriter.h"
#include "backup/archive/writer.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/log.h"
#include "backup/base/progress.h"
#include "backup/job/backup_internal.h"
#include "backup/job/dedup.h"
#include "backup/job/gather.h"
#include "backup/job/ingest.h"
#include "backup/job/marks.h"
#include "backup/job/packer.h"
#include "backup/job/references.h"
#include "backup/job/runindex.h"
#include "backup/job/units.h"

enum {
    OLD_CACHE = 16 * 1024 * 1024, /* for the snapshot before, read in its own order */
    METADATA_LEVEL = 3,
    ATTEMPTS_MAX = 8, /* a pruner that marks faster than a backup runs is no pruner of ours */
};

/* A metadata archive is durable. */
static int metadata_done(void *context, const struct writer_result *archive, const void *index,
                         size_t size, struct err *err)
{
    struct attempt *attempt = context;

    return runindex_add(attempt->index, archive, index, size, NULL, err);
}

static int open_parts(struct attempt *attempt, struct err *err)
{
    const struct backup_options *options = attempt->options;
    struct packer_options packer = {options->repo, options->baseline, NULL, NULL, options->dry_run};
    int r;

    attempt->blocks = blocks_new(options->repo, OLD_CACHE);
    attempt->dedup = dedup_new(options->baseline, &attempt->references, &attempt->refused);
    if (!attempt->blocks || !attempt->dedup)
        return err_set(err, ERR_NOMEM, "no memory for a backup");
    blocks_read_all(attempt->blocks);
    if ((r = runindex_new(options->repo, options->baseline, &attempt->index, err)) < 0)
        return r;
    packer.dedup = attempt->dedup;
    packer.index = attempt->index;
    if ((r = packer_new(&packer, &attempt->packer, err)) < 0)
        return r;
    struct units_options units = {options->repo, attempt->packer, attempt->dedup, options->progress,
                                  options->level};
    if ((r = units_new(&units, &attempt->units, err)) < 0)
        return r;
    if (options->dry_run)
        return 0;
    return treewriter_new(options->repo, METADATA_LEVEL, metadata_done, attempt,
                          &attempt->treewriter, err);
}

static int attempt_open(struct attempt *attempt, struct err *err)
{
    if (!references_init(&attempt->references) || !references_init(&attempt->refused) ||
        !references_init(&attempt->through))
        return err_set(err, ERR_NOMEM, "no memory for a backup");
    for (uint32_t i = 0; i < idtable_count(attempt->options->repo->ids); i++)
        if (references_has(attempt->gone, i))
            references_note(&attempt->refused, i);
    attempt->looked_ns = clock_monotonic_ns();
    int r = marks_note_and_moves(attempt->options->repo, &attempt->refused, err);
    return r < 0 ? r : open_parts(attempt, err);
}

static void attempt_clear(struct attempt *attempt)
{
    units_free(attempt->units);
    treewriter_free(attempt->treewriter);
    packer_free(attempt->packer);
    runindex_free(attempt->index);
    dedup_free(attempt->dedup);
    blocks_free(attempt->blocks);
    references_clear(&attempt->references);
    references_clear(&attempt->refused);
    references_clear(&attempt->through);
}

static uint64_t stored(const struct attempt *attempt)
{
    uint64_t metadata = attempt->treewriter ? treewriter_stored(attempt->treewriter) : 0;

    return packer_stored(attempt->packer) + metadata;
}

/* Its streams into a tree. */
static int gather_source(struct attempt *attempt, const struct backup_source *source,
                         struct root_type *type, struct err *err)
{
    struct gather_options options = {
        .backup = attempt->options,
        .units = attempt->units,
        .treewriter = attempt->treewriter,
        .start_ns = attempt->result->root.start_ns,
    };
    struct gather *gather;

    int r = gather_new(&options, &gather, err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < source->path_count; i++)
        r = strings_add(&type->sources, source->paths[i], strlen(source->paths[i]), err);
    if (r == 0)
        r = source->produce(source->produce_context, gather, err);
    if (r == 0)
        r = gather_finish(gather, type, err);
    gather_free(gather);
    type->present = true;
    attempt->result->files_read += type->files;
    return r;
}

/* A tree of files. */
static int ingest_source(struct attempt *attempt, const struct backup_source *source,
                         struct root_type *type, struct err *err)
{
    struct ingest_options options = {
        .backup = attempt->options,
        .source = source,
        .blocks = attempt->blocks,
        .treewriter = attempt->treewriter,
        .units = attempt->units,
        .packer = attempt->packer,
        .dedup = attempt->dedup,
        .references = &attempt->references,
        .through = &attempt->through,
        .refused = &attempt->refused,
        .result = attempt->result,
    };

    return ingest_run(&options, type, err);
}

static int read_source(struct attempt *attempt, const struct backup_source *source, struct err *err)
{
    struct root_type *type = &attempt->result->root.types[source->type];
    uint64_t before = stored(attempt);

    int r = source->produce ? gather_source(attempt, source, type, err)
                            : ingest_source(attempt, source, type, err);
    if (r < 0)
        return r;
    type->new_bytes = stored(attempt) - before;
    attempt->last = type;
    attempt->counted = stored(attempt);
    type->complete = type->unreadable == 0;
    /* A type of which nothing could be read does not count as backed up. */
    type->present = type->unreadable == 0 || type->files + type->others > 0;
    return 0;
}

static int read_sources(struct attempt *attempt, struct err *err)
{
    const struct backup_options *options = attempt->options;
    struct root *root = &attempt->result->root;
    bool any = false;
    int r = 0;

    root->complete = true;
    for (size_t i = 0; r == 0 && i < options->source_count; i++) {
        const struct root_type *type = &root->types[options->sources[i].type];
        r = read_source(attempt, &options->sources[i], err);
        any = any || type->present;
        root->complete = root->complete && type->present && type->complete;
    }
    attempt->result->bytes_read = units_bytes_read(attempt->units);
    if (r == 0 && !any)
        return err_set(err, ERR_NOT_FOUND, "nothing could be read, so there is no snapshot");
    return r;
}

/* Everything but the root is durable after this. */
static int store_all(struct attempt *attempt, struct err *err)
{
    struct root *root = &attempt->result->root;

    int r = packer_finish(attempt->packer, err);
    if (r == 0)
        r = treewriter_finish(attempt->treewriter, err);
    if (r == 0) /* the block of directories that was still open */
        attempt->last->new_bytes += stored(attempt) - attempt->counted;
    if (r == 0)
        r = runindex_finish(attempt->index, err);
    if (r == 0)
        runindex_take(attempt->index, &root->archives, &root->archive_count);
    return r;
}

static int copy_strings(const char *const *from, size_t count, struct strings *to, struct err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = strings_add(to, from[i], strlen(from[i]), err);
    return r;
}

static int describe(const struct backup_options *options, struct root *root, struct err *err)
{
    if (strlen(options->host) >= sizeof(root->host) ||
        strlen(options->parent) >= sizeof(root->parent))
        return err_set(err, ERR_USAGE, "the host's name is longer than %d bytes",
                       HOST_NAME_MAX_SIZE);
    strcpy(root->host, options->host);
    strcpy(root->parent, options->parent);
    strcpy(root->version, YESTER_VERSION);
    root->sequence = options->sequence + 1;
    root->adhoc = options->adhoc;
    int r = copy_strings(options->tags, options->tag_count, &root->tags, err);
    return r < 0 ? r
                 : copy_strings(options->exclusions, options->exclusion_count, &root->exclusions,
                                err);
}

static int run_attempt(const struct backup_options *options, struct root *published,
                       struct references *gone, struct backup_result *result, bool *out_again,
                       struct err *err)
{
    struct attempt attempt = {.options = options, .result = result, .gone = gone};

    *out_again = false;
    int r = attempt_open(&attempt, err);
    if (r == 0)
        r = describe(options, &result->root, err);
    backup_go_on_from(published, &result->root);
    if (r == 0)
        r = read_sources(&attempt, err);
    if (r == 0 && !options->dry_run)
        r = store_all(&attempt, err);
    if (r == 0 && !options->dry_run)
        r = backup_publish(&attempt, published, out_again, err);
    if (r == 0 && !options->dry_run && !*out_again) {
        result->references = attempt.references;
        attempt.references = (struct references){0};
    }
    attempt_clear(&attempt);
    return r;
}

int backup_run(const struct backup_options *options, struct backup_result *out, struct err *err)
{
    CLEANUP(references_clear) struct references gone = {0};
    struct root published = {0};
    uint32_t known = idtable_count(options->repo->ids);
    bool again = true;
    int r = references_init(&gone) ? 0 : err_set(err, ERR_NOMEM, "no memory for a backup");

    if (options->progress)
        atomic_store(&options->progress->phase, "backing up");
    *out = (struct backup_result){0};
    for (unsigned i = 0; r == 0 && again && i < ATTEMPTS_MAX; i++) {
        if (i > 0)
            log_debug("archives that the snapshot refers to are about to be pruned: storing them "
                      "again");
        backup_result_clear(out);
        r = run_attempt(options, &published, &gone, out, &again, err);
    }
    if (r == 0 && again)
        r = err_set(err, ERR_BUSY, "a pruner marked archives again and again while the backup ran");
    if (r < 0)
        backup_result_clear(out);
    else
        out->known_archives = known;
    return r;
}

void backup_result_clear(struct backup_result *result)
{
    references_clear(&result->references);
    root_clear(&result->root);
    *result = (struct backup_result){0};
}
