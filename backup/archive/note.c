#include "backup/archive/note.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/archive/reader.h"
#include "backup/archive/root_internal.h"
#include "backup/archive/writer.h"
#include "backup/base/buf.h"
#include "backup/base/bytes.h"
#include "backup/base/cleanup.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"

enum {
    LEVEL = 3,
    DOCUMENT_VERSION = 1,
    DOCUMENT_MAX = 16 * 1024,
    EXTENSIONS_MAX = 64,
    NUMBER_DIGITS = 8,
    NAME_LENGTH = SNAPSHOT_NAME_SIZE - 1,
};

static const char forgets[] = "forgets/", holds[] = "holds/", releases[] = "releases/";

static bool has_number(enum note_kind kind)
{
    return kind == NOTE_FORGET || kind == NOTE_UNFORGET;
}

void note_object_name(const struct note *note, char out[OBJECT_NAME_SIZE])
{
    char id[2 * NOTE_ID_SIZE + 1];

    hex_encode(note->id, NOTE_ID_SIZE, id);
    if (has_number(note->kind))
        (void)snprintf(out, OBJECT_NAME_SIZE, "%s%s.%08" PRIu64, forgets, note->snapshot,
                       note->number % (NOTE_NUMBER_MAX + 1));
    else
        (void)snprintf(out, OBJECT_NAME_SIZE, "%s%s.%s", note->kind == NOTE_HOLD ? holds : releases,
                       note->snapshot, id);
}

/* The object's name behind this folder; NULL: it is in another. */
static const char *behind(const char *object, const char *folder)
{
    size_t size = strlen(folder);

    return strncmp(object, folder, size) == 0 ? object + size : NULL;
}

static bool parse_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;

    if (strlen(text) != NUMBER_DIGITS)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        number = number * 10 + (uint64_t)(*text - '0');
    }
    *out = number;
    return true;
}

bool note_parse_name(const char *object, struct note *out)
{
    const char *name = behind(object, forgets);
    struct note note = {.kind = NOTE_FORGET};

    if (!name && (name = behind(object, holds)))
        note.kind = NOTE_HOLD;
    if (!name && (name = behind(object, releases)))
        note.kind = NOTE_RELEASE;
    if (!name || strlen(name) < NAME_LENGTH + 2 || name[NAME_LENGTH] != '.' ||
        !root_name_valid(name, NAME_LENGTH))
        return false;
    memcpy(note.snapshot, name, NAME_LENGTH);
    name += NAME_LENGTH + 1;
    bool good = note.kind == NOTE_FORGET ? parse_number(name, &note.number)
                                         : hex_decode(name, strlen(name), note.id, NOTE_ID_SIZE);
    if (good)
        *out = note;
    return good;
}

static int put_string(struct buf *out, const char *text, struct err *err)
{
    int r = put_varint(out, strlen(text), err);

    return r < 0 ? r : buf_append(out, text, strlen(text), err);
}

static int put_snapshot(struct buf *out, const struct note *note, struct err *err)
{
    int r = put_string(out, note->snapshot, err);

    if (r == 0)
        r = put_string(out, note->host, err);
    if (r == 0)
        r = put_varint(out, note->sequence, err);
    if (r == 0)
        r = put_zigzag(out, note->start_ns, err);
    return r;
}

int note_encode(const struct note *note, struct buf *out, struct err *err)
{
    size_t start = out->size;
    int r = put_varint(out, DOCUMENT_VERSION, err);

    if (r == 0)
        r = put_varint(out, 0, err); /* required flags */
    if (r == 0)
        r = put_u8(out, (uint8_t)note->kind, err);
    if (r == 0)
        r = put_snapshot(out, note, err);
    if (r == 0)
        r = put_varint(out, note->number, err);
    if (r == 0)
        r = buf_append(out, note->id, NOTE_ID_SIZE, err);
    if (r == 0)
        r = put_zigzag(out, note->made_ns, err);
    if (r == 0)
        r = put_string(out, note->by, err);
    if (r == 0)
        r = put_string(out, note->reason, err);
    if (r == 0)
        r = put_varint(out, 0, err); /* extensions */
    if (r < 0)
        out->size = start;
    return r;
}

/* Into an array of `room` bytes, with a NUL behind. */
static void take_string(struct cursor *in, char *out, size_t room)
{
    uint64_t size = read_varint(in);

    in->failed = in->failed || size >= room;
    const uint8_t *bytes = read_bytes(in, in->failed ? 0 : (size_t)size);
    if (!bytes || in->failed || memchr(bytes, 0, (size_t)size)) {
        in->failed = true;
        return;
    }
    memcpy(out, bytes, (size_t)size);
    out[size] = '\0';
}

