/* fs/front's tables, fs/store/layout: each operation with its first, second, ... allocation
 * failing. What the tables know stays, and no creation leaves anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/front/handle.h"
#include "fs/front/inode.h"
#include "fs/gate/audit.h"
#include "fs/store/layout_create.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/store_place.h"

#include <errno.h>

struct work {
	void *place; /* struct store_place */
	struct store *store;
	struct inode_table t;
	bool table;
	struct inode *parent, *child; /* "d" and "d/f", with a reference of the kernel's and ours */
	char lower[256];              /* of the child */
	struct inode *found;
	struct policy *policy;
	uint64_t generation;
	char path[128], store_path[160];
	unsigned made;
};

static int compile(struct policy **ret)
{
	static const char text[] = "tenant acme\npermit a: user:#1000 to any on /d/**\n";
	struct policy_mistakes mistakes = {0};
	int r = policy_compile(text, strlen(text), "acme", policy_names_system(), &mistakes, ret);
	policy_mistakes_done(&mistakes);
	return r;
}

/* Memory is what runs short here: nothing is gained by waiting for the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static struct inode *make(struct work *w, struct inode *parent, const char *plain, bool directory)
{
	struct dir *d;
	struct name n;
	struct stat st;
	assert_int_equal(inode_dir(&w->t, parent, &d), 0);
	assert_int_equal(name_seal(d, plain, &n), 0);
	if (directory) {
		assert_int_equal(tree_mkdir(d, &n, 0755, NULL, &st), 0);
	} else {
		struct file *f;
		assert_int_equal(file_create(d, &n, 0644, NULL, &f, &st), 0);
		assert_int_equal(file_write(f, "content", 7, 0), 7);
		file_put(f);
		memcpy(w->lower, n.lower, sizeof(n.lower));
	}
	dir_put(d);
	struct inode *i = inode_found(&w->t, parent, plain, n.lower, st.st_ino, st.st_mode, 1);
	assert_non_null(i);
	return i;
}

static int run_table(void *context)
{
	struct work *w = context;
	struct inode_table t;
	int r = inode_table_init(&t, w->store);
	if (r == 0)
		inode_table_done(&t);
	return r;
}

/* A second name of the child; and a new number. */
static int run_found(void *context)
{
	struct work *w = context;
	w->found = inode_found(&w->t, w->t.root, "second", "lower", w->child->ino, S_IFREG, 1);
	struct inode *other =
		inode_found(&w->t, w->parent, "new", "low", w->child->ino + 77777, S_IFREG, 1);
	if (w->found)
		assert_ptr_equal(w->found, w->child);
	bool both = w->found && other;
	if (w->found) {
		inode_name_removed(&w->t, w->child, w->t.root, "lower", false);
		inode_put(&w->t, w->child);
		inode_forget(&w->t, w->child, 1);
	}
	if (other) {
		inode_put(&w->t, other);
		inode_forget(&w->t, other, 1);
	}
	return both ? 0 : -ENOMEM;
}

static void known(void *context, int error)
{
	struct work *w = context;
	char path[64];
	(void)error;
	assert_int_equal(w->t.count, 3);
	inode_name_path(&w->t, w->child, NULL, path, sizeof(path));
	assert_string_equal(path, "/d/f");
}

static void known_still(void *context)
{
	known(context, 0);
}

/* The table doubles, or goes on as it is. */
static int run_many(void *context)
{
	struct work *w = context;
	char plain[32];
	size_t made = 0;
	for (ino_t k = 0; k < 5000; k++) {
		snprintf(plain, sizeof(plain), "n%lu", (unsigned long)k);
		struct inode *i =
			inode_found(&w->t, w->parent, plain, plain, 1000000000 + k, S_IFREG, 0);
		made += i != NULL;
		inode_put(&w->t, i);
	}
	return made == 5000 ? 0 : -ENOMEM;
}

static int run_open_child(void *context)
{
	struct work *w = context;
	struct file *f;
	char got[7];
	int r = inode_file(&w->t, w->child, &f);
	if (r < 0)
		return r;
	ssize_t n = file_read(f, got, sizeof(got), 0);
	inode_file_done(&w->t, w->child, f);
	if (n >= 0)
		assert_memory_equal(got, "content", 7);
	return n < 0 ? (int)n : 0;
}

static void forget_policy(void *context)
{
	struct work *w = context;
	policy_put(w->policy);
	assert_int_equal(compile(&w->policy), 0);
	w->generation++;
}

/* Never more than it should be; and not for longer than memory is short. */
static int run_states(void *context)
{
	struct work *w = context;
	policy_state at = 0;
	struct policy_verdict v;
	const struct policy_subject who = {1000, 1000, NULL, NULL}, other = {1001, 1, NULL, NULL};
	assert_int_equal(
		inode_name_states(&w->t, w->child, NULL, w->policy, w->generation, &at, 1), 1);
	policy_decide(w->policy, &other, at, ACT_READ, 1, &v);
	assert_false(v.allowed);
	policy_decide(w->policy, &who, at, ACT_READ, 1, &v);
	return v.allowed ? 0 : -ENOMEM;
}

static int run_handle(void *context)
{
	(void)context;
	struct handle *h = handle_new();
	if (!h)
		return -ENOMEM;
	handle_free(h);
	return 0;
}

static void visit(void *context, struct inode *i)
{
	unsigned *count = context;
	*count += i != NULL;
}

