/*
 * Every entry below some folders, without names being opened or understood: for what has to find
 * lower files whatever they are called. Nothing is locked.
 */
#ifndef LOWER_WALK_H
#define LOWER_WALK_H

#include "fs/lower/lower.h"

struct walk_entry {
	int dirfd;        /* the folder it lies in, open for reading */
	const char *path; /* of that folder, from where the walk began */
	const char *name;
	uint64_t ino;
	uint8_t type; /* DT_*, never DT_UNKNOWN */
};

/* 0 goes on; anything else ends the walk, which returns it. Folders are entered by the walk. */
typedef int walk_visit(void *context, const struct walk_entry *e);

/*
 * Calls visit for everything below top_fd/folder but folders, "." and "..". The path is gone
 * through component by component: a link in the middle leads nowhere. An ordinary user gets into
 * folders of his own whose mode forbids it to him. 0; what visit returned; -ENOMEM; -errno of the
 * lower calls.
 */
MUST_USE int walk_tree(
	struct lower *l, int top_fd, const char *folder, walk_visit *visit, void *context);
/*
 * Calls visit for each entry of one folder but "." and "..", folders among them; the type is what
 * the lower filesystem says, perhaps DT_UNKNOWN, and path is "". dir_fd: an O_PATH descriptor will
 * do. 0; what visit returned; -errno of the lower calls.
 */
MUST_USE int walk_names(struct lower *l, int dir_fd, walk_visit *visit, void *context);
/* openat; an owner whose mode forbids it to him grants it to himself for the moment. Descriptor or
 * -errno. */
MUST_USE int walk_open(struct lower *l, int dirfd, const char *name, int flags);

#endif
