/*
 * console — lines on stderr for people, and the one at the bottom that changes.
 *
 * Ownership: the terminal is the process's, so this has no object.
 * Threads:   any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_SAYS "yester: " /* begins each line of console_say() */

/* "yester: …" with a newline; control characters come out as \ooo. */
__attribute__((format(printf, 1, 2))) void console_say(const char *format, ...);

/* The same without the program's name in front. */
__attribute__((format(printf, 1, 2))) void console_line(const char *format, ...);

/* Whether stderr is a terminal that a line can be redrawn on. */
bool console_is_terminal(void);
/* Whether colours are wanted on this stream: a terminal, and no NO_COLOR. */
bool console_has_colour(int fd);

/* Draws the changing line, cut to the terminal's width; NULL takes it away. */
void console_status(const char *text);
