/* fs/store/tree: what applications see, what the lower tree holds, and what is left after a failure
 * at any call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/erase/trash.h"
#include "fs/store/tree.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <dirent.h>
#include <time.h>

static struct trash *with_trash(struct store_place *p)
{
	const struct trash_options options = {.require = TRASH_C};
	struct trash *t;
	assert_int_equal(mkdirat(p->tenant_fd, "trash", 0700), 0);
	int fd = openat(p->tenant_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(trash_open(&p->fail.base, fd, &options, &t, NULL), 0);
	assert_int_equal(trash_resume(t), 0);
	p->store.trash = t;
	p->trash_fd = fd;
	return t;
}

static void without_trash(struct store_place *p)
{
	trash_close(p->store.trash, -1);
	p->store.trash = NULL;
	close(p->trash_fd);
}

static struct name sealed(const struct dir *d, const char *plain)
{
	struct name n;
	assert_int_equal(name_seal(d, plain, &n), 0);
	return n;
}

static void make_dir(struct dir *d, const char *plain, struct dir **ret)
{
	struct name n = sealed(d, plain);
	struct stat st;
	assert_int_equal(tree_mkdir(d, &n, 0755, NULL, &st), 0);
	assert_int_equal(dir_open(d, n.lower, ret), 0);
}

static void make_file(struct dir *d, const char *plain, const char *content)
{
	struct name n = sealed(d, plain);
	struct file *f;
	struct stat st;
	assert_int_equal(file_create(d, &n, 0644, NULL, &f, &st), 0);
	if (content[0])
		assert_int_equal(file_write(f, content, strlen(content), 0), strlen(content));
	file_put(f);
}

/* -ENOENT, another errno, or the length of what is read. */
static ssize_t read_file(struct dir *d, const char *plain, char *ret, size_t size)
{
	struct name n = sealed(d, plain);
	AUTO(file_auto) struct file *f = NULL;
	int r = file_open(d, n.lower, &f);
	return r < 0 ? r : file_read(f, ret, size, 0);
}

static void assert_content(struct dir *d, const char *plain, const char *content)
{
	char got[256];
	ssize_t n = read_file(d, plain, got, sizeof(got));
	assert_int_equal(n, strlen(content));
	assert_memory_equal(got, content, (size_t)n);
}

static int rename_to(struct dir *from, const char *old, struct dir *to, const char *new,
	unsigned flags, struct dir *moved, struct dir *victim)
{
	struct name a = sealed(from, old), b = sealed(to, new);
	const struct tree_rename r = {.from = from,
		.to = to,
		.old_lower = a.lower,
		.new_name = &b,
		.flags = flags,
		.moved = moved,
		.victim_dir = victim};
	return tree_rename(&r);
}

static int stat_of(struct dir *d, const char *plain, struct stat *ret)
{
	struct name n = sealed(d, plain);
	return tree_stat(d, n.lower, ret);
}

/* Lower entries but "." and "..": of the user's, or with `all` of ours too. */
static unsigned lower_count(const struct dir *d, bool all)
{
	AUTO_CLOSE fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct dirent64) char bytes[8192];
	unsigned count = 0;
	for (ssize_t n;
		(n = lower_posix()->ops->getdents(lower_posix(), fd, bytes, sizeof(bytes))) > 0;)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const void *)(bytes + at);
			at += e->d_reclen;
			if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
				(all || !name_is_internal(e->d_name)))
				count++;
		}
	return count;
}

static void disarm(struct store_place *p)
{
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
}

static char *long_name(char with)
{
	static char names[128][256];
	memset(names[(unsigned char)with & 127], with, 255);
	return names[(unsigned char)with & 127];
}

