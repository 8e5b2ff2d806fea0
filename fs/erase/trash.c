/*
 * The queue and its thread. A job is a name in the trash; the directories that names left are kept
 * open until the next batch has fsynced them. Nothing of a batch is overwritten before that. No
 * lock is held over a system call that writes, while waiting for the thread, or while a receipt is
 * given.
 */
#include "fs/erase/eraser.h"
#include "fs/erase/settle.h"
#include "keymgmt/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* So long others may join a batch and share its fsyncs. */
#define GATHER_MS 200
struct job {
	struct job *next;
	uint64_t bytes; /* of its space, when nobody else has a name of it: */
	bool last;
	bool settle; /* its directory is not known or could not be kept open */
	int outcome; /* of eraser_free */
	struct trash_receipt receipt;
	char name[TRASH_NAME_LEN];
};

struct batch {
	struct job *jobs;
	struct settle settle;
};

struct trash {
	struct eraser eraser;
	struct trash_options options;
	uint8_t *buffer; /* the thread's */
	pthread_t thread;
	bool running;     /* changes only in trash_resume and trash_close */
	atomic_bool stop; /* set under lock */

	struct lock_mutex lock; /* guards the rest; innermost but for nothing */
	pthread_cond_t wake;    /* for the thread: work, hurry or stop */
	pthread_cond_t empty;   /* no job is left */
	struct job *first, **last;
	struct settle settle;
	struct timespec due; /* when the waiting batch begins */
	bool hurry;          /* begin at once until the queue is empty */
	uint64_t files, bytes, done_files, done_bytes, failed_files;
	/* Of files and bytes what is not given back yet: that comes before the batch is over. */
	uint64_t kept_files, kept_bytes;
};

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

static void free_jobs(struct job *j)
{
	while (j) {
		struct job *next = j->next;
		free(j);
		j = next;
	}
}

static uint8_t *new_buffer(void)
{
	return aligned_alloc(4096, OVERWRITE_STEP);
}

static int init_locks(struct trash *t)
{
	pthread_condattr_t attributes;
	int r = pthread_condattr_init(&attributes);
	if (r)
		return -r;
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	r = pthread_cond_init(&t->wake, &attributes);
	if (!r)
		r = pthread_cond_init(&t->empty, &attributes);
	pthread_condattr_destroy(&attributes);
	lock_init(&t->lock, LOCK_TRASH);
	lock_init(&t->eraser.links, LOCK_TRASH_LINKS);
	return -r;
}

int trash_open(struct lower *l, int trash_fd, const struct trash_options *o, struct trash **ret,
	struct err *e)
{
	struct assurance assurance;
	int r = assurance_probe(l, trash_fd, "/proc", "/sys", &assurance);
	if (r < 0)
		return err_default(
			e, r, "The store's filesystem cannot be examined: %s.", strerror(-r));
	if (assurance.level > o->require)
		return err_set(e, -EOPNOTSUPP,
			"Erasing here reaches assurance %c only: %s; mount without "
			"erase-require=%c or "
			"move the store.",
			assurance.level, assurance.why, o->require);
	AUTO_FREE struct trash *t = calloc(1, sizeof(*t));
	AUTO_FREE uint8_t *buffer = new_buffer();
	if (!t || !buffer)
		return -ENOMEM;
	r = init_locks(t);
	if (r < 0)
		return r;
	t->eraser.lower = l;
	t->eraser.trash_fd = trash_fd;
	t->eraser.assurance = assurance;
	t->eraser.begin = o->begin;
	t->eraser.context = o->context;
	t->options = *o;
	t->buffer = buffer;
	t->last = &t->first;
	buffer = NULL;
	*ret = t;
	t = NULL;
	return 0;
}

static void enqueue_locked(struct trash *t, struct job *j)
{
	if (!t->first)
		t->due = in_ms(GATHER_MS);
	*t->last = j;
	t->last = &j->next;
	t->files++;
	t->bytes += j->bytes;
	t->kept_files += j->last;
	t->kept_bytes += j->bytes;
	pthread_cond_signal(&t->wake);
}

static void enqueue(struct trash *t, struct job *j)
{
	lock_take(&t->lock);
	enqueue_locked(t, j);
	lock_drop(&t->lock);
}

