#include "fs/front/notify.h"

#include "fs/front/request.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_SECONDS 5
#define HEARTBEAT_SECONDS 60
#define WAIT_SECONDS 10
/* How long a change is held up by answers that callers have not taken yet, and how often it is
 * looked for them afterwards. */
#define LATE_MS 64
#define LATE_SECONDS 1

/* Somebody who waits for an inode's content to be written. */
struct waiter {
	struct waiter *next;
	struct inode *inode; /* with a reference */
	void (*then)(void *context);
	void *context;
};

struct notify {
	struct front *front;
	struct fuse_session *session;
	pthread_t thread;
	struct lock_mutex lock; /* guards what follows */
	pthread_cond_t wake, done;
	bool stop, all_attributes;
	uint64_t rejudge_asked, rejudge_done;
	struct inode **queue; /* inodes with a reference whose attributes are to be forgotten */
	size_t queued, room;
	struct waiter *waiters;
	/* The thread's own: inodes with a reference that the kernel has been told of and does not
	 * know. */
	struct inode **late;
	size_t late_count, late_room;
	bool late_lost; /* some are not in it, because memory was short */
};

/* Inodes of handles that lost their right, with a reference each; an inode may come several times.
 */
struct losers {
	struct front *front;
	struct inode **list, *few[64];
	size_t count, room;
	bool more; /* than there was memory for */
};

static bool make_room(struct losers *l)
{
	struct inode **old = l->list == l->few ? NULL : l->list;
	struct inode **list = realloc(old, 2 * l->room * sizeof(struct inode *));
	if (!list)
		return false;
	if (!old)
		memcpy(list, l->few, sizeof(l->few));
	l->list = list;
	l->room *= 2;
	return true;
}

static void judge_handle(void *context, struct handle *h)
{
	struct losers *l = context;
	struct subject s;
	const struct gate_object o = {h->inode, NULL};
	if (!h->file || __atomic_load_n(&h->inode->retired, __ATOMIC_ACQUIRE))
		return;
	subject_init(&s, &h->caller);
	bool allowed = gate_allows(l->front->gate, &s, &o, h->acts);
	subject_done(&s);
	if (allowed)
		return;
	if (l->count == l->room && !make_room(l)) {
		l->more = true;
		return;
	}
	inode_get(&l->front->inodes, h->inode);
	l->list[l->count++] = h->inode;
}

static void forget_pages(struct notify *n, struct inode *i)
{
	lock_below(LOCK_CURSOR);
	/* ENOENT: the kernel does not know it any more, which is what we want. */
	int r = fuse_lowlevel_notify_inval_inode(n->session, request_number(n->front, i), 0, 0);
	if (r < 0 && r != -ENOENT)
		log_say(LOG_LEVEL_WARNING, "The kernel did not drop a revoked file's pages: %s",
			strerror(-r));
}

/* Makes the kernel look the names up again, which gives those still entitled a new node. */
static void forget_names(struct notify *n, struct inode *i)
{
	struct inode_table *t = &n->front->inodes;
	lock_below(LOCK_CURSOR);
	for (unsigned k = 0;; k++) {
		char plain[NAME_PLAIN_MAX + 1];
		struct inode *parent = inode_name_at(t, i, k, plain);
		if (!parent)
			break;
		fuse_lowlevel_notify_inval_entry(
			n->session, request_number(n->front, parent), plain, strlen(plain));
		inode_put(t, parent);
	}
}

/*
 * Pages belong to the inode, not to a handle: to take one handle's right away the inode is retired
 * (docs/policy.md, "Caches"). First what others wrote is settled, then the node goes bad, then
 * whatever came between is settled too.
 */
static void retire(struct notify *n, struct inode *i)
{
	forget_pages(n, i);
	inode_retire(&n->front->inodes, i);
	forget_pages(n, i);
	forget_names(n, i);
}

/* False when some are left for another round, because memory was short. */
static bool rejudge_some(struct notify *n)
{
	struct losers l = {.front = n->front};
	l.list = l.few;
	l.room = sizeof(l.few) / sizeof(l.few[0]);
	handle_each(&n->front->handles, judge_handle, &l);
	for (size_t k = 0; k < l.count; k++) {
		if (!__atomic_load_n(&l.list[k]->retired, __ATOMIC_ACQUIRE))
			retire(n, l.list[k]);
		inode_put(&n->front->inodes, l.list[k]);
	}
	if (l.list != l.few)
		free(l.list);
	return !l.more;
}