static void directories_have_the_mode_and_links_asked_for(void **state)
{
	struct store_place *p = *state;
	static const struct {
		const char *plain;
		mode_t mode;
	} rows[] = {{"a", 0755}, {"b", 0}, {"c", 01777}, {"d", 0500}, {"e", 0300}};
	struct stat st, again;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct name n = sealed(p->root, rows[i].plain);
		assert_int_equal(tree_mkdir(p->root, &n, rows[i].mode, NULL, &st), 0);
		assert_int_equal(st.st_mode, S_IFDIR | rows[i].mode);
		assert_int_equal(st.st_nlink, 2);
		assert_int_equal(tree_mkdir(p->root, &n, 0700, NULL, &st), -EEXIST);
		assert_int_equal(tree_stat(p->root, n.lower, &again), 0);
		assert_int_equal(again.st_mode, S_IFDIR | rows[i].mode);
	}
	struct dir *a;
	struct name n = sealed(p->root, "a");
	assert_int_equal(dir_open(p->root, n.lower, &a), 0);
	assert_int_equal(tree_rmdir(p->root, n.lower, a), 0);
	assert_int_equal(tree_stat(p->root, n.lower, &st), -ENOENT);
	dir_put(a);
	if (geteuid() == 0) {
		const struct lower_cred cred = {1234, 4321};
		n = sealed(p->root, "theirs");
		assert_int_equal(tree_mkdir(p->root, &n, 0711, &cred, &st), 0);
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 4321);
		assert_int_equal(dir_open(p->root, n.lower, &a), 0);
		assert_int_equal(fstatat(a->fd, ".dir", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_uid, 0);
		dir_put(a);
	}
}

static void a_directory_with_content_stays(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	make_dir(p->root, long_name('d'), &d);
	make_file(d, "f", "");
	struct name n = sealed(p->root, long_name('d')), in = sealed(d, "f");
	assert_int_equal(tree_rmdir(p->root, n.lower, d), -ENOTEMPTY);
	assert_int_equal(dir_open(p->root, n.lower, &again), 0);
	assert_memory_equal(d->id, again->id, DIR_ID_LEN);
	dir_put(again);
	assert_int_equal(tree_unlink(d, in.lower, NULL), 0);
	/* orphans do not count */
	assert_int_equal(symlinkat("x", d->fd, "~orphan.n"), 0);
	for (unsigned i = 1;; i++) {
		fail_lower_arm(&p->fail, FAIL_LOWER_UNLINKAT, i, -EIO, true);
		int r = tree_rmdir(p->root, n.lower, d);
		bool hit = fail_lower_hit(&p->fail);
		disarm(p);
		if (r == 0) {
			/* the record of the root, and the sidecar when removing that was what
			 * failed */
			assert_int_equal(lower_count(p->root, true), 1 + hit);
			break;
		}
		assert_true(hit);
		assert_int_equal(r, -EIO);
		assert_int_equal(dir_open(p->root, n.lower, &again), 0);
		assert_memory_equal(d->id, again->id, DIR_ID_LEN);
		dir_put(again);
	}
	dir_put(d);
	assert_int_equal(p->alarms, 0);
}

static void targets_of_every_length_come_back(void **state)
{
	struct store_place *p = *state;
	static const size_t lengths[] = {
		1, 2, 3, 59, 715, 716, 717, 1000, 1465, 1466, 1467, 4000, 4094, 4095};
	char target[4097], got[4096], plain[256];
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct stat st;
		memset(target, 'a' + (int)i, lengths[i]);
		target[lengths[i]] = '\0';
		snprintf(plain, sizeof(plain), "%.*s%zu", i % 2 ? 200 : 3, long_name('s'), i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), 0);
		assert_int_equal(st.st_size, lengths[i]);
		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), -EEXIST);
		assert_int_equal(tree_stat(p->root, n.lower, &st), 0);
		assert_int_equal(st.st_size, lengths[i]);
		assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), lengths[i]);
		assert_memory_equal(got, target, lengths[i]);
		assert_int_equal(tree_readlink(p->root, n.lower, got, 1), 1);
	}
	struct name n = sealed(p->root, "bad");
	struct stat st;
	assert_int_equal(tree_symlink(p->root, &n, "", NULL, &st), -ENOENT);
	memset(target, 'x', 4096);
	target[4096] = '\0';
	assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), -ENAMETOOLONG);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		snprintf(plain, sizeof(plain), "%.*s%zu", i % 2 ? 200 : 3, long_name('s'), i);
		n = sealed(p->root, plain);
		assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	}
	assert_int_equal(lower_count(p->root, true), 1);
	assert_int_equal(p->alarms, 0);
}

