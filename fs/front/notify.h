/*
 * One thread that tells the kernel to forget what it caches, and that acts when verdicts change by
 * themselves. Request handlers queue: a notification from one of them can deadlock with the kernel.
 * The one that takes no lock of the kernel's they may send themselves: notify_attributes_now.
 */
#ifndef FRONT_NOTIFY_H
#define FRONT_NOTIFY_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct front;
struct inode;
struct notify;
struct fuse_session;

/* session is borrowed until notify_stop. 0 or -errno. */
MUST_USE int notify_start(struct front *f, struct fuse_session *session, struct notify **ret);
void notify_stop(struct notify *n);

/* What the kernel knows of this inode's attributes is not for everybody any more; of a retired one
 * it is to forget the names. Queues. */
void notify_attributes(struct notify *n, struct inode *i);
/* The same at once: for a request whose answer tells the kernel nothing of the mode that it has
 * changed. It takes no lock of the kernel's that the request could hold. */
void notify_attributes_now(struct notify *n, struct inode *i);
/* Makes the kernel write what it still holds of this inode's content, then calls then(context) on
 * the notify thread, at an unmount too. Queues. -ENOMEM: it will not be called. */
MUST_USE int notify_written(
	struct notify *n, struct inode *i, void (*then)(void *context), void *context);
/*
 * All of them: a policy or a directory's place has changed. Queues. An answer that was given before
 * may be taken by its caller only after that, and make an inode that the kernel did not have to
 * forget: for these it is waited 127 ms at most, then they are looked for every second until none
 * is left.
 */
void notify_all_attributes(struct notify *n);
/* Ask all open handles again; those that lost their right are retired; then as
 * notify_all_attributes. `wait`: until it is done, at most 10 s; false when it is not done by then,
 * or was not waited for. */
bool notify_rejudge(struct notify *n, bool wait);
/* For a request that was judged when front->verdicts was `verdicts` and whose handle or attributes
 * are known only now: if they changed meanwhile, ask again. Queues. */
void notify_if_changed(struct notify *n, uint64_t verdicts);

#endif