static int run_renamed(void *context)
{
	struct work *w = context;
	char path[64];
	inode_renamed(&w->t, w->child, w->parent, w->lower, w->t.root, "g", "other");
	inode_name_path(&w->t, w->child, NULL, path, sizeof(path));
	/* Without memory it has no name until the next lookup, which finds it under the new one. */
	int r = strcmp(path, "/g") == 0 ? 0 : -ENOMEM;
	if (r < 0)
		assert_string_equal(path, "/(removed)");
	return r;
}

static void name_back(void *context)
{
	struct work *w = context;
	struct inode *i = inode_found(&w->t, w->parent, "f", w->lower, w->child->ino, S_IFREG, 1);
	assert_ptr_equal(i, w->child);
	inode_name_removed(&w->t, i, w->t.root, "other", false);
	inode_put(&w->t, i);
	inode_forget(&w->t, i, 1);
	known(w, 0);
}

static void name_back_failed(void *context, int error)
{
	(void)error;
	name_back(context);
}

/* A store and a tenant in it, from nothing. */
static int create_steps(struct layout *l, struct keyring **keys)
{
	struct err e = {0};
	const struct layout_create wanted = {.journal_bytes = 1 << 20};
	int r = layout_create_lock(l, &e);
	if (r == 0)
		r = layout_create_begin(l, "acme", CRYPTO_AES256_GCM, &e);
	if (r == 0)
		r = keyring_create(&l->owner, CRYPTO_AES256_GCM, keys);
	if (r == 0)
		r = layout_create_fill(l, *keys, &wanted, &e);
	if (r == 0)
		r = audit_create(l->lower, l->tenant_fd, *keys, &e);
	if (r == 0)
		r = layout_create_commit(l, &e);
	return r;
}

static int run_layout(void *context)
{
	struct work *w = context;
	struct err e = {0};
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	AUTO(keyring_auto) struct keyring *keys = NULL;
	int r = layout_create_store(w->store_path, &e);
	if (r == 0)
		r = layout_open(w->store_path, "", &l, &e);
	if (r == 0) {
		r = create_steps(&l, &keys);
		if (r < 0) {
			fail_alloc_disarm();
			assert_int_equal(layout_create_abort(&l), 0);
		}
	}
	return r;
}

static int run_layout_open(void *context)
{
	struct work *w = context;
	struct err e = {0};
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	int r = layout_open(w->store_path, "acme", &l, &e);
	if (r == 0)
		r = layout_lock(&l, "tenantfs", "/srv/acme", &e);
	return r;
}

static void remove_store(void *context)
{
	struct work *w = context;
	nftw(w->store_path, store_place_rm, 16, FTW_DEPTH | FTW_PHYS);
}

/* No tenant, nor a part of one. */
static void nothing_made(void *context, int error)
{
	struct work *w = context;
	char path[200];
	(void)error;
	snprintf(path, sizeof(path), "%s/t/acme", w->store_path);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/t/.new.acme", w->store_path);
	assert_int_not_equal(access(path, F_OK), 0);
	remove_store(w);
}

static const struct fail_alloc_case tables[] = {
	{.name = "inode table", .run = run_table},
	{.name = "inode found", .run = run_found, .failed = known, .done = known_still},
	{.name = "file of an inode", .run = run_open_child, .failed = known, .done = known_still},
	{.name = "states of an inode", .prepare = forget_policy, .run = run_states},
	{.name = "handle", .run = run_handle},
	{.name = "renamed", .run = run_renamed, .failed = name_back_failed, .done = name_back},
};

static const struct fail_alloc_case layouts[] = {
	{.name = "tenant created", .run = run_layout, .failed = nothing_made, .done = remove_store},
};

static int setup(void **state)
{
	struct work *w = calloc(1, sizeof(*w));
	if (!w || store_place_make(&w->place) < 0)
		return -1;
	struct store_place *p = w->place;
	w->store = &p->store;
	if (inode_table_init(&w->t, w->store) < 0)
		return -1;
	snprintf(w->path, sizeof(w->path), "%s", p->path);
	snprintf(w->store_path, sizeof(w->store_path), "%s/store", p->path);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct work *w = *state;
	policy_put(w->policy);
	inode_table_done(&w->t);
	store_place_remove(&w->place);
	free(w);
	return 0;
}

static void tables_know_what_they_knew(void **state)
{
	struct work *w = *state;
	w->parent = make(w, w->t.root, "d", true);
	w->child = make(w, w->parent, "f", false);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		fail_alloc_sweep(&tables[i], w);
	/* Rights are taken away by it: it must do without memory. */
	unsigned count = 0;
	fail_alloc_arm(1, false);
	inode_each(&w->t, visit, &count);
	(void)fail_alloc_disarm();
	assert_int_equal(count, 3);
	/* Each of the first 5,000, and of the doubled tables: only the last ones are tried here. */
	for (unsigned n = 9990; n < 10010; n++) {
		fail_alloc_arm(n, false);
		(void)run_many(w);
		(void)fail_alloc_disarm();
	}
	known_still(w);
	inode_put(&w->t, w->child);
	inode_forget(&w->t, w->child, 1);
	inode_put(&w->t, w->parent);
	inode_forget(&w->t, w->parent, 1);
	assert_int_equal(w->t.count, 1);
}

static void creation_leaves_a_tenant_or_nothing(void **state)
{
	struct work *w = *state;
	static const struct fail_alloc_case open = {
		.name = "tenant opened", .run = run_layout_open};
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		fail_alloc_sweep(&layouts[i], w);
	assert_int_equal(run_layout(w), 0);
	fail_alloc_sweep(&open, w);
	remove_store(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tables_know_what_they_knew),
		TEST(creation_leaves_a_tenant_or_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
