/*
 * How sure one may be that overwriting a file reaches the blocks it was stored in (docs/erase.md,
 * "Assurance"). Reads /proc/self/mountinfo and /sys; nothing of the backing tree but its type and
 * device.
 */
#ifndef ERASE_ASSURANCE_H
#define ERASE_ASSURANCE_H

#include "fs/erase/trash.h"

struct assurance {
	enum trash_assurance level;
	bool in_place; /* the filesystem writes where the old bytes are */
	char why[128]; /* one clause, no final stop */
};

/*
 * The filesystem that fd (file or directory, not O_PATH for some network filesystems) lies on. proc
 * and sys: "/proc" and "/sys", other places in tests. What cannot be read counts as the worse. 0;
 * -errno of fstat and fs_type.
 */
MUST_USE int assurance_probe(
	struct lower *l, int fd, const char *proc, const char *sys, struct assurance *ret);

/*
 * Super options of the mount of device major:minor in the text of mountinfo (proc(5)), copied to
 * ret (cut to size, ended by a zero byte). False when no line has that device.
 */
bool assurance_super_options(
	const char *mountinfo, unsigned major, unsigned minor, char *ret, size_t size);
/* True when the comma-separated list has that word. */
bool assurance_has_option(const char *options, const char *word);

enum assurance_medium { ASSURANCE_ROTATES, ASSURANCE_FLASH, ASSURANCE_UNKNOWN };
/* queue/rotational of the device, of its parent when it is a partition. */
enum assurance_medium assurance_medium(const char *sys, unsigned major, unsigned minor);

#endif
