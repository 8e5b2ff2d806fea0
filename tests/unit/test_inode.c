/* fs/front/inode.c, inode_file.c, handle.c: names, references, reopening, one open file, states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/front/handle.h"
#include "tests/unit/inode_place.h"

#include <errno.h>

/* Makes and finds a directory or file, as mkdir and create do; a kernel reference and ours. */
static struct inode *make(
	struct table_place *p, struct inode *parent, const char *plain, bool directory)
{
	struct dir *d;
	struct name n;
	struct stat st;
	assert_int_equal(inode_dir(&p->t, parent, &d), 0);
	assert_int_equal(name_seal(d, plain, &n), 0);
	if (directory) {
		assert_int_equal(tree_mkdir(d, &n, 0755, NULL, &st), 0);
	} else {
		struct file *f;
		assert_int_equal(file_create(d, &n, 0644, NULL, &f, &st), 0);
		file_put(f);
	}
	dir_put(d);
	return inode_found(&p->t, parent, plain, n.lower, st.st_ino, st.st_mode, 1);
}

static void drop(struct table_place *p, struct inode *i)
{
	inode_put(&p->t, i);
	inode_forget(&p->t, i, 1);
}

static void paths_follow_names(void **state)
{
	struct table_place *p = *state;
	char path[64];
	struct inode *a = make(p, p->t.root, "a", true), *b = make(p, a, "b", true),
		     *f = make(p, b, "f", false);
	inode_name_path(&p->t, f, NULL, path, sizeof(path));
	assert_string_equal(path, "/a/b/f");
	inode_name_path(&p->t, b, "new", path, sizeof(path));
	assert_string_equal(path, "/a/b/new");
	inode_name_path(&p->t, p->t.root, NULL, path, sizeof(path));
	assert_string_equal(path, "/");
	inode_name_path(&p->t, f, NULL, path, 5);
	assert_string_equal(path, "/b/f"); /* cut in front */
	/* A parent that the kernel forgot lives as long as its child's name. */
	drop(p, b);
	drop(p, a);
	inode_name_path(&p->t, f, NULL, path, sizeof(path));
	assert_string_equal(path, "/a/b/f");
	size_t before = p->t.count;
	drop(p, f);
	assert_int_equal(p->t.count, before - 3);
	assert_int_equal(p->t.count, 1);
}

static void a_number_has_one_inode(void **state)
{
	struct table_place *p = *state;
	struct inode *f = make(p, p->t.root, "f", false);
	struct inode *same = inode_found(
		&p->t, p->t.root, "f", f->names->text + f->names->plain_size, f->ino, S_IFREG, 1);
	assert_ptr_equal(f, same);
	struct inode *found = inode_find(&p->t, f->ino);
	assert_ptr_equal(f, found);
	inode_put(&p->t, found);
	drop(p, same);
	/* The number was used again for something else. */
	struct inode *other = inode_found(&p->t, p->t.root, "g", "lower", f->ino, S_IFIFO, 1);
	assert_ptr_not_equal(other, f);
	drop(p, other);
	drop(p, f);
}

static void a_removed_name_still_tells_where_it_was(void **state)
{
	struct table_place *p = *state;
	char path[64], lower[256];
	struct inode *parent;
	struct inode *f = make(p, p->t.root, "f", false);
	char old[256];
	snprintf(old, sizeof(old), "%s", f->names->text + f->names->plain_size);
	inode_name_removed(&p->t, f, p->t.root, old, true);
	inode_name_path(&p->t, f, NULL, path, sizeof(path));
	assert_string_equal(path, "/f");
	assert_int_equal(inode_where(&p->t, f, &parent, lower), -ESTALE);
	assert_null(inode_find(&p->t, f->ino));
	drop(p, f);
	assert_int_equal(p->t.count, 1);
}

static void lower_of(const struct inode *i, char ret[static 256])
{
	snprintf(ret, 256, "%s", i->names->text + i->names->plain_size);
}

