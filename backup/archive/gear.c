#include "backup/archive/gear.h"

#include "backup/base/clock.h"

#ifdef __x86_64__
#include <immintrin.h>
#define WITH_AVX512 __attribute__((target("avx512f")))
#endif

enum {
    LANES = 4,   /* of the portable form */
    LANE = 1024, /* bytes that one of them looks at before the next block of all begins */
    VECTOR_LANE = 512,
    VECTOR_LANES = 16,
    STEPS = 8, /* bytes of each lane that are loaded at a time */
    TRIAL = GEAR_WINDOW + 16 * 1024,
    TRIALS = 4
};

static inline uint64_t roll(const uint64_t *table, uint64_t hash, uint8_t byte)
{
    return (hash << 1) + table[byte];
}

static size_t scan_plain(const uint64_t *table, const uint8_t *data, size_t from, size_t to,
                         uint64_t limit)
{
    uint64_t hash = 0;

    for (size_t i = from - (GEAR_WINDOW - 1); i < from; i++)
        hash = roll(table, hash, data[i]);
    for (size_t i = from; i < to; i++) {
        hash = roll(table, hash, data[i]);
        if (hash < limit)
            return i;
    }
    return to;
}

struct lanes {
    uint64_t a, b, c, d;
};

static inline void roll_lanes(const uint64_t *table, struct lanes *hashes, const uint8_t *data)
{
    hashes->a = roll(table, hashes->a, data[0]);
    hashes->b = roll(table, hashes->b, data[LANE]);
    hashes->c = roll(table, hashes->c, data[2 * LANE]);
    hashes->d = roll(table, hashes->d, data[3 * LANE]);
}

/* Where the first of them is below the limit, lanes being one behind the other. */
static size_t first_lane(const struct lanes *hashes, uint64_t limit)
{
    return hashes->a < limit   ? 0
           : hashes->b < limit ? LANE
           : hashes->c < limit ? 2 * LANE
                               : 3 * LANE;
}

/* The first place of a block of LANES * LANE bytes, or its size.  A processor that takes more than
 * a cycle for a step of one hash does the other lanes' meanwhile. */
static size_t scan_lanes_block(const uint64_t *table, const uint8_t *data, uint64_t limit)
{
    struct lanes hashes = {0};
    size_t first = LANES * LANE;

    for (size_t i = 0; i < GEAR_WINDOW - 1; i++)
        roll_lanes(table, &hashes, data - (GEAR_WINDOW - 1) + i);
    for (size_t i = 0; i < LANE && first >= LANE; i++) {
        roll_lanes(table, &hashes, data + i);
        if ((hashes.a < limit) | (hashes.b < limit) | (hashes.c < limit) | (hashes.d < limit)) {
            size_t at = first_lane(&hashes, limit) + i;
            first = at < first ? at : first;
        }
    }
    return first;
}

static size_t scan_lanes(const uint64_t *table, const uint8_t *data, size_t from, size_t to,
                         uint64_t limit)
{
    for (; to - from >= LANES * LANE; from += LANES * LANE) {
        size_t first = scan_lanes_block(table, data + from, limit);
        if (first < LANES * LANE)
            return from + first;
    }
    return scan_plain(table, data, from, to, limit);
}

static bool always(void)
{
    return true;
}

#ifdef __x86_64__
struct vectors {
    __m512i a, b; /* of lanes 0 to 7, and 8 to 15 */
};

/* Eight bytes of each lane, those at data[lane * VECTOR_LANE]. */
WITH_AVX512 static inline struct vectors load_lanes(const uint8_t *data)
{
    const __m512i at =
        _mm512_set_epi64(7 * VECTOR_LANE, 6 * VECTOR_LANE, 5 * VECTOR_LANE, 4 * VECTOR_LANE,
                         3 * VECTOR_LANE, 2 * VECTOR_LANE, VECTOR_LANE, 0);

    return (struct vectors){_mm512_i64gather_epi64(at, data, 1),
                            _mm512_i64gather_epi64(at, data + 8 * VECTOR_LANE, 1)};
}

/* One byte of each lane, the lowest of each of `bytes`, goes into the hashes. */
WITH_AVX512 static inline __m512i roll_vector(const uint64_t *table, __m512i hashes, __m512i bytes)
{
    __m512i index = _mm512_and_si512(bytes, _mm512_set1_epi64(0xFF));

    return _mm512_add_epi64(_mm512_slli_epi64(hashes, 1), _mm512_i64gather_epi64(index, table, 8));
}