static void altered_targets_are_noticed(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, "s"), m = sealed(p->root, "t");
	char target[4096], got[4096], text[1100], tail[64];
	struct stat st;
	memset(target, 'l', 4000);
	target[4000] = '\0';
	assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), 0);
	assert_int_equal(tree_symlink(p->root, &m, "short", NULL, &st), 0);
	ssize_t len = readlinkat(p->root->fd, n.lower, text, sizeof(text));
	assert_int_equal(len, 1001);
	uint8_t head[24];
	assert_int_equal(crypto_unb64(text, 32, head, 24), 24);
	tail[0] = '~';
	crypto_b64(head + 2, 16, tail + 1);
	strncat(tail, ".2", 3);
	assert_int_equal(unlinkat(p->root->fd, tail, 0), 0);
	assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), -EBADMSG);
	assert_int_equal(symlinkat("AAAA", p->root->fd, tail), 0);
	assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), -EBADMSG);
	assert_int_equal(p->alarms, 2);
	assert_string_equal(p->what, "link target");
	len = readlinkat(p->root->fd, m.lower, text, sizeof(text));
	for (ssize_t i = 0; i < len; i++) {
		char altered[128];
		memcpy(altered, text, (size_t)len);
		altered[len] = '\0';
		altered[i] = altered[i] == 'A' ? 'B' : 'A';
		assert_int_equal(unlinkat(p->root->fd, m.lower, 0), 0);
		assert_int_equal(symlinkat(altered, p->root->fd, m.lower), 0);
		assert_int_equal(tree_readlink(p->root, m.lower, got, sizeof(got)), -EBADMSG);
	}
	assert_int_equal(tree_stat(p->root, m.lower, &st), 0);
	assert_int_equal(tree_unlink(p->root, m.lower, NULL), 0);
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
}

static void special_files_and_hard_links(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *d;
	struct stat st;
	make_dir(p->root, "d", &d);
	struct name fifo = sealed(p->root, "fifo"), fifo2 = sealed(d, long_name('f'));
	assert_int_equal(tree_mknod(p->root, &fifo, S_IFIFO | 0640, 0, NULL, &st), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0640);
	assert_int_equal(tree_link(p->root, fifo.lower, NULL, d, &fifo2, &st), 0);
	assert_int_equal(st.st_nlink, 2);
	/* a file with content, and one that is empty and gets some later */
	static const char *const names[] = {"full", "empty"};
	for (int i = 0; i < 2; i++) {
		make_file(p->root, names[i], i ? "" : "content");
		struct name a = sealed(p->root, names[i]), b = sealed(d, long_name('b')),
			    c = sealed(d, "c");
		assert_int_equal(tree_link(p->root, a.lower, NULL, d, &b, &st), 0);
		assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), 0);
		assert_int_equal(st.st_nlink, 3);
		assert_int_equal(st.st_size, i ? 0 : 7);
		assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), -EEXIST);
		AUTO(file_auto) struct file *f = NULL;
		assert_int_equal(file_open(p->root, a.lower, &f), 0);
		assert_int_equal(file_write(f, "CONTENT", 7, 0), 7);
		assert_int_equal(tree_unlink(p->root, a.lower, f), 0);
		assert_int_equal(file_check_home(f, d), 0);
		assert_int_equal(file_check_home(f, p->root), -EBADMSG);
		file_put(f);
		f = NULL;
		assert_content(d, "c", "CONTENT");
		assert_int_equal(tree_unlink(d, b.lower, NULL), 0);
		assert_content(d, "c", "CONTENT");
		assert_int_equal(tree_stat(d, c.lower, &st), 0);
		assert_int_equal(st.st_nlink, 1);
		assert_int_equal(tree_unlink(d, c.lower, NULL), 0);
		assert_int_equal(trash_drain(t, 10000), 0);
		struct trash_status status;
		trash_status(t, &status);
		assert_int_equal(status.done_files, i + 1);
	}
	struct name dn = sealed(p->root, "d"), x = sealed(p->root, "x");
	assert_int_equal(tree_link(p->root, dn.lower, NULL, p->root, &x, &st), -EPERM);
	assert_int_equal(tree_unlink(p->root, dn.lower, NULL), -EISDIR);
	assert_int_equal(tree_unlink(p->root, x.lower, NULL), -ENOENT);
	assert_int_equal(tree_unlink(d, fifo2.lower, NULL), 0);
	assert_int_equal(lower_count(d, true), 1);
	assert_int_equal(p->alarms, 2); /* the two foreign homes asked for above */
	dir_put(d);
	without_trash(p);
}