static void what_went_is_remembered(void **state)
{
	struct table_place *p = *state;
	struct inode *root = p->t.root;
	char target[5000], long_target[4096], lower[256];
	struct dir *d;
	struct name n;
	struct stat st, now;
	memset(long_target, 't', 4095);
	long_target[4095] = '\0';
	assert_int_equal(inode_dir(&p->t, root, &d), 0);
	for (int i = 0; i < 2; i++) {
		const char *text = i ? long_target : "x";
		assert_int_equal(name_seal(d, "link", &n), 0);
		assert_int_equal(tree_symlink(d, &n, text, NULL, &st), 0);
		struct inode *l =
			inode_found(&p->t, root, "link", n.lower, st.st_ino, st.st_mode, 1);
		struct inode_gone *g = inode_gone_new(d, n.lower, &st);
		assert_non_null(g);
		assert_int_equal(tree_unlink(d, n.lower, NULL), 0);
		inode_gone_set(&p->t, l, g);
		/* of no meaning while it has a name */
		assert_int_equal(inode_gone_stat(&p->t, l, &now), -ESTALE);
		assert_int_equal(inode_gone_target(&p->t, l, target, sizeof(target)), -ESTALE);
		inode_name_removed(&p->t, l, root, n.lower, true);
		assert_int_equal(inode_gone_stat(&p->t, l, &now), 0);
		assert_int_equal(now.st_nlink, 0);
		assert_int_equal(now.st_size, strlen(text));
		assert_int_equal(now.st_ino, st.st_ino);
		assert_int_equal(inode_gone_target(&p->t, l, target, sizeof(target)), strlen(text));
		assert_memory_equal(target, text, strlen(text));
		assert_int_equal(inode_gone_target(&p->t, l, target, 1), 1);
		now.st_uid = 1234;
		assert_int_equal(inode_gone_change(&p->t, l, &now), 0);
		assert_int_equal(inode_gone_stat(&p->t, l, &st), 0);
		assert_int_equal(st.st_uid, 1234);
		drop(p, l);
	}
	/* one that has another name is not only what it was */
	struct inode *f = make(p, root, "f", false);
	lower_of(f, lower);
	assert_int_equal(tree_stat(d, lower, &st), 0);
	st.st_nlink = 2;
	inode_gone_set(&p->t, f, inode_gone_new(d, lower, &st));
	inode_name_removed(&p->t, f, root, lower, false);
	assert_int_equal(inode_gone_stat(&p->t, f, &now), 0);
	assert_int_equal(now.st_nlink, 1);
	assert_int_equal(inode_gone_change(&p->t, f, &now), -ESTALE);
	assert_int_equal(inode_gone_target(&p->t, f, target, sizeof(target)), -ESTALE);
	inode_gone_set(&p->t, f, NULL);
	assert_int_equal(inode_gone_stat(&p->t, f, &now), -ESTALE);
	drop(p, f);
	dir_put(d);
	assert_int_equal(p->t.count, 1);
}

/* Removed while its second try is awaited: open, and whole, until the kernel forgets it. */
static void what_goes_is_kept_until_it_is_forgotten(void **state)
{
	struct table_place *p = *state;
	struct inode *root = p->t.root;
	char lower[256], got[8];
	struct dir *d;
	assert_int_equal(inode_dir(&p->t, root, &d), 0);
	assert_false(inode_gone_wanted(&p->t));
	inode_gone_missed(&p->t);
	assert_true(inode_gone_wanted(&p->t));
	for (int i = 0; i < 4; i++) {
		struct file *f = NULL, *again = NULL;
		struct inode *one = make(p, root, "f", false);
		inode_found(&p->t, root, "f", one->names->text + one->names->plain_size, one->ino,
			S_IFREG, 1);
		inode_put(&p->t, one);
		lower_of(one, lower);
		assert_int_equal(inode_file(&p->t, one, &f), 0);
		assert_int_equal(file_write(f, "content", 7, 0), 7);
		inode_gone_keep(&p->t, one, f);
		inode_gone_keep(&p->t, one, f);                     /* once is enough */
		assert_int_equal(tree_unlink(d, lower, f), -EROFS); /* there is no trash */
		assert_int_equal(unlinkat(d->fd, lower, 0), 0);
		inode_name_removed(&p->t, one, root, lower, true);
		inode_file_done(&p->t, one, f);
		assert_int_equal(inode_file(&p->t, one, &again), 0);
		assert_int_equal(file_read(again, got, sizeof(got), 0), 7);
		assert_memory_equal(got, "content", 7);
		if (i == 0) {
			inode_file_done(&p->t, one, again);
			again = NULL;
		}
		assert_false(inode_forgotten(&p->t, one, 1));
		inode_gone_forgotten(&p->t, one);
		assert_true(one->kept);
		if (i == 3) { /* it never is: the table's end */
			inode_file_done(&p->t, one, again);
			inode_put(&p->t, one);
			break;
		}
		assert_false(inode_forgotten(&p->t, one, 1));
		inode_gone_forgotten(&p->t, one);
		assert_false(one->kept);
		if (again)
			inode_file_done(&p->t, one, again);
		assert_int_equal(one->file_users, 0);
		assert_null(one->file);
		assert_int_equal(inode_file(&p->t, one, &again), -ESTALE);
		inode_put(&p->t, one);
	}
	/* what the kernel does not know is not kept */
	struct file *f = NULL;
	struct inode *g = make(p, root, "g", false);
	inode_forget(&p->t, g, 1);
	assert_int_equal(inode_file(&p->t, g, &f), 0);
	inode_gone_keep(&p->t, g, f);
	assert_false(g->kept);
	inode_file_done(&p->t, g, f);
	inode_put(&p->t, g);
	dir_put(d);
}

