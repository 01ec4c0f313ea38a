#include "backup/source/glob.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/buf.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"

enum token_kind {
    TOKEN_BYTE,
    TOKEN_ANY,
    TOKEN_SET,
    TOKEN_STAR,
};

struct token {
    uint8_t kind;
    uint8_t byte; /* TOKEN_BYTE */
    uint32_t set; /* TOKEN_SET: which one */
};

struct set {
    uint64_t bits[4]; /* one for each byte */
};

/* What stands between two slashes. */
struct part {
    uint32_t first;
    uint32_t count;
    bool is_plain;    /* TOKEN_BYTE only: `plain` holds the bytes, at `first` too */
    bool is_globstar; /* "**" alone */
};

struct glob {
    bool never; /* malformed: matches nothing */
    size_t part_count;
    struct part *parts;
    struct token *tokens;
    struct set *sets;
    char *plain; /* the byte of each token */
};

/* What has been made of a pattern so far. */
struct compiler {
    const uint8_t *at;
    const uint8_t *end;
    bool malformed;
    struct buf parts;
    struct buf tokens;
    struct buf sets;
    struct buf plain;
};

static void compiler_clear(struct compiler *compiler)
{
    buf_clear(&compiler->parts);
    buf_clear(&compiler->tokens);
    buf_clear(&compiler->sets);
    buf_clear(&compiler->plain);
}

static void set_add(struct set *set, unsigned first, unsigned last)
{
    for (unsigned byte = first; byte <= last; byte++)
        set->bits[byte / 64] |= UINT64_C(1) << byte % 64;
}

static bool set_has(const struct set *set, uint8_t byte)
{
    return set->bits[byte / 64] >> byte % 64 & 1;
}

static size_t left(const struct compiler *compiler)
{
    return (size_t)(compiler->end - compiler->at);
}

static bool is_next(const struct compiler *compiler, size_t ahead, char c)
{
    return left(compiler) > ahead && compiler->at[ahead] == (uint8_t)c;
}

/* The ranges of ASCII that a class is made of. */
struct class
{
    const char *name;
    const char *ranges; /* pairs of first and last */
};

static const struct class classes[] = {
    {"alnum", "09AZaz"},   {"alpha", "AZaz"},   {"blank", "  \t\t"}, {"cntrl", "\1\37\177\177"},
    {"digit", "09"},       {"graph", "!~"},     {"lower", "az"},     {"print", " ~"},
    {"punct", "!/:@[`{~"}, {"space", "  \t\r"}, {"upper", "AZ"},     {"xdigit", "09AFaf"},
};

static bool add_class(struct set *set, const uint8_t *name, size_t size)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        const struct class *class = &classes[i];
        if (strlen(class->name) != size || memcmp(class->name, name, size) != 0)
            continue;
        for (const char *range = class->ranges; *range; range += 2)
            set_add(set, (uint8_t)range[0], (uint8_t)range[1]);
        return true;
    }
    return false;
}

/* At "[:name:]" inside of a set: takes it; false when there is none. */
static bool take_class(struct compiler *compiler, struct set *set)
{
    const uint8_t *name = compiler->at + 2;

    if (!is_next(compiler, 0, '[') || !is_next(compiler, 1, ':'))
        return false;
    const uint8_t *close = memchr(name, ']', left(compiler) - 2);
    if (!close || close == name || close[-1] != ':')
        return false;
    if (!add_class(set, name, (size_t)(close - 1 - name)))
        compiler->malformed = true;
    compiler->at = close + 1;
    return true;
}

/* One member of a set, or one end of a range. */
static uint8_t take_member(struct compiler *compiler)
{
    if (is_next(compiler, 0, '\\'))
        compiler->at++;
    if (left(compiler) == 0) {
        compiler->malformed = true;
        return 0;
    }
    return *compiler->at++;
}

/* A dash is a range's only between two members; an upside-down range holds its first only. */
static void take_member_or_range(struct compiler *compiler, struct set *set)
{
    uint8_t first = take_member(compiler);

    set_add(set, first, first);
    if (!is_next(compiler, 0, '-') || left(compiler) < 2 || is_next(compiler, 1, ']'))
        return;
    compiler->at++;
    uint8_t last = take_member(compiler);
    if (last >= first)
        set_add(set, first, last);
}

