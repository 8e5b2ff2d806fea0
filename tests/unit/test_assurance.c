/* fs/erase/assurance.c: what the type, the journal mode and the medium decide, from made-up /proc
 * and /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/erase/assurance.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define EXT4 0xEF53
#define XFS 0x58465342
#define TMPFS 0x01021994

static struct lower_ops ops;
static struct lower fake = {&ops};
static int64_t fake_type;
static int fake_stat_error;
static char place[] = "/var/tmp/test_assurance.XXXXXX";

static int fake_fstat(struct lower *l, int fd, struct stat *ret)
{
	(void)l, (void)fd;
	*ret = (struct stat){.st_dev = makedev(8, 1)};
	return fake_stat_error;
}

static int64_t fake_fs_type(struct lower *l, int fd)
{
	(void)l, (void)fd;
	return fake_type;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void put(const char *path, const char *text)
{
	char whole[512];
	snprintf(whole, sizeof(whole), "%s/%s", place, path);
	for (char *p = whole + strlen(place) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(whole, 0700);
		*p = '/';
	}
	FILE *f = fopen(whole, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	(void)state;
	memcpy(place + strlen(place) - 6, "XXXXXX", 6);
	fake_stat_error = 0;
	return mkdtemp(place) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* dev/block/8:1 is a link into the disk's folder, as in sysfs. */
static void make_sys(const char *disk_rotational, const char *own_rotational)
{
	char link[512];
	put("sys/devices/sda/sda1/uevent", "MAJOR=8\nMINOR=1\nDEVNAME=sda1\nDEVTYPE=partition\n");
	put("sys/dev/block/x", "");
	snprintf(link, sizeof(link), "%s/sys/dev/block/8:1", place);
	assert_int_equal(symlink("../../devices/sda/sda1", link), 0);
	if (disk_rotational)
		put("sys/devices/sda/queue/rotational", disk_rotational);
	if (own_rotational)
		put("sys/devices/sda/sda1/queue/rotational", own_rotational);
}

static const struct probe {
	const char *name;
	int64_t type;
	const char *options; /* of ext4; NULL: unreadable */
	const char *disk, *own;
	char level;
	bool in_place;
	const char *why;
} probes[] = {
	{"ext4 on a disk's partition", EXT4, "rw\ndata=ordered\n", "1\n", NULL, 'A', true,
		"in place"},
	{"ext4 on a whole disk", EXT4, "rw\ndata=writeback\n", NULL, "1\n", 'A', true, "in place"},
	{"ext4 on flash", EXT4, "data=ordered\n", "0\n", NULL, 'B', true, "flash"},
	{"ext4, medium unknown", EXT4, "data=ordered\n", NULL, NULL, 'B', true, "unknown"},
	{"ext4 journals content", EXT4, "rw\ndata=journal\n", "1\n", NULL, 'C', true,
		"data=journal"},
	{"ext4 journals content, last line open", EXT4, "rw\ndata=journal", "1\n", NULL, 'C', true,
		"data=journal"},
	{"ext4, mode unreadable", EXT4, NULL, "1\n", NULL, 'C', true, "cannot be read"},
	{"xfs needs no mode", XFS, NULL, "1\n", NULL, 'A', true, "xfs overwrites"},
	{"xfs on flash", XFS, NULL, "0\n", NULL, 'B', true, "flash"},
	{"btrfs", 0x9123683E, NULL, "1\n", NULL, 'C', false, "btrfs may keep"},
	{"tmpfs", TMPFS, NULL, "1\n", NULL, 'C', false, "tmpfs may keep"},
	{"overlay", 0x794c7630, NULL, "1\n", NULL, 'C', false, "overlay may keep"},
	{"nfs", 0x6969, NULL, "1\n", NULL, 'C', false, "nfs may keep"},
	{"unheard of", 0x1234, NULL, "1\n", NULL, 'C', false, "0x1234"},
};

static void probe_decides(void **state)
{
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
		const struct probe *p = &probes[i];
		char proc[64], sys[64];
		struct assurance got = {0};
		snprintf(proc, sizeof(proc), "%s/proc", place);
		snprintf(sys, sizeof(sys), "%s/sys", place);
		make_sys(p->disk, p->own);
		if (p->options)
			put("proc/fs/ext4/sda1/options", p->options);
		fake_type = p->type;
		assert_int_equal(assurance_probe(&fake, 3, proc, sys, &got), 0);
		if (got.level != (enum trash_assurance)p->level || got.in_place != p->in_place ||
			!strstr(got.why, p->why))
			fail_msg("%s: %c %d \"%s\"", p->name, got.level, got.in_place, got.why);
		teardown(state);
		setup(state);
	}
}

static void probe_fails(void **state)
{
	(void)state;
	struct assurance got = {0};
	fake_type = EXT4;
	fake_stat_error = -EIO;
	assert_int_equal(assurance_probe(&fake, 3, "/proc", "/sys", &got), -EIO);
	fake_stat_error = 0;
	fake_type = -ESTALE;
	assert_int_equal(assurance_probe(&fake, 3, "/proc", "/sys", &got), -ESTALE);
}

static void lines(void **state)
{
	(void)state;
	static const struct {
		const char *text, *line;
		bool has;
	} cases[] = {
		{"", "a", false},
		{"a", "a", true},
		{"b\na\n", "a", true},
		{"aa\nba\n", "a", false},
		{"data=journal_checksum\n", "data=journal", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(assurance_has_line(cases[i].text, cases[i].line), cases[i].has);
}

int main(void)
{
	ops.fstat = fake_fstat;
	ops.fs_type = fake_fs_type;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(probe_decides, setup, teardown),
		cmocka_unit_test_setup_teardown(probe_fails, setup, teardown),
		cmocka_unit_test(lines),
	};
	return cmocka_run_group_tests_name("assurance", tests, NULL, NULL);
}
