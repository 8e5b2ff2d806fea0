#include "fs/store/redo.h"

#include "fs/store/file_internal.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/lock.h"
#include "keymgmt/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define TICK_MS 1000
#define HURRY_MS 200
#define TICKS_DIRTY 5 /* so long may anything be in memory alone */
#define TRIES 100     /* of checkpoints for one caller's room: others take it as well */
#define LISTED_MAX 4096u
#define BUCKETS 1024u
#define SYNC_EACH 8 /* files that are flushed one by one; more: the whole filesystem */

struct redo {
	const struct store *store; /* borrowed */
	int fd; /* the tree's root; open all the time, so that syncfs tells every error since */
	struct redo_options options;
	struct lock_rw gate;
	struct lock_mutex lock;      /* guards the rest, and file.listed, file.listed_next */
	pthread_cond_t wake;         /* the thread */
	struct file *files[BUCKETS]; /* by inode number */
	atomic_size_t count;         /* changed under lock, read without it as well */
	bool active;                 /* somebody entered since the last tick */
	unsigned dirty_ticks, idle_ticks, ticks;
	bool hurry, running;
	atomic_bool stop;
	int error; /* of the last checkpoint */
	pthread_t thread;
};

int redo_enter(const struct store *s, uint64_t sectors, unsigned erasures)
{
	struct redo *r = s->redo;
	if (!r)
		return 0;
	/* Who enters only to look at the file again must be let in. */
	for (unsigned i = 0;; i++) {
		lock_rw_read(&r->gate);
		int rc = atomic_load_explicit(&r->count, memory_order_relaxed) < LISTED_MAX
				 ? journal_reserve(s->journal, sectors, erasures)
				 : -ENOSPC;
		if (!rc) {
			__atomic_store_n(&r->active, true, __ATOMIC_RELAXED);
			return 0;
		}
		lock_rw_drop(&r->gate);
		if (rc != -ENOSPC || i >= TRIES)
			return rc;
		rc = redo_checkpoint(s);
		if (rc)
			return rc;
	}
}

void redo_leave(const struct store *s)
{
	if (s->redo)
		lock_rw_drop(&s->redo->gate);
}

int redo_append(const struct store *s, const struct journal_record *r, uint64_t *ret_sequence,
	uint64_t *ret_token)
{
	int rc = journal_append(s->journal, r, ret_sequence, ret_token);
	if (rc && rc != -ENOMEM)
		store_trouble(s, "writing the journal", rc);
	return rc;
}

int redo_flush(const struct store *s, uint64_t sequence)
{
	return store_flushed(s, "the flush of the journal", journal_flush(s->journal, sequence));
}

void redo_list(struct file *f)
{
	struct redo *r = f->store->redo;
	lock_take(&r->lock);
	if (!f->listed) {
		struct file **bucket = &r->files[f->ino % BUCKETS];
		f->listed = true;
		f->listed_next = *bucket;
		*bucket = f;
		r->count++;
	}
	lock_drop(&r->lock);
}

static void unlist_locked(struct redo *r, struct file *f)
{
	struct file **at = &r->files[f->ino % BUCKETS];
	if (!f->listed)
		return;
	while (*at != f)
		at = &(*at)->listed_next;
	*at = f->listed_next;
	f->listed = false;
	r->count--;
}

void redo_unlist(struct file *f)
{
	struct redo *r = f->store->redo;
	lock_take(&r->lock);
	unlist_locked(r, f);
	lock_drop(&r->lock);
}

struct file *redo_find(const struct store *s, ino_t ino)
{
	struct redo *r = s->redo;
	if (!r)
		return NULL;
	lock_take(&r->lock);
	struct file *f = r->files[ino % BUCKETS];
	while (f && (f->ino != ino || f->forgotten))
		f = f->listed_next;
	if (f)
		atomic_fetch_add(&f->refs, 1);
	lock_drop(&r->lock);
	return f;
}

bool redo_drop(struct file *f, bool *ret_listed)
{
	struct redo *r = f->store->redo;
	lock_take(&r->lock);
	bool last = atomic_fetch_sub(&f->refs, 1) == 1;
	*ret_listed = f->listed;
	lock_drop(&r->lock);
	return last;
}

/* The first listed file, and the next. Under the closed gate the table changes only by a
 * checkpoint, but for references. */
static struct file *next_file(struct redo *r, struct file *f)
{
	size_t i = f ? f->ino % BUCKETS + 1 : 0;
	if (f && f->listed_next)
		return f->listed_next;
	while (i < BUCKETS && !r->files[i])
		i++;
	return i < BUCKETS ? r->files[i] : NULL;
}

/* One of the steps for each listed file. */
static int for_each(struct redo *r, int (*step)(struct file *f))
{
	int rc = 0;
	for (struct file *f = next_file(r, NULL); f && !rc; f = next_file(r, f)) {
		lock_rw_write(&f->lock);
		rc = step(f);
		lock_rw_drop(&f->lock);
	}
	return rc;
}

