/*
 * fs/store/check beside a mount: of each thing that can be wrong, nothing is told when it is put
 * right between two looks or goes away; it is told when it stays as it is; it is in use when it
 * changes all the time. And what the journal of an unclean stop speaks of is told as such.
 */
#include "tests/unit/journal_fixture.h"
#include "tests/unit/tree_place.h"

#include "fs/lower/lower_readonly.h"
#include "fs/store/check.h"
#include "fs/store/journal.h"
#include "fs/store/tree_check.h"
#include "fs/store/xattr.h"

#include <sys/xattr.h>
#include <time.h>

#define PAGE 4096u
#define LOOKS_DAMAGE 2     /* settled so often before it is believed */
#define LOOKS_UNFINISHED 7 /* or given up */

/* The tenant: d/inside, f, g, link, long name. Lower names of them. */
struct place {
	struct store_place *p;
	struct dir *d;
	struct name f, inside, link, name, folder, moved;
	char sidecar[64], binding[TREE_CHECK_BINDING_LEN];
	char kept[600];
	uint8_t super[2][512];
	unsigned steps;
};

static void make_all(struct place *a, struct store_place *p)
{
	struct stat st;
	*a = (struct place){.p = p};
	assert_int_equal(
		journal_create(lower_posix(), p->tenant_fd, p->keys, JOURNAL_BYTES_MIN), 0);
	assert_int_equal(mkdirat(p->tenant_fd, "trash", 0700), 0);
	make_file(p->root, "f", "content");
	make_file(p->root, "g", "other");
	make_dir(p->root, "d", &a->d);
	make_file(a->d, "inside", "x");
	make_file(p->root, long_name('n'), "long");
	a->f = sealed(p->root, "f");
	a->folder = sealed(p->root, "d");
	a->inside = sealed(a->d, "inside");
	a->moved = sealed(a->d, "f");
	a->link = sealed(p->root, "link");
	a->name = sealed(p->root, long_name('n'));
	assert_int_equal(tree_symlink(p->root, &a->link, "target", NULL, &st), 0);
	snprintf(a->sidecar, sizeof(a->sidecar), "%.48s.n", a->name.lower);
	tree_check_binding(a->link.lower, a->binding);
	struct file *f;
	assert_int_equal(file_open(p->root, a->f.lower, &f), 0);
	assert_int_equal(xattr_set(f, NULL, "user.a", "value", 5, 0), 0);
	file_put(f);
	assert_int_equal(xattr_set(NULL, a->d, "user.a", "value", 5, 0), 0);
}

