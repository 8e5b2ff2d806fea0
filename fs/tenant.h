/* One tenant, opened: everything between the command line and the kernel, and the order in which it
 * starts and stops. */
#ifndef FS_TENANT_H
#define FS_TENANT_H

#include "fs/control/control.h"
#include "fs/front/front.h"
#include "fs/options.h"
#include "fs/store/layout.h"

#include <signal.h>

struct tenant {
	const struct options *options; /* borrowed */
	struct layout layout;
	int keys_fd, trash_fd;
	struct keyring *keyring;
	struct trash *trash;
	struct journal *journal;
	struct store store;
	struct redo *redo;
	struct front front;
	struct control *control;
	int64_t since; /* seconds since the epoch */
	bool store_ready, front_ready;
	sigset_t signals; /* blocked in every thread; for whoever waits for them */
};

/*
 * Lock, keys, policy, log, trash, store: all but the kernel. Asks for the passphrase. On failure
 * everything is closed again and the sentence says why.
 */
MUST_USE int tenant_open(struct tenant *t, const struct options *o, struct err *e);
/* The control socket; once the front's notify thread runs. */
MUST_USE int tenant_listen(struct tenant *t, struct err *e);
/* Ends the control socket; before the front's notify thread stops. */
void tenant_unlisten(struct tenant *t);
/* In the reverse order; waits for the eraser at most a few seconds, the rest waits for the next
 * mount. */
void tenant_close(struct tenant *t);

#endif
