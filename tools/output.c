#include "tools/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/path.h"

const char *output_size(uint64_t bytes, char out[OUTPUT_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.5 && unit < 6) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, OUTPUT_SIZE, "%.*f %s", unit > 0 && value < 9.95 ? 1 : 0, value,
                   units[unit]);
    return out;
}

const char *output_duration(int64_t ns, char out[OUTPUT_SIZE])
{
    int64_t seconds = ns > 0 ? ns / NS_PER_SECOND : 0;

    if (seconds < 10)
        (void)snprintf(out, OUTPUT_SIZE, "%.1f s", ns > 0 ? (double)ns / 1e9 : 0.0);
    else if (seconds < 120)
        (void)snprintf(out, OUTPUT_SIZE, "%d s", (int)seconds);
    else if (seconds < 7200)
        (void)snprintf(out, OUTPUT_SIZE, "%d min", (int)(seconds / 60));
    else if (seconds < 172800)
        (void)snprintf(out, OUTPUT_SIZE, "%d h", (int)(seconds / 3600));
    else
        (void)snprintf(out, OUTPUT_SIZE, "%lld d", (long long)(seconds / 86400));
    return out;
}

const char *output_age(int64_t moment_ns, char out[OUTPUT_SIZE])
{
    struct clock *clock = clock_system();

    return output_duration(clock->now_ns(clock) - moment_ns, out);
}

const char *output_count(uint64_t count, const char *noun, char out[OUTPUT_SIZE])
{
    (void)snprintf(out, OUTPUT_SIZE, "%llu %.10s%s", (unsigned long long)count, noun,
                   count == 1 ? "" : "s");
    return out;
}

struct json_object *output_json_text(const char *bytes, size_t size)
{
    size_t room = 4 * size + 1;
    char *text = malloc(room);

    if (!text)
        return NULL;
    size_t length = path_printable(bytes, size, text, room);
    struct json_object *string = json_object_new_string_len(text, (int)length);
    free(text);
    return string;
}

struct json_object *output_json_time(int64_t ns)
{
    char text[CLOCK_TEXT_SIZE];

    clock_format_rfc3339_utc(ns, text);
    return json_object_new_string(text);
}

struct json_object *output_json_number(uint64_t value)
{
    return json_object_new_uint64(value);
}

void output_json(struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);

    if (text)
        puts(text);
    json_object_put(object);
}

int output_finish(struct err *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_sys(err, "cannot write to stdout");
    return 0;
}
