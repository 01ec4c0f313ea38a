/*
 * extract_internal — what the files of extract share.
 *
 * The planner (the thread that called extract_run()) goes through the stored trees and decides; the
 * workers write the content of files, window by window.  Directories are nodes that live as long as
 * something below them is to be done; the last one out gives the directory its attributes.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backup/archive/chunker.h"
#include "backup/archive/tree.h"
#include "backup/base/buf.h"
#include "backup/base/err.h"
#include "backup/source/pattern.h"
#include "catalog/select.h"
#include "fs/extract.h"
#include "fs/view.h"

struct digest_key;
struct dirs;
struct files;
struct links;
struct pool;
struct spillmap;

enum {
    EXTRACT_PATH_MAX = 16 * 1024 * 1024, /* bytes of one path, whatever its depth */
    EXTRACT_OTHERS = 16,
    EXTRACT_NAME_SIZE = 32, /* ".yester-tmp-XXXXXXXXXXXX" */
};

#define EXTRACT_TEMPORARY ".yester-tmp-"

enum pass { PASS_COUNT, PASS_WRITE, PASS_DELETE, PASS_VERIFY };

/* Why something could not be done. */
enum side { SIDE_TARGET, SIDE_REPOSITORY };

/* What is said once a run. */
enum remark { REMARK_OWNER, REMARK_XATTR, REMARK_SPECIAL, REMARK_DELETE, REMARKS };

/* What an object has besides its content. */
struct attributes {
    enum entry_type type;
    uint32_t mode, uid, gid, mtime_ns;
    int64_t mtime_s;
    bool has_xattrs, shared;
    struct place place; /* where its xattrs are found again */
};

/* An open object: by a descriptor for reading or writing, or one with O_PATH. */
struct handle {
    int fd;
    bool path_only;
};

enum dir_state { DIR_PLANNED, DIR_THERE, DIR_ABSENT, DIR_FAILED };

/* A directory of the target.  Written by the planner before anybody else sees it, but for what the
 * lock of struct dirs guards. */
struct dir {
    struct dir *parent; /* NULL: the target itself */
    enum dir_state state;
    bool fresh;  /* made by this run: nothing of the user's is in it */
    bool aside;  /* only on the way: left as it is when it was there already */
    bool settle; /* gets its attributes in the end */
    struct attributes attributes;
    dev_t dev;
    ino_t ino;
    atomic_size_t refs;
    int fd; /* -1: closed for now; from here on guarded */
    unsigned pins;
    struct dir *newer, *older; /* the open ones, by last use */
    size_t name_size;
    char name[];
};

/* One tree, or one entry, to be brought to its place. */
struct job {
    enum snapshot_type type;
    const struct root *root;
    struct held_entry held;
    const char *inside;             /* source path of what `held` is, absolute */
    char *source_path;              /* owns `inside` */
    bool straight;                  /* its content goes straight into the target */
    bool prefixed;                  /* below a directory of the type's name */
    const struct root_type *winner; /* this tree's paths count only where `winner` has none */
    const struct root_type *pair;   /* of the other type: what it has is not deleted */
};

struct extract {
    struct blocks *blocks;
    const struct selection *selection;
    const struct extract_options *options;
    const struct digest_key *id_key;
    struct chunker chunker;
    bool root;        /* the user is */
    bool target_made; /* by this run, or by the one that it continues */
    bool resumed;     /* an earlier run did not come to its end */
    bool distrust;    /* … and the machine was started anew since: times prove nothing */
    bool chunked;     /* as files are: what the digest of a small one is made of is known */
    enum pass pass;
    struct job *jobs;
    size_t job_count;
    struct patterns *include, *exclude; /* NULL: none */
    const char *display;                /* what stands before the paths of messages */
    struct dirs *dirs;
    struct files *files;
    struct links *links;
    struct spillmap *counted;   /* PASS_COUNT: files of several names */
    uint64_t largest;           /* PASS_COUNT: room of the largest one that is replaced */
    struct spillmap *made;      /* directories on the way that were made, by device and inode */
    int marker;                 /* -1: none */
    int others[EXTRACT_OTHERS]; /* other file systems below the target: to be synced, too */
    dev_t other_devices[EXTRACT_OTHERS];
    size_t other_count;
    bool more_others;
    atomic_int stop;      /* a code: nothing more is begun */
    struct err uncounted; /* what ended the counting; code ERR_NONE: nothing did */
    pthread_mutex_t talk; /* one callback at a time */
    pthread_mutex_t lock; /* guards what follows */
    struct extract_result result;
    struct err away; /* stop is -ERR_REMOTE: why */
    bool said[REMARKS];
};

/* extract_report.c: results and messages; any thread */
void extract_add(struct extract *x, uint64_t *counter, uint64_t count);
void extract_trouble(struct extract *x, const struct dir *dir, const char *name, size_t size,
                     enum side side, const struct err *err);
