/* fs/store, fs/erase: each operation with its first, second, ... allocation failing. Afterwards
 * what was there reads the same, nothing half-made is left, and the same call succeeds. */
#include "tests/unit/tree_place.h"

#include "fs/store/block_map.h"
#include "fs/store/xattr.h"
#include "tests/unit/fail_alloc.h"

#include <linux/falloc.h>
#include <sys/xattr.h>

#define PAGE 4096
/* Content, in the clear; memory that is given back must not hold it. */
#define MARK "plain text of the application, 42 bytes ..."

struct work {
	struct store_place *p;
	struct dir *a, *b;
	struct trash *trash;
	char name[256], target[4096];
	unsigned entries; /* of the root, ours included, before the operation */
	unsigned flags;   /* of rename */
	bool calls; /* lower calls fail: an orphan sidecar may stay, until the directory is listed
		     */
	uint8_t old[70 * PAGE + 33], new[70 * PAGE + 33], got[70 * PAGE + 33];
	uint64_t far; /* where the large file's second part is */
};

static void fill(uint8_t *bytes, size_t len, char first)
{
	static const char mark[] = MARK;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)mark[i % (sizeof(mark) - 1)];
	for (size_t i = 0; i < len; i += PAGE)
		bytes[i] = (uint8_t)first;
}

static void unchanged(void *context, int error)
{
	struct work *w = context;
	(void)error;
	assert_int_equal(lower_count(w->p->root, !w->calls), w->entries);
}

static void remove_name(struct work *w)
{
	struct name n = sealed(w->p->root, w->name);
	assert_int_equal(tree_unlink(w->p->root, n.lower, NULL), 0);
	assert_int_equal(lower_count(w->p->root, !w->calls), w->entries);
}

/* Names. */

static int run_mkdir(void *context)
{
	struct work *w = context;
	struct stat st;
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	return r < 0 ? r : tree_mkdir(w->p->root, &n, 0755, NULL, &st);
}

static int run_rmdir(void *context)
{
	struct work *w = context;
	struct name n;
	AUTO(dir_auto) struct dir *d = NULL;
	int r = name_seal(w->p->root, w->name, &n);
	if (r == 0)
		r = dir_open(w->p->root, n.lower, &d);
	return r < 0 ? r : tree_rmdir(w->p->root, n.lower, d);
}

static void done_mkdir(void *context)
{
	struct work *w = context;
	assert_int_equal(run_rmdir(w), 0);
	assert_int_equal(lower_count(w->p->root, !w->calls), w->entries);
}

static void prepare_rmdir(void *context)
{
	struct work *w = context;
	struct dir *d;
	make_dir(w->p->root, w->name, &d);
	dir_put(d);
}

static void failed_rmdir(void *context, int error)
{
	struct work *w = context;
	struct name n = sealed(w->p->root, w->name);
	struct dir *d;
	(void)error;
	assert_int_equal(dir_open(w->p->root, n.lower, &d), 0);
	dir_put(d);
}

static void done_rmdir(void *context)
{
	unchanged(context, 0);
}

static int run_symlink(void *context)
{
	struct work *w = context;
	struct stat st;
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	return r < 0 ? r : tree_symlink(w->p->root, &n, w->target, NULL, &st);
}

static int run_readlink(void *context)
{
	struct work *w = context;
	struct name n;
	char got[4096];
	int r = name_seal(w->p->root, w->name, &n);
	ssize_t len = r < 0 ? r : tree_readlink(w->p->root, n.lower, got, sizeof(got));
	if (len >= 0) {
		assert_int_equal(len, strlen(w->target));
		assert_memory_equal(got, w->target, (size_t)len);
	}
	return (int)len;
}

static void done_symlink(void *context)
{
	assert_true(run_readlink(context) > 0);
	remove_name(context);
}

static int run_mknod(void *context)
{
	struct work *w = context;
	struct stat st;
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	return r < 0 ? r : tree_mknod(w->p->root, &n, S_IFIFO | 0600, 0, NULL, &st);
}

static void done_name(void *context)
{
	remove_name(context);
}

static int run_stat(void *context)
{
	struct work *w = context;
	struct stat st;
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	return r < 0 ? r : tree_stat(w->p->root, n.lower, &st);
}

