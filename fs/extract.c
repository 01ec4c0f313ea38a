#include "fs/extract.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backup/archive/chunker.h"
#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/io.h"
#include "backup/base/path.h"
#include "backup/base/progress.h"
#include "backup/base/spill.h"
#include "fs/extract_internal.h"

enum { OPEN_FILES_WANTED = 4096, OPEN_MIN = 16, OPEN_MAX = 512 };

/* How many directories, and how many files, may be open at once. */
static size_t open_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return OPEN_MIN;
    if (limit.rlim_cur < OPEN_FILES_WANTED && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < OPEN_FILES_WANTED ? limit.rlim_max : OPEN_FILES_WANTED;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    size_t part = (size_t)(limit.rlim_cur / 8);
    return part < OPEN_MIN ? OPEN_MIN : part > OPEN_MAX ? OPEN_MAX : part;
}

/* What is to come between config and files, when `done` jobs are. */
static int between(struct extract *x, size_t done, struct err *err)
{
    const struct extract_options *options = x->options;
    size_t config = x->jobs[0].type == TYPE_CONFIG;

    if (x->pass != PASS_WRITE || !options->after_config || done != config)
        return 0;
    files_drain(x);
    return extract_stopped(x) ? 0 : options->after_config(options->context, err);
}

static int run_jobs(struct extract *x, struct err *err)
{
    int r = between(x, 0, err);

    for (size_t i = 0; r == 0 && i < x->job_count && !extract_stopped(x); i++) {
        r = plan_run(x, &x->jobs[i], err);
        if (r == 0)
            r = between(x, i + 1, err);
    }
    return r;
}

