#include "backup/base/random.h"

#include <stdint.h>
#include <sys/random.h>

#include "backup/base/err.h"

int random_bytes(void *out, size_t size, struct err *err)
{
    uint8_t *at = out;
    size_t done = 0;

    while (done < size) {
        ssize_t n = getrandom(at + done, size - done, 0);
        if (n < 0 && errno != EINTR)
            return err_sys(err, "random bytes");
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}