/* Ends: each round retires inodes, whose handles the next one passes over. */
static void rejudge(struct notify *n)
{
	while (!rejudge_some(n))
		;
}

static int forget(struct notify *n, struct inode *i)
{
	lock_below(LOCK_CURSOR);
	/* offset -1: attributes only. */
	return fuse_lowlevel_notify_inval_inode(n->session, request_number(n->front, i), -1, 0);
}

/* The kernel has been told of it, and knows nothing of it: its FORGET is on its way to us, or the
 * answer to somebody who has not run since, and who will then make an inode with what it says. */
static bool is_late(struct notify *n, struct inode *i)
{
	return forget(n, i) == -ENOENT && inode_told(&n->front->inodes, i);
}

static void forget_attributes(void *context, struct inode *i)
{
	struct notify *n = context;
	if (!is_late(n, i))
		return;
	if (n->late_count == n->late_room) {
		size_t room = n->late_room ? 2 * n->late_room : 64;
		struct inode **late = realloc(n->late, room * sizeof(struct inode *));
		n->late_lost = n->late_lost || !late;
		if (!late)
			return;
		n->late = late;
		n->late_room = room;
	}
	inode_get(&n->front->inodes, i);
	n->late[n->late_count++] = i;
}

static void forget_late(struct notify *n)
{
	size_t left = 0;
	for (size_t k = 0; k < n->late_count; k++) {
		if (is_late(n, n->late[k]))
			n->late[left++] = n->late[k];
		else
			inode_put(&n->front->inodes, n->late[k]);
	}
	n->late_count = left;
	if (left)
		return;
	free(n->late);
	n->late = NULL;
	n->late_room = 0;
}

static void forget_all_attributes(struct notify *n)
{
	n->late_lost = false;
	inode_each(&n->front->inodes, forget_attributes, n);
	for (unsigned ms = 1; n->late_count && ms <= LATE_MS; ms *= 2) {
		const struct timespec pause = {.tv_nsec = ms * 1000000L};
		nanosleep(&pause, NULL);
		forget_late(n);
	}
}

/* Not time(2): it lags behind by a tick, and a moment that has come would be taken for one that is
 * to come. */
static time_t seconds_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

/* The next boundary behind `last`, up to which everything has been judged, or the next tick. */
static struct timespec wake_at(struct notify *n, time_t last)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	int64_t boundary = gate_boundary(n->front->gate, last);
	at.tv_sec += n->late_count || n->late_lost ? LATE_SECONDS : TICK_SECONDS;
	if (boundary <= at.tv_sec)
		at = (struct timespec){.tv_sec = boundary};
	return at;
}

/* What the loop has been asked for since it looked last. */
struct work {
	bool all_attributes;
	uint64_t rejudge;
	struct inode **queue;
	size_t queued;
	struct waiter *waiters;
};

static bool take_work(struct notify *n, struct work *w, time_t last)
{
	struct timespec at = wake_at(n, last);
	lock_take(&n->lock);
	while (!n->stop && !n->all_attributes && !n->queued && !n->waiters &&
		n->rejudge_asked == n->rejudge_done)
		if (lock_wait_until(&n->wake, &n->lock, &at) < 0)
			break;
	*w = (struct work){n->all_attributes, n->rejudge_asked, n->queue, n->queued, n->waiters};
	n->waiters = NULL;
	n->all_attributes = false;
	n->queue = NULL;
	n->queued = n->room = 0;
	bool go_on = !n->stop;
	lock_drop(&n->lock);
	return go_on;
}

static void do_waiters(struct notify *n, struct waiter *w)
{
	while (w) {
		struct waiter *next = w->next;
		forget_pages(n, w->inode);
		w->then(w->context);
		inode_put(&n->front->inodes, w->inode);
		free(w);
		w = next;
	}
}

static void do_work(struct notify *n, struct work *w, bool boundary_passed)
{
	if (boundary_passed)
		__atomic_add_fetch(&n->front->verdicts, 1, __ATOMIC_SEQ_CST);
	if (boundary_passed || w->rejudge != n->rejudge_done) {
		rejudge(n);
		w->all_attributes = true;
	}
	forget_late(n);
	w->all_attributes = w->all_attributes || n->late_lost;
	if (w->all_attributes)
		forget_all_attributes(n);
	lock_take(&n->lock);
	n->rejudge_done = w->rejudge;
	pthread_cond_broadcast(&n->done);
	lock_drop(&n->lock);
	for (size_t k = 0; k < w->queued; k++) {
		if (__atomic_load_n(&w->queue[k]->retired, __ATOMIC_ACQUIRE))
			forget_names(n, w->queue[k]);
		else if (!w->all_attributes)
			forget_attributes(n, w->queue[k]);
		inode_put(&n->front->inodes, w->queue[k]);
	}
	free(w->queue);
	do_waiters(n, w->waiters);
}

