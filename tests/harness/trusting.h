/*
 * trusting — a baseline that knows no chunk, and trusts what is there: what is unchanged is
 * referred to, everything else is stored.
 */
#pragma once

#include "backup/job/baseline.h"

static inline bool find_nothing(struct baseline *baseline, const uint8_t id[32], uint32_t length,
                                struct place *out)
{
    (void)baseline;
    (void)id;
    (void)length;
    (void)out;
    return false;
}

static inline bool always_usable(struct baseline *baseline, uint32_t archive)
{
    (void)baseline;
    (void)archive;
    return true;
}

static inline int take_nothing_in(struct baseline *baseline, const struct writer_result *archive,
                                  const void *index, size_t size, struct err *err)
{
    (void)baseline;
    (void)archive;
    (void)index;
    (void)size;
    (void)err;
    return 0;
}

static const struct baseline_ops trusting = {
    .find_chunk = find_nothing, .archive_usable = always_usable, .add_archive = take_nothing_in};
static struct baseline baseline = {&trusting};
