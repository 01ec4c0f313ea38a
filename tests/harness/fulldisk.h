/*
 * fulldisk — a disk that is full after so many writes into the repository.
 *
 * Stands before store_put_write(): a test that includes this is linked with --wrap of it.
 */
#pragma once

#include <stdatomic.h>

#include "backup/base/err.h"
#include "backup/store/store.h"

static atomic_int writes_left = INT32_MAX;

int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);
int __real_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err);

int __wrap_store_put_write(struct store_put *put, uint64_t offset, const void *bytes, size_t count,
                           struct err *err)
{
    if (atomic_fetch_sub(&writes_left, 1) <= 0)
        return err_set(err, ERR_SYSTEM, "the disk is full");
    return __real_store_put_write(put, offset, bytes, count, err);
}
