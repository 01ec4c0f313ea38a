#include "backup/source/pgwal.h"

#include <stdlib.h>
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/err.h"
#include "backup/source/pgwal_internal.h"

enum {
    SHORT_HEADER = 24,
    LONG_HEADER = 40,
    PAGE_MIN = 1024,
    PAGE_MAX = 64 * 1024,
    /* flags of a page */
    FIRST_IS_CONTINUED = 1,
    LONG = 2,
    FIRST_IS_OVERWRITTEN = 8,
};

struct pgwal {
    pgwal_each_fn *each;
    void *context;
    uint64_t at, segment_size, page_size;
    uint64_t passed_to; /* nothing before it is looked at */
    uint64_t system;
    uint32_t timeline;
    uint16_t magic;
    const char *trouble;
    uint8_t header[LONG_HEADER];
    size_t header_have;
    /* The record that has begun.  Its first bytes, or all that is of interest, are in `record`. */
    uint64_t lsn; /* 0: there is none, or where it began was not seen */
    uint64_t size, have;
    enum record_kind kind;
    uint8_t record[PGWAL_OPEN_MAX];
};

bool pgwal_segment_size_valid(uint64_t size)
{
    return size >= PGWAL_SEGMENT_MIN && size <= PGWAL_SEGMENT_MAX && (size & (size - 1)) == 0;
}

unsigned pgwal_version(uint16_t magic)
{
    static const struct {
        uint16_t magic;
        unsigned version;
    } known[] = {{0xD106, 13}, {0xD10D, 14}, {0xD110, 15},
                 {0xD113, 16}, {0xD116, 17}, {0xD118, 18}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].magic == magic)
            return known[i].version;
    return 0;
}

struct pgwal *pgwal_new(pgwal_each_fn *each, void *context)
{
    struct pgwal *wal = calloc(1, sizeof(*wal));

    if (wal) {
        wal->each = each;
        wal->context = context;
    }
    return wal;
}

void pgwal_free(struct pgwal *wal)
{
    free(wal);
}

void pgwal_freep(struct pgwal **wal)
{
    pgwal_free(*wal);
}

uint64_t pgwal_at(const struct pgwal *wal)
{
    return wal->at;
}

uint16_t pgwal_magic(const struct pgwal *wal)
{
    return wal->magic;
}

uint64_t pgwal_system(const struct pgwal *wal)
{
    return wal->system;
}

uint32_t pgwal_timeline(const struct pgwal *wal)
{
    return wal->timeline;
}

const char *pgwal_trouble(const struct pgwal *wal)
{
    return wal->trouble;
}

static void no_record(struct pgwal *wal)
{
    wal->lsn = 0;
    wal->size = wal->have = 0;
    wal->kind = RECORD_OTHER;
}

static uint64_t segment_end(const struct pgwal *wal, uint64_t lsn)
{
    return (lsn & ~(wal->segment_size - 1)) + wal->segment_size;
}

/* The rest of the segment is passed over: it is not understood, or nothing is in it. */
static void pass_segment(struct pgwal *wal, const char *trouble)
{
    if (trouble)
        wal->trouble = trouble;
    no_record(wal);
    wal->passed_to = segment_end(wal, wal->at - 1);
}

void pgwal_start(struct pgwal *wal, uint64_t lsn, uint64_t segment_size,
                 const struct pgwal_open *open)
{
    no_record(wal);
    wal->at = wal->passed_to = lsn;
    wal->segment_size = segment_size;
    wal->header_have = 0;
    wal->trouble = NULL;
    if (!open || open->lsn == 0 || open->size > sizeof(wal->record))
        return;
    wal->lsn = open->lsn;
    wal->have = open->size;
    wal->kind = RECORD_MARK;
    memcpy(wal->record, open->bytes, open->size);
}

void pgwal_open(const struct pgwal *wal, struct pgwal_open *out)
{
    bool kept = wal->lsn > 0 && wal->have > 0 && wal->have <= sizeof(out->bytes) &&
                (wal->have < RECORD_HEADER_SIZE || wal->kind == RECORD_MARK);

    out->lsn = kept ? wal->lsn : 0;
    out->size = kept ? (size_t)wal->have : 0;
    memcpy(out->bytes, wal->record, out->size);
}

/* ---- records ---- */

static int end_record(struct pgwal *wal, struct err *err)
{
    struct pgwal_mark mark = {.lsn = wal->lsn};
    bool found = false;
    int r = 0;

    if (wal->kind == RECORD_SWITCH) {
        pass_segment(wal, NULL);
        return 0;
    }
    if (wal->kind == RECORD_MARK && wal->lsn > 0) {
        const char *wrong = record_read(wal->record, (size_t)wal->size, wal->magic, &mark, &found);
        if (wrong) {
            pass_segment(wal, wrong);
            return 0;
        }
    }
    if (found)
        r = wal->each(wal->context, &mark, err);
    no_record(wal);
    return r;
}

/* Its header is complete. */
static void look_at_header(struct pgwal *wal)
{
    struct record_header header;

    record_header_read(wal->record, &header);
    wal->size = header.size;
    wal->kind = record_kind_of(&header);
    if (header.size < RECORD_HEADER_SIZE || header.size > RECORD_MAX)
        pass_segment(wal, "a record of a size that cannot be");
    else if (wal->kind == RECORD_MARK && header.size > sizeof(wal->record))
        wal->kind = RECORD_OTHER; /* a commit of very many subtransactions: it is not listed */
}

