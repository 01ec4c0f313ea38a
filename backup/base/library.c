#include "backup/base/library.h"

#include <dlfcn.h>
#include <string.h>

#include "backup/base/err.h"

static int find_functions(const struct library *library, void *handle, struct err *err)
{
    for (size_t i = 0; i < library->count; i++) {
        void *found = dlsym(handle, library->functions[i].name);
        if (!found)
            return err_set(err, ERR_SYSTEM, "%s has no %s: %s need a newer one (package %s)",
                           library->file, library->functions[i].name, library->purpose,
                           library->package);
        /* A pointer to a function, of whatever type. */
        memcpy(library->functions[i].pointer, &found, sizeof(found));
    }
    return 0;
}

static int load(struct library *library, struct err *err)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);

    if (!handle)
        return err_set(err, ERR_SYSTEM, "%s need a library that cannot be loaded: %s (package %s)",
                       library->purpose, dlerror(), library->package);
    int r = find_functions(library, handle, err);
    if (r < 0)
        (void)dlclose(handle);
    library->loaded = r == 0;
    return r;
}

int library_load(struct library *library, struct err *err)
{
    pthread_mutex_lock(&library->lock);
    int r = library->loaded ? 0 : load(library, err);
    pthread_mutex_unlock(&library->lock);
    return r;
}