static void *loop(void *context)
{
	struct notify *n = context;
	struct work w;
	time_t beat = seconds_now(), tick = beat, last = beat;
	bool go_on;
	do {
		go_on = take_work(n, &w, last);
		time_t now = seconds_now();
		do_work(n, &w, go_on && gate_boundary(n->front->gate, last) <= now);
		last = now;
		if (now - tick >= TICK_SECONDS || now < tick) {
			gate_tick(n->front->gate, now - beat >= HEARTBEAT_SECONDS || now < beat);
			beat = now - beat >= HEARTBEAT_SECONDS || now < beat ? now : beat;
			tick = now;
		}
	} while (go_on);
	for (size_t k = 0; k < n->late_count; k++)
		inode_put(&n->front->inodes, n->late[k]);
	free(n->late);
	return NULL;
}

int notify_start(struct front *f, struct fuse_session *session, struct notify **ret)
{
	struct notify *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->front = f;
	n->session = session;
	lock_init(&n->lock, LOCK_NOTIFY);
	pthread_cond_init(&n->wake, NULL);
	pthread_cond_init(&n->done, NULL);
	int r = pthread_create(&n->thread, NULL, loop, n);
	if (r) {
		free(n);
		return -r;
	}
	*ret = n;
	return 0;
}

void notify_stop(struct notify *n)
{
	if (!n)
		return;
	lock_take(&n->lock);
	n->stop = true;
	pthread_cond_signal(&n->wake);
	lock_drop(&n->lock);
	pthread_join(n->thread, NULL);
	pthread_cond_destroy(&n->wake);
	pthread_cond_destroy(&n->done);
	lock_done(&n->lock);
	free(n);
}

void notify_attributes(struct notify *n, struct inode *i)
{
	lock_take(&n->lock);
	if (n->queued == n->room) {
		size_t room = n->room ? 2 * n->room : 64;
		struct inode **queue = realloc(n->queue, room * sizeof(struct inode *));
		if (queue) {
			n->queue = queue;
			n->room = room;
		}
	}
	if (n->queued < n->room) {
		inode_get(&n->front->inodes, i);
		n->queue[n->queued++] = i;
	} else {
		n->all_attributes = true;
	}
	pthread_cond_signal(&n->wake);
	lock_drop(&n->lock);
}

void notify_attributes_now(struct notify *n, struct inode *i)
{
	(void)forget(n, i);
}

int notify_written(struct notify *n, struct inode *i, void (*then)(void *context), void *context)
{
	struct waiter *w = malloc(sizeof(*w));
	if (!w)
		return -ENOMEM;
	inode_get(&n->front->inodes, i);
	lock_take(&n->lock);
	*w = (struct waiter){n->waiters, i, then, context};
	n->waiters = w;
	pthread_cond_signal(&n->wake);
	lock_drop(&n->lock);
	return 0;
}

void notify_all_attributes(struct notify *n)
{
	lock_take(&n->lock);
	n->all_attributes = true;
	pthread_cond_signal(&n->wake);
	lock_drop(&n->lock);
}

bool notify_rejudge(struct notify *n, bool wait)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += WAIT_SECONDS;
	__atomic_add_fetch(&n->front->verdicts, 1, __ATOMIC_SEQ_CST);
	lock_take(&n->lock);
	uint64_t mine = ++n->rejudge_asked;
	pthread_cond_signal(&n->wake);
	while (wait && n->rejudge_done < mine)
		if (lock_wait_until(&n->done, &n->lock, &at) < 0)
			break;
	bool done = n->rejudge_done >= mine;
	lock_drop(&n->lock);
	return done;
}

void notify_if_changed(struct notify *n, uint64_t verdicts)
{
	if (__atomic_load_n(&n->front->verdicts, __ATOMIC_SEQ_CST) == verdicts)
		return;
	lock_take(&n->lock);
	n->rejudge_asked++;
	pthread_cond_signal(&n->wake);
	lock_drop(&n->lock);
}
