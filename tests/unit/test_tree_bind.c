/* fs/store/tree_bind: a link is what stands under its own name, whatever is put there, and whenever
 * a rename is cut short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tree_place.h"

#include <ctype.h>
#include <sys/wait.h>

#define LONG_TARGET 3000 /* characters: has four sidecars */

static void make_target(char letter, size_t len, char ret[static 4096])
{
	memset(ret, tolower((unsigned char)letter), len);
	ret[len] = '\0';
}

static void make_link(struct dir *d, const char *plain, char letter, size_t len)
{
	char target[4096];
	struct stat st;
	struct name n = sealed(d, plain);
	make_target(letter, len, target);
	assert_int_equal(tree_symlink(d, &n, target, NULL, &st), 0);
}

/* The letter that the link's target consists of, or -errno. */
static int letter_of(struct dir *d, const char *plain, size_t len)
{
	char got[4096], expected[4096];
	struct name n = sealed(d, plain);
	ssize_t r = tree_readlink(d, n.lower, got, sizeof(got));
	if (r < 0)
		return (int)r;
	assert_int_equal(r, len);
	make_target(got[0], len, expected);
	assert_memory_equal(got, expected, len);
	return got[0];
}

static void record_of(const struct dir *d, const char *plain, char ret[static 32])
{
	struct name n = sealed(d, plain);
	uint8_t hash[16];
	crypto_digest(n.lower, strlen(n.lower), hash, sizeof(hash));
	ret[0] = '~';
	crypto_b64(hash, sizeof(hash), ret + 1);
	memcpy(ret + strlen(ret), ".b", 3);
}

static size_t record_length(const struct dir *d, const char *plain)
{
	char name[32], text[256];
	record_of(d, plain, name);
	ssize_t n = readlinkat(d->fd, name, text, sizeof(text));
	return n < 0 ? 0 : (size_t)n;
}

static void swap(const struct dir *d, const char *a, const struct dir *e, const char *b)
{
	struct name x = sealed(d, a), y = sealed(e, b);
	assert_int_equal(renameat2(d->fd, x.lower, e->fd, y.lower, RENAME_EXCHANGE), 0);
}

static void swap_records(const struct dir *d, const char *a, const struct dir *e, const char *b)
{
	char x[32], y[32];
	record_of(d, a, x);
	record_of(e, b, y);
	assert_int_equal(renameat2(d->fd, x, e->fd, y, RENAME_EXCHANGE), 0);
}

static void relink_at(const struct dir *d, const char *name, const char *text)
{
	(void)unlinkat(d->fd, name, 0);
	if (text)
		assert_int_equal(symlinkat(text, d->fd, name), 0);
}

static void what_is_swapped_does_not_open(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	static const size_t lengths[] = {5, LONG_TARGET};
	make_dir(p->root, "d", &d);
	for (size_t i = 0; i < 2; i++) {
		struct dir *const others[] = {p->root, d};
		make_link(p->root, "a", 'a', lengths[i]);
		for (size_t k = 0; k < 2; k++) {
			struct dir *e = others[k];
			make_link(e, "b", 'b', lengths[i]);
			for (int with_records = 0; with_records < 2; with_records++) {
				swap(p->root, "a", e, "b");
				if (with_records)
					swap_records(p->root, "a", e, "b");
				unsigned alarms = p->alarms;
				assert_int_equal(letter_of(p->root, "a", lengths[i]), -EBADMSG);
				assert_int_equal(letter_of(e, "b", lengths[i]), -EBADMSG);
				assert_int_equal(p->alarms, alarms + 2);
				assert_string_equal(p->what, "link target");
				swap(p->root, "a", e, "b");
				if (with_records)
					swap_records(p->root, "a", e, "b");
			}
			/* the records alone; and one link over the other */
			swap_records(p->root, "a", e, "b");
			assert_int_equal(letter_of(p->root, "a", lengths[i]), -EBADMSG);
			swap_records(p->root, "a", e, "b");
			struct name a = sealed(p->root, "a"), b = sealed(e, "b");
			assert_int_equal(unlinkat(e->fd, b.lower, 0), 0);
			assert_int_equal(linkat(p->root->fd, a.lower, e->fd, b.lower, 0), 0);
			assert_int_equal(letter_of(e, "b", lengths[i]), -EBADMSG);
			assert_int_equal(letter_of(p->root, "a", lengths[i]), 'a');
			assert_int_equal(tree_unlink(e, b.lower, NULL), 0);
		}
		struct name a = sealed(p->root, "a");
		assert_int_equal(tree_unlink(p->root, a.lower, NULL), 0);
	}
	dir_put(d);
}

