#include "tools/sheet.h"

#include <openssl/crypto.h>
#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/base/cleanup.h"
#include "backup/base/clock.h"
#include "backup/base/err.h"
#include "backup/base/hex.h"
#include "backup/base/memory.h"
#include "backup/base/path.h"
#include "backup/crypto/recovery.h"

enum {
    SHEET_MAX = 128 * 1024,
    BODY_MAX = 8 * 1024,
    QUIET = 4,    /* modules of white around the code */
    MODULE = 4,   /* units of the SVG */
    LEADING = 15, /* between its lines */
    MARGIN = 50,
    PAGE_WIDTH = 595, /* A4 in points */
    PAGE_HEIGHT = 842,
    PRINTED_MAX = 480,
};

static void free_code(QRcode **code)
{
    if (*code)
        OPENSSL_cleanse((*code)->data, (size_t)(*code)->width * (size_t)(*code)->width);
    QRcode_free(*code);
}

static void close_stream(FILE **stream)
{
    if (*stream)
        (void)fclose(*stream);
}

/* Writes into `memory` without a buffer of stdio's that would keep a copy. */
static int open_memory(char *memory, size_t size, FILE **out, struct err *err)
{
    FILE *stream = fmemopen(memory, size, "w");

    if (!stream)
        return err_sys(err, "memory for a recovery sheet");
    (void)setvbuf(stream, NULL, _IONBF, 0);
    *out = stream;
    return 0;
}

static int close_memory(FILE *stream, size_t *out_size, struct err *err)
{
    long size = ftell(stream);
    int bad = ferror(stream);

    if (fclose(stream) != 0 || bad || size < 0)
        return err_set(err, ERR_SYSTEM, "the recovery sheet is too long");
    *out_size = (size_t)size;
    return 0;
}

/* ---- what it says */

static void print_body(const struct sheet *sheet, FILE *out)
{
    char repo[2 * REPO_ID_SIZE + 1], slot[2 * SLOT_ID_SIZE + 1], now[CLOCK_TEXT_SIZE];
    char location[PRINTED_MAX], label[PRINTED_MAX];
    char lines[RECOVERY_TEXT_SIZE], line[SECRET_TEXT_SIZE];

    hex_encode(sheet->repo_id, REPO_ID_SIZE, repo);
    hex_encode(sheet->slot->id, SLOT_ID_SIZE, slot);
    clock_format_local(sheet->now_ns, now);
    (void)path_printable(sheet->location, strlen(sheet->location), location, sizeof(location));
    (void)path_printable(sheet->slot->label, strlen(sheet->slot->label), label, sizeof(label));
    recovery_format(sheet->secret->bytes, lines);
    secret_text(sheet->secret, line);
    fprintf(out,
            "Recovery sheet of a yester repository\n\n"
            "Who has this sheet and the repository reads everything in it. Keep it apart\n"
            "from the repository and from the machines that are backed up.\n\n"
            "Repository  %s\n"
            "            %s\n"
            "Key         %s\n"
            "            %s\n"
            "Printed     %s, yester " YESTER_VERSION "\n\n",
            location, repo, slot, label, now);
    fprintf(out, "%s\nThe same as one line, and in the code:\n%s\n\n", lines, line);
    fprintf(out, "To use it, type the heading and the four lines into a file, or the one line, or\n"
                 "scan the code into one, and name the file:\n\n"
                 "    yester --repo LOCATION --key-file FILE list\n\n"
                 "Capitals and spaces do not matter in the four lines. The last four digits of a\n"
                 "line check it: yester names the line that is mistyped.\n");
    OPENSSL_cleanse(lines, sizeof(lines));
    OPENSSL_cleanse(line, sizeof(line));
}

static int make_code(const struct sheet *sheet, QRcode **out, struct err *err)
{
    char line[SECRET_TEXT_SIZE];

    secret_text(sheet->secret, line);
    *out = QRcode_encodeString8bit(line, 0, QR_ECLEVEL_Q);
    int cause = errno;
    OPENSSL_cleanse(line, sizeof(line));
    if (!*out)
        return err_set(err, ERR_NOMEM, "no code can be made: %s", strerror(cause));
    return 0;
}

/* Also what is around the code, which is white. */
static bool is_dark(const QRcode *code, int x, int y)
{
    return x >= 0 && y >= 0 && x < code->width && y < code->width &&
           (code->data[y * code->width + x] & 1);
}

/* ---- text */