/* All names of the root; how many. */
static int run_list(void *context)
{
	struct work *w = context;
	struct tree_cursor *c;
	struct tree_entry e;
	int r = tree_cursor_open(w->p->root, &c), count = 0;
	if (r < 0)
		return r;
	for (int64_t at = 0; (r = tree_cursor_next(c, at, &e)) > 0; at = e.next)
		count++;
	tree_cursor_close(c);
	return r < 0 ? r : count;
}

/* Removing and renaming. */

static void prepare_files(void *context)
{
	struct work *w = context;
	make_file(w->a, "f", "moved " MARK);
	make_file(w->b, w->name, "victim " MARK);
}

static void failed_files(void *context, int error)
{
	struct work *w = context;
	(void)error;
	assert_content(w->a, "f", "moved " MARK);
	assert_content(w->b, w->name, "victim " MARK);
}

static void drop(struct dir *d, const char *plain)
{
	struct name n = sealed(d, plain);
	assert_int_equal(tree_unlink(d, n.lower, NULL), 0);
}

static void trash_is_empty(struct work *w)
{
	AUTO_CLOSE fd = openat(w->p->tenant_fd, "trash", O_PATH | O_CLOEXEC);
	const struct dir view = {.fd = fd};
	assert_int_equal(trash_drain(w->trash, 10000), 0);
	assert_int_equal(lower_count(&view, true), 0);
}

static int run_unlink(void *context)
{
	struct work *w = context;
	struct name n;
	int r = name_seal(w->a, "f", &n);
	return r < 0 ? r : tree_unlink(w->a, n.lower, NULL);
}

static void done_unlink(void *context)
{
	struct work *w = context;
	char got[8];
	assert_int_equal(read_file(w->a, "f", got, sizeof(got)), -ENOENT);
	drop(w->b, w->name);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
}

static int run_rename(void *context)
{
	struct work *w = context;
	struct name old, new;
	AUTO(file_auto) struct file *f = NULL;
	AUTO(file_auto) struct file *victim = NULL;
	int r = name_seal(w->a, "f", &old);
	if (r == 0)
		r = name_seal(w->b, w->name, &new);
	if (r == 0)
		r = file_open(w->a, old.lower, &f);
	if (r == 0)
		r = file_open(w->b, new.lower, &victim);
	const struct tree_rename job = {.from = w->a,
		.to = w->b,
		.old_lower = old.lower,
		.new_name = &new,
		.flags = w->flags,
		.file = f,
		.victim_exists = true,
		.victim_file = victim};
	return r < 0 ? r : tree_rename(&job);
}

static void done_rename(void *context)
{
	struct work *w = context;
	char got[8];
	assert_content(w->b, w->name, "moved " MARK);
	if (w->flags & RENAME_EXCHANGE) {
		assert_content(w->a, "f", "victim " MARK);
		drop(w->a, "f");
	} else {
		assert_int_equal(read_file(w->a, "f", got, sizeof(got)), -ENOENT);
	}
	drop(w->b, w->name);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
	assert_int_equal(lower_count(w->a, false) + lower_count(w->b, false), 0);
}

static void prepare_dirs(void *context)
{
	struct work *w = context;
	struct dir *d;
	make_dir(w->a, "d", &d);
	make_file(d, "inside", MARK);
	dir_put(d);
	make_dir(w->b, w->name, &d);
	dir_put(d);
}

static int run_rename_dir(void *context)
{
	struct work *w = context;
	struct name old, new;
	AUTO(dir_auto) struct dir *moved = NULL;
	AUTO(dir_auto) struct dir *victim = NULL;
	int r = name_seal(w->a, "d", &old);
	if (r == 0)
		r = name_seal(w->b, w->name, &new);
	if (r == 0)
		r = dir_open(w->a, old.lower, &moved);
	if (r == 0)
		r = dir_open(w->b, new.lower, &victim);
	const struct tree_rename job = {.from = w->a,
		.to = w->b,
		.old_lower = old.lower,
		.new_name = &new,
		.flags = w->flags,
		.moved = moved,
		.victim_exists = true,
		.victim_dir = victim};
	return r < 0 ? r : tree_rename(&job);
}

