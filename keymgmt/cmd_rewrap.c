/*
 * What a rotation has to do before the old keys may go: the log's key, the policy, the journal, and
 * the header of every file in root/, trash/ and lost+found/ come under the newest keys. Each step
 * may be repeated, so an interrupted run is finished by running it again.
 */
#include "fs/gate/audit.h"
#include "fs/gate/policy_file.h"
#include "fs/lower/walk.h"
#include "fs/store/file.h"
#include "fs/store/format.h"
#include "fs/store/recover.h"
#include "keymgmt/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LISTED_MAX 20 /* damaged files named on the terminal */

/* Inodes with several names that were seen: open addressing, 0 is free (no inode has that number).
 */
struct seen {
	uint64_t *slots;
	size_t size, used;
};

struct rewrap {
	struct cmd *c;
	const struct store *store;
	bool counting; /* first pass, for the progress bar */
	bool lost;     /* in lost+found */
	struct seen seen;
	uint64_t total; /* 0 unknown */
	uint64_t done, rewrapped, damaged;
	struct timespec begun, shown;
	bool bar;
};

static void rewrap_done(struct rewrap *w)
{
	free(w->seen.slots);
}

static void seen_put(struct seen *s, uint64_t ino)
{
	size_t at = (size_t)(ino * 0x9e3779b97f4a7c15u >> 20) & (s->size - 1);
	while (s->slots[at] && s->slots[at] != ino)
		at = (at + 1) & (s->size - 1);
	s->used += s->slots[at] == 0;
	s->slots[at] = ino;
}

static int seen_grow(struct seen *s)
{
	struct seen larger = {.size = s->size ? s->size * 2 : 1024};
	larger.slots = calloc(larger.size, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->size; i++)
		if (s->slots[i])
			seen_put(&larger, s->slots[i]);
	free(s->slots);
	*s = larger;
	return 0;
}

