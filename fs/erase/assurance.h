/*
 * How sure one may be that overwriting a file reaches the blocks it was stored in (docs/erase.md,
 * "Assurance"). Reads /proc/fs/ext4 and /sys; nothing of the backing tree but its type and
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

enum assurance_journal {
	ASSURANCE_JOURNAL_METADATA,
	ASSURANCE_JOURNAL_CONTENT,
	ASSURANCE_JOURNAL_UNKNOWN
};
/*
 * Whether the ext4 on that device journals content: /proc/fs/ext4/DEVICE/options. The mount options
 * of /proc/self/mountinfo leave out data=journal when it is the default set in the superblock
 * (tune2fs -o journal_data).
 */
enum assurance_journal assurance_journal(
	const char *proc, const char *sys, unsigned major, unsigned minor);
/* True when the text has exactly that line. */
bool assurance_has_line(const char *text, const char *line);

enum assurance_medium { ASSURANCE_ROTATES, ASSURANCE_FLASH, ASSURANCE_UNKNOWN };
/* queue/rotational of the device, of its parent when it is a partition. */
enum assurance_medium assurance_medium(const char *sys, unsigned major, unsigned minor);

#endif