static void flip_at(int dirfd, const char *name, off_t at)
{
	uint8_t byte;
	AUTO_CLOSE fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void keep_link(struct place *a, int dirfd, const char *name)
{
	ssize_t n = readlinkat(dirfd, name, a->kept, sizeof(a->kept) - 1);
	assert_true(n > 0);
	a->kept[n] = 0;
}

static void relink(int dirfd, const char *name, const char *text)
{
	assert_true(unlinkat(dirfd, name, 0) == 0 || errno == ENOENT);
	assert_int_equal(symlinkat(text, dirfd, name), 0);
}

static void touch(struct place *a, int dirfd, const char *name)
{
	assert_int_equal(fchmodat(dirfd, name, a->steps++ % 2 ? 0755 : 0750, 0), 0);
}

static void flip_block(struct place *a)
{
	flip_at(a->p->root->fd, a->f.lower, PAGE + 7);
}

static void flip_header(struct place *a)
{
	flip_at(a->p->root->fd, a->f.lower, 30);
}

static void touch_f(struct place *a)
{
	touch(a, a->p->root->fd, a->f.lower);
}

static void remove_f(struct place *a)
{
	assert_int_equal(unlinkat(a->p->root->fd, a->f.lower, 0), 0);
}

static void move_f(struct place *a)
{
	assert_int_equal(renameat(a->p->root->fd, a->f.lower, a->d->fd, a->moved.lower), 0);
}

static void move_f_back(struct place *a)
{
	assert_int_equal(renameat(a->d->fd, a->moved.lower, a->p->root->fd, a->f.lower), 0);
}

static void touch_moved(struct place *a)
{
	touch(a, a->d->fd, a->moved.lower);
}

static void unbind(struct place *a)
{
	keep_link(a, a->p->root->fd, a->binding);
	relink(a->p->root->fd, a->binding, "AAAAAAAAAAAAAAAAAAAAAA");
}

static void bind_again(struct place *a)
{
	relink(a->p->root->fd, a->binding, a->kept);
}

static void touch_binding(struct place *a)
{
	relink(a->p->root->fd, a->binding, "AAAAAAAAAAAAAAAAAAAAAA");
}

static void remove_link(struct place *a)
{
	assert_int_equal(unlinkat(a->p->root->fd, a->link.lower, 0), 0);
	assert_int_equal(unlinkat(a->p->root->fd, a->binding, 0), 0);
}

static void unname(struct place *a)
{
	keep_link(a, a->p->root->fd, a->sidecar);
	assert_int_equal(unlinkat(a->p->root->fd, a->sidecar, 0), 0);
}

static void name_again(struct place *a)
{
	relink(a->p->root->fd, a->sidecar, a->kept);
}

static void touch_named(struct place *a)
{
	touch(a, a->p->root->fd, a->name.lower);
}

static void remove_named(struct place *a)
{
	assert_int_equal(unlinkat(a->p->root->fd, a->name.lower, 0), 0);
}

static void unrecord(struct place *a)
{
	keep_link(a, a->d->fd, ".dir");
	relink(a->d->fd, ".dir", "nothing");
}

static void record_again(struct place *a)
{
	relink(a->d->fd, ".dir", a->kept);
}

static void touch_record(struct place *a)
{
	relink(a->d->fd, ".dir", "nothing");
}

static void remove_d(struct place *a)
{
	assert_int_equal(unlinkat(a->d->fd, a->inside.lower, 0), 0);
	assert_int_equal(unlinkat(a->d->fd, ".dir", 0), 0);
	assert_int_equal(unlinkat(a->p->root->fd, a->folder.lower, AT_REMOVEDIR), 0);
}

static struct name half(struct place *a)
{
	return sealed(a->p->root, "half");
}

static void half_mkdir(struct place *a)
{
	assert_int_equal(mkdirat(a->p->root->fd, half(a).lower, 0700), 0);
}

static void whole_mkdir(struct place *a)
{
	struct dir *d;
	assert_int_equal(dir_open(a->p->root, half(a).lower, &d), 0);
	dir_put(d);
}

static void touch_half(struct place *a)
{
	touch(a, a->p->root->fd, half(a).lower);
}

static void remove_half(struct place *a)
{
	assert_int_equal(unlinkat(a->p->root->fd, half(a).lower, AT_REMOVEDIR), 0);
}

static void leave_sidecar(struct place *a)
{
	assert_int_equal(symlinkat("x", a->d->fd, ".dir.new"), 0);
}

static void remove_sidecar(struct place *a)
{
	assert_int_equal(unlinkat(a->d->fd, ".dir.new", 0), 0);
}

static void flip_attribute(int fd)
{
	char names[512], value[512];
	ssize_t n = flistxattr(fd, names, sizeof(names));
	const char *name = names;
	while (name < names + n && strncmp(name, "user.tfs.", 9) != 0)
		name += strlen(name) + 1;
	assert_true(name < names + n);
	n = fgetxattr(fd, name, value, sizeof(value));
	assert_true(n > 0);
	value[n - 1] ^= 1;
	assert_int_equal(fsetxattr(fd, name, value, (size_t)n, 0), 0);
}

static void flip_file_attribute(struct place *a)
{
	AUTO_CLOSE fd = openat(a->p->root->fd, a->f.lower, O_RDONLY | O_CLOEXEC);
	flip_attribute(fd);
}

static void flip_folder_attribute(struct place *a)
{
	AUTO_CLOSE fd = openat(a->p->root->fd, a->folder.lower, O_RDONLY | O_CLOEXEC);
	flip_attribute(fd);
}

static void touch_d(struct place *a)
{
	touch(a, a->p->root->fd, a->folder.lower);
}

/* A name that its header knows and that is not there. */
static void lose_name(struct place *a)
{
	struct name second = sealed(a->d, "second");
	struct stat st;
	assert_int_equal(tree_link(a->p->root, a->f.lower, NULL, a->d, &second, &st), 0);
	assert_int_equal(unlinkat(a->d->fd, second.lower, 0), 0);
}

static void name_is_back(struct place *a)
{
	struct name second = sealed(a->d, "second");
	assert_int_equal(linkat(a->p->root->fd, a->f.lower, a->d->fd, second.lower, 0), 0);
}

static void flip_root(struct place *a)
{
	if (!a->kept[0])
		keep_link(a, a->p->root->fd, ".dir");
	relink(a->p->root->fd, ".dir", "nothing");
}

static void flip_root_back(struct place *a)
{
	relink(a->p->root->fd, ".dir", a->kept);
}

static void break_journal(struct place *a)
{
	AUTO_CLOSE fd = openat(a->p->tenant_fd, "journal", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pread(fd, a->super[i], 512, i * 4096), 512);
		assert_int_equal(pwrite(fd, "broken", 6, i * 4096), 6);
	}
}

