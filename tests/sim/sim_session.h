/*
 * One fixed session of many calls on a tenant's tree, with an oracle that knows after each of them,
 * also one that failed, what may be there: for sweeps that fail its lower calls one at a time.
 *
 * Names: after a call that failed it is looked which of its two outcomes came about (the fault is
 * lifted for that); any third is wrong. Content: each unit of a file has a set of writes that it
 * may come from; a write, commit or fsync that succeeds makes it smaller, one that fails larger.
 */
#ifndef SIM_SESSION_H
#define SIM_SESSION_H

#include "tests/sim/sim_store.h"
#include "tests/unit/fail_lower.h"

#define SESSION_UNIT 128u
#define SESSION_UNITS 2400u /* of the largest file: more than one group of blocks */
#define SESSION_OBJECTS 24
#define SESSION_ENTRIES 40
#define SESSION_TAGS 31 /* of writes to one file; 0: zeros */
#define SESSION_NAMES 6

/* What may be in a file. */
struct session_content {
	uint32_t low, high;           /* its size, in units */
	uint32_t mask[SESSION_UNITS]; /* of tags, by unit */
};

struct session_object {
	uint8_t type; /* DT_* */
	bool gone;    /* has no name any more */
	ino_t ino;
	struct dir *dir;
	struct file *file;
	const char *target;                /* of a link */
	unsigned tag;                      /* the last one used */
	unsigned xattr;                    /* bits: 0 none, else value of that number */
	struct session_content now, acked; /* acked: by the last commit that succeeded */
};

struct session_entry {
	unsigned parent, name; /* object; index of the name */
	int object;            /* -1: nothing there */
};

struct session {
	struct sim_disk *disk;
	const struct keyring *keys;
	struct fail_lower fail;
	int error; /* what the fault says; 0: none or a short transfer */
	struct sim_store s;
	bool mounted, hit;
	struct session_object objects[SESSION_OBJECTS]; /* 0: the root */
	struct session_entry entries[SESSION_ENTRIES];
	unsigned object_count, entry_count;
	unsigned calls, refused; /* of the session's own, and those that said an errno */
	const char *what;        /* the call under way */
	char why[512];           /* the first thing that was wrong; "" none */
};

/* disk and keys are borrowed; the fault is armed by the caller in `fail`. */
void sim_session_init(struct session *s, struct sim_disk *disk, const struct keyring *keys);
/* Mounts; once more without the fault when that fails for it. */
void sim_session_mount(struct session *s);
/* Closes everything and unmounts. */
void sim_session_unmount(struct session *s);
/* Everything: each name, and nothing but those, whole content, attributes, targets. Mounted, no
 * fault. */
void sim_session_check(struct session *s);
/* Removes everything; nothing may be left, in the trash either. Mounted, no fault. */
void sim_session_empty(struct session *s);

/* Calls. Objects by number: 0 the root; names by index. A call on what is not there does nothing.
 * Those that make something return its number, or -1. */
int sim_session_create(struct session *s, unsigned parent, unsigned name);
int sim_session_mkdir(struct session *s, unsigned parent, unsigned name);
int sim_session_symlink(struct session *s, unsigned parent, unsigned name, const char *target);
void sim_session_link(struct session *s, int object, unsigned parent, unsigned name);
void sim_session_unlink(struct session *s, unsigned parent, unsigned name);
void sim_session_rmdir(struct session *s, unsigned parent, unsigned name);
void sim_session_rename(
	struct session *s, unsigned from, unsigned old, unsigned to, unsigned name, unsigned flags);
void sim_session_list(struct session *s, unsigned dir);
void sim_session_readlink(struct session *s, int object);
void sim_session_sync_dir(struct session *s, unsigned dir);
void sim_session_statfs(struct session *s);
void sim_session_erase(struct session *s);

/* Of the content and attributes of files (session_content.c). */
/* Offsets and lengths in units. */
void session_content_write(struct session *s, int object, uint32_t at, uint32_t units);
void session_content_truncate(struct session *s, int object, uint32_t size);
void session_content_range(struct session *s, int object, int mode, uint32_t at, uint32_t units);
void session_content_read(struct session *s, int object);
void session_content_fsync(struct session *s, int object, bool data_only);
void session_content_close(struct session *s, int object);
/* value 0: removes it. */
void session_content_xattr(struct session *s, int object, unsigned value);
void session_content_check_xattr(struct session *s, int object);

/* What the two files share. Keeps the first: */
__attribute__((format(printf, 2, 3))) void sim_session_wrong(
	struct session *s, const char *format, ...);
/* What a call of the store said, passed on, 0 or -errno. */
int sim_session_said(struct session *s, int r);
/* Whether the fault has come. */
bool sim_session_hit(const struct session *s);
/* False: leave it. */
bool sim_session_begin(struct session *s, const char *what, bool changes);
/* Lifts the fault; what to put back into fail.at. */
unsigned sim_session_lift(struct session *s);
const char *sim_session_name(unsigned index);
bool sim_session_has_name(const struct session *s, int object);
/* Opened, or NULL after an errno. */
struct dir *sim_session_dir(struct session *s, unsigned object);
struct file *sim_session_file(struct session *s, int object);

#endif