/* Data that is in place; all: with the times. What an earlier checkpoint put there and could not
 * flush is not forgotten for a flush of its data alone. */
static int sync_data(struct redo *r, bool all)
{
	const struct store *s = r->store;
	size_t count = 0;
	int rc = 0;
	for (struct file *f = next_file(r, NULL); f; f = next_file(r, f))
		count += f->unsynced || (all && f->inode_unsynced);
	if (count > SYNC_EACH)
		rc = store_flushed(s, "the flush of the store's filesystem",
			s->lower->ops->syncfs(s->lower, r->fd));
	for (struct file *f = next_file(r, NULL); f && rc >= 0; f = next_file(r, f)) {
		if (!f->unsynced && !(all && f->inode_unsynced))
			continue;
		lock_rw_write(&f->lock);
		if (count > SYNC_EACH)
			f->unsynced = f->inode_unsynced = false;
		else
			rc = file_lower_sync(f, !all);
		lock_rw_drop(&f->lock);
	}
	return rc < 0 ? rc : 0;
}

/* Soft records become hard: their data is durable now. */
static int mark(struct redo *r)
{
	AUTO_BUF text = {0};
	uint64_t sequence;
	for (struct file *f = next_file(r, NULL); f; f = next_file(r, f))
		if (f->last > f->hard)
			journal_format_put_mark(&text, f->h.file_id, f->ino, f->last, false);
	if (!buf_ok(&text))
		return -ENOMEM;
	const struct journal_record record = {.text = &text};
	int rc = text.len ? redo_append(r->store, &record, &sequence, NULL) : 0;
	/* What was hard already is flushed, too: nothing goes to its place before. */
	if (!rc)
		rc = redo_flush(r->store, journal_sequence(r->store->journal));
	/* Should what comes next fail, the next checkpoint need not say it again. */
	for (struct file *f = rc ? NULL : next_file(r, NULL); f; f = next_file(r, f))
		f->hard = f->last;
	/* It may have been durable long since, and another's by now. */
	return rc ? rc : journal_fence(r->store->journal);
}

/* Those that are in their place; all: whatever they have. */
static void clear_table(struct redo *r, bool all)
{
	lock_take(&r->lock);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct file *f = r->files[i], *next; f; f = next) {
			next = f->listed_next;
			f->last = f->hard = 0;
			if (f->dirty && !all)
				continue;
			f->home_went = 0;
			f->name_went = false;
			unlist_locked(r, f);
			if (!atomic_load(&f->refs))
				file_free(f);
		}
	lock_drop(&r->lock);
}

static int checkpoint(struct redo *r)
{
	struct journal_status status;
	journal_status(r->store->journal, &status);
	if (!r->count && !status.used)
		return 0;
	/* What failed to become durable would be taken for it. */
	if (store_is_read_only(r->store))
		return -EROFS;
	int rc = for_each(r, file_redo_commit);
	if (!rc)
		rc = sync_data(r, false);
	if (!rc)
		rc = mark(r);
	if (!rc)
		rc = for_each(r, file_redo_apply);
	if (!rc)
		rc = sync_data(r, true);
	if (!rc)
		rc = journal_checkpoint(r->store->journal);
	if (!rc)
		clear_table(r, false);
	return rc;
}

int redo_checkpoint(const struct store *s)
{
	struct redo *r = s->redo;
	if (!r)
		return 0;
	lock_rw_write(&r->gate);
	int rc = checkpoint(r);
	lock_rw_drop(&r->gate);
	lock_take(&r->lock);
	r->error = rc;
	r->dirty_ticks = 0;
	lock_drop(&r->lock);
	if (rc && !file_redo_may_pass(rc))
		store_trouble(s, "emptying the journal", rc);
	return rc;
}

void redo_hurry(const struct store *s)
{
	struct redo *r = s->redo;
	if (!r)
		return;
	lock_take(&r->lock);
	r->hurry = true;
	pthread_cond_signal(&r->wake);
	lock_drop(&r->lock);
}

void redo_tick(struct redo *r)
{
	struct journal_status status;
	journal_status(r->store->journal, &status);
	lock_take(&r->lock);
	bool something = r->count || status.used > status.waiting;
	bool idle = !__atomic_exchange_n(&r->active, false, __ATOMIC_RELAXED);
	r->dirty_ticks = something ? r->dirty_ticks + 1 : 0;
	r->idle_ticks = idle ? r->idle_ticks + 1 : 0;
	bool due =
		something && !status.failed && (idle || r->hurry || r->dirty_ticks >= TICKS_DIRTY);
	r->hurry = false;
	lock_drop(&r->lock);
	if (due)
		(void)!redo_checkpoint(r->store);
}