/* It cannot be opened again. */
static void a_removed_directory_stays_open(void **state)
{
	struct table_place *p = *state;
	char lower[256];
	struct dir *top, *d, *again;
	struct inode *i = make(p, p->t.root, "d", true);
	lower_of(i, lower);
	assert_int_equal(inode_dir(&p->t, p->t.root, &top), 0);
	assert_int_equal(inode_dir(&p->t, i, &d), 0);
	unsigned before = p->t.open_dirs;
	assert_int_equal(tree_rmdir(top, lower, d), 0);
	inode_name_removed(&p->t, i, p->t.root, lower, true);
	assert_int_equal(p->t.open_dirs, before - 1);
	assert_int_equal(inode_dir(&p->t, i, &again), 0);
	assert_ptr_equal(again, d);
	assert_int_equal(p->t.open_dirs, before - 1);
	dir_put(again);
	dir_put(d);
	dir_put(top);
	drop(p, i);
	assert_int_equal(p->t.open_dirs, before - 1);
}

static void names_move(void **state)
{
	struct table_place *p = *state;
	char path[64];
	struct inode *a = make(p, p->t.root, "a", true), *f = make(p, p->t.root, "f", false);
	char old[256];
	snprintf(old, sizeof(old), "%s", f->names->text + f->names->plain_size);
	inode_renamed(&p->t, f, p->t.root, old, a, "g", "LOWER");
	inode_name_path(&p->t, f, NULL, path, sizeof(path));
	assert_string_equal(path, "/a/g");
	assert_null(f->names->next);
	/* A hard link: two names, and the first may go. */
	struct inode *again = inode_found(&p->t, p->t.root, "h", "LINK", f->ino, S_IFREG, 1);
	assert_ptr_equal(again, f);
	inode_name_removed(&p->t, f, a, "LOWER", false);
	inode_name_path(&p->t, f, NULL, path, sizeof(path));
	assert_string_equal(path, "/h");
	drop(p, again);
	drop(p, f);
	drop(p, a);
	assert_int_equal(p->t.count, 1);
}

static void directories_are_opened_again_along_their_parents(void **state)
{
	struct table_place *p = *state;
	struct inode *chain[20];
	struct inode *at = p->t.root;
	for (int k = 0; k < 20; k++)
		at = chain[k] = make(p, at, "deep", true);
	/* As if all had been pushed out by others. */
	for (int k = 0; k < 20; k++)
		if (chain[k]->dir) {
			dir_put(chain[k]->dir);
			chain[k]->dir = NULL;
			chain[k]->lru_prev->lru_next = chain[k]->lru_next;
			chain[k]->lru_next->lru_prev = chain[k]->lru_prev;
			chain[k]->lru_prev = chain[k]->lru_next = NULL;
			p->t.open_dirs--;
		}
	struct dir *d;
	assert_int_equal(inode_dir(&p->t, chain[19], &d), 0);
	assert_int_equal(p->t.open_dirs, 20);
	dir_put(d);
	/* Somebody else's directory stands under the name now: not what the kernel means. */
	assert_int_equal(inode_dir(&p->t, chain[0], &d), 0);
	dir_put(d);
	for (int k = 19; k >= 0; k--)
		drop(p, chain[k]);
	assert_int_equal(p->t.count, 1);
	assert_int_equal(p->t.open_dirs, 0);
}