static void hard_links_of_long_links_keep_their_tails(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	char target[4096], got[4096];
	struct stat st;
	make_dir(p->root, "d", &d);
	memset(target, 't', 4095);
	target[4095] = '\0';
	struct name a = sealed(p->root, "a"), b = sealed(d, "b");
	assert_int_equal(tree_symlink(p->root, &a, target, NULL, &st), 0);
	assert_int_equal(tree_link(p->root, a.lower, NULL, d, &b, &st), 0);
	assert_int_equal(tree_unlink(p->root, a.lower, NULL), 0);
	assert_int_equal(tree_readlink(d, b.lower, got, sizeof(got)), 4095);
	assert_int_equal(rename_to(d, "b", p->root, "c", 0, NULL, NULL), 0);
	struct name c = sealed(p->root, "c");
	assert_int_equal(tree_readlink(p->root, c.lower, got, sizeof(got)), 4095);
	assert_memory_equal(got, target, 4095);
	assert_int_equal(lower_count(d, true), 1);
	dir_put(d);
}

static void an_unlinked_file_lives_as_long_as_it_is_open(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, "f");
	make_file(p->root, "f", "still here");
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), -EROFS); /* nowhere to put it */
	struct trash *t = with_trash(p);
	struct file *f;
	char got[16];
	struct stat st;
	struct trash_status status;
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	assert_int_equal(tree_unlink(p->root, n.lower, f), 0);
	assert_int_equal(tree_stat(p->root, n.lower, &st), -ENOENT);
	assert_int_equal(trash_drain(t, 10000), 0);
	assert_int_equal(file_read(f, got, sizeof(got), 0), 10);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 0);
	file_put(f);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	/* an empty one leaves nothing to erase */
	make_file(p->root, "f", "");
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	without_trash(p);
}