/* None is known to this version. */
static void skip_extensions(struct cursor *in)
{
    uint64_t count = read_varint(in);

    in->failed = in->failed || count > EXTENSIONS_MAX;
    for (uint64_t i = 0; i < count && !in->failed; i++) {
        read_varint(in);
        uint64_t size = read_varint(in);
        in->failed = in->failed || size > cursor_left(in);
        read_bytes(in, in->failed ? 0 : (size_t)size);
    }
}

static bool makes_sense(const struct note *note)
{
    static const uint8_t none[NOTE_ID_SIZE];
    bool numbered = has_number(note->kind);

    return note->kind >= NOTE_FORGET && note->kind <= NOTE_RELEASE &&
           root_name_valid(note->snapshot, strlen(note->snapshot)) && note->host[0] &&
           note->sequence > 0 && note->by[0] && note->number <= NOTE_NUMBER_MAX &&
           (numbered || note->number == 0) &&
           numbered == (memcmp(note->id, none, NOTE_ID_SIZE) == 0);
}

int note_decode(const void *bytes, size_t size, struct note *out, struct err *err)
{
    struct cursor in = cursor_of(bytes, size);
    struct note note = {0};
    bool known = read_varint(&in) == DOCUMENT_VERSION && read_varint(&in) == 0;

    note.kind = (enum note_kind)read_u8(&in);
    take_string(&in, note.snapshot, sizeof(note.snapshot));
    take_string(&in, note.host, sizeof(note.host));
    note.sequence = read_varint(&in);
    note.start_ns = read_zigzag(&in);
    note.number = read_varint(&in);
    const uint8_t *id = read_bytes(&in, NOTE_ID_SIZE);
    if (id)
        memcpy(note.id, id, NOTE_ID_SIZE);
    note.made_ns = read_zigzag(&in);
    take_string(&in, note.by, sizeof(note.by));
    take_string(&in, note.reason, sizeof(note.reason));
    skip_extensions(&in);
    if (!known || in.failed || cursor_left(&in) > 0 || !makes_sense(&note))
        return err_set(err, ERR_CORRUPT, "a note that cannot be");
    *out = note;
    return 0;
}

static void writer_abortp(struct writer **writer)
{
    writer_abort(*writer);
}

int note_publish(struct repo *repo, const struct note *note, struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = DOCUMENT_MAX};
    CLEANUP(writer_abortp) struct writer *writer = NULL;
    CLEANUP(codec_freep) struct codec *codec = codec_new(LEVEL);
    char object[OBJECT_NAME_SIZE];
    struct writer_result result;
    uint32_t raw, stored;

    if (!codec)
        return err_set(err, ERR_NOMEM, "no memory to write a note");
    if (!makes_sense(note))
        return err_set(err, ERR_USAGE, "no such note can be made of %.40s", note->snapshot);
    note_object_name(note, object);
    int r = note_encode(note, &document, err);
    if (r == 0)
        r = writer_new(repo, ARCHIVE_NOTE, &writer, err);
    if (r == 0)
        r = writer_append(writer, codec, document.data, document.size, NULL, 0, &raw, &stored, err);
    return r < 0 ? r : writer_commit(STEAL(writer), object, NULL, &result, err);
}

static int read_document(struct repo *repo, const char *object, struct buf *out, struct err *err)
{
    CLEANUP(reader_closep) struct reader *reader = NULL;
    CLEANUP(codec_freep) struct codec *codec = codec_new(LEVEL);
    int r = codec ? 0 : err_set(err, ERR_NOMEM, "no memory to read a note");

    if (r == 0)
        r = reader_open(repo, ARCHIVE_NOTE, NULL, object, &reader, err);
    if (r < 0)
        return r;
    r = reader_check_header(reader, err); /* it is small: all of it is looked at */
    if (r == 0)
        r = reader_check_padding(reader, err);
    if (r < 0)
        return r;
    size_t size = reader_block(reader, 0)->raw_size;
    if (reader_blocks(reader) != 1 || reader_block(reader, 0)->raw != 0)
        return err_set(err, ERR_CORRUPT, "%s: more than a note", object);
    r = buf_reserve(out, size, err);
    if (r == 0)
        r = reader_decode(reader, codec, 0, out->data, err);
    if (r == 0)
        out->size = size;
    return r;
}

int note_read(struct repo *repo, const char *object, struct note *out, struct err *err)
{
    CLEANUP(buf_clear) struct buf document = {.limit = DOCUMENT_MAX};
    char own[OBJECT_NAME_SIZE];
    struct note note;
    int r = read_document(repo, object, &document, err);

    if (r == -ERR_TOO_LARGE)
        return err_set(err, ERR_CORRUPT, "%s: larger than a note can be", object);
    if (r < 0)
        return r;
    r = note_decode(document.data, document.size, &note, err);
    if (r < 0)
        return err_context(err, "%s", object);
    note_object_name(&note, own);
    if (strcmp(own, object) != 0)
        return err_set(err, ERR_CORRUPT, "%s: it is %s", object, own);
    *out = note;
    return 0;
}
