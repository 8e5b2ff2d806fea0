/* The decision is a chain of doubts: type, then journal mode, then medium. The first that applies
 * decides. */
#include "fs/erase/assurance.h"
#include "keymgmt/base/io.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define TEXT_MAX (1u << 20)

#define XFS_MAGIC 0x58465342 /* fs/xfs/libxfs/xfs_format.h */

static const struct type {
	int64_t magic;
	const char *name;
	bool in_place;
} types[] = {
	{EXT4_SUPER_MAGIC, "ext4", true},
	{XFS_MAGIC, "xfs", true},
	{BTRFS_SUPER_MAGIC, "btrfs", false},
	{F2FS_SUPER_MAGIC, "f2fs", false},
	{0x2fc12fc1, "zfs", false},
	{0xca451a4e, "bcachefs", false},
	{NILFS_SUPER_MAGIC, "nilfs2", false},
	{OVERLAYFS_SUPER_MAGIC, "overlay", false},
	{TMPFS_MAGIC, "tmpfs", false},
	{NFS_SUPER_MAGIC, "nfs", false},
	{SMB2_SUPER_MAGIC, "smb", false},
	{CIFS_SUPER_MAGIC, "cifs", false},
	{FUSE_SUPER_MAGIC, "fuse", false},
};

static const struct type *type_find(int64_t magic)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].magic == magic)
			return &types[i];
	return NULL;
}

bool assurance_has_line(const char *text, const char *line)
{
	size_t len = strlen(line);
	while (*text) {
		size_t n = strcspn(text, "\n");
		if (n == len && memcmp(text, line, n) == 0)
			return true;
		text += n + (text[n] == '\n');
	}
	return false;
}

/* Files of proc(5) say that they are empty: read until the end. The text ends in a zero byte. */
static bool read_text(const char *path, struct buf *b)
{
	AUTO_CLOSE fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	for (;;) {
		uint8_t some[4096];
		ssize_t n = io_read_full(fd, some, sizeof(some));
		if (n < 0 || b->len > TEXT_MAX)
			return false;
		if (n == 0)
			return b->len > 0;
		buf_put(b, some, (size_t)n);
		if (!buf_ok(b))
			return false;
	}
}

/* The kernel's name of a block device, by which /proc/fs knows its filesystem. */
static bool device_name(const char *sys, unsigned major, unsigned minor, char *ret, size_t size)
{
	AUTO_BUF text = {0};
	char path[256];
	snprintf(path, sizeof(path), "%s/dev/block/%u:%u/uevent", sys, major, minor);
	const char *at =
		read_text(path, &text) ? strstr((const char *)text.data, "DEVNAME=") : NULL;
	if (!at)
		return false;
	at += strlen("DEVNAME=");
	snprintf(ret, size, "%.*s", (int)strcspn(at, "\n"), at);
	for (char *p = ret; *p; p++)
		*p = *p == '/' ? '!' : *p;
	return true;
}

enum assurance_journal assurance_journal(
	const char *proc, const char *sys, unsigned major, unsigned minor)
{
	AUTO_BUF text = {0};
	char name[128], path[512];
	if (!device_name(sys, major, minor, name, sizeof(name)))
		return ASSURANCE_JOURNAL_UNKNOWN;
	snprintf(path, sizeof(path), "%s/fs/ext4/%s/options", proc, name);
	if (!read_text(path, &text))
		return ASSURANCE_JOURNAL_UNKNOWN;
	return assurance_has_line((const char *)text.data, "data=journal")
		       ? ASSURANCE_JOURNAL_CONTENT
		       : ASSURANCE_JOURNAL_METADATA;
}

enum assurance_medium assurance_medium(const char *sys, unsigned major, unsigned minor)
{
	/* A partition has no queue of its own; its folder lies in the disk's. */
	static const char *const places[] = {"queue/rotational", "../queue/rotational"};
	for (size_t i = 0; i < 2; i++) {
		AUTO_BUF text = {0};
		char path[256];
		snprintf(path, sizeof(path), "%s/dev/block/%u:%u/%s", sys, major, minor, places[i]);
		if (read_text(path, &text))
			return text.data[0] == '1' ? ASSURANCE_ROTATES : ASSURANCE_FLASH;
	}
	return ASSURANCE_UNKNOWN;
}

__attribute__((format(printf, 3, 4))) static int decide(
	struct assurance *ret, enum trash_assurance level, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(ret->why, sizeof(ret->why), format, arguments);
	va_end(arguments);
	ret->level = level;
	return 0;
}

int assurance_probe(
	struct lower *l, int fd, const char *proc, const char *sys, struct assurance *ret)
{
	struct stat st;
	int r = l->ops->fstat(l, fd, &st);
	if (r < 0)
		return r;
	int64_t magic = l->ops->fs_type(l, fd);
	if (magic < 0)
		return (int)magic;
	const struct type *type = type_find(magic);
	ret->in_place = type && type->in_place;
	if (!type)
		return decide(ret, TRASH_C, "filesystem type 0x%llx may keep old blocks",
			(unsigned long long)magic);
	if (!type->in_place)
		return decide(ret, TRASH_C, "%s may keep old blocks when a file is overwritten",
			type->name);

	unsigned maj = major(st.st_dev), min = minor(st.st_dev);
	if (magic == EXT4_SUPER_MAGIC) {
		enum assurance_journal journal = assurance_journal(proc, sys, maj, min);
		if (journal == ASSURANCE_JOURNAL_CONTENT)
			return decide(ret, TRASH_C,
				"ext4 in mode data=journal keeps old content in its journal");
		if (journal == ASSURANCE_JOURNAL_UNKNOWN)
			return decide(ret, TRASH_C,
				"the journal mode of ext4 cannot be read from %s/fs/ext4", proc);
	}
	switch (assurance_medium(sys, maj, min)) {
	case ASSURANCE_ROTATES:
		return decide(ret, TRASH_A, "%s overwrites in place", type->name);
	case ASSURANCE_FLASH:
		return decide(ret, TRASH_B, "%s overwrites in place, the flash below it may not",
			type->name);
	case ASSURANCE_UNKNOWN:
		break;
	}
	return decide(ret, TRASH_B, "%s overwrites in place; whether its disk is flash is unknown",
		type->name);
}
