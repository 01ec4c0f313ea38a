/* The next files of a batch, read by one call. */
#include "backup/base/manyreads.h"
#include "backup/job/units_internal.h"

enum { TELLING = 4 }; /* so many that cannot be read say something about all */

/* Whether it has nothing but its bytes: those that the kernel makes up have no size, and holes are
 * found by looking. */
static bool is_plain(const struct fileread *file)
{
    return !file->failed && file->st.stx_size > 0 && file->st.stx_size <= BUFFER_SIZE &&
           file->st.stx_blocks * 512 >= file->st.stx_size;
}

/* Half of all descriptors are in use: the others are for whoever has none. */
static bool are_short(const struct units *units, const struct fileread *file)
{
    return file->fd >= 0 && (size_t)file->fd >= units->descriptors / 2;
}

static bool have_manyreads(struct worker *worker)
{
    struct units *units = worker->units;

    if (!worker->many && !atomic_load_explicit(&units->no_manyreads, memory_order_relaxed)) {
        worker->many = manyreads_new(READ_GROUP);
        if (!worker->many)
            atomic_store_explicit(&units->no_manyreads, true, memory_order_relaxed);
    }
    return worker->many;
}

/* Where not one could be read, as on some network's file system, it is not tried again. */
static void read_all(struct worker *worker, struct manyreads_one *reads, size_t count,
                     struct early *const *whose)
{
    size_t done = 0;

    manyreads_run(worker->many, reads, count);
    for (size_t i = 0; i < count; i++) {
        done += reads[i].done;
        if (!reads[i].done)
            whose[i]->size = 0;
    }
    if (done > 0 || count < TELLING)
        return;
    atomic_store_explicit(&worker->units->no_manyreads, true, memory_order_relaxed);
    manyreads_free(worker->many);
    worker->many = NULL;
}

int early_read(struct worker *worker, struct fileread *files, size_t fill,
               struct early early[READ_GROUP], size_t *out_count, struct err *err)
{
    struct manyreads_one reads[READ_GROUP];
    struct early *whose[READ_GROUP];
    size_t count = 0, wanted = 0;
    bool on = true;

    early[0] = (struct early){.open = false};
    *out_count = 1;
    if (!files->next || !have_manyreads(worker))
        return 0;
    for (struct fileread *file = files; on && file && count < READ_GROUP; file = file->next) {
        int r = fileread_open(file, err);
        if (r < 0)
            return r;
        early[count] = (struct early){.open = true, .at = fill};
        on = !are_short(worker->units, file);
        if (is_plain(file) && file->st.stx_size <= BUFFER_SIZE - fill) {
            uint32_t size = (uint32_t)file->st.stx_size;
            early[count].size = size;
            whose[wanted] = &early[count];
            reads[wanted++] = (struct manyreads_one){
                .fd = file->fd, .bytes = worker->buffer + fill, .size = size};
            fill += size;
        }
        count++;
    }
    *out_count = count;
    if (wanted > 0)
        read_all(worker, reads, wanted, whose);
    return 0;
}
