/* The AWS credentials and config files: [default], [NAME] or [profile NAME], then key = value. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/store/s3_credentials_internal.h"

enum { FILE_MAX = 1024 * 1024, PATH_SIZE = 4096 };

static bool find_file(const char *variable, const char *name, char out[PATH_SIZE])
{
    const char *named = s3_variable(variable);
    const char *home = s3_variable("HOME");
    int size;

    if (!named && !home)
        return false;
    size = named ? snprintf(out, PATH_SIZE, "%s", named)
                 : snprintf(out, PATH_SIZE, "%s/.aws/%s", home, name);
    return size > 0 && size < PATH_SIZE;
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
    size_t size;

    text += strspn(text, " \t\r");
    for (size = strlen(text); size > 0 && strchr(" \t\r", text[size - 1]); size--)
        text[size - 1] = '\0';
    return text;
}

static bool is_section(char *line, const char *profile)
{
    char *end = strchr(line, ']');
    char *name = trim(line + 1);

    if (!end)
        return false;
    *end = '\0';
    name = trim(name);
    if (strncmp(name, "profile ", 8) == 0)
        name = trim(name + 8);
    return strcmp(name, profile) == 0;
}

/* Goes over the lines, which it cuts up. */
static bool find_value(char *text, const char *profile, const char *key, char *out, size_t size)
{
    bool inside = false;
    bool found = false;
    char *rest;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *at = trim(line);
        char *equals = strchr(at, '=');
        if (*at == '[')
            inside = is_section(at, profile);
        if (!inside || !equals || *at == '#' || *at == ';')
            continue;
        *equals = '\0';
        if (strcmp(trim(at), key) == 0)
            found = s3_copy(out, size, trim(equals + 1));
    }
    return found && out[0];
}

static void wipe(struct buf *text)
{
    if (text->data)
        explicit_bzero(text->data, text->size);
    buf_clear(text);
}

static bool file_value(const char *path, const char *profile, const char *key, char *out,
                       size_t size)
{
    CLEANUP(wipe) struct buf text = {.limit = FILE_MAX + 1};
    struct err ignored;

    if (io_read_file(AT_FDCWD, path, FILE_MAX, &text, &ignored) < 0 ||
        buf_append(&text, "", 1, &ignored) < 0)
        return false;
    return find_value((char *)text.data, profile, key, out, size);
}

static const char *profile_name(const char *profile)
{
    const char *named = profile ? profile : s3_variable("AWS_PROFILE");

    return named ? named : "default";
}

bool s3_profile_setting(const char *profile, const char *key, char *out, size_t size)
{
    static const struct {
        const char *variable, *name;
    } files[] = {{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}, {"AWS_CONFIG_FILE", "config"}};
    char path[PATH_SIZE];

    for (size_t i = 0; i < 2; i++)
        if (find_file(files[i].variable, files[i].name, path) &&
            file_value(path, profile_name(profile), key, out, size))
            return true;
    return false;
}

int s3_keys_from_profile(const struct s3_sources *sources, struct s3_keys *out, struct err *err)
{
    const char *profile = sources->profile;
    bool named = profile || s3_variable("AWS_PROFILE");

    if (s3_profile_setting(profile, "aws_access_key_id", out->id, sizeof(out->id)) &&
        s3_profile_setting(profile, "aws_secret_access_key", out->secret, sizeof(out->secret))) {
        (void)s3_profile_setting(profile, "aws_session_token", out->token, sizeof(out->token));
        return 1;
    }
    char role[S3_KEY_ID_SIZE];
    if (!named || s3_profile_setting(profile, "role_arn", role, sizeof(role)))
        return 0;
    return err_set(err, ERR_DENIED, "profile %.60s: there are no keys of it in ~/.aws",
                   profile_name(profile));
}