static void mend_journal(struct place *a)
{
	AUTO_CLOSE fd = openat(a->p->tenant_fd, "journal", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, a->super[1], 512, 4096), 512);
}

static void touch_journal(struct place *a)
{
	touch(a, a->p->tenant_fd, "journal");
}

static void no_trash(struct place *a)
{
	assert_int_equal(unlinkat(a->p->tenant_fd, "trash", AT_REMOVEDIR), 0);
}

static void trash_again(struct place *a)
{
	assert_int_equal(mkdirat(a->p->tenant_fd, "trash", 0700), 0);
}

typedef void step(struct place *a);

static const struct {
	const char *kind, *path;
	bool damage;
	step *harm, *mend, *touch, *remove; /* touch, remove: NULL where that cannot be */
	bool quick;                         /* a touched one is not in use: it is another one */
} stories[] = {
	{"block", "/f", true, flip_block, flip_block, touch_f, remove_f, false},
	{"header", "/f", true, flip_header, flip_header, touch_f, remove_f, false},
	{"home", "/d/f", true, move_f, move_f_back, touch_moved, move_f_back, false},
	{"link", "/link", true, unbind, bind_again, touch_binding, remove_link, false},
	{"name", "/", true, unname, name_again, touch_named, remove_named, false},
	{"directory", "/d", true, unrecord, record_again, touch_record, remove_d, false},
	{"directory", "/half", false, half_mkdir, whole_mkdir, touch_half, remove_half, false},
	{"sidecar", "/d/", false, leave_sidecar, remove_sidecar, NULL, NULL, true},
	{"attribute", "/f", true, flip_file_attribute, flip_file_attribute, touch_f, remove_f,
		false},
	{"attribute", "/d", true, flip_folder_attribute, flip_folder_attribute, touch_d, NULL,
		false},
	{"homes", "/f", false, lose_name, name_is_back, touch_f, remove_f, false},
	{"directory", "/", true, flip_root, flip_root_back, flip_root, NULL, false},
	{"journal", NULL, true, break_journal, mend_journal, touch_journal, NULL, false},
	{"trash", NULL, true, no_trash, trash_again, NULL, NULL, false},
};
#define STORIES (sizeof(stories) / sizeof(stories[0]))

/* A check, and what is done meanwhile. */
struct run {
	struct place *a;
	step *between;
	bool once;
	unsigned settled, fail_at;
	char kind[16], path[64];
	unsigned findings, damaged, in_use;
	bool damage, waits; /* of the last one */
	struct check_counts counts;
};

static int settle(void *context, unsigned again)
{
	struct run *r = context;
	const struct timespec tick = {.tv_nsec = 12000000};
	assert_true(again >= 1 && again <= LOOKS_UNFINISHED);
	/* What was done before and after has another time. */
	nanosleep(&tick, NULL);
	if (r->between && !(r->once && r->settled))
		r->between(r->a);
	nanosleep(&tick, NULL);
	r->settled++;
	return r->settled == r->fail_at ? -ENOTCONN : 0;
}

static void on_finding(void *context, const struct check_finding *f)
{
	struct run *r = context;
	if (f->in_use) {
		assert_false(f->damage || f->corrected);
		assert_string_equal(f->kind, "in use");
		r->in_use++;
		snprintf(r->path, sizeof(r->path), "%s", f->path ? f->path : "");
		return;
	}
	r->findings++;
	r->damage = f->damage;
	r->damaged += f->damage;
	r->waits = f->waits;
	snprintf(r->kind, sizeof(r->kind), "%s", f->kind);
	snprintf(r->path, sizeof(r->path), "%s", f->path ? f->path : "");
}

