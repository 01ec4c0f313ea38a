/* Files on their way to the workers and back: what they found, or why they could not. */
#include "backup/base/cleanup.h"
#include "backup/base/progress.h"
#include "backup/job/fileread.h"
#include "backup/job/ingest_internal.h"
#include "backup/job/units.h"
#include "backup/source/srcdir.h"

void ingest_hold(struct ingest *ingest, struct frame *frame)
{
    ingest->held += frame->held++ == 0;
}

void ingest_unhold(struct ingest *ingest, struct frame *frame)
{
    ingest->held -= --frame->held == 0;
}

int ingest_submit(struct ingest *ingest, struct slot *slot, struct srcdir *dir, struct err *err)
{
    struct fileread *file = fileread_new(dir, slot->name, slot->entry.size, slot);

    if (!file)
        return err_set(err, ERR_NOMEM, "no memory for a file");
    ingest_hold(ingest, slot->frame);
    ingest->options.result->files_read++;
    return units_submit(ingest->options.units, file, err);
}

/* Extents of a file that is not done: with them its list need not be in memory as a whole. */
static int take_portion(struct ingest *ingest, struct slot *slot, struct fileread *portion,
                        struct err *err)
{
    int r = 0;

    if (ingest->options.treewriter && !slot->content)
        r = contentwriter_new(ingest->options.treewriter, &slot->content, err);
    for (size_t i = 0; r == 0 && slot->content && i < portion->extent_count; i++)
        r = contentwriter_add(slot->content, &portion->extents[i], err);
    fileread_free(portion);
    return r;
}

static int take_failed(struct ingest *ingest, struct slot *slot, struct fileread *file,
                       struct err *err)
{
    ingest_trouble(ingest, slot->frame, slot->name, &file->err);
    fileread_free(file);
    slot->dropped = true;
    return slot->group ? ingest_link_pass_on(ingest, slot, err) : 0;
}

static int take_read(struct ingest *ingest, struct slot *slot, struct fileread *file,
                     struct err *err)
{
    bool member = ingest_link_is_member(slot, file);

    slot->file = file;
    if (file->bare)
        ingest_trouble(ingest, slot->frame, slot->name, &file->err);
    if (file->changed)
        ingest->options.result->changed++;
    int r = ingest_set_content(ingest, slot, file, err);
    fileread_detach(file);
    /* How many names it has says nothing while they come and go: it is shared when others wait for
     * it or may still come. */
    slot->entry.shared = member;
    if (!member || slot->entry.links == 0)
        slot->entry.links = 1;
    if (r < 0 || !slot->group)
        return r;
    return member ? ingest_link_settle(ingest, slot, err) : ingest_link_pass_on(ingest, slot, err);
}

/* A file is done, well or not; or a portion of its extents. */
static int take_done(struct ingest *ingest, struct fileread *file, struct err *err)
{
    struct slot *slot = file->owner;

    if (file->more)
        return take_portion(ingest, slot, file, err);
    ingest_unhold(ingest, slot->frame);
    int r =
        file->failed ? take_failed(ingest, slot, file, err) : take_read(ingest, slot, file, err);
    slot->ready = true;
    return r < 0 ? r : ingest_advance(ingest, slot->frame, err);
}

/* Whether the run is over: what comes back from the workers then says nothing about the source. */
static int is_over(struct ingest *ingest, struct err *err)
{
    int r = units_error(ingest->options.units, err);

    if (r == 0 && progress_cancelled(ingest->options.backup->progress))
        r = err_set(err, ERR_CANCELLED, "interrupted");
    return r;
}

/* Takes what the workers have done; waits for them while they, or too many entries, are behind. */
int ingest_drain(struct ingest *ingest, bool all, struct err *err)
{
    struct units *units = ingest->options.units;

    for (;;) {
        bool wait = all || ingest->waiting > WAITING_MAX || ingest->held > ingest->held_max ||
                    units_busy(units);
        int r = is_over(ingest, err);
        if (r == 0 && wait)
            r = units_flush(units, err);
        if (r < 0)
            return r;
        struct fileread *file = units_done(units, wait);
        r = is_over(ingest, err);
        if (r < 0)
            fileread_free(file);
        else if (file)
            r = take_done(ingest, file, err);
        if (r < 0 || !file)
            return r;
    }
}
