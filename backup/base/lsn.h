/*
 * lsn — a position in PostgreSQL's log, as a number and as people write it: "16/B374D848".
 *
 * Threads: any.
 * Errors:  none; what is no position is false.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { LSN_TEXT_SIZE = 18 };

/* Two hexadecimal numbers of at most eight digits each, and nothing behind them. */
bool lsn_parse(const char *text, uint64_t *out);
void lsn_format(uint64_t lsn, char out[LSN_TEXT_SIZE]);