/* 1 when ino was new. */
static int seen_add(struct seen *s, uint64_t ino)
{
	if (s->used * 2 >= s->size) {
		int r = seen_grow(s);
		if (r < 0)
			return r;
	}
	size_t before = s->used;
	seen_put(s, ino);
	return s->used > before;
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void show(struct rewrap *w, bool last)
{
	if (!w->bar || (!last && seconds_since(&w->shown) < 0.1))
		return;
	clock_gettime(CLOCK_MONOTONIC, &w->shown);
	double passed = seconds_since(&w->begun);
	unsigned percent = w->total ? (unsigned)(w->done * 100 / w->total) : 100;
	char bar[21];
	for (unsigned i = 0; i < 20; i++)
		bar[i] = i < percent / 5 ? '#' : '.';
	bar[20] = 0;
	fprintf(stderr, "\r[%s] %3u%%  %llu/%llu files  %.0f/s  %s", bar, percent,
		(unsigned long long)w->done, (unsigned long long)w->total,
		passed > 0 ? (double)w->done / passed : 0.0, last ? "\n" : "");
	fflush(stderr);
}

static void list_damaged(struct rewrap *w, const char *path, const char *name, int error)
{
	if (w->damaged++ == 0)
		fprintf(stderr,
			"%stenantkey: these files of the tenant's folder cannot be re-wrapped "
			"(lower names):\n",
			w->bar ? "\n" : "");
	if (w->damaged <= LISTED_MAX)
		fprintf(stderr, "  %s/%s: %s\n", path, name,
			error == -EBADMSG || error == -EKEYREJECTED ? "damaged or foreign header"
								    : strerror(-error));
	else if (w->damaged == LISTED_MAX + 1)
		fprintf(stderr, "  ... and more\n");
}

static bool is_damage(int r)
{
	return r == -EBADMSG || r == -EKEYREJECTED || r == -EIO || r == -EPROTONOSUPPORT;
}

/* Of what fsck moved there not everything is a file of the tree: its report, attributes, a journal.
 * True unless one of the slots is a header's: docs/format.md, "Header". */
static bool wraps_nothing(struct lower *l, int fd)
{
	static const char magic[4] = {'T', 'F', 'S', 'H'};
	char start[sizeof(magic)];
	for (uint64_t at = 0; at <= FORMAT_SLOT_LEN; at += FORMAT_SLOT_LEN) {
		int r = lower_read_all(l, fd, start, sizeof(start), at);
		/* What cannot be read is not passed over; a file may end before. */
		struct stat st;
		if (r < 0 && (l->ops->fstat(l, fd, &st) < 0 ||
				     (uint64_t)st.st_size >= at + sizeof(start)))
			return false;
		if (r == 0 && memcmp(start, magic, sizeof(magic)) == 0)
			return false;
	}
	return true;
}

static int rewrap_file(struct rewrap *w, const struct walk_entry *e)
{
	struct lower *l = lower_posix();
	struct stat st;
	int r = l->ops->fstatat(l, e->dirfd, e->name, &st);
	if (r < 0)
		return r;
	r = st.st_nlink > 1 ? seen_add(&w->seen, st.st_ino) : 1;
	if (r <= 0)
		return r;
	w->done++;
	if (st.st_size == 0)
		return 0;
	AUTO_LOWER_HELD f = {l, walk_open(l, e->dirfd, e->name, O_RDWR | O_NONBLOCK)};
	if (f.fd >= 0 && w->lost && wraps_nothing(l, f.fd))
		return 0;
	r = f.fd < 0 ? f.fd : file_rewrap(w->store, f.fd);
	if (f.fd >= 0 && r == 0)
		w->rewrapped++;
	if (is_damage(r))
		list_damaged(w, e->path, e->name, r);
	return is_damage(r) || r >= 0 ? 0 : r;
}

static bool ending(void)
{
	sigset_t waiting;
	sigpending(&waiting);
	return sigismember(&waiting, SIGINT) || sigismember(&waiting, SIGTERM) ||
	       sigismember(&waiting, SIGHUP);
}

static int visit(void *context, const struct walk_entry *e)
{
	struct rewrap *w = context;
	if (ending())
		return -ECANCELED;
	if (e->type != DT_REG)
		return 0;
	if (w->counting) {
		w->total++;
		return 0;
	}
	show(w, false);
	return rewrap_file(w, e);
}

static int walk_all(struct rewrap *w)
{
	struct lower *l = lower_posix();
	struct stat st;
	int r = walk_tree(l, w->c->layout.tenant_fd, "root", visit, w);
	if (r == 0)
		r = walk_tree(l, w->c->layout.tenant_fd, "trash", visit, w);
	if (r != 0)
		return r;
	r = l->ops->fstatat(l, w->c->layout.tenant_fd, "lost+found", &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	w->lost = true;
	r = walk_tree(l, w->c->layout.tenant_fd, "lost+found", visit, w);
	w->lost = false;
	return r;
}

static bool has_old_kek(const struct keyring *k)
{
	for (uint32_t e = keyring_kek_epoch(k); e-- > 1;)
		if (keyring_kek(k, e))
			return true;
	return false;
}

static int rewrap_files(struct cmd *c, uint64_t *ret_files)
{
	struct store s;
	struct lower *l = lower_posix();
	AUTO(rewrap_done) struct rewrap w = {.c = c, .store = &s};
	w.bar = !c->quiet && !c->no_progress && isatty(STDERR_FILENO);
	int r = store_init(&s, l, c->keyring, c->layout.tenant_fd);
	if (r < 0)
		return err_set(&c->err, r, "cannot open the tenant's tree: %s", strerror(-r));
	if (w.bar) {
		w.counting = true;
		r = walk_all(&w);
		w.counting = false;
	}
	clock_gettime(CLOCK_MONOTONIC, &w.begun);
	if (r == 0)
		r = walk_all(&w);
	store_done(&s);
	*ret_files = w.rewrapped;
	if (r == 0 && w.damaged == 0)
		w.total = w.done; /* files with several names count once */
	show(&w, true);
	if (r == -ECANCELED)
		return err_set(&c->err, r,
			"interrupted after %llu files: run 'tenantkey rotate' again to "
			"finish",
			(unsigned long long)w.done);
	if (r < 0)
		return err_set(&c->err, r,
			"cannot re-wrap all files (%s): mend that, then run 'tenantkey "
			"rotate' again to finish",
			strerror(-r));
	if (w.damaged > 0)
		return err_set(&c->err, -EBADMSG,
			"%llu files are damaged, so the old keys were not "
			"destroyed: restore or delete these files, then run 'tenantkey rotate' "
			"again",
			(unsigned long long)w.damaged);
	return 0;
}

#define RECOVERED_TEXT (RECOVER_TEXT + 32)

static void count_alarm(void *context, const struct store_alarm *alarm)
{
	(void)alarm;
	++*(unsigned *)context;
}

/* What the last mount left: headers that are not in their place would keep their old wraps.
 * ret_message: for the log, once that can be opened; empty when there was nothing to do. */
static int recover(struct cmd *c, char ret_message[static RECOVERED_TEXT])
{
	struct store s;
	struct recover_result result = {0};
	struct journal *j = NULL;
	struct lower *l = lower_posix();
	unsigned alarms = 0;
	uint64_t since;
	int r = journal_open(l, c->layout.tenant_fd, c->keyring, false, &j, &c->err);
	if (r < 0)
		return r;
	if (journal_was_unclean(j, &since)) {
		r = store_init(&s, l, c->keyring, c->layout.tenant_fd);
		if (r == 0) {
			s.journal = j;
			s.alarm = count_alarm;
			s.alarm_context = &alarms;
			r = recover_store(&s, false, &result);
			store_done(&s);
		}
		recover_describe(&result, ret_message);
		if (alarms)
			snprintf(ret_message + strlen(ret_message), 32, "; %u integrity alarms",
				alarms);
		if (r < 0)
			err_set(&c->err, r, "cannot finish what the last mount left unfinished: %s",
				strerror(-r));
	}
	journal_close(j);
	return r;
}

static int finish(struct cmd *c, uint64_t *ret_files)
{
	struct lower *l = lower_posix();
	char message[128], recovered[RECOVERED_TEXT] = "";
	int r = recover(c, recovered);
	if (r == 0)
		r = audit_rewrap(l, c->layout.tenant_fd, c->keyring, &c->err);
	if (r == 0 && recovered[0])
		r = cmd_common_log(c, recovered, 0);
	if (r == 0)
		r = policy_file_reseal(l, c->layout.tenant_fd, c->keyring, c->keys_fd, &c->err);
	if (r == 0)
		r = journal_reseal(l, c->layout.tenant_fd, c->keyring, &c->err);
	if (r < 0)
		return err_default(&c->err, r,
			"cannot bring log, policy and journal under the new keys: %s",
			strerror(-r));
	if (has_old_kek(c->keyring))
		r = rewrap_files(c, ret_files);
	snprintf(message, sizeof(message), "%llu file headers re-wrapped, old keys %s",
		(unsigned long long)*ret_files, r == 0 ? "are destroyed now" : "kept");
	int logged = cmd_common_log(c, message, r);
	if (r < 0 || logged < 0)
		return r < 0 ? r : logged;
	keyring_retire_done(c->keyring);
	r = keyring_store(c->keyring, c->keys_fd, &c->err);
	return r < 0 ? err_default(&c->err, r, "cannot store the keyring: %s", strerror(-r)) : 0;
}

int cmd_rewrap_finish(struct cmd *c, uint64_t *ret_files)
{
	const struct timespec now = {0};
	sigset_t held, before;
	uint64_t files = 0;
	if (!keyring_has_old_epochs(c->keyring))
		return 0;
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, &before);
	int r = finish(c, &files);
	/* A signal that stopped us is answered by the exit status; without this it would end us
	 * once let through. */
	while (r == -ECANCELED && sigtimedwait(&held, NULL, &now) > 0)
		;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (ret_files)
		*ret_files = files;
	return r;
}