/* After "["; a "]" that comes first is a member. */
static struct set take_set(struct compiler *compiler)
{
    struct set set = {{0}};
    bool negated = is_next(compiler, 0, '!') || is_next(compiler, 0, '^');
    bool is_first = true;

    compiler->at += negated;
    while (!compiler->malformed && (is_first || !is_next(compiler, 0, ']'))) {
        is_first = false;
        if (!take_class(compiler, &set))
            take_member_or_range(compiler, &set);
    }
    if (!compiler->malformed)
        compiler->at++;
    for (size_t i = 0; negated && i < 4; i++)
        set.bits[i] = ~set.bits[i];
    return set;
}

static int add_token(struct compiler *compiler, struct token token, struct err *err)
{
    int r = buf_append(&compiler->tokens, &token, sizeof(token), err);

    return r < 0 ? r : buf_append(&compiler->plain, &token.byte, 1, err);
}

static int add_set(struct compiler *compiler, struct err *err)
{
    struct set set = take_set(compiler);
    struct token token = {.kind = TOKEN_SET, .set = (uint32_t)(compiler->sets.size / sizeof(set))};
    int r = buf_append(&compiler->sets, &set, sizeof(set), err);

    return r < 0 ? r : add_token(compiler, token, err);
}

/* Anything but a slash. */
static int compile_token(struct compiler *compiler, struct err *err)
{
    struct token token = {.kind = TOKEN_BYTE, .byte = *compiler->at++};

    if (token.byte == '[')
        return add_set(compiler, err);
    if (token.byte == '?')
        token.kind = TOKEN_ANY;
    if (token.byte == '*')
        token.kind = TOKEN_STAR;
    if (token.byte == '\\')
        token.byte = take_member(compiler);
    return add_token(compiler, token, err);
}

static bool at_slash(const struct compiler *compiler)
{
    return is_next(compiler, 0, '/') || (is_next(compiler, 0, '\\') && is_next(compiler, 1, '/'));
}

static struct part part_of(const struct compiler *compiler, size_t first)
{
    const struct token *tokens = (const struct token *)(const void *)compiler->tokens.data;
    size_t end = compiler->tokens.size / sizeof(*tokens);
    struct part part = {.first = (uint32_t)first, .count = (uint32_t)(end - first)};

    part.is_plain = true;
    part.is_globstar = part.count >= 2;
    for (size_t i = first; i < end; i++) {
        part.is_plain = part.is_plain && tokens[i].kind == TOKEN_BYTE;
        part.is_globstar = part.is_globstar && tokens[i].kind == TOKEN_STAR;
    }
    return part;
}

static int compile_part(struct compiler *compiler, struct err *err)
{
    size_t first = compiler->tokens.size / sizeof(struct token);
    int r = 0;

    while (r == 0 && !compiler->malformed && left(compiler) > 0 && !at_slash(compiler))
        r = compile_token(compiler, err);
    if (r < 0)
        return r;
    struct part part = part_of(compiler, first);
    return buf_append(&compiler->parts, &part, sizeof(part), err);
}

static int compile(struct compiler *compiler, struct err *err)
{
    int r = compile_part(compiler, err);

    while (r == 0 && !compiler->malformed && left(compiler) > 0) {
        compiler->at += is_next(compiler, 0, '\\') ? 2 : 1;
        r = compile_part(compiler, err);
    }
    return r;
}

