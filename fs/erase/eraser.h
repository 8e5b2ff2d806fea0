/* One name in the trash, from the check of its links to the receipt. Thread-safe as far as `links`
 * goes. */
#ifndef ERASE_ERASER_H
#define ERASE_ERASER_H

#include "fs/erase/assurance.h"
#include "fs/erase/overwrite.h"
#include "keymgmt/base/lock.h"

struct eraser {
	struct lower *lower;
	int trash_fd;
	struct assurance assurance;              /* of the filesystem */
	bool (*begin)(void *context, ino_t ino); /* as in struct trash_options */
	void *context;
	/* Two names of one file, looked at together, would each take the other for the one that
	 * stays. */
	struct lock_mutex links;
};

enum eraser_outcome {
	ERASER_ERASED = 1, /* the receipt is to be given, also with an error in it */
	ERASER_DROPPED =
		0, /* another name exists, or it is no regular file, or gone: only our link went */
};

/*
 * o: with the same lower. settle: make the file's own removal durable first, when its former
 * directory could not be. Returns enum eraser_outcome or -errno, then the file is still in the
 * trash and ret->error says the same; -ECANCELED when *o->stop became true. *ret_elsewhere is set
 * when `begin` said so. A file that was erased still has its space: eraser_free gives it back.
 */
MUST_USE int eraser_run(struct eraser *e, const struct overwrite *o, const char *name, bool settle,
	struct trash_receipt *ret, bool *ret_elsewhere);
/* Step 7. outcome: eraser_run's; the one of both. ret as there. */
MUST_USE int eraser_free(
	struct eraser *e, const char *name, int outcome, struct trash_receipt *ret);

/* Steps 3 to 6 on an open file, and how sure one may be of them. 0 or -errno, which is in
 * ret->error too. */
MUST_USE int eraser_overwrite(const struct assurance *assurance, const struct overwrite *o, int fd,
	struct trash_receipt *ret);

#endif