static int check(struct run *r, bool beside)
{
	struct store_place *p = r->a->p;
	struct lower_readonly readonly;
	const struct check_options o = {
		.found = on_finding, .context = r, .settle = beside ? settle : NULL};
	struct store s = p->store;
	lower_readonly_init(&readonly, &p->fail.base);
	s.lower = &readonly.base;
	int rc = check_store(&s, p->tenant_fd, &o, &r->counts);
	if (rc == 0) {
		assert_int_equal(r->counts.findings, r->findings);
		assert_int_equal(r->counts.left, r->findings);
		assert_int_equal(r->counts.in_use, r->in_use);
		assert_int_equal(r->counts.damaged, r->damaged);
	}
	return rc;
}

static void done(struct place *a)
{
	dir_put(a->d);
}

/* Each in a tenant of its own. */
static void each(void (*act)(struct place *a, size_t i))
{
	for (size_t i = 0; i < STORIES; i++) {
		void *state = NULL;
		struct place a;
		assert_int_equal(store_place_make(&state), 0);
		make_all(&a, state);
		act(&a, i);
		done(&a);
		store_place_remove(&state);
	}
}

static void told_of(const struct run *r, size_t i)
{
	if (r->findings != 1 || strcmp(r->kind, stories[i].kind) != 0)
		fail_msg("story %zu: %u findings, %s %s", i, r->findings, r->kind, r->path);
	assert_int_equal(r->damage, stories[i].damage);
	if (stories[i].path)
		assert_string_equal(r->path, stories[i].path);
	assert_int_equal(r->in_use, 0);
}

static void stays(struct place *a, size_t i)
{
	struct run r = {.a = a};
	stories[i].harm(a);
	assert_int_equal(check(&r, true), 0);
	told_of(&r, i);
	assert_int_equal(r.settled, stories[i].damage ? LOOKS_DAMAGE : LOOKS_UNFINISHED);
}

static void what_stays_is_told(void **state)
{
	(void)state;
	each(stays);
}

static void is_mended(struct place *a, size_t i)
{
	struct run clean = {.a = a}, r = {.a = a, .between = stories[i].mend, .once = true};
	assert_int_equal(check(&clean, true), 0);
	assert_int_equal(clean.findings + clean.in_use + clean.settled, 0);
	stories[i].harm(a);
	assert_int_equal(check(&r, true), 0);
	if (r.findings || r.in_use)
		fail_msg("story %zu: %s %s", i, r.kind, r.path);
	assert_int_equal(r.settled, 1);
	/* Everything was counted, and once. A file that was moved to another place is seen there
	 * or not. */
	if (stories[i].mend == move_f_back)
		return;
	assert_int_equal(r.counts.files, clean.counts.files);
	assert_int_equal(r.counts.blocks, clean.counts.blocks);
	assert_int_equal(r.counts.attributes, clean.counts.attributes);
	assert_int_equal(r.counts.links, clean.counts.links);
	assert_int_equal(
		r.counts.directories, clean.counts.directories + (stories[i].harm == half_mkdir));
}

static void what_is_put_right_is_nothing(void **state)
{
	(void)state;
	each(is_mended);
}

static void goes(struct place *a, size_t i)
{
	struct run r = {.a = a, .between = stories[i].remove, .once = true};
	if (!stories[i].remove)
		return;
	stories[i].harm(a);
	assert_int_equal(check(&r, true), 0);
	if (r.findings || r.in_use)
		fail_msg("story %zu: %s %s", i, r.kind, r.path);
	assert_true(r.settled >= 1);
}

static void what_goes_is_nothing(void **state)
{
	(void)state;
	each(goes);
}

static void moves(struct place *a, size_t i)
{
	struct run r = {.a = a, .between = stories[i].touch};
	if (!stories[i].touch)
		return;
	stories[i].harm(a);
	assert_int_equal(check(&r, true), 0);
	if (r.findings || r.in_use != 1)
		fail_msg("story %zu: %u findings, %u in use", i, r.findings, r.in_use);
	if (stories[i].path)
		assert_string_equal(r.path, stories[i].path);
	assert_int_equal(r.settled, LOOKS_UNFINISHED);
}

