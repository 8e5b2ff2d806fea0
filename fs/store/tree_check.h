/*
 * What checking a tree needs to know of links and sidecars, and nobody else: no alarms. Where
 * somebody else uses the directory meanwhile, what is half done looks like damage or like an
 * orphan.
 */
#ifndef STORE_TREE_CHECK_H
#define STORE_TREE_CHECK_H

#include "fs/store/dir.h"

/*
 * The link d/lower with its binding, sidecars and target. 0 good; 1 it is, but its name is bound to
 * a second link too, as a crash leaves it (where the lower lets us, it is not after this call);
 * -EBADMSG; -ENOMEM; -errno of the lower calls.
 */
MUST_USE int tree_check_link(struct dir *d, const char *lower);
/*
 * Tells of every sidecar, binding and unfinished replacement in d that belongs to no entry.
 * `orphan` may remove or move it; not 0 ends the call, which returns it. Continuations are not told
 * of when there is a link of which it cannot be said which ones it needs. 0; -ENOMEM; -errno of the
 * lower calls.
 */
MUST_USE int tree_check_sidecars(
	struct dir *d, int (*orphan)(void *context, const char *lower), void *context);
/* The name of the symlink beside the link `lower` that has its binding. */
#define TREE_CHECK_BINDING_LEN 26
void tree_check_binding(const char *lower, char ret[static TREE_CHECK_BINDING_LEN]);
/* Whether a sidecar's name is that of one that continues a link's target. */
bool tree_check_is_continuation(const char *name);

#endif