static void one_open_file_for_all(void **state)
{
	struct table_place *p = *state;
	struct file *one, *two, *three;
	struct inode *f = make(p, p->t.root, "f", false);
	assert_int_equal(inode_file(&p->t, f, &one), 0);
	assert_int_equal(file_write(one, "hello", 5, 0), 5);
	assert_int_equal(inode_file(&p->t, f, &two), 0);
	assert_ptr_equal(one, two);
	/* Retired: a lookup makes a new inode of the same number, and it shares the file. */
	inode_retire(&p->t, f);
	assert_null(inode_find(&p->t, f->ino));
	struct inode *again = inode_found(
		&p->t, p->t.root, "f", f->names->text + f->names->plain_size, f->ino, S_IFREG, 1);
	assert_ptr_not_equal(again, f);
	assert_int_equal(inode_file(&p->t, again, &three), 0);
	assert_ptr_equal(one, three);
	char bytes[8];
	assert_int_equal(file_read(three, bytes, sizeof(bytes), 0), 5);
	inode_file_done(&p->t, f, one);
	inode_file_done(&p->t, f, two);
	drop(p, f);
	assert_null(p->t.detached);
	inode_file_done(&p->t, again, three);
	drop(p, again);
	struct inode *d = make(p, p->t.root, "d", true);
	assert_int_equal(inode_file(&p->t, d, &one), -EISDIR);
	drop(p, d);
}

static void what_the_kernel_dropped_too_early_is_not_found_again(void **state)
{
	static const struct {
		bool changed, told_again;
		unsigned opens;
		uint64_t forgotten;
		bool stale;
	} cases[] = {
		{true, false, 0, 1, true},
		{false, false, 0, 1, false}, /* what it was told is true still */
		{true, false, 1, 1, false},  /* open: this was not the end of the kernel's inode */
		{true, false, 0, 2, false},  /* nothing is on its way */
		{true, true, 0, 2, false},   /* but what is true */
		{true, true, 0, 1, true},
	};
	struct table_place *p = *state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct inode *f = make(p, p->t.root, "f", false);
		ino_t ino = f->ino;
		char lower[256];
		snprintf(lower, sizeof(lower), "%s", f->names->text + f->names->plain_size);
		inode_put(&p->t, inode_found(&p->t, p->t.root, "f", lower, ino, S_IFREG, 1));
		uint64_t told = 2 + cases[k].told_again;
		if (cases[k].changed)
			inode_changed(&p->t, f);
		if (cases[k].told_again)
			inode_put(
				&p->t, inode_found(&p->t, p->t.root, "f", lower, ino, S_IFREG, 1));
		f->opens = cases[k].opens;
		assert_true(inode_known(&p->t, ino));
		inode_put(&p->t, f);
		assert_int_equal(inode_forgotten(&p->t, f, cases[k].forgotten), cases[k].stale);
		if (cases[k].stale) {
			assert_true(f->retired && f->misled);
			assert_false(inode_opens(&p->t, f)); /* whoever opens it now looks again */
			assert_null(inode_find(&p->t, ino));
			inode_put(&p->t, f);
		}
		assert_int_equal(
			inode_known(&p->t, ino), !cases[k].stale && cases[k].forgotten < told);
		if (cases[k].forgotten < told)
			inode_forget(&p->t, f, told - cases[k].forgotten);
		assert_int_equal(p->t.count, 1);
		assert_null(p->t.detached);
		struct store_place *s = p->store;
		assert_int_equal(unlinkat(s->root->fd, lower, 0), 0);
	}
}

