/* cmd_key_export — a key as a recovery sheet. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/archive/repo.h"
#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/io.h"
#include "backup/base/memory.h"
#include "backup/base/path.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/keys.h"
#include "tools/output.h"
#include "tools/session.h"
#include "tools/sheet.h"

static const struct option_spec options[] = {
    {"new", 0, NULL, "let a new random key in, and export that one"},
    {"label", 0, "TEXT", "with --new: what `yester key list` calls it"},
    {"format", 0, "FORMAT", "text, html or svg (default: text)"},
    {"output", 'o', "FILE", "write to this new file, that only its owner reads"},
    OPTION_DRY_RUN,
    {0},
};

/* Where the sheet goes; a file is there before anything is changed, and goes away again unless
 * `done`. */
struct target {
    const char *name; /* NULL: stdout */
    int fd;
    bool done;
};

static void target_close(struct target *target)
{
    if (!target->name || target->fd < 0)
        return;
    io_close(target->fd);
    if (!target->done)
        (void)unlink(target->name);
}

static int target_open(struct app *app, struct target *target, struct err *err)
{
    target->name = app_text(app, "output");
    if (!target->name) {
        target->fd = STDOUT_FILENO;
        return 0;
    }
    int r = io_openat(AT_FDCWD, target->name, O_WRONLY | O_CREAT | O_EXCL, 0600, &target->fd, err);
    if (r == -ERR_EXISTS)
        app_hint(app, "nothing is overwritten; name a file that is not there");
    return r;
}

static int target_write(struct target *target, const char *bytes, size_t size, struct err *err)
{
    int r = io_write_full(target->fd, bytes, size, err);

    if (r == 0 && target->name)
        r = io_fsync(target->fd, target->name, err);
    target->done = r == 0;
    return r < 0 ? err_context(err, "%.150s", target->name ? target->name : "stdout") : 0;
}

static int parse_format(struct app *app, enum sheet_format *out, struct err *err)
{
    const char *text = app_text(app, "format");

    if (app->json && (text || app_text(app, "output")))
        return err_set(err, ERR_USAGE, "--json is a format of its own, and goes to stdout");
    if (!text || strcmp(text, "text") == 0)
        *out = !app_text(app, "output") && console_has_colour(STDOUT_FILENO) ? SHEET_TERMINAL
                                                                             : SHEET_TEXT;
    else if (strcmp(text, "html") == 0)
        *out = SHEET_HTML;
    else if (strcmp(text, "svg") == 0)
        *out = SHEET_SVG;
    else
        return err_set(err, ERR_USAGE, "--format is text, html or svg, not \"%.40s\"", text);
    return 0;
}

/* The one command that shows a secret. */
static void print_json(const struct sheet *sheet)
{
    struct json_object *object = json_object_new_object();
    char repo[2 * REPO_ID_SIZE + 1], slot[2 * SLOT_ID_SIZE + 1], key[SECRET_TEXT_SIZE];

    hex_encode(sheet->repo_id, REPO_ID_SIZE, repo);
    hex_encode(sheet->slot->id, SLOT_ID_SIZE, slot);
    secret_text(sheet->secret, key);
    json_object_object_add(object, "repository",
                           output_json_text(sheet->location, strlen(sheet->location)));
    json_object_object_add(object, "repository_id", json_object_new_string(repo));
    json_object_object_add(object, "id", json_object_new_string(slot));
    json_object_object_add(object, "label",
                           output_json_text(sheet->slot->label, strlen(sheet->slot->label)));
    json_object_object_add(object, "key", json_object_new_string(key));
    OPENSSL_cleanse(key, sizeof(key));
    output_json(object);
}

static int put_out(struct app *app, const struct sheet *sheet, enum sheet_format format,
                   struct target *target, struct err *err)
{
    CLEANUP(secure_freep) char *page = NULL;
    size_t size;

    if (app->json) {
        print_json(sheet);
        return 0;
    }
    int r = sheet_render(sheet, format, &page, &size, err);
    if (r == 0)
        r = target_write(target, page, size, err);
    if (r == 0 && target->name && !app->quiet)
        console_line("%s: print it, and delete it", target->name);
    return r;
}

/* --new: a slot of its own, whose secret is nowhere but on the sheet. */
static int let_new_in(struct app *app, struct repo *repo, struct secret *secret,
                      struct slot_info *slot, struct err *err)
{
    CLEANUP(keyring_freep) struct keyring *opened = NULL;
    const char *label = app_text(app, "label");
    int r;

    secret_clear(secret);
    r = secret_random(secret, err);
    if (r == 0)
        r = keys_let_in(repo, secret, label ? label : "recovery sheet", &opened, err);
    if (r == 0)
        keyring_slot(opened, keyring_own_slot(opened), slot);
    return r;
}

static int export(struct app *app, struct repo *repo, struct secret *secret,
                  enum sheet_format format, struct err *err)
{
    CLEANUP(target_close) struct target target = {.fd = -1};
    struct clock *clock = clock_system();
    struct slot_info slot;
    struct sheet sheet = {.repo_id = repo->id,
                          .location = repo_location(repo),
                          .slot = &slot,
                          .secret = secret,
                          .now_ns = clock->now_ns(clock)};
    int r = target_open(app, &target, err);

    keyring_slot(repo->keyring, keyring_own_slot(repo->keyring), &slot);
    if (r == 0 && app_flag(app, "new"))
        r = let_new_in(app, repo, secret, &slot, err);
    if (r < 0)
        return r;
    r = put_out(app, &sheet, format, &target, err);
    if (r < 0 && app_flag(app, "new"))
        app_hint(app, "the new key is in `yester key list`; nobody has it, so remove it");
    return r;
}

static int run(struct app *app, struct err *err)
{
    CLEANUP(session_close) struct session session = {.locked = LOCK_SHARED};
    CLEANUP(secret_clear) struct secret secret = {0};
    enum sheet_format format = SHEET_TEXT;
    int r = parse_format(app, &format, err);

    if (r == 0 && app_text(app, "label") && !app_flag(app, "new"))
        r = err_set(err, ERR_USAGE, "--label goes with --new");
    if (r == 0)
        r = session_open_secret(app, &secret, &session, err);
    if (r < 0)
        return r;
    if (secret.kdf != SLOT_KDF_HKDF && !app_flag(app, "new")) {
        app_hint(app, "`yester key export --new` lets a random key in beside it, and prints that");
        return err_set(err, ERR_USAGE, "the key in use is a passphrase, and is not shown");
    }
    if (app_flag(app, "dry-run")) {
        console_say(app_flag(app, "new") ? "would let a new key in, and print it"
                                         : "would print the key in use");
        return 0;
    }
    return export(app, session.repo, &secret, format, err);
}

const struct command command_key_export = {
    .name = "key export",
    .arguments = "",
    .summary = "print a key as a recovery sheet",
    .examples = "  yester key export | lp                       (the key in use)\n"
                "  yester key export --new --format svg -o sheet.svg\n",
    .details = "The sheet has the key as lines to type, with digits that check them, and as a code "
               "to scan;\n`--key-file` takes what was typed or scanned.  A passphrase is never "
               "shown: --new makes a\nkey for the sheet alone, which can be taken out like any "
               "other.\n",
    .options = options,
    .run = run,
};