static struct job *new_job(struct trash *t, const char *name)
{
	struct lower *l = t->eraser.lower;
	struct stat st;
	struct job *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	snprintf(j->name, sizeof(j->name), "%s", name);
	if (l->ops->fstatat(l, t->eraser.trash_fd, name, &st) == 0 && st.st_nlink == 1) {
		j->last = true;
		j->bytes = (uint64_t)st.st_blocks * 512;
	}
	return j;
}

/* Its space is about to be free, or will not be soon. */
static void given_back(struct trash *t, const struct job *j)
{
	lock_take(&t->lock);
	t->kept_files -= j->last;
	t->kept_bytes -= j->bytes;
	lock_drop(&t->lock);
}

/* Counts a job that is over, whatever became of it, and gives its receipt. */
static void finish(
	struct trash *t, int r, uint64_t waiting_bytes, const struct trash_receipt *receipt)
{
	lock_take(&t->lock);
	t->files--;
	t->bytes -= waiting_bytes;
	t->failed_files += r < 0;
	t->done_files += r == ERASER_ERASED;
	t->done_bytes += r == ERASER_ERASED ? receipt->bytes : 0;
	lock_drop(&t->lock);
	if (r != ERASER_DROPPED && t->options.receipt)
		t->options.receipt(t->options.context, receipt);
	/* Only now: who waits for an empty queue also waits for the receipts. */
	lock_take(&t->lock);
	if (t->files == 0)
		pthread_cond_broadcast(&t->empty);
	lock_drop(&t->lock);
}

/* The result of an fsync of a directory, passed on. No lock held. */
static int flushed(const struct trash *t, int r)
{
	if (r < 0 && t->options.trouble)
		t->options.trouble(t->options.context, r);
	return r;
}

static bool halted(const struct trash *t)
{
	return t->options.halted && t->options.halted(t->options.context);
}

/* What somebody else has of the erased files goes. */
static int settle_elsewhere(struct trash *t, bool elsewhere)
{
	return elsewhere && t->options.settle ? t->options.settle(t->options.context) : 0;
}

static void weaken(struct trash_receipt *receipt, int error)
{
	if (error)
		receipt->assurance = TRASH_C;
}

/* What took the place of a removed file may be in memory alone, as what closed a moment ago is: of
 * the two one must always be there. That a full disk keeps something from the disk is no reason not
 * to empty it. */
static void replace_durably(struct trash *t)
{
	(void)!settle_elsewhere(t, true);
}

static void run_batch(struct trash *t, struct batch *b)
{
	struct lower *l = t->eraser.lower;
	struct overwrite o = {l, t->buffer, &t->stop};
	int settled = -EROFS;
	replace_durably(t);
	if (halted(t))
		settle_done(&b->settle, l);
	else
		settled = flushed(t, settle_sync(&b->settle, l, t->eraser.trash_fd));
	struct job *done = NULL, **last = &done;
	bool elsewhere = false;
	while (b->jobs && !atomic_load(&t->stop)) {
		struct job *j = b->jobs;
		j->receipt = (struct trash_receipt){.method = "overwritten",
			.assurance = t->eraser.assurance.level,
			.error = settled};
		j->outcome = settled < 0 ? settled
					 : eraser_run(&t->eraser, &o, j->name, j->settle,
						   &j->receipt, &elsewhere);
		if (j->outcome == -ECANCELED)
			break;
		/* Before: a moment too little is no promise that cannot be kept. */
		given_back(t, j);
		j->outcome = eraser_free(&t->eraser, j->name, j->outcome, &j->receipt);
		b->jobs = j->next;
		*last = j;
		last = &j->next;
		j->next = NULL;
	}
	int error = settle_elsewhere(t, elsewhere);
	for (struct job *j = done; j; j = j->next) {
		weaken(&j->receipt, error);
		finish(t, j->outcome, j->bytes, &j->receipt);
	}
	free_jobs(done);
	free_jobs(b->jobs);
}

static void take_batch_locked(struct trash *t, struct batch *b)
{
	*b = (struct batch){t->first, t->settle};
	t->settle = (struct settle){0};
	t->first = NULL;
	t->last = &t->first;
}

/* False when the thread is to end. */
static bool next_batch(struct trash *t, struct batch *b)
{
	lock_take(&t->lock);
	for (;;) {
		if (atomic_load(&t->stop) || (t->first && t->hurry))
			break;
		if (!t->first) {
			t->hurry = false;
			lock_wait(&t->wake, &t->lock);
		} else if (lock_wait_until(&t->wake, &t->lock, &t->due) < 0) {
			break;
		}
	}
	bool go = !atomic_load(&t->stop);
	*b = (struct batch){0};
	if (go)
		take_batch_locked(t, b);
	lock_drop(&t->lock);
	return go;
}

