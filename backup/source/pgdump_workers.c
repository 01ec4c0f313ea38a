/* The workers, which copy tables in the leader's snapshot, several at a time. */
#include "backup/base/cleanup.h"
#include "backup/source/pgdump_internal.h"

enum { STATEMENT_MAX = 512 };

/* The next table that nobody has taken. */
static struct dump_table *take_table(struct dump_database *database)
{
    struct dump_table *table = NULL;

    pthread_mutex_lock(&database->lock);
    if (database->failed == 0 && !database->again && database->next < database->table_count) {
        table = &database->tables[database->next++];
        table->state = TABLE_TAKEN;
    }
    pthread_mutex_unlock(&database->lock);
    return table;
}

void pgdump_set_state(struct dump_database *database, struct dump_table *table,
                      enum table_state state)
{
    pthread_mutex_lock(&database->lock);
    table->state = state;
    pthread_cond_broadcast(&database->changed);
    pthread_mutex_unlock(&database->lock);
}

/* Whoever waits for an exclusive lock stands between the leader's lock and this one, or it is
 * called otherwise by now: the leader, which has its lock, copies that table when all others are
 * done. */
static bool lock_table(struct pg_conn *conn, const struct dump_table *table)
{
    CLEANUP(text_clear) struct text sql = {.buf.limit = STATEMENT_MAX};
    struct err why;

    text_format(&sql, "LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT", table->qualified);
    return text_end(&sql, &why) == 0 && pg_run(conn, text_of(&sql), &why) == 0;
}

/* ---- several at one table ---- */

void pgdump_workers_offer(struct copying *copying)
{
    pthread_mutex_lock(&copying->database->lock);
    copying->table->copying = copying;
    copying->table->offered = true;
    pthread_cond_broadcast(&copying->database->changed);
    pthread_mutex_unlock(&copying->database->lock);
}

void pgdump_workers_withdraw(struct copying *copying)
{
    pthread_mutex_lock(&copying->database->lock);
    copying->table->copying = NULL;
    while (copying->helpers > 0)
        pthread_cond_wait(&copying->database->changed, &copying->database->lock);
    pthread_mutex_unlock(&copying->database->lock);
}

/* *out_soon: a table that was just taken may want help. */
static struct copying *find_open(const struct dump_database *database, bool *out_soon)
{
    *out_soon = false;
    for (size_t i = 0; i < database->table_count; i++) {
        const struct dump_table *table = &database->tables[i];
        if (table->copying && !table->copying->stopped && table->copying->next < table->ranges)
            return table->copying;
        *out_soon |= table->state == TABLE_TAKEN && table->ranges > 1 && !table->offered;
    }
    return NULL;
}

struct copying *pgdump_workers_help(struct dump_database *database)
{
    struct copying *copying;
    bool soon;

    pthread_mutex_lock(&database->lock);
    while (!(copying = find_open(database, &soon)) && soon)
        pthread_cond_wait(&database->changed, &database->lock);
    if (copying)
        copying->helpers++;
    pthread_mutex_unlock(&database->lock);
    return copying;
}

void pgdump_workers_left(struct copying *copying)
{
    struct dump_database *database = copying->database;

    pthread_mutex_lock(&database->lock);
    copying->helpers--;
    pthread_cond_broadcast(&database->changed);
    pthread_mutex_unlock(&database->lock);
}

/* Who cannot lock a table that is read already, or has failed with one, ends. */
static void help(struct dump_database *database, struct pg_conn *conn)
{
    struct copying *copying;
    bool well = true;

    while (well && (copying = pgdump_workers_help(database))) {
        well = lock_table(conn, copying->table);
        if (well)
            pgdump_rows(copying, conn);
        well = well && !copying->stopped;
        pgdump_workers_left(copying);
    }
}

void pgdump_fail(struct dump_database *database, const struct err *err)
{
    pthread_mutex_lock(&database->lock);
    if (database->failed == 0)
        database->err = *err;
    database->failed = -(int)err->code;
    pthread_mutex_unlock(&database->lock);
}

/* After an error a transaction is of no use. */
static bool start_over(struct dump_database *database, struct pg_conn *conn)
{
    struct err why;

    return pg_run(conn, "ROLLBACK", &why) == 0 && pgdump_join(conn, database->snapshot, &why) == 0;
}

static void *copy_tables(void *argument)
{
    struct dump_database *database = argument;
    CLEANUP(pg_closep) struct pg_conn *conn = NULL;
    const struct pg_server *server = &database->dump->options->server;
    struct dump_table *table;
    struct err err;

    /* A worker that gets no connection leaves its share to the others. */
    if (pg_connect(server, database->name, PG_PLAIN, &conn, &err) < 0 ||
        pgdump_join(conn, database->snapshot, &err) < 0)
        return NULL;
    while ((table = take_table(database))) {
        bool locked = lock_table(conn, table);
        if (!locked)
            pgdump_set_state(database, table, TABLE_TO_DO);
        else if (pgdump_copy(database, conn, table, true, &err) < 0)
            pgdump_fail(database, &err);
        if ((!locked || table->state != TABLE_DONE) && !start_over(database, conn))
            return NULL;
    }
    help(database, conn);
    return NULL;
}

void pgdump_workers_start(struct dump_database *database, bool settled)
{
    size_t jobs = database->dump->options->jobs, most = 0;

    for (size_t i = 0; i < database->table_count; i++)
        most += database->tables[i].ranges > 1 ? database->tables[i].ranges : 1;
    database->next = 0;
    database->again = false;
    database->settled = settled;
    if (jobs > most)
        jobs = most;
    for (; database->worker_count < jobs && database->worker_count < PGDUMP_JOBS_MAX;
         database->worker_count++)
        if (pthread_create(&database->workers[database->worker_count], NULL, copy_tables,
                           database) != 0)
            break;
}

bool pgdump_workers_settle(struct dump_database *database, bool again)
{
    pthread_mutex_lock(&database->lock);
    database->again = again && database->failed == 0;
    database->settled = true;
    pthread_cond_broadcast(&database->changed);
    pthread_mutex_unlock(&database->lock);
    return database->again;
}

bool pgdump_workers_keep(struct dump_database *database)
{
    pthread_mutex_lock(&database->lock);
    while (!database->settled)
        pthread_cond_wait(&database->changed, &database->lock);
    pthread_mutex_unlock(&database->lock);
    return !database->again;
}

void pgdump_workers_end(struct dump_database *database)
{
    while (database->worker_count > 0)
        pthread_join(database->workers[--database->worker_count], NULL);
}