/* Dark is ink; on a terminal the colours are given, which may be any. */
static void print_blocks(const QRcode *code, bool coloured, FILE *out)
{
    static const char *const blocks[] = {" ", "▀", "▄", "█"};

    for (int y = -QUIET; y < code->width + QUIET; y += 2) {
        fputs(coloured ? "\033[30;47m" : "", out);
        for (int x = -QUIET; x < code->width + QUIET; x++)
            fputs(blocks[is_dark(code, x, y) + 2 * is_dark(code, x, y + 1)], out);
        fputs(coloured ? "\033[0m\n" : "\n", out);
    }
}

/* ---- SVG and HTML */

static void print_escaped(const char *text, size_t size, FILE *out)
{
    for (size_t i = 0; i < size; i++)
        switch (text[i]) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        default:
            fputc(text[i], out);
        }
}

/* One path of all dark modules, a row's neighbours together. */
static void print_path(const QRcode *code, FILE *out)
{
    fputs("<path d=\"", out);
    for (int y = 0; y < code->width; y++)
        for (int x = 0, run; x < code->width; x += run) {
            for (run = 1;
                 x + run < code->width && is_dark(code, x + run, y) == is_dark(code, x, y);)
                run++;
            if (is_dark(code, x, y))
                fprintf(out, "M%d %dh%dv1h-%dz", x + QUIET, y + QUIET, run, run);
        }
    fputs("\"/>", out);
}

static void print_html(const char *body, size_t size, const QRcode *code, FILE *out)
{
    int side = code->width + 2 * QUIET;

    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<title>yester recovery sheet</title></head>\n"
          "<body style=\"background:#fff;color:#000\"><pre>\n",
          out);
    print_escaped(body, size, out);
    fprintf(out,
            "</pre>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">",
            side * MODULE, side * MODULE, side, side);
    fprintf(out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>", side, side);
    print_path(code, out);
    fputs("</svg>\n</body></html>\n", out);
}

/* Returns where the next thing goes. */
static int print_lines(const char *body, size_t size, FILE *out)
{
    const char *end = body + size;
    int y = MARGIN;

    while (body < end) {
        const char *newline = memchr(body, '\n', (size_t)(end - body));
        size_t length = (size_t)((newline ? newline : end) - body);
        fprintf(out, "<text x=\"%d\" y=\"%d\">", MARGIN, y);
        print_escaped(body, length, out);
        fputs("</text>\n", out);
        body += length + 1;
        y += LEADING;
    }
    return y;
}

static void print_svg(const char *body, size_t size, const QRcode *code, FILE *out)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"10\" "
            "xml:space=\"preserve\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            PAGE_WIDTH, PAGE_HEIGHT, PAGE_WIDTH, PAGE_HEIGHT, PAGE_WIDTH, PAGE_HEIGHT);
    int y = print_lines(body, size, out);
    fprintf(out, "<g transform=\"translate(%d %d) scale(%d)\" shape-rendering=\"crispEdges\">",
            MARGIN, y, MODULE);
    print_path(code, out);
    fputs("</g>\n</svg>\n", out);
}

static void print_sheet(const char *body, size_t size, const QRcode *code, enum sheet_format format,
                        FILE *out)
{
    switch (format) {
    case SHEET_HTML:
        print_html(body, size, code, out);
        break;
    case SHEET_SVG:
        print_svg(body, size, code, out);
        break;
    default:
        (void)fwrite(body, 1, size, out);
        print_blocks(code, format == SHEET_TERMINAL, out);
    }
}

int sheet_render(const struct sheet *sheet, enum sheet_format format, char **out, size_t *out_size,
                 struct err *err)
{
    CLEANUP(secure_freep) char *body = secure_alloc(BODY_MAX);
    CLEANUP(secure_freep) char *page = secure_alloc(SHEET_MAX);
    CLEANUP(free_code) QRcode *code = NULL;
    CLEANUP(close_stream) FILE *stream = NULL;
    size_t size = 0;

    if (!body || !page)
        return err_set(err, ERR_NOMEM, "no memory for a recovery sheet");
    int r = open_memory(body, BODY_MAX, &stream, err);
    if (r < 0)
        return r;
    print_body(sheet, stream);
    r = close_memory(STEAL(stream), &size, err);
    if (r == 0)
        r = make_code(sheet, &code, err);
    if (r == 0)
        r = open_memory(page, SHEET_MAX, &stream, err);
    if (r < 0)
        return r;
    print_sheet(body, size, code, format, stream);
    r = close_memory(STEAL(stream), out_size, err);
    if (r == 0)
        *out = STEAL(page);
    return r;
}
