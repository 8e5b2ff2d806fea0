/*
 * Checking a tenant that nobody has open: its journal, its trash, and everything in its tree.
 * Findings go to a callback, one by one, as they come.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "fs/erase/trash.h"
#include "fs/store/store.h"
#include "keymgmt/base/buf.h"

/* One thing that is not as it should be. Everything is borrowed for the time of the callback. */
struct check_finding {
	/* "directory", "name", "link", "sidecar", "header", "size", "tags", "presence", "block",
	 * "disk", "home", "homes", "length", "attribute", "trash", "journal", "unread" */
	const char *kind;
	const char *detail; /* one clause */
	const char *lower;  /* path below the tenant's folder, "root/..." */
	/* Path as the tenant's users know it, as bytes: see check_text. With a '/' at its end: of
	 * the directory it is in, its own name is not known. NULL: none. */
	const char *path;
	const uint8_t *file_id; /* 16 bytes, or NULL */
	uint64_t block, blocks; /* the first one and how many in a row; UINT64_MAX: about none */
	bool damage;            /* else a crash leaves such things: nothing is lost */
	bool corrected;         /* it is not so any more */
	const char *moved;      /* its name in lost+found, or NULL */
};

struct check_counts {
	uint64_t directories, files, links, others;
	uint64_t blocks, holes, bytes, attributes; /* that verified; bytes of content read */
	uint64_t findings, damaged, corrected, left;
	uint64_t unread;  /* of those left: not looked at, since it may not be read */
	uint64_t moved;   /* into lost+found */
	uint64_t settled; /* put right though they were no finding */
};

struct check_options {
	bool repair;
	void (*found)(void *context, const struct check_finding *finding);
	/* Often. Not 0 ends the check, which returns it. May be NULL. */
	int (*progress)(void *context, const struct check_counts *counts);
	/* Receipts of what the trash held, with repair. May be NULL. */
	void (*receipt)(void *context, const struct trash_receipt *receipt);
	void *context;
};

/*
 * Checks all of it. s: as store_init leaves it; its lower is lower_readonly's unless repair is
 * wanted; its alarm and journal are set here for the time of the call. With repair: finishes what
 * journal and trash hold, makes directories whose making was cut short, removes what belongs to no
 * entry, settles lengths, homes and bindings, and moves what cannot be read into
 * tenant_fd/lost+found, where `report` has a line for each (format.md, "Places"); no content is
 * ever removed.
 *
 * 0, whatever was found; what progress returned; -ENOMEM; -errno of lower calls that are no
 * statement about the tenant: then the counts say how far it came.
 */
MUST_USE int check_store(
	struct store *s, int tenant_fd, const struct check_options *o, struct check_counts *ret);

/* Appends bytes so that they can be shown on a terminal, as ls -b does: what is not printable, and
 * blanks and backslashes, as backslash sequences. */
void check_text(struct buf *b, const char *bytes);

#endif
