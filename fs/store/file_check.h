/*
 * Everything of one regular file: header, both slots, every tag page, every block, the set hash
 * over all of them, attributes. For programs that look at files which nobody has open.
 */
#ifndef STORE_FILE_CHECK_H
#define STORE_FILE_CHECK_H

#include "fs/store/file.h"
#include "fs/store/format.h"

/* What is wrong with a file. Strings are constant. */
struct file_check_fault {
	const char *what;   /* "header", "size", "tags", "presence", "block", "attribute", "disk" */
	const char *detail; /* one clause */
	uint64_t block;     /* the first one, UINT64_MAX when it is about none */
	uint64_t blocks;    /* how many in a row */
	const char *attribute; /* lower name, or NULL */
};

struct file_check_hooks {
	void (*found)(void *context, const struct file_check_fault *fault);
	/* While blocks are read: so many bytes of DATA more were verified. Not 0 ends the
	 * check, which returns it. May be NULL. */
	int (*progress)(void *context, uint64_t bytes);
	void *context;
};

struct file_check {
	bool has_header;
	bool many_homes;
	bool longer; /* the lower file is longer than its header says: harmless, a crash leaves it
		      */
	uint8_t id[FILE_ID_LEN];
	struct format_home homes[FORMAT_HOMES];
	uint64_t size, lower_len;
	uint64_t blocks, holes, attributes; /* that verified */
	unsigned faults;                    /* told to `found` */
	unsigned bad_attributes;            /* of them */
};

/*
 * Checks the file dirfd/name; changes nothing if s->lower does not. It goes by what is there: holes
 * cost nothing. 0, faults or none; what `progress` returned; -ENOENT; -EACCES its mode keeps it
 * from us; -ENOMEM; -errno of the lower calls but -EIO, which is a fault. ret is filled as far as
 * it went.
 */
MUST_USE int file_check(const struct store *s, int dirfd, const char *name,
	const struct file_check_hooks *hooks, struct file_check *ret);

/*
 * Puts right what is no damage: these homes (0 names: a free place; more than FORMAT_HOMES: the
 * flag for that), and the lower length. Times stay. 0; -EBADMSG the header does not verify; -errno
 * of the lower calls. Nobody has the file open.
 */
MUST_USE int file_check_settle(const struct store *s, int dirfd, const char *name,
	const struct format_home *homes, size_t count);

#endif
