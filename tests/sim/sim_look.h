/* Reading a whole tree through the store, as the oracle wants it. */
#ifndef SIM_LOOK_H
#define SIM_LOOK_H

#include "tests/sim/sim_model.h"
#include "tests/sim/sim_store.h"

/* The plaintext names that a campaign uses; the last two are long ones. */
const char *sim_look_name(unsigned index);
/* The attribute of that number; 0: none. */
#define SIM_XATTR "user.number"
int sim_look_set_xattr(struct file *f, struct dir *d, uint32_t value);
/*
 * 0 and everything that is there. -1 with a sentence in why: a directory, a name, a link or a file
 * that does not open or read, a name that nobody made, an alarm, a size that is told wrongly.
 */
int sim_look(struct sim_store *s, struct look *ret, char why[static 256]);
/* Length and digest of an open file, as struct sim_bytes has them; every block is read. keep: an
 * empty one that gets the bytes, or NULL. 0 or -errno. */
int sim_look_content(
	struct file *f, uint64_t *ret_len, uint64_t *ret_digest, struct sim_bytes *keep);

#endif
