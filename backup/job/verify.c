#include "backup/job/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/archive/idtable.h"
#include "backup/archive/remap.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "backup/job/verify_internal.h"

static int again(struct verify *verify, struct verify_snapshots *snapshots, struct err *err)
{
    spillmap_freep(&verify->seen);
    verify->seen = NULL;
    verify->marking_only = true;
    int r = spillmap_new(io_scratch(), &verify->seen, err);

    return r < 0 ? r : verify_walk_snapshots(verify, snapshots, err);
}

static void slot_damaged(void *context, const char *name, const struct err *why)
{
    struct verify *verify = context;

    verify->result->damaged_archives++;
    verify->options->damaged(verify->options->context, name, NO_ARCHIVE, why);
}

/* A slot that rotted locks out whoever it was made for; he should not be the one to find out. */
static int check_keys(struct verify *verify, struct err *err)
{
    struct key_objects objects = repo_key_objects(verify->repo->store);

    return keyring_check(verify->repo->keyring, &objects, slot_damaged, verify, err);
}

/* One that cannot be read is among the archives, which are told one by one. */
static int check_remaps(struct verify *verify, struct err *err)
{
    int r = remap_refresh(verify->repo, err);

    if (r == 0 || !verify_is_damage(err))
        return r;
    verify->result->damaged_archives++;
    verify->options->damaged(verify->options->context, "remap", NO_ARCHIVE, err);
    return 0;
}

static void set_phase(struct verify *verify, const char *phase)
{
    if (verify->options->progress)
        atomic_store(&verify->options->progress->phase, phase);
}

static int check(struct verify *verify, struct verify_snapshots *snapshots, struct err *err)
{
    bool some = verify->options->snapshot_count > 0;
    uint8_t marks = some ? MARK_NEEDED : MARK_NEEDED | MARK_THERE;
    int r = check_keys(verify, err);

    if (r == 0)
        r = verify_list(verify, err);
    if (r == 0)
        r = check_remaps(verify, err);
    if (r == 0)
        r = verify_list_snapshots(verify, snapshots, err);
    set_phase(verify, "reading directories");
    if (r == 0)
        r = verify_walk_snapshots(verify, snapshots, err);
    set_phase(verify, "checking archives");
    if (r == 0)
        r = verify_archives(verify, marks, verify->tree_trouble, err);
    set_phase(verify, "looking for who is hurt");
    /* What is damaged is known only now. */
    if (r == 0 && verify->result->damaged_archives > 0)
        r = again(verify, snapshots, err);
    return r < 0 ? r : verify_hurt_snapshots(verify, snapshots, err);
}

static void verify_clear(struct verify *verify)
{
    verify_release(verify);
    verify_tables_clear(verify);
    spillmap_free(verify->seen);
    spillmap_free(verify->bad_blocks);
    free(verify->marks);
    pthread_mutex_destroy(&verify->lock);
}

/* Damage that was found stays found, whatever came afterwards. */
static int conclude(const struct verify_result *found, int r, struct err *err)
{
    char why[160] = "";

    if (r == -ERR_CANCELLED || (found->damaged_archives == 0 && found->hurt_paths == 0))
        return r;
    if (r < 0)
        (void)snprintf(why, sizeof(why), "; not all was looked at: %.120s", err->text);
    return err_set(err, ERR_CORRUPT,
                   "damage found: objects: %" PRIu64 "; paths hurt: %" PRIu64
                   " (in snapshots: %" PRIu64 ")%s",
                   found->damaged_archives, found->hurt_paths, found->hurt_snapshots, why);
}

int verify_run(struct blocks *blocks, const struct verify_options *options,
               struct verify_result *out, struct err *err)
{
    CLEANUP(verify_clear)
    struct verify verify = {.blocks = blocks,
                            .repo = blocks_repo(blocks),
                            .options = options,
                            .result = out,
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .reader_archive = NO_ARCHIVE};
    CLEANUP(verify_snapshots_clear) struct verify_snapshots snapshots = {0};

    *out = (struct verify_result){0};
    int r = spillmap_new(io_scratch(), &verify.seen, err);
    if (r == 0)
        r = spillmap_new(io_scratch(), &verify.bad_blocks, err);
    if (r == 0)
        r = check(&verify, &snapshots, err);
    return conclude(out, r, err);
}
