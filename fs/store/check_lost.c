#include "fs/store/check_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#define FOLDER "lost+found"
#define TRIES 1000000u

void check_lost_init(struct check_lost *lost, struct lower *l, int tenant_fd)
{
	*lost = (struct check_lost){l, tenant_fd, -1, -1, 1, 0};
}

void check_lost_done(struct check_lost *lost)
{
	if (lost->report_fd >= 0)
		(void)lost->l->ops->close(lost->l, lost->report_fd);
	if (lost->fd >= 0)
		(void)lost->l->ops->close(lost->l, lost->fd);
	lost->fd = lost->report_fd = -1;
}

static int open_folder(struct check_lost *lost)
{
	const struct lower_ops *o = lost->l->ops;
	struct stat st;
	if (lost->report_fd >= 0)
		return 0;
	int r = o->mkdirat(lost->l, lost->tenant_fd, FOLDER, 0700, NULL);
	if (r < 0 && r != -EEXIST)
		return r;
	if (lost->fd < 0)
		r = lost->fd = o->openat(
			lost->l, lost->tenant_fd, FOLDER, O_RDONLY | O_DIRECTORY, 0, NULL);
	if (lost->fd < 0)
		return r;
	int fd = o->openat(lost->l, lost->fd, "report", O_RDWR | O_CREAT, 0600, NULL);
	r = fd < 0 ? fd : o->fstat(lost->l, fd, &st);
	if (r < 0) {
		if (fd >= 0)
			(void)o->close(lost->l, fd);
		return r;
	}
	lost->report_fd = fd;
	lost->report_end = (uint64_t)st.st_size;
	return o->fsync(lost->l, lost->tenant_fd, false);
}

/* Lower names and file ids alone: what is in the store is for everybody who can read it. */
static int report(struct check_lost *lost, const char *name, const char *lower, const char *why)
{
	AUTO_BUF line = {0};
	time_t now = time(NULL);
	struct tm tm;
	char when[32] = "";
	if (gmtime_r(&now, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_printf(&line, "%s %s was ", when, name);
	check_text(&line, lower);
	buf_printf(&line, ": %s\n", why);
	if (!buf_ok(&line))
		return -ENOMEM;
	int r = lower_write_all(lost->l, lost->report_fd, line.data, line.len, lost->report_end);
	if (r < 0)
		return r;
	lost->report_end += line.len;
	return lost->l->ops->fsync(lost->l, lost->report_fd, false);
}

static void next_name(struct check_lost *lost, const char *name, char *ret)
{
	int at = snprintf(ret, CHECK_LOST_NAME, "%06u-%.200s", lost->next++, name);
	for (int i = 0; i < at; i++)
		if (!isalnum((unsigned char)ret[i]) && !strchr("-_.~", ret[i]))
			ret[i] = '_';
}

int check_lost_move(struct check_lost *lost, int dirfd, const char *name, const char *lower,
	const char *why, char ret_name[static CHECK_LOST_NAME])
{
	const struct lower_ops *o = lost->l->ops;
	char to[CHECK_LOST_NAME];
	struct stat st;
	int r = open_folder(lost);
	for (unsigned i = 0; r == 0 && i < TRIES; i++) {
		next_name(lost, name, to);
		r = o->fstatat(lost->l, lost->fd, to, &st);
		if (r == -ENOENT)
			break;
	}
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	r = report(lost, to, lower, why);
	if (r >= 0)
		r = o->renameat(lost->l, dirfd, name, lost->fd, to, RENAME_NOREPLACE);
	if (r >= 0)
		r = o->fsync(lost->l, lost->fd, false);
	if (r >= 0)
		r = o->fsync(lost->l, dirfd, false);
	if (r < 0)
		return r;
	memcpy(ret_name, to, sizeof(to));
	return 0;
}

int check_lost_attribute(struct check_lost *lost, int fd, const char *attribute, const char *lower,
	char ret_name[static CHECK_LOST_NAME])
{
	const struct lower_ops *o = lost->l->ops;
	char to[CHECK_LOST_NAME];
	AUTO_FREE uint8_t *value = malloc(65536);
	AUTO_LOWER_HELD f = {lost->l, -1};
	int r = value ? open_folder(lost) : -ENOMEM;
	if (r < 0)
		return r;
	ssize_t n = o->fgetxattr(lost->l, fd, attribute, value, 65536);
	if (n < 0)
		return (int)n;
	for (unsigned i = 0; i < TRIES && f.fd < 0; i++) {
		next_name(lost, attribute, to);
		f.fd = o->openat(lost->l, lost->fd, to, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
		if (f.fd < 0 && f.fd != -EEXIST)
			return f.fd;
	}
	r = f.fd < 0 ? f.fd
		     : report(lost, to, lower,
			       "an attribute that does not verify: its sealed value");
	if (r >= 0)
		r = lower_write_all(lost->l, f.fd, value, (size_t)n, 0);
	if (r >= 0)
		r = o->fsync(lost->l, f.fd, false);
	if (r >= 0)
		r = o->fsync(lost->l, lost->fd, false);
	if (r >= 0)
		r = o->fremovexattr(lost->l, fd, attribute);
	if (r < 0)
		return r;
	memcpy(ret_name, to, sizeof(to));
	return 0;
}
