#include "tools/console.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/base/path.h"

enum { TEXT_MAX = 8192, WIDTH_DEFAULT = 80 };

#define ERASE_LINE "\r\033[K"

/* stderr is one for the whole process, and so is what stands on its last line. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char status[256];

static void write_out(const char *bytes, size_t size)
{
    struct err ignored; /* where would one say that stderr is broken */

    (void)io_write_full(STDERR_FILENO, bytes, size, &ignored);
}

__attribute__((format(printf, 2, 0))) static void print(const char *prefix, const char *format,
                                                        va_list args)
{
    char text[TEXT_MAX];
    char line[4 * TEXT_MAX + 64];
    size_t used = 0;

    (void)vsnprintf(text, sizeof(text), format, args);
    pthread_mutex_lock(&lock);
    used = (size_t)snprintf(line, 64, "%s%s", status[0] ? ERASE_LINE : "", prefix);
    used += path_printable(text, strlen(text), line + used, sizeof(line) - used - 1);
    line[used++] = '\n';
    write_out(line, used);
    write_out(status, strlen(status));
    pthread_mutex_unlock(&lock);
}

void console_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print(CONSOLE_SAYS, format, args);
    va_end(args);
}

void console_line(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("", format, args);
    va_end(args);
}

bool console_is_terminal(void)
{
    const char *kind = getenv("TERM");

    return isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0;
}

bool console_has_colour(int fd)
{
    const char *unwanted = getenv("NO_COLOR");
    const char *kind = getenv("TERM");

    return isatty(fd) && kind && strcmp(kind, "dumb") != 0 && !(unwanted && unwanted[0]);
}

static size_t width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
        return WIDTH_DEFAULT;
    return size.ws_col;
}

void console_status(const char *text)
{
    pthread_mutex_lock(&lock);
    if (text || status[0])
        write_out(ERASE_LINE, strlen(ERASE_LINE));
    (void)snprintf(status, sizeof(status), "%s", text ? text : "");
    if (width() - 1 < sizeof(status))
        status[width() - 1] = '\0';
    write_out(status, strlen(status));
    pthread_mutex_unlock(&lock);
}