static void failed_dirs(void *context, int error)
{
	struct work *w = context;
	struct name n = sealed(w->a, "d");
	struct dir *d;
	(void)error;
	assert_int_equal(dir_open(w->a, n.lower, &d), 0);
	assert_content(d, "inside", MARK);
	dir_put(d);
	n = sealed(w->b, w->name);
	assert_int_equal(dir_open(w->b, n.lower, &d), 0);
	assert_int_equal(lower_count(d, false), 0);
	dir_put(d);
}

static void done_rename_dir(void *context)
{
	struct work *w = context;
	struct name n = sealed(w->b, w->name);
	struct dir *d;
	assert_int_equal(dir_open(w->b, n.lower, &d), 0);
	assert_content(d, "inside", MARK);
	drop(d, "inside");
	assert_int_equal(tree_rmdir(w->b, n.lower, d), 0);
	dir_put(d);
	if (w->flags & RENAME_EXCHANGE) {
		n = sealed(w->a, "d");
		assert_int_equal(dir_open(w->a, n.lower, &d), 0);
		assert_int_equal(tree_rmdir(w->a, n.lower, d), 0);
		dir_put(d);
	}
	assert_int_equal(trash_drain(w->trash, 10000), 0);
	assert_int_equal(lower_count(w->a, false) + lower_count(w->b, false), 0);
}

static int run_link(void *context)
{
	struct work *w = context;
	struct name old, new;
	struct stat st;
	AUTO(file_auto) struct file *f = NULL;
	int r = name_seal(w->a, "f", &old);
	if (r == 0)
		r = name_seal(w->b, "second", &new);
	if (r == 0)
		r = file_open(w->a, old.lower, &f);
	return r < 0 ? r : tree_link(w->a, old.lower, f, w->b, &new, &st);
}

static void failed_link(void *context, int error)
{
	struct work *w = context;
	failed_files(w, error);
	assert_int_equal(lower_count(w->b, false), 1);
}

static void done_link(void *context)
{
	struct work *w = context;
	assert_content(w->b, "second", "moved " MARK);
	drop(w->a, "f");
	assert_content(w->b, "second", "moved " MARK);
	drop(w->b, "second");
	drop(w->b, w->name);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
}

/* The eraser, its thread included: what it could not do stays for the next start. */

static void prepare_erase(void *context)
{
	struct work *w = context;
	make_file(w->a, "f", MARK);
	struct name n = sealed(w->a, "f");
	char there[TRASH_NAME_LEN];
	assert_int_equal(trash_move(w->trash, w->a->fd, n.lower, there), 0);
}

static int run_erase(void *context)
{
	struct work *w = context;
	const struct trash_options options = {.require = TRASH_C};
	struct trash_status status = {0};
	struct trash *t;
	int r = trash_open(&w->p->fail.base, w->p->trash_fd, &options, &t, NULL);
	if (r < 0)
		return r;
	r = trash_resume(t);
	if (r >= 0)
		r = trash_drain(t, 10000);
	trash_status(t, &status);
	trash_close(t, 10000);
	return r == 0 && status.failed_files ? (w->calls ? -EIO : -ENOMEM) : r;
}

static void done_erase(void *context)
{
	trash_is_empty(context);
}

/* Called while somebody waits for it (-o erase=sync), and not. */
static int run_remove_sync(void *context)
{
	struct work *w = context;
	const struct trash_options options = {.require = TRASH_C, .sync = true};
	struct trash *t, *own = w->p->store.trash;
	int r = trash_open(&w->p->fail.base, w->p->trash_fd, &options, &t, NULL);
	if (r < 0)
		return r;
	r = trash_resume(t);
	w->p->store.trash = t;
	if (r >= 0)
		r = run_unlink(w);
	w->p->store.trash = own;
	trash_close(t, 10000);
	return r;
}

static void done_remove_sync(void *context)
{
	struct work *w = context;
	char got[8];
	assert_int_equal(read_file(w->a, "f", got, sizeof(got)), -ENOENT);
	drop(w->b, w->name);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
	/* It is erased, or waits there for the next start. */
	assert_true(run_erase(w) >= 0);
	trash_is_empty(w);
}

/* Content. */

static int open_work(struct work *w, struct file **ret)
{
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	return r < 0 ? r : file_open(w->p->root, n.lower, ret);
}