static void *thread_main(void *argument)
{
	struct trash *t = argument;
	struct batch b;
	lock_floor(LOCK_ERASER); /* trash_drain waits for it */
	while (next_batch(t, &b))
		run_batch(t, &b);
	return NULL;
}

static int start_thread(struct trash *t)
{
	sigset_t all, before;
	sigfillset(&all);
	/* Signals belong to the threads that serve the mount. */
	pthread_sigmask(SIG_BLOCK, &all, &before);
	int r = pthread_create(&t->thread, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	t->running = r == 0;
	return -r;
}

static bool is_ours(const char *name)
{
	return name[0] != '.' && strlen(name) < TRASH_NAME_LEN;
}

static int queue_leftovers(struct trash *t, int fd, uint8_t *records)
{
	struct lower *l = t->eraser.lower;
	int count = 0;
	for (;;) {
		ssize_t n = l->ops->getdents(l, fd, records, OVERWRITE_STEP);
		if (n <= 0)
			return n < 0 ? (int)n : count;
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(records + at);
			at += d->d_reclen;
			if (!is_ours(d->d_name))
				continue;
			struct job *j = new_job(t, d->d_name);
			if (!j)
				return -ENOMEM;
			/* A killed daemon leaves removals that only memory knows, from directories
			 * nobody remembers. */
			j->settle = true;
			enqueue(t, j);
			count++;
		}
	}
}

