/*
 * output — sizes, times and JSON as people and programs are shown them.
 *
 * Threads: any.
 */
#pragma once

#include <json.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { OUTPUT_SIZE = 24 };

/* "0 B", "999 B", "1.5 KiB", "12 GiB": three digits at most beside the unit. */
const char *output_size(uint64_t bytes, char out[OUTPUT_SIZE]);
/* "5 s", "3 min", "2 h", "4 d" */
const char *output_duration(int64_t ns, char out[OUTPUT_SIZE]);
/* How long ago a moment was. */
const char *output_age(int64_t moment_ns, char out[OUTPUT_SIZE]);
/* A count and its noun: "1 file", "2 files". */
const char *output_count(uint64_t count, const char *noun, char out[OUTPUT_SIZE]);

/* Text that may hold any bytes, as a JSON string; what is no UTF-8 comes as \ooo. */
struct json_object *output_json_text(const char *bytes, size_t size);
struct json_object *output_json_time(int64_t ns);
struct json_object *output_json_number(uint64_t value);
/* One document on one line of stdout; gives the object back to the library. */
void output_json(struct json_object *object);

/* What was printed has arrived: call once, in the end. */
int output_finish(struct err *err);