int extract_pass(struct extract *x, enum pass pass, int target, struct err *err)
{
    CLEANUP(closep) int fd = -1;
    int none = 0;

    x->pass = pass;
    if (target >= 0 && (fd = fcntl(target, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_sys(err, "open the target");
    int r = dirs_new(x, fd, open_limit(), &x->dirs, err);
    if (r < 0)
        return r;
    fd = -1;
    if (pass == PASS_WRITE)
        r = files_new(x, open_limit(), err);
    if (r == 0)
        r = run_jobs(x, err);
    if (r < 0) /* not again by the workers */
        atomic_compare_exchange_strong(&x->stop, &none, r);
    files_drain(x);
    files_free(x);
    dir_unref(x, dirs_target(x->dirs));
    dirs_free(x->dirs);
    x->dirs = NULL;
    return r;
}

/* Makes the target's missing directories. */
static int make_target(struct extract *x, const char *path, struct err *err)
{
    CLEANUP(buf_clear) struct buf clean = {.limit = EXTRACT_PATH_MAX};
    int r = buf_append(&clean, path, strlen(path) + 1, err);

    for (size_t i = 1; r == 0 && i < clean.size; i++) {
        char *at = (char *)clean.data;
        char byte = at[i];

        if (byte != '/' && byte != 0)
            continue;
        at[i] = 0;
        if (mkdir(at, 0777) == 0)
            x->target_made = byte == 0;
        else if (errno != EEXIST)
            r = err_sys(err, "make target %s", path);
        at[i] = byte;
    }
    return r;
}

/* A target that is a symlink is followed: it is the user's own word. */
static int open_target(struct extract *x, int *out_fd, struct err *err)
{
    const char *path = x->options->target;
    const int flags = O_RDONLY | O_DIRECTORY;

    if (!path && x->options->dry_run)
        return 0;
    if (!path || !*path)
        return err_set(err, ERR_USAGE, "no target directory was given");
    int r = io_openat(AT_FDCWD, path, flags, 0, out_fd, err);
    if (r != -ERR_NOT_FOUND)
        return r < 0 ? err_context(err, "target") : 0;
    if (x->options->dry_run)
        return 0;
    r = make_target(x, path, err);
    return r < 0 ? r : io_openat(AT_FDCWD, path, flags, 0, out_fd, err);
}

static int add_patterns(const char *const *texts, size_t count, struct patterns **out,
                        struct err *err)
{
    int r = 0;

    if (count == 0)
        return 0;
    *out = patterns_new();
    if (!*out)
        return err_set(err, ERR_NOMEM, "no memory for patterns");
    for (size_t i = 0; r == 0 && i < count; i++)
        r = patterns_add_option(*out, texts[i], err);
    return r;
}

static int prepare(struct extract *x, struct err *err)
{
    const struct extract_options *options = x->options;

    x->root = geteuid() == 0;
    if (options->path_count == 0 && !options->content_path && options->include_count == 0)
        blocks_read_all(x->blocks);
    x->id_key = keyring_id_key(blocks_repo(x->blocks)->keyring);
    chunker_init(&x->chunker, keyring_gear_key(blocks_repo(x->blocks)->keyring));
    int r = add_patterns(options->includes, options->include_count, &x->include, err);
    if (r == 0)
        r = add_patterns(options->excludes, options->exclude_count, &x->exclude, err);
    if (r == 0)
        r = spillmap_new("/var/tmp", &x->made, err);
    if (r == 0)
        r = links_new(&x->links, err);
    if (r == 0)
        r = jobs_make(x, err);
    if (r == 0 && options->progress) {
        uint64_t files, bytes;
        jobs_total(x, &files, &bytes);
        atomic_store(&options->progress->files_total, files);
        atomic_store(&options->progress->bytes_total, bytes);
    }
    return r;
}

static void set_phase(struct extract *x, const char *phase)
{
    if (x->options->progress)
        atomic_store(&x->options->progress->phase, phase);
}

static bool went_well(struct extract *x)
{
    return x->result.failed == 0 && x->result.damaged == 0 && x->result.unread == 0 &&
           !extract_stopped(x);
}

static int delete_all(struct extract *x, int target, struct err *err)
{
    if (!x->options->delete_extra)
        return 0;
    if (!went_well(x)) {
        extract_remark(x, REMARK_DELETE, "nothing was deleted, since not all could be restored");
        return 0;
    }
    set_phase(x, "deleting");
    return extract_pass(x, PASS_DELETE, target, err);
}

static int write_all(struct extract *x, int target, struct err *err)
{
    set_phase(x, "restoring");
    int r = marker_begin(x, target, err);
    if (r == 0)
        r = extract_pass(x, PASS_WRITE, target, err);
    if (r == 0)
        r = delete_all(x, target, err);
    if (r == 0 && !extract_stopped(x)) {
        set_phase(x, "syncing");
        r = sync_all(x, target, err);
    }
    if (r == 0 && x->options->verify && !extract_stopped(x)) {
        set_phase(x, "verifying");
        r = extract_pass(x, PASS_VERIFY, target, err);
    }
    marker_end(x, target, r == 0 && !extract_stopped(x));
    return r;
}

static int be_ready(struct extract *x, struct err *err)
{
    const struct extract_options *options = x->options;

    return options->ready ? options->ready(options->context, err) : 0;
}

/* Nothing was written: whoever tries again makes it, and gives it what it is to have. */
static void take_target_back(const struct extract *x)
{
    if (x->target_made)
        (void)rmdir(x->options->target);
}

static int run(struct extract *x, struct err *err)
{
    CLEANUP(closep) int target = -1;

    int r = prepare(x, err);
    if (r == 0)
        r = open_target(x, &target, err);
    if (r < 0)
        return r;
    if (x->options->dry_run) {
        r = room_count(x, target, err);
        if (r == 0)
            r = be_ready(x, err);
        return r < 0 || target < 0 ? r : delete_all(x, target, err);
    }
    r = room_check(x, target, err);
    if (r == 0)
        r = be_ready(x, err);
    if (r < 0)
        take_target_back(x);
    return r < 0 ? r : write_all(x, target, err);
}

/* What it all comes to. */
static int conclude(struct extract *x, int r, struct err *err)
{
    unsigned long long failed = x->result.failed, damaged = x->result.damaged;
    unsigned long long unread = x->result.unread;

    if (progress_cancelled(x->options->progress))
        return err_set(err, ERR_CANCELLED, "interrupted; the same command goes on from here");
    if (r < 0)
        return r;
    if (atomic_load(&x->stop) == -ERR_COLD)
        return err_set(err, ERR_COLD,
                       "what is to be restored is in cold storage, and the rest was not tried");
    if (atomic_load(&x->stop) == -ERR_REMOTE)
        return err_set(err, ERR_REMOTE,
                       "the storage could not be reached, and the rest was not tried%s: %.150s",
                       damaged > 0 ? "; something before is damaged" : "", x->away.text);
    if (damaged > 0)
        return err_set(err, ERR_CORRUPT,
                       "%llu are damaged in the repository, %llu were not given by it, %llu could "
                       "not be written",
                       damaged, unread, failed);
    if (unread > 0)
        return err_set(err, ERR_REMOTE,
                       "%llu were not given by the storage, %llu could not be written", unread,
                       failed);
    if (failed > 0)
        return err_set(err, ERR_SYSTEM, "%llu could not be restored%s", failed,
                       atomic_load(&x->stop) ? ", and the rest was not tried" : "");
    return 0;
}

static void clear(struct extract *x)
{
    jobs_clear(x);
    links_free(x->links);
    spillmap_free(x->made);
    patterns_free(x->include);
    patterns_free(x->exclude);
    pthread_mutex_destroy(&x->talk);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

int extract_run(struct blocks *blocks, const struct selection *selection,
                const struct extract_options *options, struct extract_result *out, struct err *err)
{
    struct extract *x = calloc(1, sizeof(*x));

    if (!x)
        return err_set(err, ERR_NOMEM, "no memory for a restore");
    x->blocks = blocks;
    x->selection = selection;
    x->options = options;
    x->marker = -1;
    pthread_mutex_init(&x->talk, NULL);
    pthread_mutex_init(&x->lock, NULL);
    int r = conclude(x, run(x, err), err);
    *out = x->result;
    clear(x);
    return r;
}