int trash_resume(struct trash *t)
{
	struct lower *l = t->eraser.lower;
	AUTO_FREE uint8_t *records = new_buffer();
	if (!records)
		return -ENOMEM;
	int fd = l->ops->openat(l, t->eraser.trash_fd, ".", O_RDONLY | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd;
	int count = queue_leftovers(t, fd, records);
	int r = l->ops->close(l, fd);
	if (count >= 0 && r == 0 && !t->options.by_hand)
		r = start_thread(t);
	return count < 0 ? count : r < 0 ? r : count;
}

void trash_close(struct trash *t, int timeout_ms)
{
	if (!t)
		return;
	if (t->running) {
		/* What is not done in time is found again at the next mount. */
		(void)!trash_drain(t, timeout_ms);
		lock_take(&t->lock);
		atomic_store(&t->stop, true);
		pthread_cond_signal(&t->wake);
		lock_drop(&t->lock);
		pthread_join(t->thread, NULL);
	}
	free_jobs(t->first);
	settle_done(&t->settle, t->eraser.lower);
	lock_done(&t->eraser.links);
	lock_done(&t->lock);
	pthread_cond_destroy(&t->empty);
	pthread_cond_destroy(&t->wake);
	free(t->buffer);
	free(t);
}

void trash_name(struct trash *t, char ret[static TRASH_NAME_LEN])
{
	(void)t;
	uint8_t id[16];
	crypto_nonce(id, sizeof(id));
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(ret + 2 * i, 3, "%02x", id[i]);
}

int trash_move(struct trash *t, int dirfd, const char *name, char ret[static TRASH_NAME_LEN])
{
	struct lower *l = t->eraser.lower;
	char there[TRASH_NAME_LEN];
	trash_name(t, there);
	int r = l->ops->renameat(l, dirfd, name, t->eraser.trash_fd, there, 0);
	if (r == 0)
		memcpy(ret, there, sizeof(there));
	return r;
}

int trash_link(struct trash *t, int dirfd, const char *name, char ret[static TRASH_NAME_LEN])
{
	struct lower *l = t->eraser.lower;
	char there[TRASH_NAME_LEN];
	trash_name(t, there);
	int r = l->ops->linkat(l, dirfd, name, t->eraser.trash_fd, there);
	if (r == 0)
		memcpy(ret, there, sizeof(there));
	return r;
}

void trash_unlink(struct trash *t, const char *name)
{
	struct lower *l = t->eraser.lower;
	/* A link that stays is dropped at the next mount, since the file has its other name. */
	(void)!l->ops->unlinkat(l, t->eraser.trash_fd, name, 0);
}

/* Job and directory in one go: in the same batch, so that a failing fsync keeps the job from being
 * overwritten. */
static void enqueue_with_parent(struct trash *t, struct job *j, int parent_fd)
{
	struct lower *l = t->eraser.lower;
	struct settle_dir *d = settle_open(l, parent_fd);
	lock_take(&t->lock);
	bool batched = settle_add(&t->settle, &d);
	if (batched)
		enqueue_locked(t, j);
	lock_drop(&t->lock);
	if (!batched) {
		j->settle = flushed(t, l->ops->fsync(l, parent_fd, false)) < 0;
		enqueue(t, j);
	}
	settle_close(l, d);
}

/* False when there was no memory: then the queue takes it. */
static bool erase_now(struct trash *t, const char *name, int parent_fd)
{
	struct lower *l = t->eraser.lower;
	AUTO_FREE uint8_t *buffer = new_buffer();
	if (!buffer)
		return false;
	struct overwrite o = {l, buffer, NULL};
	struct trash_receipt receipt = {
		.method = "overwritten", .assurance = t->eraser.assurance.level};
	lock_take(&t->lock);
	t->files++;
	lock_drop(&t->lock);
	replace_durably(t);
	int r = halted(t) ? -EROFS : 0;
	bool durable =
		r == 0 && parent_fd >= 0 && flushed(t, l->ops->fsync(l, parent_fd, false)) == 0;
	if (r == 0)
		r = flushed(t, l->ops->fsync(l, t->eraser.trash_fd, false));
	receipt.error = r;
	bool elsewhere = false;
	if (r == 0)
		r = eraser_run(&t->eraser, &o, name, !durable, &receipt, &elsewhere);
	if (r >= 0)
		r = eraser_free(&t->eraser, name, r, &receipt);
	weaken(&receipt, settle_elsewhere(t, elsewhere));
	finish(t, r, 0, &receipt);
	return true;
}

void trash_erase(struct trash *t, const char *name, int parent_fd)
{
	lock_below(LOCK_RENAME); /* it may overwrite, and gives receipts */
	if (t->options.sync && erase_now(t, name, parent_fd))
		return;
	struct job *j = new_job(t, name);
	if (!j)
		return; /* the next mount finds it */
	j->settle = parent_fd < 0;
	if (parent_fd >= 0)
		enqueue_with_parent(t, j, parent_fd);
	else
		enqueue(t, j);
}

void trash_status(struct trash *t, struct trash_status *ret)
{
	lock_take(&t->lock);
	*ret = (struct trash_status){.files = t->files,
		.bytes = t->bytes,
		.done_files = t->done_files,
		.done_bytes = t->done_bytes,
		.failed_files = t->failed_files,
		.assurance = t->eraser.assurance.level};
	lock_drop(&t->lock);
	memcpy(ret->why, t->eraser.assurance.why, sizeof(ret->why));
}

void trash_backlog(struct trash *t, uint64_t *ret_files, uint64_t *ret_bytes)
{
	lock_take(&t->lock);
	*ret_files = t->kept_files;
	*ret_bytes = t->kept_bytes;
	lock_drop(&t->lock);
}

static int drain_by_hand(struct trash *t)
{
	for (;;) {
		struct batch b = {0};
		lock_take(&t->lock);
		take_batch_locked(t, &b);
		lock_drop(&t->lock);
		if (!b.jobs)
			return 0;
		run_batch(t, &b);
	}
}

int trash_drain(struct trash *t, int timeout_ms)
{
	lock_below(LOCK_ERASER);
	if (t->options.by_hand)
		return drain_by_hand(t);
	struct timespec until = in_ms(timeout_ms < 0 ? 0 : timeout_ms);
	int r = 0;
	lock_take(&t->lock);
	t->hurry = t->files > 0;
	pthread_cond_signal(&t->wake);
	while (t->files > 0 && r == 0) {
		if (timeout_ms < 0)
			lock_wait(&t->empty, &t->lock);
		else
			r = lock_wait_until(&t->empty, &t->lock, &until);
	}
	r = t->files > 0 ? -ETIMEDOUT : 0;
	lock_drop(&t->lock);
	return r;
}

int trash_overwrite(struct lower *l, int fd, struct trash_receipt *ret)
{
	struct assurance assurance;
	*ret = (struct trash_receipt){.method = "overwritten", .assurance = TRASH_C};
	AUTO_FREE uint8_t *buffer = new_buffer();
	int r = buffer ? assurance_probe(l, fd, "/proc", "/sys", &assurance) : -ENOMEM;
	ret->error = r;
	struct overwrite o = {l, buffer, NULL};
	return r < 0 ? r : eraser_overwrite(&assurance, &o, fd, ret);
}