/* Whoever had looked it up before it was removed opens it still, if others have it open. */
static void a_removed_name_is_no_home(void **state)
{
	struct table_place *p = *state;
	struct store_place *s = p->store;
	struct dir *root, *other;
	struct name n;
	struct stat st;
	char lower[256];
	struct file *one, *two;
	struct inode *f = make(p, p->t.root, "f", false), *d = make(p, p->t.root, "d", true);
	snprintf(lower, sizeof(lower), "%s", f->names->text + f->names->plain_size);
	assert_int_equal(inode_dir(&p->t, p->t.root, &root), 0);
	assert_int_equal(inode_dir(&p->t, d, &other), 0);
	assert_int_equal(name_seal(other, "g", &n), 0);
	assert_int_equal(inode_file(&p->t, f, &one), 0);
	assert_int_equal(file_write(one, "hello", 5, 0), 5);
	assert_int_equal(tree_link(root, lower, one, other, &n, &st), 0);
	assert_int_equal(tree_unlink(root, lower, one), 0);
	inode_name_removed(&p->t, f, p->t.root, lower, false);
	assert_int_equal(inode_file(&p->t, f, &two), 0);
	assert_int_equal(s->alarms, 0);
	inode_file_done(&p->t, f, two);
	inode_file_done(&p->t, f, one);
	dir_put(root);
	dir_put(other);
	drop(p, f);
	drop(p, d);
}

static void a_number_used_again_is_another_inode(void **state)
{
	struct table_place *p = *state;
	struct inode *f = make(p, p->t.root, "f", false);
	inode_number_reused(&p->t, f->ino);
	assert_null(inode_find(&p->t, f->ino));
	struct inode *g = inode_found(&p->t, p->t.root, "g", "G", f->ino, S_IFREG, 1);
	assert_ptr_not_equal(f, g);
	inode_number_reused(&p->t, p->t.root->ino);
	assert_true(p->t.root->hashed);
	drop(p, g);
	drop(p, f);
	assert_int_equal(p->t.count, 1);
}

static void a_created_file_is_not_open_twice(void **state)
{
	struct table_place *p = *state;
	struct dir *d;
	struct name n;
	struct stat st;
	struct file *created, *faster;
	assert_int_equal(inode_dir(&p->t, p->t.root, &d), 0);
	assert_int_equal(name_seal(d, "f", &n), 0);
	assert_int_equal(file_create(d, &n, 0644, NULL, &created, &st), 0);
	dir_put(d);
	struct inode *f = inode_found(&p->t, p->t.root, "f", n.lower, st.st_ino, st.st_mode, 1);
	assert_int_equal(inode_file(&p->t, f, &faster), 0);
	created = inode_file_created(&p->t, f, created);
	assert_ptr_equal(created, faster);
	inode_file_done(&p->t, f, faster);
	assert_ptr_equal(f->file, created);
	inode_file_done(&p->t, f, created);
	assert_null(f->file);
	drop(p, f);
}

static void states_follow_renames_and_policies(void **state)
{
	static const char text[] = "tenant acme\npermit all: anyone to any on /open/**\n";
	struct table_place *p = *state;
	struct policy_mistakes m = {0};
	struct policy *policy;
	assert_int_equal(
		policy_compile(text, strlen(text), "acme", policy_names_system(), &m, &policy), 0);
	policy_mistakes_done(&m);
	struct inode *a = make(p, p->t.root, "open", true), *f = make(p, a, "f", false);
	policy_state s;
	struct policy_verdict v;
	const struct policy_subject who = {.uid = 7, .gid = 7};
	assert_int_equal(inode_name_states(&p->t, f, NULL, policy, 1, &s, 1), 1);
	policy_decide(policy, &who, s, ACT_READ, 0, &v);
	assert_true(v.allowed);
	char old[256];
	snprintf(old, sizeof(old), "%s", a->names->text + a->names->plain_size);
	inode_renamed(&p->t, a, p->t.root, old, p->t.root, "shut", "OTHER");
	assert_int_equal(inode_name_states(&p->t, f, NULL, policy, 1, &s, 1), 1);
	policy_decide(policy, &who, s, ACT_READ, 0, &v);
	assert_false(v.allowed);
	/* Two names, two states: both count. */
	struct inode *link = inode_found(&p->t, p->t.root, "f2", "L2", f->ino, S_IFREG, 1);
	policy_state two[4];
	assert_int_equal(inode_name_states(&p->t, f, NULL, policy, 1, two, 4), 2);
	drop(p, link);
	drop(p, f);
	drop(p, a);
	policy_put(policy);
}

