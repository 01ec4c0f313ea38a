/*
 * report — how a command's end is told: to people as two lines, to programs as JSON, and as the
 * exit status.
 *
 * Threads: one.
 */
#pragma once

struct app;
struct err;

/* Prints "yester: what: why" and a hint with the next step; with --json also one object on stdout.
 * Returns the exit status. */
int report_error(struct app *app, const struct err *err);
