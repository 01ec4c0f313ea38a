#include "backup/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"

enum {
    TEXT_MAX = 2048,
    LINE_MAX_BYTES = 4 * TEXT_MAX + 16, /* each byte may become four, and there is a prefix */
};

static _Atomic int most_verbose = LEVEL_INFO;

void log_set_level(enum log_level level)
{
    most_verbose = (int)level;
}

enum log_level log_level(void)
{
    return (enum log_level)most_verbose;
}

/* The variable alone is inherited by children whose stderr is something else. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat st;

    if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static const char *prefix(enum log_level level)
{
    static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};

    return stderr_is_journal() ? priorities[level] : names[level];
}

__attribute__((format(printf, 2, 0))) static void write_line(enum log_level level,
                                                             const char *format, va_list args)
{
    char text[TEXT_MAX];
    char line[LINE_MAX_BYTES];
    struct err ignored; /* where would one say that stderr is broken */
    int saved = errno;

    (void)vsnprintf(text, sizeof(text), format, args);
    size_t size = (size_t)snprintf(line, sizeof(line), "%s", prefix(level));
    size += path_printable(text, strlen(text), line + size, sizeof(line) - size);
    line[size++] = '\n';
    (void)io_write_full(STDERR_FILENO, line, size, &ignored);
    errno = saved;
}

#define DEFINE_LOG(name, level)            \
    void name(const char *format, ...)     \
    {                                      \
        va_list args;                      \
                                           \
        if ((int)(level) > most_verbose)   \
            return;                        \
        va_start(args, format);            \
        write_line((level), format, args); \
        va_end(args);                      \
    }

DEFINE_LOG(log_error, LEVEL_ERROR)
DEFINE_LOG(log_warn, LEVEL_WARN)
DEFINE_LOG(log_info, LEVEL_INFO)
DEFINE_LOG(log_debug, LEVEL_DEBUG)