static void what_moves_is_in_use(void **state)
{
	(void)state;
	each(moves);
}

static void renew_sidecar(struct place *a)
{
	relink(a->d->fd, ".dir.new", "x");
}

static void make_other(struct place *a)
{
	char name[16];
	snprintf(name, sizeof(name), "other%u", a->steps++);
	make_file(a->d, name, "x");
}

/* A directory in which things come and go keeps nobody from seeing what is wrong in it. */
static void a_busy_directory_hides_nothing(void **state)
{
	struct place a;
	make_all(&a, *state);
	struct run r = {.a = &a, .between = renew_sidecar};
	leave_sidecar(&a);
	assert_int_equal(check(&r, true), 0);
	assert_int_equal(r.findings + r.in_use, 0);
	assert_int_equal(r.settled, 1);
	remove_sidecar(&a);
	struct run busy = {.a = &a, .between = make_other};
	flip_at(a.d->fd, a.inside.lower, PAGE + 7);
	assert_int_equal(check(&busy, true), 0);
	assert_int_equal(busy.findings, 1);
	assert_string_equal(busy.path, "/d/inside");
	struct run record = {.a = &a, .between = make_other};
	flip_at(a.d->fd, a.inside.lower, PAGE + 7);
	unrecord(&a);
	assert_int_equal(check(&record, true), 0);
	assert_int_equal(record.findings, 1);
	assert_string_equal(record.path, "/d");
	struct run orphan = {.a = &a, .between = make_other};
	record_again(&a);
	leave_sidecar(&a);
	assert_int_equal(check(&orphan, true), 0);
	assert_int_equal(orphan.findings, 1);
	assert_string_equal(orphan.kind, "sidecar");
	done(&a);
}

/* What is normal beside a mount. */
static void what_a_mount_leaves_is_nothing(void **state)
{
	struct place a;
	struct journal *j;
	uint64_t token;
	const struct journal_erase e = {.ino = 5, .first = 1, .end = 2, .file_id = {1}};
	make_all(&a, *state);
	assert_int_equal(
		journal_open(lower_posix(), a.p->tenant_fd, a.p->keys, false, &j, NULL), 0);
	assert_int_equal(journal_fixture_announce(j, &e, &token), 0);
	AUTO_CLOSE fd =
		openat(a.p->tenant_fd, "trash/waiting", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	AUTO_CLOSE longer = openat(a.p->root->fd, a.f.lower, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(longer, 20 * PAGE), 0);
	struct run r = {.a = &a}, off = {.a = &a};
	assert_int_equal(check(&r, true), 0);
	assert_int_equal(r.findings + r.in_use + r.settled, 0);
	assert_int_equal(check(&off, false), 0);
	assert_int_equal(off.findings, 3);
	journal_close(j);
	done(&a);
}

/* Its names are seen one after the other, and its number may be another file's by then. */
static void a_file_with_several_names(void **state)
{
	struct place a;
	make_all(&a, *state);
	struct name second = sealed(a.d, "second");
	struct stat st;
	assert_int_equal(tree_link(a.p->root, a.f.lower, NULL, a.d, &second, &st), 0);
	struct run clean = {.a = &a}, mended = {.a = &a, .between = flip_block, .once = true};
	assert_int_equal(check(&clean, true), 0);
	assert_int_equal(clean.findings + clean.in_use + clean.settled, 0);
	flip_block(&a);
	assert_int_equal(check(&mended, true), 0);
	assert_int_equal(mended.findings + mended.in_use, 0);
	assert_int_equal(mended.settled, 1);
	flip_block(&a);
	struct run bad = {.a = &a};
	assert_int_equal(check(&bad, true), 0);
	assert_int_equal(bad.findings, 2);
	assert_true(bad.damage);
	done(&a);
}

static void it_ends_where_it_cannot_settle(void **state)
{
	struct place a;
	make_all(&a, *state);
	leave_sidecar(&a);
	for (unsigned at = 1; at <= LOOKS_UNFINISHED; at++) {
		struct run r = {.a = &a, .fail_at = at};
		assert_int_equal(check(&r, true), -ENOTCONN);
		assert_int_equal(r.findings, 0);
	}
	remove_sidecar(&a);
	flip_block(&a);
	for (unsigned at = 1; at <= LOOKS_DAMAGE; at++) {
		struct run r = {.a = &a, .fail_at = at};
		assert_int_equal(check(&r, true), -ENOTCONN);
		assert_int_equal(r.findings, 0);
	}
	done(&a);
}

/* Each lower call fails once: nobody is blamed for it, and what is damaged is told all the same. */
static void every_lower_call_may_fail_once(void **state)
{
	struct place a;
	make_all(&a, *state);
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		unsigned at = 1;
		for (bool hit = true; hit; at++) {
			struct run r = {.a = &a};
			fail_lower_arm(&a.p->fail, FAIL_LOWER_ANY, at, -EIO, true);
			int rc = check(&r, true);
			hit = fail_lower_hit(&a.p->fail);
			disarm(a.p);
			if (rc || r.findings != damaged || r.in_use)
				fail_msg(
					"call %u: %d, %u findings, %s", at, rc, r.findings, r.kind);
		}
		assert_true(at > 40);
		flip_block(&a);
	}
	done(&a);
}

