#include "backup/source/rules.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/io.h"
#include "backup/source/listing.h"
#include "backup/source/pattern.h"

/* Markers come first in this order, then the user's; see rules_markers(). */
enum marker {
    CACHEDIR_TAG,
    NOBACKUP,
    PACKAGE_JSON,
    CARGO_TOML,
    POM_XML,
    BUILD_GRADLE,
    BUILD_GRADLE_KTS,
    OWN_MARKERS
};

static const char *const own_markers[OWN_MARKERS] = {
    [CACHEDIR_TAG] = "CACHEDIR.TAG",
    [NOBACKUP] = ".nobackup",
    [PACKAGE_JSON] = "package.json",
    [CARGO_TOML] = "Cargo.toml",
    [POM_XML] = "pom.xml",
    [BUILD_GRADLE] = "build.gradle",
    [BUILD_GRADLE_KTS] = "build.gradle.kts",
};

/* A directory of this name, beside one of these manifests, is what a build makes. */
static const struct {
    const char *name;
    uint64_t manifests;
} outputs[] = {
    {"dist", 1 << PACKAGE_JSON},
    {"build", 1 << PACKAGE_JSON | 1 << BUILD_GRADLE | 1 << BUILD_GRADLE_KTS},
    {".next", 1 << PACKAGE_JSON},
    {".nuxt", 1 << PACKAGE_JSON},
    {".output", 1 << PACKAGE_JSON},
    {".svelte-kit", 1 << PACKAGE_JSON},
    {".parcel-cache", 1 << PACKAGE_JSON},
    {".turbo", 1 << PACKAGE_JSON},
    {"target", 1 << CARGO_TOML | 1 << POM_XML},
    {".gradle", 1 << BUILD_GRADLE | 1 << BUILD_GRADLE_KTS},
};

size_t rules_markers(const struct rules *rules, const char **out)
{
    size_t count = 0;

    for (; count < OWN_MARKERS; count++)
        out[count] = own_markers[count];
    for (size_t i = 0; i < rules->if_present_count && count < LISTING_MARKERS_MAX; i++)
        out[count++] = rules->if_present[i];
    return count;
}

uint64_t rules_look(int fd)
{
    uint64_t markers = 0;
    struct stat st;

    for (size_t i = 0; i < OWN_MARKERS; i++)
        if (fstatat(fd, own_markers[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            markers |= UINT64_C(1) << i;
    return markers;
}

/* https://bford.info/cachedir/: the file has to begin so, or it is somebody else's. */
static bool is_cache(int fd)
{
    static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55";
    char start[sizeof(signature)] = {0};
    CLEANUP(closep) int tag = -1;
    struct err err;
    size_t got;

    if (io_openat(fd, "CACHEDIR.TAG", O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &tag, &err) < 0)
        return false;
    if (io_read_full(tag, start, sizeof(signature) - 1, &got, &err) < 0)
        return false;
    return strcmp(start, signature) == 0;
}

bool rules_marked(const struct rules *rules, uint64_t markers, int fd)
{
    if (markers >> OWN_MARKERS)
        return true;
    if (rules->caches)
        return false;
    if (markers & 1 << NOBACKUP)
        return true;
    return (markers & 1 << CACHEDIR_TAG) && is_cache(fd);
}

bool rules_build_output(const struct rules *rules, uint64_t parent_markers, const char *name)
{
    if (!rules->default_excludes)
        return false;
    if (strcmp(name, "node_modules") == 0)
        return true;
    for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++)
        if ((parent_markers & outputs[i].manifests) && strcmp(name, outputs[i].name) == 0)
            return true;
    return false;
}

bool rules_whole(const struct rules *rules, const char *path, size_t size)
{
    for (size_t i = 0; i < rules->whole_count; i++) {
        size_t top = strlen(rules->whole[i]);
        if (top == 1 || (size >= top && memcmp(path, rules->whole[i], top) == 0 &&
                         (size == top || path[top] == '/')))
            return true;
    }
    return !rules->only;
}

static enum pattern_verdict judge(const struct patterns *patterns, const char *path, size_t size,
                                  size_t root_size, bool directory)
{
    size_t skip = root_size > 1 ? root_size + 1 : 1; /* the slash behind the source path */

    if (skip > size)
        skip = size;
    return patterns_match(patterns, path + skip, size - skip, path, size, directory);
}

bool rules_excluded(const struct rules *rules, const char *path, size_t size, size_t root_size,
                    bool directory)
{
    if (!rules->excludes)
        return false;
    return judge(rules->excludes, path, size, root_size, directory) == PATTERN_EXCLUDED;
}

bool rules_wanted(const struct rules *rules, const char *path, size_t size)
{
    if (!rules->only || rules_whole(rules, path, size))
        return true;
    return judge(rules->only, path, size, 0, false) == PATTERN_EXCLUDED;
}
