/*
 * meter — shows how far long work has come, and lets a signal stop it.
 *
 * On a terminal a line at the bottom of the screen (bytes, files, rate, time left), elsewhere one
 * line a minute; SIGUSR1 prints one at once.  The first SIGINT or SIGTERM asks the work to stop,
 * the second ends the process.
 *
 * Ownership: one at a time for a process, since signals are; meter_stop() ends it.
 * Threads:   its own draws; start it after the process has taken its final shape.
 */
#pragma once

#include <stdbool.h>

struct err;
struct progress;

int meter_start(struct progress *progress, bool quiet, struct err *err);
void meter_stop(void);