int glob_new(const char *pattern, size_t size, struct glob **out, struct err *err)
{
    const uint8_t *bytes = (const uint8_t *)pattern;
    struct buf empty = {.limit = UINT32_MAX};
    CLEANUP(compiler_clear)
    struct compiler compiler = {.at = bytes,
                                .end = bytes + size,
                                .parts = empty,
                                .tokens = empty,
                                .sets = empty,
                                .plain = empty};
    CLEANUP(glob_freep) struct glob *glob = calloc(1, sizeof(*glob));
    size_t ignored;

    if (!glob)
        return err_set(err, ERR_NOMEM, "no memory for a pattern");
    int r = compile(&compiler, err);
    if (r < 0)
        return r;
    glob->never = compiler.malformed;
    glob->part_count = compiler.parts.size / sizeof(struct part);
    glob->parts = (struct part *)(void *)buf_steal(&compiler.parts, &ignored);
    glob->tokens = (struct token *)(void *)buf_steal(&compiler.tokens, &ignored);
    glob->sets = (struct set *)(void *)buf_steal(&compiler.sets, &ignored);
    glob->plain = (char *)buf_steal(&compiler.plain, &ignored);
    *out = STEAL(glob);
    return 0;
}

void glob_free(struct glob *glob)
{
    if (!glob)
        return;
    free(glob->parts);
    free(glob->tokens);
    free(glob->sets);
    free(glob->plain);
    free(glob);
}

void glob_freep(struct glob **glob)
{
    glob_free(*glob);
}

static bool token_takes(const struct glob *glob, const struct token *token, uint8_t byte)
{
    if (token->kind == TOKEN_BYTE)
        return token->byte == byte;
    return token->kind == TOKEN_ANY ||
           (token->kind == TOKEN_SET && set_has(&glob->sets[token->set], byte));
}

/*
 * Where the tokens after a star do not fit, the last star takes one byte more.  Earlier stars need
 * not be tried again: the last one can take whatever they could.
 */
static bool tokens_match(const struct glob *glob, const struct part *part, const char *name,
                         size_t size)
{
    const struct token *tokens = glob->tokens + part->first;
    size_t t = 0;
    size_t n = 0;
    size_t after_star = SIZE_MAX; /* the token after the last star met, if any */
    size_t star_end = 0;          /* where what that star takes ends */

    while (n < size || t < part->count) {
        if (t < part->count && tokens[t].kind == TOKEN_STAR) {
            after_star = ++t;
            star_end = n;
        } else if (n < size && t < part->count && token_takes(glob, &tokens[t], (uint8_t)name[n])) {
            t++;
            n++;
        } else if (after_star != SIZE_MAX && star_end < size) {
            t = after_star;
            n = ++star_end;
        } else {
            return false;
        }
    }
    return true;
}

static bool part_matches(const struct glob *glob, const struct part *part, const char *name,
                         size_t size)
{
    if (part->is_plain)
        return part->count == size && memcmp(glob->plain + part->first, name, size) == 0;
    return tokens_match(glob, part, name, size);
}

bool glob_matches_name(const struct glob *glob, const char *name, size_t size)
{
    return !glob->never && glob->part_count == 1 && part_matches(glob, &glob->parts[0], name, size);
}

/* The end of the component that starts at `at`. */
static const char *component_end(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t)(end - at));

    return slash ? slash : end;
}

static const char *next_component(const char *at, const char *end)
{
    const char *slash = component_end(at, end);

    return slash < end ? slash + 1 : end;
}

/* The same method as in tokens_match(), with components for bytes and "**" for the star. */
bool glob_matches_path(const struct glob *glob, const char *path, size_t size)
{
    const char *end = path + size;
    const char *at = path;
    const char *star_end = NULL;
    size_t after_star = SIZE_MAX;
    size_t p = 0;

    if (glob->never || size == 0)
        return false;
    while (at < end || p < glob->part_count) {
        const struct part *part = p < glob->part_count ? &glob->parts[p] : NULL;
        if (part && part->is_globstar && p + 1 == glob->part_count)
            return at < end;
        if (part && part->is_globstar) {
            after_star = ++p;
            star_end = at;
        } else if (part && at < end &&
                   part_matches(glob, part, at, (size_t)(component_end(at, end) - at))) {
            at = next_component(at, end);
            p++;
        } else if (after_star != SIZE_MAX && star_end < end) {
            star_end = next_component(star_end, end);
            at = star_end;
            p = after_star;
        } else {
            return false;
        }
    }
    return true;
}
