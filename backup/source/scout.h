/*
 * scout — has the kernel read directories that the walk will come to, while the walk is elsewhere.
 *
 * A walk over a cold disk waits for one block after the other.  A scout opens a directory ahead of
 * it and asks for the attributes of all that is in there: the walk then finds what it needs in the
 * kernel's caches, or takes what the scout saw (findings.h).  Where nothing is waited for (a warm
 * cache), scouting would only cost: so it goes on only for as long as somebody has lately had to
 * wait.
 *
 * It changes nothing and tells nothing: what it cannot open the walk will report.  It never looks
 * into another file system, and so never has one mounted.
 *
 * Ownership: a directory that is handed over is kept open until it was looked at, or given up.
 * Threads:   one calls; the work is done by a few of its own, started when they are first needed.
 * Errors:    none: without memory nobody scouts.
 */
#pragma once

#include <stdbool.h>

struct findings;
struct scout;
struct srcdir;

enum { SCOUT_AHEAD = 16 }; /* directories that are worth handing over before they are reached */

struct scout *scout_new(void);        /* NULL: no memory */
void scout_free(struct scout *scout); /* NULL is allowed */

/* How often the calling thread has waited so far, for scout_waited(). */
long scout_waits(void);
/* The walk has read a directory, and before that it had waited so often. */
void scout_waited(struct scout *scout, long waits_before);
/* Whether looking ahead pays at the moment. */
bool scout_pays(const struct scout *scout);
/* Directory `name` of `dir` will be read soon. */
void scout_send(struct scout *scout, struct srcdir *dir, const char *name);
/* The walk is in this directory now: who has not set out for it stays. */
void scout_reached(struct scout *scout, const struct srcdir *dir);
/* What a scout saw in this directory, which is then the caller's; NULL: none was there, or is
 * through with it. */
struct findings *scout_findings(struct scout *scout, const struct srcdir *dir);
