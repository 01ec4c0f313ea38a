/* One record of the log: only what is the same in all servers from 13 to 18, or told apart here. */
#include <string.h>

#include "backup/base/bytes.h"
#include "backup/base/crc32c.h"
#include "backup/source/pgwal_internal.h"

/* Resource managers and their kinds of records. */
enum {
    MANAGER_XLOG = 0,
    MANAGER_XACT = 1,
    XLOG_KIND = 0xF0,
    XLOG_SWITCH = 0x40,
    XLOG_RESTORE_POINT = 0x70,
    XACT_KIND = 0x70,
    XACT_COMMIT = 0x00,
    XACT_COMMIT_PREPARED = 0x30,
    XACT_HAS_INFO = 0x80,
};

/* What a commit has behind its time, by bits of its xinfo. */
enum {
    HAS_DBINFO = 1 << 0,
    HAS_SUBXACTS = 1 << 1,
    HAS_RELFILES = 1 << 2,
    HAS_INVALIDATIONS = 1 << 3,
    HAS_TWOPHASE = 1 << 4,
    HAS_DROPPED_STATS = 1 << 8, /* from 15 on */
};

enum {
    BLOCK_ID_LAST = 32,
    ID_ORIGIN = 253,
    ID_LONG = 254,
    ID_SHORT = 255,
    ID_TOPLEVEL_XID = 252,
    CRC_AT = 20,
};

#define EPOCH_2000_US INT64_C(946684800000000)
#define TIME_LIMIT_US INT64_C(9000000000000000) /* in nanoseconds an int64_t */

void record_header_read(const uint8_t bytes[RECORD_HEADER_SIZE], struct record_header *out)
{
    out->size = load_le32(bytes);
    out->xid = load_le32(bytes + 4);
    out->info = bytes[16];
    out->manager = bytes[17];
    out->crc = load_le32(bytes + CRC_AT);
}

enum record_kind record_kind_of(const struct record_header *header)
{
    uint8_t xact = header->info & XACT_KIND, xlog = header->info & XLOG_KIND;

    if (header->manager == MANAGER_XACT)
        return xact == XACT_COMMIT || xact == XACT_COMMIT_PREPARED ? RECORD_MARK : RECORD_OTHER;
    if (header->manager == MANAGER_XLOG && xlog == XLOG_RESTORE_POINT)
        return RECORD_MARK;
    return header->manager == MANAGER_XLOG && xlog == XLOG_SWITCH ? RECORD_SWITCH : RECORD_OTHER;
}

/* The main data; records with blocks have none that we look at. */
static bool find_main(struct cursor *in, struct cursor *out)
{
    while (cursor_left(in) > 0 && !in->failed) {
        uint8_t id = read_u8(in);

        if (id == ID_ORIGIN)
            (void)read_u16(in);
        else if (id == ID_TOPLEVEL_XID)
            (void)read_u32(in);
        else if (id == ID_SHORT || id == ID_LONG) {
            size_t size = id == ID_SHORT ? read_u8(in) : read_u32(in);
            const uint8_t *bytes = read_bytes(in, size);
            *out = cursor_of(bytes, bytes ? size : 0);
            return bytes != NULL && cursor_left(in) == 0;
        } else
            return false;
    }
    return false;
}

static void skip_list(struct cursor *in, size_t element)
{
    uint64_t count = read_u32(in);

    in->failed = in->failed || count > cursor_left(in) / element;
    (void)read_bytes(in, in->failed ? 0 : (size_t)count * element);
}

/* The xid of the transaction that was prepared, which the record's header does not have. */
static uint32_t prepared_xid(struct cursor *in, bool has_info, uint16_t magic)
{
    uint32_t info = has_info ? read_u32(in) : 0;

    if (info & HAS_DBINFO)
        (void)read_bytes(in, 8);
    if (info & HAS_SUBXACTS)
        skip_list(in, 4);
    if (info & HAS_RELFILES)
        skip_list(in, 12);
    if (info & HAS_DROPPED_STATS && pgwal_version(magic) >= 15)
        skip_list(in, pgwal_version(magic) >= 18 ? 16 : 12);
    if (info & HAS_INVALIDATIONS)
        skip_list(in, 16);
    return info & HAS_TWOPHASE ? read_u32(in) : 0;
}

static bool read_time(struct cursor *in, int64_t *out)
{
    int64_t time = (int64_t)read_u64(in);

    if (in->failed || time > TIME_LIMIT_US - EPOCH_2000_US || time < -TIME_LIMIT_US)
        return false;
    *out = time + EPOCH_2000_US;
    return true;
}

static bool read_commit(const struct record_header *header, struct cursor *in, uint16_t magic,
                        struct pgwal_mark *out)
{
    out->kind = PGWAL_COMMIT;
    out->xid = header->xid;
    if (!read_time(in, &out->time_us))
        return false;
    if ((header->info & XACT_KIND) == XACT_COMMIT_PREPARED)
        out->xid = prepared_xid(in, (header->info & XACT_HAS_INFO) != 0, magic);
    return !in->failed;
}

static bool read_restore_point(struct cursor *in, struct pgwal_mark *out)
{
    out->kind = PGWAL_RESTORE_POINT;
    if (!read_time(in, &out->time_us))
        return false;
    const uint8_t *name = read_bytes(in, PGWAL_NAME_SIZE);
    if (!name || name[0] == '\0' || !memchr(name, 0, PGWAL_NAME_SIZE))
        return false;
    memcpy(out->name, name, PGWAL_NAME_SIZE);
    return true;
}

static uint32_t checksum(const uint8_t *bytes, size_t size)
{
    uint32_t crc = crc32c(0, bytes + RECORD_HEADER_SIZE, size - RECORD_HEADER_SIZE);

    return crc32c(crc, bytes, CRC_AT);
}

const char *record_read(const uint8_t *bytes, size_t size, uint16_t magic, struct pgwal_mark *out,
                        bool *out_found)
{
    struct cursor in = cursor_of(bytes + RECORD_HEADER_SIZE, size - RECORD_HEADER_SIZE), main;
    struct record_header header;

    *out_found = false;
    record_header_read(bytes, &header);
    if (checksum(bytes, size) != header.crc)
        return "a record's checksum is wrong";
    if (!find_main(&in, &main))
        return "a record that cannot be";
    *out_found = header.manager == MANAGER_XACT ? read_commit(&header, &main, magic, out)
                                                : read_restore_point(&main, out);
    return *out_found ? NULL : "a commit or restore point that cannot be";
}
