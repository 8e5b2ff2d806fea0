/* What the process gives up and is promised before it holds a key. */
#ifndef FS_SANDBOX_H
#define FS_SANDBOX_H

#include "keymgmt/base/err.h"

#include <signal.h>

/* No core dumps, not dumpable, memory locked where allowed, descriptors as many as allowed; as
 * root, memory reclaim does not wait for us. Before threads start, after the last fork. 0, or
 * -errno with a sentence. */
int sandbox_enter(struct err *e);

/* SIGTERM, SIGINT and SIGHUP wait for the thread that asks for them. Before threads start, after
 * the passphrase was typed. */
void sandbox_block_signals(sigset_t *ret);

/*
 * Once all is open: what only starting needed goes back to the system. Code, and what the dynamic
 * linker read, is in files and no secret: it is not locked from then on, and comes again page by
 * page as it is used.
 */
void sandbox_settle(void);

#endif