/* Thousands of files wait for a checkpoint, and are gone after it; erasing goes on for a while. So
 * memory goes back when nothing has been written for a moment, and again later; and now and then
 * where there is no such moment. */
static void settle(struct redo *r)
{
	unsigned idle = r->idle_ticks;
	if (idle == 2 || idle == 16 || idle == 128 || ++r->ticks % 64 == 0)
		memory_settle();
}

static struct timespec in_ms(int ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static void *thread_main(void *argument)
{
	struct redo *r = argument;
	lock_take(&r->lock);
	while (!r->stop) {
		struct timespec until = in_ms(TICK_MS);
		while (!r->stop && !r->hurry && !lock_wait_until(&r->wake, &r->lock, &until))
			;
		if (r->hurry && !r->stop) { /* others may come along */
			until = in_ms(HURRY_MS);
			while (!r->stop && !lock_wait_until(&r->wake, &r->lock, &until))
				;
		}
		lock_drop(&r->lock);
		if (!r->stop) {
			redo_tick(r);
			settle(r);
		}
		lock_take(&r->lock);
	}
	lock_drop(&r->lock);
	return NULL;
}

static int start_thread(struct redo *r)
{
	sigset_t all, before;
	sigfillset(&all);
	/* Signals belong to the threads that serve the mount. */
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int rc = pthread_create(&r->thread, NULL, thread_main, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	r->running = rc == 0;
	return -rc;
}

static void free_redo(struct redo *r)
{
	r->store->lower->ops->close(r->store->lower, r->fd);
	pthread_cond_destroy(&r->wake);
	lock_done(&r->lock);
	lock_rw_done(&r->gate);
	free(r);
}

int redo_start(const struct store *s, const struct redo_options *o, struct redo **ret)
{
	struct redo *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	pthread_condattr_t clock;
	r->store = s;
	r->options = *o;
	r->fd = s->lower->ops->openat(s->lower, s->root_fd, ".", O_RDONLY | O_DIRECTORY, 0, NULL);
	if (r->fd < 0) {
		int rc = r->fd;
		free(r);
		return rc;
	}
	/* A checkpoint must not wait for ever behind those who come after it. */
	lock_rw_init(&r->gate, LOCK_JOURNAL_GATE, true);
	lock_init(&r->lock, LOCK_FILES);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &clock);
	pthread_condattr_destroy(&clock);
	int rc = o->by_hand ? 0 : start_thread(r);
	if (rc) {
		free_redo(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int redo_stop(struct redo *r)
{
	if (!r)
		return 0;
	if (r->running) {
		lock_take(&r->lock);
		r->stop = true;
		pthread_cond_signal(&r->wake);
		lock_drop(&r->lock);
		pthread_join(r->thread, NULL);
	}
	int rc = redo_checkpoint(r->store);
	if (store_is_read_only(r->store))
		journal_distrust(r->store->journal);
	clear_table(r, true); /* what is left is in the journal */
	free_redo(r);
	return rc;
}

bool redo_forget(const struct store *s, ino_t ino)
{
	struct redo *r = s->redo;
	if (!r)
		return false;
	lock_rw_read(&r->gate);
	struct file *f = redo_find(s, ino);
	if (f) {
		lock_rw_write(&f->lock);
		file_stage_drop(f, 0, UINT64_MAX);
		journal_unreserve(s->journal, f->reserved, 0);
		f->reserved = f->promised = 0;
		f->dirty = f->unsynced = f->inode_unsynced = false;
		f->forgotten = true;
		lock_rw_drop(&f->lock);
		redo_unlist(f);
		bool listed;
		if (redo_drop(f, &listed) && !listed)
			file_free(f);
	}
	lock_rw_drop(&r->gate);
	return journal_touches(s->journal, ino, NULL);
}

void redo_times(const struct store *s, ino_t ino, const struct timespec ts[2])
{
	AUTO_BUF text = {0};
	uint8_t file_id[CRYPTO_ID_LEN];
	struct timespec modified = ts[1];
	uint64_t sequence, sectors = journal_room(JOURNAL_FORMAT_TIMES_LEN);
	if (!s->redo || ts[1].tv_nsec == UTIME_OMIT || !journal_touches(s->journal, ino, NULL) ||
		redo_enter(s, sectors, 0))
		return;
	if (modified.tv_nsec == UTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &modified);
	/* A checkpoint came first: then nothing of it is left that could undo it. */
	if (journal_touches(s->journal, ino, file_id)) {
		journal_format_put_times(&text, file_id, ino, &modified);
		const struct journal_record record = {.text = &text, .sectors = sectors};
		int rc = buf_ok(&text) ? redo_append(s, &record, &sequence, NULL) : -ENOMEM;
		if (rc == -ENOMEM)
			journal_unreserve(s->journal, sectors, 0);
	} else {
		journal_unreserve(s->journal, sectors, 0);
	}
	redo_leave(s);
}