/* Which lanes are below the limit. */
WITH_AVX512 static inline unsigned below(struct vectors hashes, __m512i limit)
{
    unsigned low = _mm512_cmplt_epu64_mask(hashes.a, limit);
    unsigned high = _mm512_cmplt_epu64_mask(hashes.b, limit);

    return low | high << 8;
}

WITH_AVX512 static inline void roll_vectors(const uint64_t *table, struct vectors *hashes,
                                            struct vectors *bytes)
{
    hashes->a = roll_vector(table, hashes->a, bytes->a);
    hashes->b = roll_vector(table, hashes->b, bytes->b);
    bytes->a = _mm512_srli_epi64(bytes->a, 8);
    bytes->b = _mm512_srli_epi64(bytes->b, 8);
}

/* The same eight steps once more, since they had a place: the first of them before `first`. */
WITH_AVX512 static size_t first_of_steps(const uint64_t *table, struct vectors hashes,
                                         struct vectors bytes, __m512i limit, size_t first)
{
    size_t steps = first;

    for (size_t step = 0; step < STEPS; step++) {
        roll_vectors(table, &hashes, &bytes);
        for (unsigned lanes = below(hashes, limit); lanes; lanes &= lanes - 1) {
            size_t at = (size_t)__builtin_ctz(lanes) * VECTOR_LANE + step;
            if (at < steps)
                steps = at;
        }
    }
    return steps;
}

WITH_AVX512 static size_t scan_avx512_block(const uint64_t *table, const uint8_t *data,
                                            uint64_t limit)
{
    const __m512i limits = _mm512_set1_epi64((long long)limit);
    struct vectors hashes = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    size_t first = VECTOR_LANES * VECTOR_LANE;

    for (size_t i = 0; i < GEAR_WINDOW + VECTOR_LANE && first >= VECTOR_LANE; i += STEPS) {
        struct vectors bytes = load_lanes(data + i - GEAR_WINDOW);
        struct vectors before = hashes, all = bytes;
        unsigned any = 0;

        for (size_t step = 0; step < STEPS; step++) {
            roll_vectors(table, &hashes, &bytes);
            any |= below(hashes, limits);
        }
        if (any && i >= GEAR_WINDOW) {
            size_t from = i - GEAR_WINDOW;
            size_t at = first_of_steps(table, before, all, limits, first - from) + from;
            first = at < first ? at : first;
        }
    }
    return first;
}

/* With the hash of one byte more than the window, which its shifts have dropped by then. */
WITH_AVX512 static size_t scan_avx512(const uint64_t *table, const uint8_t *data, size_t from,
                                      size_t to, uint64_t limit)
{
    enum { BLOCK = VECTOR_LANES * VECTOR_LANE };

    if (from < GEAR_WINDOW)
        return scan_plain(table, data, from, to, limit);
    for (; to - from >= BLOCK; from += BLOCK) {
        size_t first = scan_avx512_block(table, data + from, limit);
        if (first < BLOCK)
            return from + first;
    }
    return scan_lanes(table, data, from, to, limit);
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}
#endif

static const struct gear_form forms[] = {
    {"plain", scan_plain, always},
    {"lanes", scan_lanes, always},
#ifdef __x86_64__
    {"avx512", scan_avx512, has_avx512},
#endif
};

const struct gear_form *gear_forms(size_t *out_count)
{
    *out_count = sizeof(forms) / sizeof(forms[0]);
    return forms;
}

/* No hash is below a limit of 0. */
static int64_t measure(gear_scan *scan, const uint64_t *table, const uint8_t *data, size_t count)
{
    int64_t best = INT64_MAX;

    for (size_t i = 0; i < TRIALS; i++) {
        int64_t start = clock_monotonic_ns();
        size_t end = scan(table, data, GEAR_WINDOW, count, 0);
        int64_t took = clock_monotonic_ns() - start;

        if (end == count && took < best)
            best = took;
    }
    return best;
}

gear_scan *gear_fastest(const uint64_t *table)
{
    uint8_t data[TRIAL];
    gear_scan *fastest = scan_plain;
    int64_t least = INT64_MAX;
    uint32_t state = 1;

    for (size_t i = 0; i < sizeof(data); i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (uint8_t)(state >> 24);
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        int64_t took =
            forms[i].usable() ? measure(forms[i].scan, table, data, sizeof(data)) : INT64_MAX;
        if (took < least) {
            least = took;
            fastest = forms[i].scan;
        }
    }
    return fastest;
}
