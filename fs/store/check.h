/*
 * Checking a tenant: its journal, its trash, and everything in its tree. Nobody has it open, or
 * somebody has it mounted: then what is committed is checked. Findings go to a callback, one by
 * one, as they come.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "fs/erase/trash.h"
#include "fs/store/store.h"
#include "keymgmt/base/buf.h"

/* One thing that is not as it should be. Everything is borrowed for the time of the callback. */
struct check_finding {
	/* "directory", "name", "link", "sidecar", "header", "size", "tags", "presence", "block",
	 * "disk", "home", "homes", "length", "attribute", "trash", "journal", "unread", "in use" */
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
	/* No damage: the journal of an unclean stop has to do with this file. What a mount makes of
	 * it is known after the next one. */
	bool waits;
	/* No finding: beside a mount it changed whenever it was looked at. Nothing is known of it.
	 */
	bool in_use;
	const char *moved; /* its name in lost+found, or NULL */
};

struct check_counts {
	uint64_t directories, files, links, others;
	uint64_t blocks, holes, bytes, attributes; /* that verified; bytes of content read */
	uint64_t findings, damaged, corrected, left;
	uint64_t unread;  /* of those left: not looked at, since it may not be read */
	uint64_t waiting; /* of those left: see `waits` */
	uint64_t in_use;  /* no findings, and not among the files and directories that were checked
			   */
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
	/*
	 * Beside a mount; NULL: nobody has it open. Called before something is looked at once more,
	 * `again` for the 1st, 2nd, ... time: waits, at least 20 ms and the longer the higher it
	 * is, and then has what is committed brought to its place (redo_checkpoint, in the process
	 * that has it mounted). Not 0 ends the check, which returns it.
	 */
	int (*settle)(void *context, unsigned again);
};

/*
 * Checks all of it. s: as store_init leaves it; its lower is lower_readonly's unless repair is
 * wanted; its alarm and journal are set here for the time of the call. With repair: finishes what
 * journal and trash hold, makes directories whose making was cut short, removes what belongs to no
 * entry, settles lengths, homes and bindings, and moves what cannot be read into
 * tenant_fd/lost+found, where `report` has a line for each (format.md, "Places"); no content is
 * ever removed.
 *
 * Beside a mount nothing is repaired, and only this is told: what is wrong while nothing touches it
 * (check_live.c). Of what is normal there nothing is told: announced erasures, files in the trash,
 * lower files that are longer than their header says. The names of a file with several are not
 * counted, since no walk sees all of them at one moment; each is checked for its home.
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