static int run_create(void *context)
{
	struct work *w = context;
	struct name n;
	struct stat st;
	struct file *f;
	int r = name_seal(w->p->root, w->name, &n);
	if (r == 0)
		r = file_create(w->p->root, &n, 0644, NULL, &f, &st);
	if (r == 0)
		file_put(f);
	return r;
}

static void prepare_content(void *context)
{
	struct work *w = context;
	struct file *f;
	assert_int_equal(run_create(w), 0);
	assert_int_equal(open_work(w, &f), 0);
	assert_int_equal(file_write(f, w->old, sizeof(w->old), 0), sizeof(w->old));
	if (w->far)
		assert_int_equal(file_write(f, MARK, sizeof(MARK), w->far), sizeof(MARK));
	file_put(f);
}

/* Every block is whole: old, new, or as `zeros` says nothing. */
static void blocks_are_whole(struct work *w, bool zeros)
{
	static const uint8_t nothing[PAGE];
	struct file *f;
	char far[sizeof(MARK)];
	assert_int_equal(open_work(w, &f), 0);
	ssize_t len = file_read(f, w->got, sizeof(w->got), 0);
	assert_true(len >= 0);
	for (size_t at = 0; at < (size_t)len; at += PAGE) {
		size_t n = (size_t)len - at < PAGE ? (size_t)len - at : PAGE;
		assert_true(!memcmp(w->got + at, w->old + at, n) ||
			    !memcmp(w->got + at, w->new + at, n) ||
			    (zeros && !memcmp(w->got + at, nothing, n)));
	}
	if (w->far) {
		assert_int_equal(file_read(f, far, sizeof(far), w->far), sizeof(far));
		assert_memory_equal(far, MARK, sizeof(far));
	}
	file_put(f);
	assert_int_equal(w->p->alarms, 0);
}

static void failed_content(void *context, int error)
{
	(void)error;
	blocks_are_whole(context, false);
}

static void failed_zeros(void *context, int error)
{
	(void)error;
	blocks_are_whole(context, true);
}

static void done_content(void *context)
{
	blocks_are_whole(context, true);
	remove_name(context);
	struct work *w = context;
	assert_int_equal(trash_drain(w->trash, 10000), 0);
}

static int run_write(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	ssize_t n = r < 0 ? r : file_write(f, w->new, sizeof(w->new), 0);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)sizeof(w->new)) /* as write(2): the rest says why */
		n = file_write(f, w->new + n, sizeof(w->new) - (size_t)n, (uint64_t)n);
	if (n >= 0 && w->far)
		n = file_write(f, MARK, sizeof(MARK), w->far);
	return n < 0 ? (int)n : file_sync(f, false);
}

/* A first write: header and keys are made. */
static int run_first_write(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	ssize_t n = r < 0 ? r : file_write(f, MARK, sizeof(MARK), 0);
	return n < 0 ? (int)n : file_commit(f);
}

static void prepare_empty(void *context)
{
	assert_int_equal(run_create(context), 0);
}

static void failed_empty(void *context, int error)
{
	struct work *w = context;
	char got[sizeof(MARK)];
	(void)error;
	ssize_t n = read_file(w->p->root, w->name, got, sizeof(got));
	assert_true(n == 0 || (n == sizeof(MARK) && !memcmp(got, MARK, sizeof(MARK))));
}