__attribute__((format(printf, 5, 6))) void extract_note(struct extract *x, const struct dir *dir,
                                                        const char *name, size_t size,
                                                        const char *format, ...);
/* Said once a run. */
void extract_remark(struct extract *x, enum remark remark, const char *text);
bool extract_stopped(struct extract *x);

/* Goes through all jobs in one way; `target` may be -1 but for PASS_WRITE. */
int extract_pass(struct extract *x, enum pass pass, int target, struct err *err);

/* extract_jobs.c: what is asked for */
int jobs_make(struct extract *x, struct err *err);
void jobs_clear(struct extract *x);
/* At most so much is to be written. */
void jobs_total(const struct extract *x, uint64_t *out_files, uint64_t *out_bytes);

/* extract_plan.c: goes through a job */
int plan_run(struct extract *x, const struct job *job, struct err *err);
/* Whether what a source path would become is on the list of what is kept. */
bool plan_keeps(const struct extract *x, const struct job *job, const char *source_path);
/* What a list of patterns says of a source path. */
enum pattern_verdict plan_match(const struct patterns *patterns, const struct job *job,
                                const char *path, size_t size, bool directory);

/* extract_write.c: one entry that is no directory */
enum verdict { VERDICT_NEW, VERDICT_OVER, VERDICT_SAME, VERDICT_LEAVE };
/* What is to be done about an entry, by what is in its place now. */
int write_decide(struct extract *x, struct dir *dir, const struct entry *entry, bool keep,
                 enum verdict *out, struct err *err);
void write_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep);
void write_special(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                   uint64_t link);
/* extract_dry.c */
void count_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep);
void count_attributes(struct extract *x, const struct entry *entry);
void count_directory(struct extract *x, struct dir *dir);
/* Room for what the target does not have yet; ERR_SYSTEM, with numbers, when it is too little. */
int room_check(struct extract *x, int target, struct err *err);
/* Counts it, without writing. */
int room_count(struct extract *x, int target, struct err *err);

/* extract_dirs.c */
int dirs_new(struct extract *x, int target, size_t limit, struct dirs **out, struct err *err);
void dirs_free(struct dirs *dirs); /* NULL is allowed */
struct dir *dirs_target(struct dirs *dirs);
/* A child node with a reference of its own; `entry` NULL: no attributes are known. */
int dir_new(struct extract *x, struct dir *parent, const char *name, size_t size,
            const struct entry *entry, bool aside, struct dir **out, struct err *err);
void dir_ref(struct dir *dir);
void dir_unref(struct extract *x, struct dir *dir);
/* Makes it be there, and all above it (PASS_WRITE), or finds out. */
int dir_ensure(struct extract *x, struct dir *dir, struct err *err);
/* Its descriptor, until dir_let(). */
int dir_hold(struct extract *x, struct dir *dir, int *out_fd, struct err *err);
void dir_let(struct extract *x, struct dir *dir);
/* Whether a file system, or a part of one, is mounted there. */
int dir_is_mounted(struct extract *x, struct dir *dir, bool *out, struct err *err);
/* "a/b" below the target, and an entry of it; no NUL. */
int dir_path(const struct dir *dir, const char *name, size_t size, struct buf *out,
             struct err *err);
/* extract_make.c: one directory comes to be there; *out_fd is open */
int dir_make(struct extract *x, struct dir *dir, int parent, int *out_fd, struct err *err);

/* extract_place.c: names in the target */
/* openat(), made again where it was interrupted. */
int place_open(int dirfd, const char *name, int flags, mode_t mode);
int place_create(int dirfd, const char *name, char temporary[EXTRACT_NAME_SIZE], bool over,
                 int *out_fd, struct err *err);
/* Makes what is neither file nor directory, or a link to `source` when that is not -1. */
int place_make(int dirfd, const char *name, const struct entry *entry, int source, bool over,
               struct err *err);
/* What is at a name now, held by O_PATH; ERR_NOT_FOUND. */
int place_look(int dirfd, const char *name, struct handle *out, struct stat *out_st,
               struct err *err);
bool place_is_temporary(const char *name);
void place_sweep(int dirfd); /* removes temporaries of a run that was killed */

/* extract_meta.c */
void attributes_of(const struct entry *entry, struct attributes *out);
/* `st`: as the object is now. */
int meta_apply(struct extract *x, const struct handle *handle, const struct attributes *attributes,
               struct stat *st, struct err *err);
/* 0: as it should be; else ERR_EXISTS with what differs. */
int meta_compare(struct extract *x, const struct handle *handle, const struct stat *st,
                 const struct attributes *attributes, struct err *err);