/* Where attributes may be kept: for the only name that a file has or, removed, had. */
static void a_place_is_the_only_name(void **state)
{
	static const char text[] = "tenant acme\npermit all: anyone to any on /open/**\n";
	struct table_place *p = *state;
	struct policy_mistakes m = {0};
	struct policy *policy;
	char lower[256];
	policy_state dir, file;
	assert_int_equal(
		policy_compile(text, strlen(text), "acme", policy_names_system(), &m, &policy), 0);
	policy_mistakes_done(&m);
	struct inode *a = make(p, p->t.root, "open", true), *f = make(p, a, "f", false);
	lower_of(f, lower);
	assert_true(inode_name_place(&p->t, f, NULL, policy, 1, &dir, &file));
	/* It has another one, which nobody has looked up. */
	inode_name_removed(&p->t, f, a, lower, false);
	assert_false(inode_name_place(&p->t, f, NULL, policy, 1, &dir, &file));
	struct inode *other = inode_found(&p->t, p->t.root, "f2", "L2", f->ino, S_IFREG, 1);
	assert_ptr_equal(other, f);
	assert_true(inode_name_place(&p->t, f, NULL, policy, 1, &dir, &file));
	inode_name_removed(&p->t, f, p->t.root, "L2", true);
	assert_true(inode_name_place(&p->t, f, NULL, policy, 1, &dir, &file));
	drop(p, other);
	drop(p, f);
	drop(p, a);
	policy_put(policy);
}

static void count_handle(void *context, struct handle *h)
{
	(void)h;
	++*(int *)context;
}

static void handles_are_listed(void **state)
{
	struct handle_list l;
	int n = 0;
	(void)state;
	handle_list_init(&l);
	struct handle *a = handle_new(), *b = handle_new();
	handle_add(&l, a);
	handle_add(&l, b);
	handle_each(&l, count_handle, &n);
	assert_int_equal(n, 2);
	handle_remove(&l, a);
	assert_int_equal(l.count, 1);
	handle_remove(&l, b);
	handle_free(a);
	handle_free(b);
	handle_free(NULL);
	handle_list_done(&l);
}

/* Whichever lower call of an open fails: an errno, nothing left, and the next open has the file. */
static void each_lower_call_of_an_open_may_fail(void **state)
{
	struct table_place *p = *state;
	struct store_place *s = p->store;
	struct inode *i = make(p, p->t.root, "f", false);
	struct file *f;
	char bytes[8];
	bool hit = true;
	assert_int_equal(inode_file(&p->t, i, &f), 0);
	assert_int_equal(file_write(f, "hello", 5, 0), 5);
	assert_int_equal(file_commit(f), 0);
	inode_file_done(&p->t, i, f);
	for (unsigned at = 1; hit; at++) {
		assert_true(at < 100);
		fail_lower_arm(&s->fail, FAIL_LOWER_ANY, at, -EIO, true);
		int r = inode_file(&p->t, i, &f);
		hit = fail_lower_hit(&s->fail);
		fail_lower_arm(&s->fail, FAIL_LOWER_ANY, 0, 0, false);
		assert_true(r == 0 || (hit && r == -EIO));
		if (r == 0)
			inode_file_done(&p->t, i, f);
		assert_null(i->file);
		assert_int_equal(i->file_users, 0);
		assert_int_equal(inode_file(&p->t, i, &f), 0);
		assert_int_equal(file_read(f, bytes, sizeof(bytes), 0), 5);
		inode_file_done(&p->t, i, f);
	}
	drop(p, i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paths_follow_names, setup, teardown),
		cmocka_unit_test_setup_teardown(a_number_has_one_inode, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_removed_name_still_tells_where_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(what_went_is_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_goes_is_kept_until_it_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_directory_stays_open, setup, teardown),
		cmocka_unit_test_setup_teardown(names_move, setup, teardown),
		cmocka_unit_test_setup_teardown(
			directories_are_opened_again_along_their_parents, setup, teardown),
		cmocka_unit_test_setup_teardown(one_open_file_for_all, setup, teardown),
		cmocka_unit_test_setup_teardown(
			each_lower_call_of_an_open_may_fail, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_the_kernel_dropped_too_early_is_not_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_name_is_no_home, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_number_used_again_is_another_inode, setup, teardown),
		cmocka_unit_test_setup_teardown(a_created_file_is_not_open_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(
			states_follow_renames_and_policies, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_is_the_only_name, setup, teardown),
		cmocka_unit_test(handles_are_listed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