/* Off-line, after an unclean stop: what the journal speaks of is no damage yet. */
static void what_waits_for_the_journal(void **state)
{
	struct place a;
	struct journal *j;
	uint64_t token;
	struct stat st;
	struct file *f;
	struct journal_erase e = {.first = 1, .end = 2};
	make_all(&a, *state);
	assert_int_equal(file_open(a.p->root, a.f.lower, &f), 0);
	file_id(f, e.file_id);
	file_put(f);
	assert_int_equal(fstatat(a.p->root->fd, a.f.lower, &st, 0), 0);
	e.ino = st.st_ino;
	assert_int_equal(
		journal_open(&a.p->fail.base, a.p->tenant_fd, a.p->keys, false, &j, NULL), 0);
	assert_int_equal(journal_checkpoint(j), 0); /* as every mount begins */
	assert_int_equal(journal_fixture_announce(j, &e, &token), 0);
	/* Killed: it cannot say that it ended. */
	fail_lower_arm(&a.p->fail, FAIL_LOWER_PWRITEV, 1, -EIO, false);
	journal_close(j);
	disarm(a.p);
	static step *const harms[] = {flip_block, flip_header, move_f};
	static step *const mends[] = {flip_block, flip_header, move_f_back};
	for (size_t i = 0; i < 3; i++) {
		struct run r = {.a = &a};
		harms[i](&a);
		assert_int_equal(check(&r, false), 0);
		assert_int_equal(r.findings, 2); /* the journal first */
		assert_string_equal(r.path, harms[i] == move_f ? "/d/f" : "/f");
		assert_true(r.waits && !r.damage);
		assert_int_equal(r.counts.waiting, 1);
		mends[i](&a);
	}
	/* Of another file it says nothing. */
	struct run r = {.a = &a}, traced = {.a = &a}, clean = {.a = &a};
	flip_at(a.d->fd, a.inside.lower, PAGE + 7);
	assert_int_equal(check(&r, false), 0);
	assert_int_equal(r.counts.waiting, 0);
	assert_int_equal(r.counts.damaged, 1);
	/* But what was made in that mount may never have been whole. */
	flip_at(a.d->fd, a.inside.lower, 30);
	assert_int_equal(check(&traced, false), 0);
	assert_int_equal(traced.counts.waiting, 1);
	assert_int_equal(traced.counts.damaged, 0);
	assert_int_equal(unlinkat(a.p->tenant_fd, "journal", 0), 0);
	assert_int_equal(
		journal_create(lower_posix(), a.p->tenant_fd, a.p->keys, JOURNAL_BYTES_MIN), 0);
	assert_int_equal(check(&clean, false), 0);
	assert_int_equal(clean.counts.waiting, 0);
	assert_int_equal(clean.counts.damaged, 1);
	done(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_place_make, store_place_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stays_is_told),
		cmocka_unit_test(what_is_put_right_is_nothing),
		cmocka_unit_test(what_goes_is_nothing),
		cmocka_unit_test(what_moves_is_in_use),
		TEST(a_busy_directory_hides_nothing),
		TEST(what_a_mount_leaves_is_nothing),
		TEST(a_file_with_several_names),
		TEST(it_ends_where_it_cannot_settle),
		TEST(every_lower_call_may_fail_once),
		TEST(what_waits_for_the_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
