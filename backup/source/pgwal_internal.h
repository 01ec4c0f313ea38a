/*
 * pgwal_internal — what pgwal.c (pages, where records begin and end) and pgwal_record.c (what is in
 * one) share.
 */
#pragma once

#include "backup/source/pgwal.h"

enum {
    RECORD_HEADER_SIZE = 24,
    RECORD_MAX = 1024 * 1024 * 1024, /* more than any server writes */
};

enum record_kind { RECORD_OTHER, RECORD_MARK, RECORD_SWITCH };

struct record_header {
    uint32_t size, xid, crc;
    uint8_t info, manager;
};

void record_header_read(const uint8_t bytes[RECORD_HEADER_SIZE], struct record_header *out);
/* Whether the rest of it is worth keeping. */
enum record_kind record_kind_of(const struct record_header *header);
/* A whole record.  *out_found: it is a commit or a restore point.  NULL, or what is wrong with it.
 */
const char *record_read(const uint8_t *bytes, size_t size, uint16_t magic, struct pgwal_mark *out,
                        bool *out_found);