static void done_empty(void *context)
{
	struct work *w = context;
	char got[sizeof(MARK)];
	assert_int_equal(read_file(w->p->root, w->name, got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, MARK, sizeof(got));
	remove_name(w);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
}

static int run_read(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	memset(w->got, 0, sizeof(w->got));
	int r = open_work(w, &f);
	ssize_t n = r < 0 ? r : file_read(f, w->got, sizeof(w->got), 0);
	if (n >= 0)
		assert_memory_equal(w->got, w->old, sizeof(w->old));
	else /* nothing of it is left in the caller's memory */
		assert_null(memmem(w->got, sizeof(w->got), MARK, 16));
	if (n >= 0 && w->far)
		n = file_read(f, w->got, sizeof(MARK), w->far);
	return n < 0 ? (int)n : 0;
}

static int run_truncate(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	if (r == 0)
		r = file_truncate(f, sizeof(w->old) / 2);
	return r < 0 ? r : file_sync(f, true);
}

static int run_empty(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	if (r == 0)
		r = file_truncate(f, 0);
	return r < 0 ? r : file_commit(f);
}

/* The size is the old one or the new one; cut, the far part is gone too. */
static void failed_cut(void *context, int error)
{
	struct work *w = context;
	uint64_t far = w->far;
	struct file *f;
	struct stat st;
	(void)error;
	assert_int_equal(open_work(w, &f), 0);
	assert_true(file_settle_length(f) >= 0);
	assert_int_equal(file_stat(f, &st), 0);
	file_put(f);
	if ((uint64_t)st.st_size < far)
		w->far = 0;
	assert_true(w->far || st.st_size == 0 || st.st_size == sizeof(w->old) / 2 ||
		    (!far && st.st_size == sizeof(w->old)));
	blocks_are_whole(w, false);
	w->far = far;
}

static void done_cut(void *context)
{
	struct work *w = context;
	uint64_t far = w->far;
	w->far = 0;
	blocks_are_whole(w, false);
	w->far = far;
	remove_name(w);
	assert_int_equal(trash_drain(w->trash, 10000), 0);
}

static int change(struct work *w, int mode, uint64_t offset, uint64_t len)
{
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	return r < 0 ? r : file_range_change(f, mode, offset, len);
}

static int run_punch(void *context)
{
	return change(context, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, 64 * PAGE);
}

static int run_zero(void *context)
{
	return change(context, FALLOC_FL_ZERO_RANGE, 5 * PAGE, 62 * PAGE);
}

static int run_allocate(void *context)
{
	return change(context, FALLOC_FL_KEEP_SIZE, 60 * PAGE, 100 * PAGE);
}

static int run_seek(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	int64_t at = r < 0 ? r : file_range_seek(f, 0, false);
	if (at >= 0 && w->far) {
		assert_true(at == 71 * PAGE);
		at = file_range_seek(f, (uint64_t)at, true);
		assert_true(at < 0 || (uint64_t)at == w->far / PAGE * PAGE);
	}
	return at < 0 ? (int)at : 0;
}

static int run_rewrap(void *context)
{
	struct work *w = context;
	struct name n;
	int r = name_seal(w->p->root, w->name, &n);
	if (r < 0)
		return r;
	AUTO_CLOSE fd = openat(w->p->root->fd, n.lower, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return file_rewrap(&w->p->store, fd);
}

static int run_homes(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	if (r == 0)
		r = file_home_add(f, w->a->id);
	return r < 0 ? r : file_home_remove(f, w->a->id);
}

/* Attributes: on a file without content, and on a directory. */

static int attributes(struct file *f, struct dir *d)
{
	char list[64], value[sizeof(MARK)];
	int r = xattr_set(f, d, "user.one", MARK, sizeof(MARK), 0);
	ssize_t n = r < 0 ? r : xattr_get(f, d, "user.one", value, sizeof(value));
	if (n >= 0)
		assert_memory_equal(value, MARK, sizeof(value));
	if (n >= 0)
		n = xattr_list(f, d, list, sizeof(list));
	if (n >= 0)
		assert_int_equal(n, sizeof("user.one"));
	return n < 0 ? (int)n : xattr_remove(f, d, "user.one");
}

static int run_xattr_file(void *context)
{
	struct work *w = context;
	AUTO(file_auto) struct file *f = NULL;
	int r = open_work(w, &f);
	return r < 0 ? r : attributes(f, NULL);
}

static int run_xattr_dir(void *context)
{
	struct work *w = context;
	return attributes(NULL, w->a);
}

static const struct fail_alloc_case names[] = {
	{.name = "mkdir", .run = run_mkdir, .failed = unchanged, .done = done_mkdir},
	{.name = "rmdir",
		.prepare = prepare_rmdir,
		.run = run_rmdir,
		.failed = failed_rmdir,
		.done = done_rmdir},
	{.name = "symlink", .run = run_symlink, .failed = unchanged, .done = done_symlink},
	{.name = "mknod", .run = run_mknod, .failed = unchanged, .done = done_name},
	{.name = "create", .run = run_create, .failed = unchanged, .done = done_name},
};

static const struct fail_alloc_case looks[] = {
	{.name = "readlink", .run = run_readlink},
	{.name = "stat", .run = run_stat},
	{.name = "list", .run = run_list},
};

static const struct fail_alloc_case moves[] = {
	{.name = "unlink",
		.prepare = prepare_files,
		.run = run_unlink,
		.failed = failed_files,
		.done = done_unlink,
		.threads = true},
	{.name = "unlink, erased at once",
		.prepare = prepare_files,
		.run = run_remove_sync,
		.failed = failed_files,
		.done = done_remove_sync,
		.also = -EAGAIN},
	{.name = "rename",
		.prepare = prepare_files,
		.run = run_rename,
		.failed = failed_files,
		.done = done_rename},
	{.name = "link",
		.prepare = prepare_files,
		.run = run_link,
		.failed = failed_link,
		.done = done_link},
	{.name = "rename of a directory",
		.prepare = prepare_dirs,
		.run = run_rename_dir,
		.failed = failed_dirs,
		.done = done_rename_dir},
	{.name = "erase",
		.prepare = prepare_erase,
		.run = run_erase,
		.done = done_erase,
		.also = -EAGAIN,
		.threads = true},
};

static const struct fail_alloc_case contents[] = {
	{.name = "first write",
		.prepare = prepare_empty,
		.run = run_first_write,
		.failed = failed_empty,
		.done = done_empty},
	{.name = "write",
		.prepare = prepare_content,
		.run = run_write,
		.failed = failed_content,
		.done = done_content},
	{.name = "read",
		.prepare = prepare_content,
		.run = run_read,
		.failed = failed_content,
		.done = done_content},
	{.name = "truncate",
		.prepare = prepare_content,
		.run = run_truncate,
		.failed = failed_cut,
		.done = done_cut},
	{.name = "truncate to nothing",
		.prepare = prepare_content,
		.run = run_empty,
		.failed = failed_cut,
		.done = done_cut},
	{.name = "punch",
		.prepare = prepare_content,
		.run = run_punch,
		.failed = failed_zeros,
		.done = done_content},
	{.name = "zero range",
		.prepare = prepare_content,
		.run = run_zero,
		.failed = failed_zeros,
		.done = done_content},
	{.name = "allocate",
		.prepare = prepare_content,
		.run = run_allocate,
		.failed = failed_content,
		.done = done_content},
	{.name = "seek",
		.prepare = prepare_content,
		.run = run_seek,
		.failed = failed_content,
		.done = done_content},
	{.name = "homes",
		.prepare = prepare_content,
		.run = run_homes,
		.failed = failed_content,
		.done = done_content},
	{.name = "attributes of a file",
		.prepare = prepare_empty,
		.run = run_xattr_file,
		.done = done_name},
	{.name = "attributes of a directory", .run = run_xattr_dir},
};

/* Memory is what runs short here: nothing is gained by waiting for the disk. */
static int no_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd, (void)data_only;
	return 0;
}

static struct work *work_new(struct store_place *p)
{
	static struct lower_ops ops;
	static struct lower lazy = {&ops};
	struct work *w = calloc(1, sizeof(*w));
	ops = *lower_posix()->ops;
	ops.fsync = no_fsync;
	p->fail.under = &lazy;
	w->p = p;
	w->trash = with_trash(p);
	make_dir(p->root, "a", &w->a);
	make_dir(p->root, "b", &w->b);
	memcpy(w->name, long_name('n'), sizeof(w->name));
	memset(w->target, 't', sizeof(w->target) - 1);
	fill(w->old, sizeof(w->old), 'o');
	fill(w->new, sizeof(w->new), 'n');
	w->entries = lower_count(p->root, true);
	fail_alloc_watch(MARK, 16);
	return w;
}

static void work_free(struct work *w)
{
	assert_int_equal(fail_alloc_watch(NULL, 0), 0);
	assert_int_equal(w->p->alarms, 0);
	dir_put(w->a);
	dir_put(w->b);
	without_trash(w->p);
	/* Or it is found in memory that the next test gets uninitialised. */
	memset(w, 0, sizeof(*w));
	__asm__ volatile("" : : "r"(w) : "memory");
	free(w);
}

#define SWEEP(list, w)                                                                             \
	for (size_t i = 0; i < sizeof(list) / sizeof((list)[0]); i++)                              \
	assert_true(fail_alloc_sweep(&(list)[i], w) > 0 || !(list)[i].prepare)

static void names_are_made_or_not(void **state)
{
	struct work *w = work_new(*state);
	SWEEP(names, w);
	work_free(w);
}

static void names_are_found(void **state)
{
	struct work *w = work_new(*state);
	assert_int_equal(run_symlink(w), 0);
	SWEEP(looks, w);
	work_free(w);
}

static void names_move_or_not(void **state)
{
	struct work *w = work_new(*state);
	SWEEP(moves, w);
	w->flags = RENAME_EXCHANGE;
	assert_true(fail_alloc_sweep(&moves[2], w) > 0);
	assert_true(fail_alloc_sweep(&moves[4], w) > 0);
	work_free(w);
}

static void content_is_whole(void **state)
{
	struct work *w = work_new(*state);
	SWEEP(contents, w);
	work_free(w);
}

/* With a part beyond the header's presence bits: presence pages too. */
static void content_of_large_files_is_whole(void **state)
{
	struct work *w = work_new(*state);
	w->far = (uint64_t)BLOCK_MAP_HEADER_GROUPS * 128 * PAGE + 77 * PAGE * 128;
	for (size_t i = 1; i < 10; i++)
		fail_alloc_sweep(&contents[i], w);
	work_free(w);
}

static void headers_are_rewrapped_or_not(void **state)
{
	struct work *w = work_new(*state);
	static const struct fail_alloc_case rewrap = {
		.name = "rewrap", .run = run_rewrap, .failed = failed_content};
	prepare_content(w);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(keyring_rotate_begin(w->p->keys), 0);
		fail_alloc_sweep(&rewrap, w);
		assert_int_equal(run_rewrap(w), 1);
		keyring_retire_done(w->p->keys);
		blocks_are_whole(w, false);
	}
	work_free(w);
}