/* Same type, size, mtime; of symlinks target, of devices number. */
bool meta_same(int dirfd, const char *name, const struct entry *entry, const struct stat *st);
/* Whether the owner's word on size and time is enough to give a file what the snapshot has. */
bool meta_trusts(const struct extract *x, const struct entry *entry, const struct stat *st);
bool meta_time_equal(const struct stat *st, int64_t seconds, uint32_t ns);
/* extract_xattr.c */
/* `out_changed`: its mode may be another one by now. */
int xattr_sync(struct extract *x, const struct handle *handle, const struct attributes *attributes,
               bool *out_changed, struct err *err);
/* Whether the object would get capabilities that it has not. */
int xattr_grants(struct extract *x, const struct handle *handle,
                 const struct attributes *attributes, bool *out, struct err *err);
int xattr_compare(struct extract *x, const struct handle *handle,
                  const struct attributes *attributes, struct err *err);

/* extract_files.c: content, by workers */
struct outfile {
    struct dir *dir;
    struct attributes attributes;
    uint64_t size;
    uint8_t digest[ENTRY_DIGEST_SIZE];
    uint64_t link; /* its record in struct links, + 1; 0: none */
    bool over;     /* takes the place of what is there */
    bool holes;
    bool patched; /* in place: what is there is compared first */
    atomic_ullong written;
    size_t pieces;
    int fd;
    char temporary[EXTRACT_NAME_SIZE]; /* empty: under its own name */
    atomic_size_t left;                /* pieces, and one while it is planned */
    pthread_mutex_t lock;              /* guards what follows */
    bool failed;
    enum side side;
    struct err err;
    size_t name_size;
    char name[];
};
int files_new(struct extract *x, size_t open_limit, struct err *err);
void files_free(struct extract *x);
int files_add(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
              uint64_t link, struct err *err);
/* A later name of a file, made when all that was added before it is done. */
int files_add_link(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                   struct err *err);
/* Does all that was added. */
void files_drain(struct extract *x);
/* extract_pieces.c: what one task has to write; `passage` NULL: through the cache only */
struct cut;
struct passage;
struct task;
struct window;
void pieces_write(struct extract *x, struct passage *passage, const struct cut *cut,
                  struct window *window, const struct task *task);
/* extract_outfile.c: one file from beginning to end */
int outfile_new(struct dir *dir, const struct entry *entry, bool over, uint64_t link,
                struct outfile **out, struct err *err);
int outfile_open(struct extract *x, struct outfile *file, struct err *err);
/* Bytes of its content. */
int outfile_write(struct outfile *file, const void *bytes, size_t count, uint64_t offset,
                  struct err *err);
/* Room for all of it, once it is known to have no holes. */
void outfile_reserve(struct outfile *file);
void outfile_fail(struct outfile *file, enum side side, const struct err *err);
bool outfile_failed(struct outfile *file);
/* One piece less; the last one finishes and frees the file. */
void outfile_release(struct extract *x, struct outfile *file);
/* The whole of a file by the caller's own hands. */
void outfile_write_now(struct extract *x, struct dir *dir, const struct entry *entry, bool over,
                       uint64_t link);
/* Whether bytes are those of a file that is one chunk. */
bool outfile_is(const struct extract *x, const struct outfile *file, const void *bytes,
                size_t count);

/* extract_links.c: which names are one file */
int links_new(struct links **out, struct err *err);
void links_free(struct links *links); /* NULL is allowed */
/* The record of an inode that was met before. */
bool links_find(const struct links *links, struct place inode, uint64_t *out_record);
int links_add(struct links *links, const struct dir *dir, const struct entry *entry,
              uint64_t *out_record, struct err *err);
void links_done(struct links *links, uint64_t record, const struct stat *st);
bool links_agree(const struct links *links, uint64_t record, const struct stat *st);
/* A later name of a file. */
struct later {
    struct dir *dir;
    struct place inode;
    bool over;
    size_t name_size;
    char name[ENTRY_NAME_MAX + 1];
};
/* Makes it a link, or the file itself where the first name could not be restored. */
void links_make(struct extract *x, const struct later *later);

/* extract_delete.c: a directory of both trees and the target */
void delete_extra(struct extract *x, const struct job *job, struct dir *dir,
                  const struct dirref *own, const struct dirref *pair, const char *source_path);

/* extract_verify.c */
void verify_entry(struct extract *x, struct dir *dir, const struct entry *entry, bool keep);
void verify_directory(struct extract *x, struct dir *dir);
int verify_content(struct extract *x, int fd, const struct entry *entry, struct err *err);

/* extract_marker.c: that a run is under way */
int marker_begin(struct extract *x, int target, struct err *err);
void marker_made(struct extract *x, const struct stat *st);
/* What was written is on disk; sync_note() tells of a directory that came to be used. */
int sync_all(struct extract *x, int target, struct err *err);
void sync_note(struct extract *x, int fd, dev_t device);
void marker_end(struct extract *x, int target, bool finished);