/* How many bytes more are wanted before the record can be judged again. */
static uint64_t wanted(const struct pgwal *wal)
{
    if (wal->lsn > 0 && wal->have < sizeof(uint32_t))
        return sizeof(uint32_t) - wal->have;
    if (wal->lsn > 0 && wal->have < RECORD_HEADER_SIZE)
        return RECORD_HEADER_SIZE - wal->have;
    return wal->size - wal->have;
}

static int take_record(struct pgwal *wal, const uint8_t *bytes, size_t count, struct err *err)
{
    bool kept = wal->lsn > 0 && (wal->have < RECORD_HEADER_SIZE || wal->kind == RECORD_MARK);

    if (kept)
        memcpy(wal->record + wal->have, bytes, count);
    wal->have += count;
    wal->at += count;
    if (wal->lsn > 0 && wal->have == sizeof(uint32_t) && load_le32(wal->record) == 0)
        pass_segment(wal, NULL); /* the log ends here */
    else if (wal->lsn > 0 && wal->have == RECORD_HEADER_SIZE)
        look_at_header(wal);
    if (wal->size > 0 && wal->have == wal->size)
        return end_record(wal, err);
    return 0;
}

/* ---- pages ---- */

static const char *check_header(struct pgwal *wal, bool is_long)
{
    const uint8_t *header = wal->header;
    uint16_t magic = load_le16(header);
    uint64_t place = wal->at - wal->header_have;

    if (pgwal_version(magic) == 0)
        return "pages of a magic that is not known: no log, or of a newer PostgreSQL";
    if (load_le64(header + 8) != place)
        return "a page that belongs elsewhere";
    if (is_long != ((load_le16(header + 2) & LONG) != 0))
        return "a page header that cannot be";
    if (!is_long)
        return NULL;
    if (load_le32(header + 32) != wal->segment_size)
        return "a segment of another size";
    wal->page_size = load_le32(header + 36);
    if (wal->page_size < PAGE_MIN || wal->page_size > PAGE_MAX ||
        (wal->page_size & (wal->page_size - 1)) != 0)
        return "pages of a size that cannot be";
    return NULL;
}

/* What the page says of a record that goes on from the page before. */
static void join_record(struct pgwal *wal, uint16_t flags, uint64_t left)
{
    bool continued = (flags & FIRST_IS_CONTINUED) != 0;
    bool known = wal->lsn > 0 && wal->have >= sizeof(uint32_t);
    uint64_t size = known ? load_le32(wal->record) : wal->size;

    if (!continued) { /* a server that ended in the middle of a record began anew */
        no_record(wal);
        return;
    }
    if (left == 0 || left > RECORD_MAX) {
        pass_segment(wal, "a record of a size that cannot be");
        return;
    }
    if (wal->have > 0 && wal->have + left == size && !(flags & FIRST_IS_OVERWRITTEN)) {
        if (wal->lsn > 0 && wal->size == 0 && wal->have >= RECORD_HEADER_SIZE)
            look_at_header(wal); /* the one that pgwal_start() was given */
        return;
    }
    no_record(wal);
    wal->size = left;
}

static void end_header(struct pgwal *wal)
{
    bool is_long = wal->header_have == LONG_HEADER;
    const char *wrong = check_header(wal, is_long);

    if (is_long) {
        wal->magic = load_le16(wal->header);
        wal->system = load_le64(wal->header + 24);
        wal->trouble = NULL;
    }
    wal->timeline = load_le32(wal->header + 4);
    wal->header_have = 0;
    if (wrong)
        pass_segment(wal, wrong);
    else
        join_record(wal, load_le16(wal->header + 2), load_le32(wal->header + 16));
}

static size_t least(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

static size_t take_header(struct pgwal *wal, const uint8_t *bytes, size_t count)
{
    bool first = (wal->at - wal->header_have) % wal->segment_size == 0;
    size_t need = first ? LONG_HEADER : SHORT_HEADER;
    size_t part = least(need - wal->header_have, count);

    memcpy(wal->header + wal->header_have, bytes, part);
    wal->header_have += part;
    wal->at += part;
    if (wal->header_have == need)
        end_header(wal);
    return part;
}

/* Within a page, behind its header. */
static int take_body(struct pgwal *wal, const uint8_t *bytes, size_t count, size_t *out_taken,
                     struct err *err)
{
    uint64_t left = wal->page_size - wal->at % wal->page_size;
    size_t part = least(left, count);

    if (wal->have == 0 && wal->size == 0 && wal->at % 8 != 0) { /* records are aligned */
        *out_taken = least(8 - wal->at % 8, part);
        wal->at += *out_taken;
        return 0;
    }
    if (wal->have == 0 && wal->size == 0)
        wal->lsn = wal->at;
    part = least(wanted(wal), part);
    *out_taken = part;
    return take_record(wal, bytes, part, err);
}

static bool at_header(const struct pgwal *wal)
{
    return wal->header_have > 0 || wal->at % wal->segment_size == 0 ||
           wal->at % wal->page_size == 0;
}

int pgwal_push(struct pgwal *wal, const void *bytes, size_t count, struct err *err)
{
    const uint8_t *at = bytes;
    int r = 0;

    while (count > 0 && r == 0) {
        size_t taken;

        if (wal->at < wal->passed_to) {
            taken = least(wal->passed_to - wal->at, count);
            wal->at += taken;
        } else if (at_header(wal))
            taken = take_header(wal, at, count);
        else
            r = take_body(wal, at, count, &taken, err);
        at += taken;
        count -= taken;
    }
    return r;
}
