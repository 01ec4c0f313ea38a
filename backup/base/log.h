/*
 * log — one line a message, to stderr or through it to the journal.
 *
 * A line starts with its level ("error: "), or with the journal's priority ("<3>") when stderr is
 * the stream that $JOURNAL_STREAM names.  Whatever the arguments held (names of files, answers
 * of servers), control characters come out as \ooo, so no line can pass for another one.
 * Long messages are cut off.  Libraries log at debug only; no message holds a secret.
 *
 * Threads: any; each line is one write(2).
 */
#pragma once

enum log_level {
    LEVEL_ERROR,
    LEVEL_WARN,
    LEVEL_INFO,
    LEVEL_DEBUG,
};

/* Messages of a higher level than this are dropped; LEVEL_INFO at first. */
void log_set_level(enum log_level level);
enum log_level log_level(void);

__attribute__((format(printf, 1, 2))) void log_error(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_warn(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_info(const char *format, ...);
__attribute__((format(printf, 1, 2))) void log_debug(const char *format, ...);