static void renames_of_files(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *d;
	struct stat st;
	struct trash_status status;
	char got[16];
	make_dir(p->root, "d", &d);
	make_file(p->root, "a", "aa");
	make_file(d, "b", "bbb");
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_NOREPLACE, NULL, NULL), -EEXIST);
	assert_int_equal(rename_to(p->root, "a", d, "x", RENAME_EXCHANGE, NULL, NULL), -ENOENT);
	assert_int_equal(rename_to(p->root, "x", d, "b", 0, NULL, NULL), -ENOENT);
	assert_int_equal(rename_to(p->root, "a", d, "b", 4, NULL, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_EXCHANGE, NULL, NULL), 0);
	assert_content(p->root, "a", "bbb");
	assert_content(d, "b", "aa");
	assert_int_equal(rename_to(p->root, "a", d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_int_equal(read_file(p->root, "a", got, sizeof(got)), -ENOENT);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	/* long names, and back */
	assert_int_equal(rename_to(d, "b", p->root, long_name('l'), 0, NULL, NULL), 0);
	assert_content(p->root, long_name('l'), "bbb");
	assert_int_equal(
		rename_to(p->root, long_name('l'), p->root, long_name('m'), 0, NULL, NULL), 0);
	assert_int_equal(rename_to(p->root, long_name('m'), d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_int_equal(lower_count(p->root, true), 2); /* .dir, d */
	/* two names of one file: both stay */
	struct name b = sealed(d, "b"), c = sealed(d, "c");
	assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), 0);
	assert_int_equal(rename_to(d, "b", d, "c", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_content(d, "c", "bbb");
	/* over one of two names: the other keeps its content */
	make_file(d, "n", "new");
	assert_int_equal(rename_to(d, "n", d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "new");
	assert_content(d, "c", "bbb");
	/* over a file that somebody has open */
	struct file *f;
	assert_int_equal(file_open(d, c.lower, &f), 0);
	const struct tree_rename over = {.from = d,
		.to = d,
		.old_lower = b.lower,
		.new_name = &c,
		.victim_exists = true,
		.victim_file = f};
	assert_int_equal(tree_rename(&over), 0);
	assert_int_equal(file_read(f, got, sizeof(got), 0), 3);
	assert_memory_equal(got, "bbb", 3);
	file_put(f);
	assert_content(d, "c", "new");
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 2);
	assert_int_equal(rename_to(d, "c", p->root, "d", 0, NULL, d), -EISDIR);
	assert_int_equal(rename_to(p->root, "d", d, "c", 0, d, NULL), -ENOTDIR);
	assert_int_equal(p->alarms, 0);
	dir_put(d);
	without_trash(p);
}

static void renames_of_links_take_their_tails_along(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	struct stat st;
	char a[4001], b[3001], got[4096];
	memset(a, 'a', sizeof(a)), a[4000] = '\0';
	memset(b, 'b', sizeof(b)), b[3000] = '\0';
	make_dir(p->root, "d", &d);
	struct name an = sealed(p->root, "a"), bn = sealed(d, "b");
	assert_int_equal(tree_symlink(p->root, &an, a, NULL, &st), 0);
	assert_int_equal(tree_symlink(d, &bn, b, NULL, &st), 0);
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_EXCHANGE, NULL, NULL), 0);
	assert_int_equal(tree_readlink(p->root, an.lower, got, sizeof(got)), 3000);
	assert_int_equal(tree_readlink(d, bn.lower, got, sizeof(got)), 4000);
	assert_int_equal(lower_count(p->root, true), 3 + 4);
	assert_int_equal(lower_count(d, true), 2 + 5);
	assert_int_equal(rename_to(p->root, "a", d, "b", 0, NULL, NULL), 0);
	assert_int_equal(tree_readlink(d, bn.lower, got, sizeof(got)), 3000);
	assert_int_equal(lower_count(p->root, true), 2);
	assert_int_equal(lower_count(d, true), 2 + 4);
	assert_int_equal(rename_to(d, "b", d, long_name('z'), 0, NULL, NULL), 0);
	assert_int_equal(lower_count(d, true), 3 + 4);
	struct name z = sealed(d, long_name('z'));
	assert_int_equal(tree_unlink(d, z.lower, NULL), 0);
	assert_int_equal(lower_count(d, true), 1);
	dir_put(d);
}

static void renames_of_directories(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b, *in, *again;
	struct stat before, after;
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	make_dir(a, "in", &in);
	make_file(in, "f", "deep");
	assert_int_equal(fstat(in->fd, &before), 0);
	assert_int_equal(rename_to(a, "in", b, long_name('n'), 0, in, NULL), 0);
	assert_int_equal(fstat(in->fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	struct name n = sealed(b, long_name('n'));
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	assert_content(again, "f", "deep");
	dir_put(again);
	/* into itself; over one that is not empty; over an empty one; exchange */
	assert_int_equal(rename_to(p->root, "b", in, "x", 0, b, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "b", b, "x", 0, b, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "a", p->root, "b", 0, a, b), -ENOTEMPTY);
	assert_int_equal(rename_to(b, long_name('n'), p->root, "b", 0, in, b), -ENOTEMPTY);
	assert_int_equal(rename_to(p->root, "b", p->root, "a", 0, b, a), 0);
	assert_int_equal(rename_to(b, long_name('n'), b, "in", RENAME_NOREPLACE, in, NULL), 0);
	struct dir *c;
	make_dir(p->root, "c", &c);
	assert_int_equal(rename_to(b, "in", p->root, "c", RENAME_EXCHANGE, in, c), 0);
	n = sealed(p->root, "c");
	assert_int_equal(dir_open(p->root, n.lower, &again), 0);
	assert_memory_equal(again->id, in->id, DIR_ID_LEN);
	dir_put(again);
	n = sealed(b, "in");
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	assert_memory_equal(again->id, c->id, DIR_ID_LEN);
	dir_put(again);
	/* a directory and a file */
	make_file(b, "f", "");
	assert_int_equal(rename_to(b, "in", b, "f", RENAME_EXCHANGE, c, NULL), 0);
	n = sealed(b, "f");
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	dir_put(again);
	assert_int_equal(lower_count(b, true), 3);
	assert_int_equal(p->alarms, 0);
	dir_put(a), dir_put(b), dir_put(c), dir_put(in);
}

/* As nobody this fails without the owner's bits being lent; as root it shows that they are given
 * back. */
static void a_mode_without_rights_does_not_stop_its_owner(void **state)
{
	struct store_place *p = *state;
	static const mode_t modes[] = {0, 0400, 0500, 0555, 0700};
	p->store.as_root = false;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct name old = sealed(p->root, "old"), new = sealed(p->root, "new");
		struct dir *d, *again;
		struct stat st;
		assert_int_equal(tree_mkdir(p->root, &old, modes[i], NULL, &st), 0);
		assert_int_equal(dir_open(p->root, old.lower, &d), 0);
		assert_int_equal(rename_to(p->root, "old", p->root, "new", 0, d, NULL), 0);
		assert_int_equal(tree_stat(p->root, new.lower, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(dir_open(p->root, new.lower, &again), 0);
		assert_int_equal(tree_stat(p->root, new.lower, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(tree_rmdir(p->root, new.lower, again), 0);
		dir_put(again);
		dir_put(d);
	}
	assert_int_equal(p->alarms, 0);
}

/* Places where the directory `id` opens, of old and new: exactly one must be it. */
static int places_of(struct store_place *p, const uint8_t id[static DIR_ID_LEN], struct dir *from,
	const char *old, struct dir *to, const char *new)
{
	struct dir *const parents[] = {from, to};
	const char *const names[] = {old, new};
	int found = 0;
	for (int i = 0; i < 2; i++) {
		struct name n = sealed(parents[i], names[i]);
		struct dir *d;
		int r = dir_open(parents[i], n.lower, &d);
		if (r == -ENOENT)
			continue;
		assert_int_equal(r, 0);
		found += !memcmp(d->id, id, DIR_ID_LEN);
		dir_put(d);
	}
	assert_int_equal(p->alarms, 0);
	return found;
}

/*
 * The lower fails from the n-th call on, undoing included: what a crash there leaves. Or only at
 * the n-th: then the state is that before or that after.
 */
static void a_crash_in_a_directory_rename_loses_nothing(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b;
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	for (int once = 0; once < 2; once++) {
		bool hit = true;
		for (unsigned n = 1; hit; n++) {
			struct dir *moved, *victim, *at;
			struct name old = sealed(a, long_name('o')), new = sealed(b, "new");
			make_dir(a, long_name('o'), &moved);
			make_dir(b, "new", &victim);
			make_file(moved, "f", "");
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -EIO, once);
			int r = rename_to(a, long_name('o'), b, "new", 0, moved, victim);
			hit = fail_lower_hit(&p->fail);
			disarm(p);
			assert_true(r == 0 || r == -EIO);
			assert_int_equal(places_of(p, moved->id, a, long_name('o'), b, "new"), 1);
			/* whatever happened: it can be removed */
			bool done = dir_open(a, old.lower, &at) < 0;
			assert_int_equal(done, r == 0);
			if (done)
				assert_int_equal(dir_open(b, new.lower, &at), 0);
			struct name f = sealed(at, "f");
			assert_int_equal(tree_unlink(at, f.lower, NULL), 0);
			assert_int_equal(
				done ? tree_rmdir(b, new.lower, at) : tree_rmdir(a, old.lower, at),
				0);
			dir_put(at);
			if (!done) {
				assert_int_equal(dir_open(b, new.lower, &at), 0);
				if (once)
					assert_memory_equal(at->id, victim->id, DIR_ID_LEN);
				assert_int_equal(tree_rmdir(b, new.lower, at), 0);
				dir_put(at);
			}
			assert_int_equal(lower_count(a, false), 0);
			assert_int_equal(lower_count(b, false), 0);
			dir_put(moved);
			dir_put(victim);
		}
	}
	dir_put(a);
	dir_put(b);
}

static void a_crash_in_a_file_rename_loses_nothing(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *a, *b;
	char got[64];
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	/* Renames only: the eraser's calls are not counted with ours. */
	static const enum fail_lower_op ops[] = {
		FAIL_LOWER_RENAMEAT, FAIL_LOWER_LINKAT, FAIL_LOWER_SYMLINKAT, FAIL_LOWER_FSTATAT};
	for (size_t i = 0; i < 4; i++) {
		bool hit = true;
		for (unsigned n = 1; hit; n++) {
			make_file(a, "f", "moved");
			make_file(b, long_name('v'), "victim");
			assert_int_equal(trash_drain(t, 10000), 0);
			fail_lower_arm(&p->fail, ops[i], n, -ENOSPC, true);
			int r = rename_to(a, "f", b, long_name('v'), 0, NULL, NULL);
			hit = fail_lower_hit(&p->fail);
			disarm(p);
			assert_int_equal(trash_drain(t, 10000), 0);
			if (r == 0) {
				assert_content(b, long_name('v'), "moved");
				assert_int_equal(read_file(a, "f", got, sizeof(got)), -ENOENT);
			} else {
				assert_int_equal(r, -ENOSPC);
				assert_content(b, long_name('v'), "victim");
				assert_content(a, "f", "moved");
				struct name f = sealed(a, "f");
				assert_int_equal(tree_unlink(a, f.lower, NULL), 0);
			}
			struct name v = sealed(b, long_name('v'));
			assert_int_equal(tree_unlink(b, v.lower, NULL), 0);
			assert_int_equal(trash_drain(t, 10000), 0);
			AUTO_CLOSE fd = openat(p->tenant_fd, "trash", O_PATH | O_CLOEXEC);
			const struct dir view = {.fd = fd};
			assert_int_equal(lower_count(&view, true), 0);
			assert_int_equal(lower_count(a, false) + lower_count(b, true), 1);
		}
	}
	assert_int_equal(p->alarms, 0);
	dir_put(a);
	dir_put(b);
	without_trash(p);
}

static int make_one(struct store_place *p, int kind, const struct name *n)
{
	static char target[2001];
	struct stat st;
	memset(target, 'x', 2000);
	return kind == 0   ? tree_mkdir(p->root, n, 0500, NULL, &st)
	       : kind == 1 ? tree_symlink(p->root, n, target, NULL, &st)
			   : tree_mknod(p->root, n, S_IFREG | 0600, 0, NULL, &st);
}

static void what_cannot_be_made_leaves_nothing(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, long_name('q'));
	static const enum fail_lower_op ops[] = {FAIL_LOWER_MKDIRAT, FAIL_LOWER_SYMLINKAT,
		FAIL_LOWER_MKNODAT, FAIL_LOWER_OPENAT, FAIL_LOWER_FCHMOD, FAIL_LOWER_FSTAT};
	for (int kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
			for (unsigned at = 1;; at++) {
				fail_lower_arm(&p->fail, ops[i], at, -ENOSPC, true);
				int r = make_one(p, kind, &n);
				bool hit = fail_lower_hit(&p->fail);
				disarm(p);
				assert_int_equal(r, hit ? -ENOSPC : 0);
				if (!hit)
					break;
				assert_int_equal(lower_count(p->root, true), 1);
			}
			struct dir *d = NULL;
			if (kind == 0) {
				assert_int_equal(dir_open(p->root, n.lower, &d), 0);
				assert_int_equal(tree_rmdir(p->root, n.lower, d), 0);
				dir_put(d);
			} else {
				assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
			}
			assert_int_equal(lower_count(p->root, true), 1);
		}
	}
}

#define MANY 3000

static void a_cursor_sees_each_name_once_and_seeks(void **state)
{
	struct store_place *p = *state;
	static bool seen[MANY];
	struct tree_cursor *c;
	struct tree_entry e;
	struct stat st;
	char plain[256];
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < MANY; i++) {
		snprintf(plain, sizeof(plain), "%d%s", i, i % 10 ? "" : long_name('x') + 55);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_mknod(p->root, &n, S_IFREG | 0600, 0, NULL, &st), 0);
	}
	assert_int_equal(tree_cursor_open(p->root, &c), 0);
	int64_t at = 0, middle = 0;
	int count = 0, dots = 0, r;
	char behind_middle[256] = "";
	while ((r = tree_cursor_next(c, at, &e)) > 0) {
		at = e.next;
		if (!strcmp(e.plain, ".") || !strcmp(e.plain, "..")) {
			dots++;
			continue;
		}
		int i = atoi(e.plain);
		assert_false(seen[i]);
		seen[i] = true;
		assert_int_equal(e.type, DT_REG);
		if (count == MANY / 2)
			middle = e.next;
		if (count == MANY / 2 + 1)
			snprintf(behind_middle, sizeof(behind_middle), "%s", e.plain);
		/* what was seen already may go without disturbing the rest */
		if (count % 3 == 0 && count < MANY / 2)
			assert_int_equal(tree_unlink(p->root, e.lower, NULL), 0);
		count++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(count, MANY);
	assert_int_equal(dots, 2);
	assert_int_equal(tree_cursor_next(c, at, &e), 0);
	assert_int_equal(tree_cursor_next(c, middle, &e), 1);
	assert_string_equal(e.plain, behind_middle);
	tree_cursor_close(c);
	assert_int_equal(p->alarms, 0);
}

static void names_that_do_not_open_are_left_out_with_one_alarm(void **state)
{
	struct store_place *p = *state;
	struct tree_cursor *c;
	struct tree_entry e;
	static const char *const foreign[] = {"foreign.txt", "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "~abc"};
	make_file(p->root, "good", "");
	for (int i = 0; i < 3; i++)
		assert_int_equal(mkdirat(p->root->fd, foreign[i], 0700), 0);
	struct name n = sealed(p->root, long_name('k'));
	make_file(p->root, long_name('k'), "");
	char sidecar[128];
	snprintf(sidecar, sizeof(sidecar), "%.60s.n", n.lower);
	assert_int_equal(unlinkat(p->root->fd, sidecar, 0), 0);
	for (int round = 1; round <= 2; round++) {
		int count = 0;
		int64_t at = 0;
		assert_int_equal(tree_cursor_open(p->root, &c), 0);
		while (tree_cursor_next(c, at, &e) > 0) {
			at = e.next;
			count += !strcmp(e.plain, "good") ? 1 : e.plain[0] == '.' ? 0 : 100;
		}
		assert_int_equal(count, 1);
		tree_cursor_close(c);
		assert_int_equal(p->alarms, round);
		assert_string_equal(p->what, "name");
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Not a test of speed: figures for who wants them, with TENANTFS_TEST_FIGURES set. */
static void figures(void **state)
{
	struct store_place *p = *state;
	struct stat st;
	char plain[64];
	if (!getenv("TENANTFS_TEST_FIGURES"))
		skip();
	uint64_t start = now_ns();
	for (int i = 0; i < 2000; i++) {
		snprintf(plain, sizeof(plain), "directory-%d", i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_mkdir(p->root, &n, 0755, NULL, &st), 0);
	}
	uint64_t made = now_ns();
	for (int i = 0; i < 2000; i++) {
		snprintf(plain, sizeof(plain), "directory-%d", i);
		assert_int_equal(stat_of(p->root, plain, &st), 0);
	}
	uint64_t looked = now_ns();
	for (int i = 0; i < 2000; i++) {
		struct dir *d;
		snprintf(plain, sizeof(plain), "directory-%d", i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(dir_open(p->root, n.lower, &d), 0);
		dir_put(d);
	}
	uint64_t opened = now_ns();
	struct tree_cursor *c;
	struct tree_entry e;
	int64_t at = 0;
	assert_int_equal(tree_cursor_open(p->root, &c), 0);
	while (tree_cursor_next(c, at, &e) > 0)
		at = e.next;
	tree_cursor_close(c);
	printf("mkdir %lu ns, lookup %lu ns, dir_open %lu ns, readdir %lu ns an entry\n",
		(unsigned long)(made - start) / 2000, (unsigned long)(looked - made) / 2000,
		(unsigned long)(opened - looked) / 2000, (unsigned long)(now_ns() - opened) / 2000);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(directories_have_the_mode_and_links_asked_for),
		CASE(a_directory_with_content_stays),
		CASE(targets_of_every_length_come_back),
		CASE(altered_targets_are_noticed),
		CASE(special_files_and_hard_links),
		CASE(hard_links_of_long_links_keep_their_tails),
		CASE(an_unlinked_file_lives_as_long_as_it_is_open),
		CASE(renames_of_files),
		CASE(renames_of_links_take_their_tails_along),
		CASE(renames_of_directories),
		CASE(a_mode_without_rights_does_not_stop_its_owner),
		CASE(a_crash_in_a_directory_rename_loses_nothing),
		CASE(a_crash_in_a_file_rename_loses_nothing),
		CASE(what_cannot_be_made_leaves_nothing),
		CASE(a_cursor_sees_each_name_once_and_seeks),
		CASE(names_that_do_not_open_are_left_out_with_one_alarm),
		CASE(figures),
	};
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
