#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "backup/base/io.h"
#include "backup/base/progress.h"
#include "backup/job/units_internal.h"

struct scan scan_start(struct fileread *file)
{
    return (struct scan){.file = file, .cutting = {.file = file}};
}

/* Standard input may have nothing to say for as long as it likes: whoever wants to stop need not
 * wait for it. */
static int read_stream(struct worker *worker, int fd, uint8_t *out, size_t count, size_t *out_got,
                       struct err *err)
{
    enum { LOOK_UP_MS = 250 };
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t got = 0;

    while (got < count) {
        if (progress_cancelled(worker->units->options.progress))
            return err_set(err, ERR_CANCELLED, "interrupted");
        if (poll(&ready, 1, LOOK_UP_MS) <= 0)
            continue;
        ssize_t n = read(fd, out + got, count - got);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_sys(err, "read");
        got += n > 0 ? (size_t)n : 0;
    }
    *out_got = got;
    return 0;
}

/* Fewer bytes than asked for arrive at the end of the file only. */
static int read_some(struct worker *worker, const struct scan *scan, uint8_t *out, size_t count,
                     size_t *out_got, struct err *err)
{
    const struct fileread *file = scan->file;

    if (!file->dir)
        return read_stream(worker, file->fd, out, count, out_got, err);
    ssize_t got = pread(file->fd, out, count, (off_t)scan->offset);
    if (got == 0 || (got > 0 && (size_t)got == count)) {
        *out_got = (size_t)got; /* the usual case, in one system call */
        return 0;
    }
    return io_pread_full(file->fd, out, count, scan->offset, out_got, err);
}

/* Between regions: takes a hole in, or begins the next region. */
static int begin_region(struct worker *worker, struct scan *scan, struct err *err)
{
    uint64_t end;

    bool data = fileread_region(scan->file, scan->offset, &end);
    if (data) {
        scan->in_region = true;
        scan->cutting.begun = false;
        scan->region_end = end;
        return 0;
    }
    struct piece hole = {.file = scan->file, .kind = PIECE_HOLE, .length = end - scan->offset};
    scan->offset = end;
    scan->at_end = end >= scan->file->st.stx_size;
    return hole.length > 0 ? pieces_add(&worker->pieces, &hole, err) : 0;
}

/* Reads on within the region. */
static int read_region(struct worker *worker, struct scan *scan, uint8_t *buffer, size_t capacity,
                       size_t *fill, struct err *err)
{
    size_t want = capacity - *fill, got = 0;

    if (want > scan->region_end - scan->offset)
        want = (size_t)(scan->region_end - scan->offset);
    if (scan->ready > 0 && scan->ready == want)
        got = want;
    else if (read_some(worker, scan, buffer + *fill, want, &got, err) < 0)
        return -(int)err->code;
    scan->ready = 0;
    *fill += got;
    scan->offset += got;
    scan->at_end = got < want;
    return 0;
}

/* Whether more of the region is to come.  Where data follows data at once, it is the same region.
 */
static bool region_goes_on(struct scan *scan)
{
    if (scan->at_end || scan->offset < scan->region_end)
        return !scan->at_end;
    scan->at_end = scan->offset >= scan->file->st.stx_size;
    return !scan->at_end && fileread_region(scan->file, scan->offset, &scan->region_end);
}

int scan_fill(struct worker *worker, struct scan *scan, uint8_t *buffer, size_t capacity,
              size_t *fill, size_t *cut, struct err *err)
{
    struct err trouble;
    int r = 0;

    while (r == 0 && !scan->at_end && *fill < capacity) {
        if (!scan->in_region) {
            r = begin_region(worker, scan, err);
            continue;
        }
        if (read_region(worker, scan, buffer, capacity, fill, &trouble) < 0) {
            fileread_fail(scan->file, &trouble);
            scan->at_end = true;
            break;
        }
        scan->in_region = region_goes_on(scan);
        r = pieces_cut(&worker->pieces, &worker->units->chunker, &scan->cutting, buffer, *fill,
                       !scan->in_region, cut, err);
    }
    return r;
}