/*
 * As fail_alloc_sweep, with the lower calls: each fails once. What the eraser could not do then it
 * does at the next start.
 */
static void lower_sweep(const struct fail_alloc_case *c, struct work *w, unsigned *total)
{
	bool hit = true;
	for (unsigned n = 1; hit; n++) {
		if (c->prepare)
			c->prepare(w);
		assert_int_equal(trash_drain(w->trash, 10000), 0);
		fail_lower_arm(&w->p->fail, FAIL_LOWER_ANY, n, -EIO, true);
		int r = c->run(w);
		hit = fail_lower_hit(&w->p->fail);
		disarm(w->p);
		store_place_mended(w->p);
		*total += hit;
		if (r < 0 && !(hit && r == -EIO))
			fail_msg("%s: error %d with lower call %u failing", c->name, r, n);
		if (r < 0) {
			if (c->failed)
				c->failed(w, r);
			r = c->run(w);
			if (r < 0)
				fail_msg("%s: error %d after lower call %u had failed", c->name, r,
					n);
		}
		if (c->done)
			c->done(w);
		assert_true(n < 5000);
	}
	assert_true(run_erase(w) >= 0);
	trash_is_empty(w);
}

#define LOWER_SWEEP(list, w, total)                                                                \
	for (size_t i = 0; i < sizeof(list) / sizeof((list)[0]); i++)                              \
	lower_sweep(&(list)[i], w, total)

static void each_lower_call_may_fail(void **state)
{
	struct work *w = work_new(*state);
	unsigned total = 0;
	w->calls = true;
	w->entries = lower_count(w->p->root, false);
	LOWER_SWEEP(names, w, &total);
	assert_int_equal(run_symlink(w), 0);
	LOWER_SWEEP(looks, w, &total);
	remove_name(w);
	LOWER_SWEEP(moves, w, &total);
	LOWER_SWEEP(contents, w, &total);
	if (getenv("TENANTFS_TEST_FIGURES"))
		print_message("# %u lower calls failed\n", total);
	work_free(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names_are_made_or_not),
		TEST(names_are_found),
		TEST(names_move_or_not),
		TEST(content_is_whole),
		TEST(content_of_large_files_is_whole),
		TEST(headers_are_rewrapped_or_not),
		TEST(each_lower_call_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