static void altered_records_are_noticed(void **state)
{
	struct store_place *p = *state;
	char name[32], text[64], altered[128];
	make_link(p->root, "a", 'a', 5);
	record_of(p->root, "a", name);
	ssize_t len = readlinkat(p->root->fd, name, text, sizeof(text));
	assert_int_equal(len, 22);
	text[len] = '\0';
	for (ssize_t i = 0; i < len; i++) {
		memcpy(altered, text, (size_t)len + 1);
		altered[i] = altered[i] == 'A' ? 'B' : 'A';
		relink_at(p->root, name, altered);
		assert_int_equal(letter_of(p->root, "a", 5), -EBADMSG);
	}
	static const char *const texts[] = {NULL, "AAAA", "x",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		relink_at(p->root, name, texts[i]);
		assert_int_equal(letter_of(p->root, "a", 5), -EBADMSG);
	}
	assert_int_equal(unlinkat(p->root->fd, name, 0), 0);
	assert_int_equal(mkdirat(p->root->fd, name, 0700), 0);
	assert_int_equal(letter_of(p->root, "a", 5), -EBADMSG);
	assert_int_equal(unlinkat(p->root->fd, name, AT_REMOVEDIR), 0);
	assert_int_equal(p->alarms, len + 5);
	/* the right one behind a wrong one counts, and then stands alone */
	snprintf(altered, sizeof(altered), "AAAAAAAAAAAAAAAAAAAAAA");
	uint8_t both[32];
	assert_int_equal(crypto_unb64(altered, 22, both, 16), 16);
	assert_int_equal(crypto_unb64(text, 22, both + 16, 16), 16);
	crypto_b64(both, 32, altered);
	relink_at(p->root, name, altered);
	struct stat before, after;
	assert_int_equal(fstat(p->root->fd, &before), 0);
	assert_int_equal(record_length(p->root, "a"), 43);
	assert_int_equal(letter_of(p->root, "a", 5), 'a');
	assert_int_equal(record_length(p->root, "a"), 22);
	assert_int_equal(fstat(p->root->fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	assert_int_equal(p->alarms, len + 5);
}

/* What somebody swapped must not become right by being renamed or linked. */
static void what_is_swapped_is_not_carried_on(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	struct stat st;
	make_dir(p->root, "d", &d);
	make_link(p->root, "a", 'a', LONG_TARGET);
	make_link(p->root, "b", 'b', LONG_TARGET);
	make_link(p->root, "c", 'c', LONG_TARGET);
	swap(p->root, "a", p->root, "b");
	struct name a = sealed(p->root, "a"), b = sealed(p->root, "b"), x = sealed(d, "x");
	unsigned in_d = lower_count(d, true), in_root = lower_count(p->root, true);
	static const struct {
		const char *from, *to;
		unsigned flags;
	} rows[] = {{"a", "x", 0}, {"a", "c", 0}, {"a", "c", RENAME_EXCHANGE},
		{"c", "a", RENAME_EXCHANGE}, {"a", "x", RENAME_NOREPLACE}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p->alarms = 0;
		assert_int_equal(rename_to(p->root, rows[i].from, p->root, rows[i].to,
					 rows[i].flags, NULL, NULL),
			-EBADMSG);
		assert_int_equal(p->alarms, 1);
		assert_string_equal(p->what, "link target");
	}
	assert_int_equal(rename_to(p->root, "a", d, "x", 0, NULL, NULL), -EBADMSG);
	assert_int_equal(tree_link(p->root, a.lower, NULL, d, &x, &st), -EBADMSG);
	assert_int_equal(p->alarms, 3);
	assert_int_equal(lower_count(d, true), in_d);
	assert_int_equal(lower_count(p->root, true), in_root);
	/* it may go */
	assert_int_equal(rename_to(p->root, "c", p->root, "a", 0, NULL, NULL), 0);
	assert_int_equal(letter_of(p->root, "a", LONG_TARGET), 'c');
	assert_int_equal(tree_unlink(p->root, b.lower, NULL), 0);
	assert_int_equal(tree_unlink(p->root, a.lower, NULL), 0);
	assert_int_equal(lower_count(p->root, true), 2);
	assert_int_equal(p->alarms, 3);
	dir_put(d);
}

static void a_rename_leaves_the_link_as_it_is(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	struct stat before, after;
	char plain[32];
	const struct timespec times[2] = {{1000000001, 123456789}, {1000000002, 987654321}};
	make_dir(p->root, "d", &d);
	make_link(p->root, "a", 'a', LONG_TARGET);
	struct name a = sealed(p->root, "a"), b = sealed(d, long_name('b'));
	if (geteuid() == 0)
		assert_int_equal(
			fchownat(p->root->fd, a.lower, 1234, 4321, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(utimensat(p->root->fd, a.lower, times, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(tree_stat(p->root, a.lower, &before), 0);
	for (int i = 0; i < 200; i++) {
		snprintf(plain, sizeof(plain), "link%d", i);
		struct name n = sealed(i % 2 ? d : p->root, plain);
		assert_int_equal(
			tree_link(p->root, a.lower, NULL, i % 2 ? d : p->root, &n, &after), 0);
	}
	assert_int_equal(rename_to(p->root, "a", d, long_name('b'), 0, NULL, NULL), 0);
	assert_int_equal(tree_stat(d, b.lower, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_nlink, 201);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_gid, before.st_gid);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_size, LONG_TARGET);
	assert_memory_equal(&after.st_mtim, &times[1], sizeof(times[1]));
	for (int i = 0; i < 200; i++) {
		snprintf(plain, sizeof(plain), "link%d", i);
		assert_int_equal(letter_of(i % 2 ? d : p->root, plain, LONG_TARGET), 'a');
	}
	assert_int_equal(letter_of(d, long_name('b'), LONG_TARGET), 'a');
	assert_int_equal(p->alarms, 0);
	dir_put(d);
}

static void a_directory_takes_its_links_along(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *e;
	char plain[32];
	make_dir(p->root, "d", &d);
	make_dir(p->root, "e", &e);
	for (int i = 0; i < 40; i++) {
		snprintf(plain, sizeof(plain), "%d", i);
		make_link(d, plain, (char)('a' + i % 26), 9);
	}
	unsigned before = p->fail.total[FAIL_LOWER_SYMLINKAT];
	assert_int_equal(rename_to(p->root, "d", e, "f", 0, d, NULL), 0);
	assert_int_equal(p->fail.total[FAIL_LOWER_SYMLINKAT] - before, 2); /* its own record */
	for (int i = 0; i < 40; i++) {
		snprintf(plain, sizeof(plain), "%d", i);
		assert_int_equal(letter_of(d, plain, 9), 'a' + i % 26);
	}
	assert_int_equal(p->alarms, 0);
	dir_put(d);
	dir_put(e);
}

/*
 * Four places, two in each of two directories: '-' nothing, a letter a link to its targets, in
 * capitals another hard link to the same, 0 an empty file, 1 a directory.
 */
#define PLACES 4
struct world {
	struct store_place *p;
	struct dir *dirs[2];
	size_t len;
};
enum { RENAME, LINK, UNLINK, SYMLINK };
struct row {
	char before[PLACES + 1], after[PLACES + 1];
	int what, from, to;
	unsigned flags;
};
static const struct row rows[] = {
	{"a---", "-a--", RENAME, 0, 1, 0},
	{"a---", "--a-", RENAME, 0, 2, 0},
	{"ab--", "-a--", RENAME, 0, 1, 0},
	{"a-b-", "--a-", RENAME, 0, 2, 0},
	{"ab-B", "-a-b", RENAME, 0, 1, 0},
	{"abB-", "-ba-", RENAME, 0, 2, 0},
	{"aA--", "-aa-", RENAME, 0, 2, 0},
	{"aA--", "aa--", RENAME, 0, 1, 0},
	{"a0--", "-a--", RENAME, 0, 1, 0},
	{"0a--", "-0--", RENAME, 0, 1, 0},
	{"0-a-", "--0-", RENAME, 0, 2, 0},
	{"a---", "-a--", RENAME, 0, 1, RENAME_NOREPLACE},
	{"ab--", "ba--", RENAME, 0, 1, RENAME_EXCHANGE},
	{"a-b-", "b-a-", RENAME, 0, 2, RENAME_EXCHANGE},
	{"a-bA", "b-aa", RENAME, 0, 2, RENAME_EXCHANGE},
	{"a1--", "1a--", RENAME, 0, 1, RENAME_EXCHANGE},
	{"a-1-", "1-a-", RENAME, 0, 2, RENAME_EXCHANGE},
	{"1-a-", "a-1-", RENAME, 0, 2, RENAME_EXCHANGE},
	{"0-a-", "a-0-", RENAME, 0, 2, RENAME_EXCHANGE},
	{"a---", "aa--", LINK, 0, 1, 0},
	{"a---", "a-a-", LINK, 0, 2, 0},
	{"aA--", "-a--", UNLINK, 0, 0, 0},
	{"a---", "----", UNLINK, 0, 0, 0},
	{"----", "z---", SYMLINK, 0, 0, 0},
	{"0---", "0---", SYMLINK, 0, 0, 0},
	{"a---", "a---", SYMLINK, 0, 0, 0},
	{"ab--", "ab--", LINK, 0, 1, 0},
};

static struct dir *dir_at(const struct world *w, int place)
{
	return w->dirs[place / 2];
}

static const char *name_at(int place)
{
	return place % 2 ? long_name('q') : "short";
}

static struct name sealed_at(const struct world *w, int place)
{
	return sealed(dir_at(w, place), name_at(place));
}

/* Both directories anew: what a cut before left in them would add calls, and hide a point. */
static void make_places(struct world *w)
{
	make_dir(w->p->root, "one", &w->dirs[0]);
	make_dir(w->p->root, "two", &w->dirs[1]);
}

static void remove_places(struct world *w)
{
	struct name one = sealed(w->p->root, "one"), two = sealed(w->p->root, "two");
	assert_int_equal(tree_rmdir(w->p->root, one.lower, w->dirs[0]), 0);
	assert_int_equal(tree_rmdir(w->p->root, two.lower, w->dirs[1]), 0);
	dir_put(w->dirs[0]);
	dir_put(w->dirs[1]);
}

static void build(const struct world *w, const char *before)
{
	for (int i = 0; i < PLACES; i++) {
		struct dir *d = dir_at(w, i), *made;
		struct stat st;
		if (before[i] == '-') {
			continue;
		} else if (before[i] == '0') {
			make_file(d, name_at(i), "");
		} else if (before[i] == '1') {
			make_dir(d, name_at(i), &made);
			dir_put(made);
		} else if (islower((unsigned char)before[i])) {
			make_link(d, name_at(i), before[i], w->len);
		} else {
			int first = 0;
			while (before[first] != tolower((unsigned char)before[i]))
				first++;
			struct name old = sealed_at(w, first), new = sealed_at(w, i);
			assert_int_equal(
				tree_link(dir_at(w, first), old.lower, NULL, d, &new, &st), 0);
		}
	}
}

static void look(const struct world *w, char ret[static PLACES + 1])
{
	for (int i = 0; i < PLACES; i++) {
		struct name n = sealed_at(w, i);
		struct dir *d = dir_at(w, i);
		struct stat st;
		int r = tree_stat(d, n.lower, &st);
		if (r == -ENOENT) {
			ret[i] = '-';
			continue;
		}
		assert_int_equal(r, 0);
		if (S_ISLNK(st.st_mode)) {
			r = letter_of(d, name_at(i), w->len);
			ret[i] = r < 0 ? '!' : (size_t)st.st_size == w->len ? (char)r : '?';
		} else {
			ret[i] = S_ISDIR(st.st_mode) ? '1' : '0';
		}
	}
	ret[PLACES] = '\0';
}

static void empty(const struct world *w)
{
	for (int i = 0; i < PLACES; i++) {
		struct name n = sealed_at(w, i);
		struct dir *d = dir_at(w, i), *in;
		struct stat st;
		if (tree_stat(d, n.lower, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			assert_int_equal(dir_open(d, n.lower, &in), 0);
			assert_int_equal(tree_rmdir(d, n.lower, in), 0);
			dir_put(in);
		} else {
			assert_int_equal(tree_unlink(d, n.lower, NULL), 0);
		}
	}
}

static int run(const struct world *w, const struct row *row)
{
	struct name old = sealed_at(w, row->from), new = sealed_at(w, row->to);
	struct dir *from = dir_at(w, row->from), *to = dir_at(w, row->to);
	struct dir *moved = NULL, *victim = NULL;
	char target[4096];
	struct stat st;
	int r = 0;
	switch (row->what) {
	case LINK:
		return tree_link(from, old.lower, NULL, to, &new, &st);
	case UNLINK:
		return tree_unlink(from, old.lower, NULL);
	case SYMLINK:
		make_target('z', w->len, target);
		return tree_symlink(from, &old, target, NULL, &st);
	default:
		if (row->before[row->from] == '1')
			r = dir_open(from, old.lower, &moved);
		if (r == 0 && row->before[row->to] == '1')
			r = dir_open(to, new.lower, &victim);
		if (r == 0)
			r = rename_to(from, name_at(row->from), to, name_at(row->to), row->flags,
				moved, victim);
		dir_put(moved);
		dir_put(victim);
		return r;
	}
}

static void end_here(void)
{
	_exit(9);
}

/* The operation in a process that ends at the n-th call. Whether it came so far. */
static bool run_and_die(const struct world *w, const struct row *row, unsigned n)
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		w->p->fail.instead = end_here;
		fail_lower_arm(&w->p->fail, FAIL_LOWER_ANY, n, -EIO, true);
		(void)!run(w, row);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 9;
}

static bool same_letters(const char *seen, const char *expected)
{
	return !strcasecmp(seen, expected);
}

enum { ONCE, FROM_THEN_ON, DIE, HOWS };

static bool cut_at(struct world *w, const struct row *row, int how, unsigned n)
{
	struct store_place *p = w->p;
	char seen[PLACES + 1];
	bool hit, refused = row->what == SYMLINK || row->what == LINK
				    ? !strcmp(row->before, row->after)
				    : false;
	int r = 0;
	make_places(w);
	build(w, row->before);
	if (how == DIE) {
		hit = run_and_die(w, row, n);
	} else {
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -EIO, how == ONCE);
		r = run(w, row);
		hit = fail_lower_hit(&p->fail);
		disarm(p);
		assert_true(r == (refused ? -EEXIST : 0) || (hit && r == -EIO));
	}
	size_t records[PLACES];
	for (int i = 0; i < PLACES; i++)
		records[i] = record_length(dir_at(w, i), name_at(i));
	look(w, seen);
	/* What was refused is undone, bindings and all. */
	for (int i = 0; i < PLACES && how == ONCE && r == -EIO; i++)
		assert_int_equal(records[i], isalpha((unsigned char)seen[i]) ? 22 : 0);
	if (!same_letters(seen, row->before) && !same_letters(seen, row->after))
		fail_msg("%s -> %s, cut in way %d at call %u: %s", row->before, row->after, how, n,
			seen);
	/* The stat behind the change may be what failed. */
	if (how != DIE && (r == 0 || !hit) && !same_letters(seen, row->after))
		fail_msg("%s -> %s: done, but %s", row->before, row->after, seen);
	assert_int_equal(p->alarms, 0);
	empty(w);
	remove_places(w);
	return hit;
}

static void a_crash_loses_no_link_and_mixes_up_none(void **state)
{
	struct world w = {.p = *state};
	static const size_t lengths[] = {3, LONG_TARGET};
	unsigned points = 0;
	for (size_t k = 0; k < 2 * HOWS * sizeof(rows) / sizeof(rows[0]); k++) {
		const struct row *row = &rows[k / (2 * HOWS)];
		int how = (int)(k / 2 % HOWS);
		w.len = lengths[k % 2];
		if (how == (w.len == LONG_TARGET ? FROM_THEN_ON : ONCE))
			continue;
		bool hit = true;
		for (unsigned n = 1; hit; n++, points++)
			hit = cut_at(&w, row, how, n);
	}
	assert_int_equal(lower_count(w.p->root, true), 1);
	print_message("%u points\n", points);
}

/* Uncut, each operation leaves its own and no more: links, records, tails, `.dir`, `.n`. */
static void nothing_superfluous_stays(void **state)
{
	struct world w = {.p = *state, .len = LONG_TARGET};
	char seen[PLACES + 1];
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		make_places(&w);
		build(&w, rows[k].before);
		(void)!run(&w, &rows[k]);
		look(&w, seen);
		assert_string_equal(seen, rows[k].after);
		for (int i = 0; i < PLACES; i++)
			assert_int_equal(record_length(dir_at(&w, i), name_at(i)),
				isalpha((unsigned char)seen[i]) ? 22 : 0);
		empty(&w);
		/* Of hard links the tails may stay in a directory that the last one left. */
		bool several = strpbrk(rows[k].before, "AB") || rows[k].what == LINK;
		for (int i = 0; i < 2 && !several; i++)
			assert_int_equal(lower_count(w.dirs[i], true), 1);
		remove_places(&w);
	}
	assert_int_equal(w.p->alarms, 0);
}

#define ROUNDS 1500

static void *rename_to_and_fro(void *of)
{
	struct world *w = of;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned flags = i % 3 ? RENAME_EXCHANGE : 0;
		const char *to = flags ? name_at(1) : name_at(3);
		struct dir *d = dir_at(w, flags ? 1 : 3);
		for (int back = 0; back < 2; back++) {
			int r = back && !flags
					? rename_to(d, to, dir_at(w, 0), name_at(0), 0, NULL, NULL)
					: rename_to(dir_at(w, 0), name_at(0), d, to, flags, NULL,
						  NULL);
			assert_int_equal(r, 0);
		}
	}
	return NULL;
}

static struct {
	struct world world;
	const struct row *row;
} between;

static void rename_in_between(void)
{
	assert_int_equal(run(&between.world, between.row), 0);
}

/* Between any two calls of a reader a rename begins and ends: not a moment for an alarm. */
static void a_rename_between_two_calls_of_a_reader_is_no_damage(void **state)
{
	struct world *w = &between.world;
	static const size_t lengths[] = {3, LONG_TARGET};
	for (size_t k = 0; k < 2 * sizeof(rows) / sizeof(rows[0]); k++) {
		const struct row *row = between.row = &rows[k / 2];
		*w = (struct world){.p = *state, .len = lengths[k % 2]};
		bool hit = isalpha((unsigned char)row->before[0]) && row->what == RENAME;
		for (unsigned n = 1; hit; n++) {
			make_places(w);
			build(w, row->before);
			w->p->fail.instead = rename_in_between;
			fail_lower_arm(&w->p->fail, FAIL_LOWER_READLINKAT, n, 0, true);
			int r = letter_of(dir_at(w, 0), name_at(0), w->len);
			hit = fail_lower_hit(&w->p->fail);
			w->p->fail.instead = NULL;
			disarm(w->p);
			char after = row->after[0];
			assert_true(r == row->before[0] || r == tolower((unsigned char)after) ||
				    (after == '-' && r == -ENOENT) ||
				    (!isalpha(after) && r == -EINVAL));
			assert_int_equal(w->p->alarms, 0);
			empty(w);
			remove_places(w);
		}
	}
}

/* A reader in the midst of renames sees the one or the other, and no alarm. */
static void readers_among_renames_see_no_damage(void **state)
{
	struct world w = {.p = *state, .len = 3};
	pthread_t thread;
	make_places(&w);
	build(&w, "ab--");
	assert_int_equal(pthread_create(&thread, NULL, rename_to_and_fro, &w), 0);
	for (int i = 0; i < 4 * ROUNDS; i++) {
		int r = letter_of(dir_at(&w, 0), name_at(0), 3);
		assert_true(r == 'a' || r == 'b' || r == -ENOENT);
		r = letter_of(dir_at(&w, 1), name_at(1), 3);
		assert_true(r == 'a' || r == 'b');
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(w.p->alarms, 0);
	dir_put(w.dirs[0]);
	dir_put(w.dirs[1]);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(what_is_swapped_does_not_open),
		CASE(altered_records_are_noticed),
		CASE(what_is_swapped_is_not_carried_on),
		CASE(a_rename_leaves_the_link_as_it_is),
		CASE(a_directory_takes_its_links_along),
		CASE(a_crash_loses_no_link_and_mixes_up_none),
		CASE(nothing_superfluous_stays),
		CASE(a_rename_between_two_calls_of_a_reader_is_no_damage),
		CASE(readers_among_renames_see_no_damage),
	};
	return cmocka_run_group_tests_name("tree_bind", tests, NULL, NULL);
}
