#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "fs/extract_internal.h"

static bool has_type(const struct selection *selection, enum snapshot_type type)
{
    return selection->types[type] && selection->types[type]->types[type].present;
}

static const struct root_type *other_type(const struct selection *selection,
                                          enum snapshot_type type)
{
    enum snapshot_type other = type == TYPE_FILES ? TYPE_CONFIG : TYPE_FILES;

    if (type == TYPE_DATABASE)
        return NULL;
    /* Not asked for, it is still there. */
    const struct root *root =
        has_type(selection, other) ? selection->types[other] : selection->types[type];
    return root->types[other].present ? &root->types[other] : NULL;
}

static int add_job(struct extract *x, struct view_target *target, struct err *err)
{
    struct job *grown = realloc(x->jobs, (x->job_count + 1) * sizeof(*grown));

    if (!grown) {
        view_target_clear(target);
        return err_set(err, ERR_NOMEM, "no memory for a path");
    }
    x->jobs = grown;
    struct job *job = &x->jobs[x->job_count++];
    *job = (struct job){
        .type = target->type,
        .root = target->root,
        .held = target->held,
        .inside = target->source_path,
        .source_path = target->source_path,
        .prefixed = target->type == TYPE_DATABASE,
        .pair = other_type(x->selection, target->type),
    };
    return 0;
}

static int add_path(struct extract *x, const char *path, struct err *err)
{
    struct view_target target = {0};
    int r = view_resolve(x->blocks, x->selection, path, &target, err);

    if (r < 0)
        return r;
    if (!target.source_path || target.source_path[0] != '/') {
        view_target_clear(&target);
        return err_set(err, ERR_USAGE, "%s is not a path of the source", path);
    }
    return add_job(x, &target, err);
}

static int add_type(struct extract *x, enum snapshot_type type, struct err *err)
{
    struct view_target target = {0};

    if (!has_type(x->selection, type))
        return 0;
    int r = view_type_root(x->selection, type, &target, err);
    return r < 0 ? r : add_job(x, &target, err);
}

/* The type that a path is taken from when both have it: the newer snapshot's, else files, or what
 * comes first. */
static bool config_wins(const struct extract *x)
{
    const struct root *files = x->selection->types[TYPE_FILES];
    const struct root *config = x->selection->types[TYPE_CONFIG];

    if (!files || !config)
        return false;
    return files == config ? x->options->after_config != NULL : config->start_ns > files->start_ns;
}

static int add_types(struct extract *x, struct err *err)
{
    const uint8_t all = 1 << TYPE_FILES | 1 << TYPE_CONFIG | 1 << TYPE_DATABASE;
    uint8_t asked = x->options->types ? x->options->types : all;
    bool wins = config_wins(x), config_first = wins || x->options->after_config;
    const enum snapshot_type order[TYPES] = {config_first ? TYPE_CONFIG : TYPE_FILES,
                                             config_first ? TYPE_FILES : TYPE_CONFIG,
                                             TYPE_DATABASE};

    for (size_t i = 0; i < TYPES; i++) {
        int r = asked & 1 << order[i] ? add_type(x, order[i], err) : 0;
        if (r < 0)
            return r;
    }
    if (x->job_count == 0)
        return err_set(err, ERR_NOT_FOUND, "the snapshot has nothing of the types asked for");
    if (x->job_count > 1 && x->jobs[1].type != TYPE_DATABASE) {
        struct job *loser = &x->jobs[config_first && !wins ? 0 : 1];
        loser->winner = loser->pair;
    }
    return 0;
}

int jobs_make(struct extract *x, struct err *err)
{
    const struct extract_options *options = x->options;
    int r = 0;

    x->display = "/";
    if (options->content_path && strcmp(options->content_path, "/") != 0 &&
        options->content_path[0]) {
        r = add_path(x, options->content_path, err);
        if (r < 0)
            return r;
        struct job *job = &x->jobs[0];
        job->straight = true;
        job->prefixed = false;
        if (job->held.entry.type == ENTRY_DIRECTORY)
            x->display = job->inside;
        return 0;
    }
    for (size_t i = 0; r == 0 && i < options->path_count; i++)
        r = add_path(x, options->paths[i], err);
    return r < 0 || options->path_count > 0 ? r : add_types(x, err);
}

void jobs_clear(struct extract *x)
{
    for (size_t i = 0; i < x->job_count; i++) {
        held_entry_clear(&x->jobs[i].held);
        free(x->jobs[i].source_path);
    }
    free(x->jobs);
    x->jobs = NULL;
    x->job_count = 0;
}

void jobs_total(const struct extract *x, uint64_t *out_files, uint64_t *out_bytes)
{
    *out_files = *out_bytes = 0;
    for (size_t i = 0; i < x->job_count; i++) {
        const struct entry *entry = &x->jobs[i].held.entry;
        const struct root_type *type = &x->jobs[i].root->types[x->jobs[i].type];
        bool whole = strcmp(x->jobs[i].inside, "/") == 0;
        bool directory = entry->type == ENTRY_DIRECTORY;

        *out_files += whole ? type->files + type->others : directory ? entry->below_entries : 1;
        *out_bytes += whole ? type->bytes : directory ? entry->below_bytes : entry->size;
    }
}
