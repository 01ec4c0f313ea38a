/*
 * root_internal — what root.c (objects) and root_encode.c, root_decode.c (bytes) share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROOT_SIZE_MAX = 16 * 1024 * 1024,
    ROOT_ARCHIVES_MAX = 1 << 20,
    ROOT_STRINGS_MAX = 1 << 16, /* tags, sources, exclusions, extensions: of each */
    ROOT_STRING_SIZE_MAX = 64 * 1024,
    ROOT_DOCUMENT_VERSION = 1,
};

enum { ROOT_COMPLETE = 1, ROOT_ADHOC = 2, TYPE_COMPLETE = 1 };

/* YYYYMMDD_HHMMSS. */
bool root_name_valid(const char *name, size_t size);
