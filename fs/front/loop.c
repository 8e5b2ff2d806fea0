#include "fs/front/loop.h"

#include "fs/front/pace.h"
#include "fs/front/sleep.h"
#include "fs/front/wire.h"
#include "keymgmt/base/lock.h"
#include "keymgmt/base/log.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_SIZE ((size_t)FRONT_WRITE + 4096) /* and its header, as libfuse reckons */
#define STACK_SIZE (512u << 10)

#define TICK_NS 1000000
#define TICKS_WHEN_IDLE 20 /* then the looking stops */
#define TICKS_WHEN_STUCK 5 /* then somebody reads, whether or not a request waits */
#define ROBBED_NS 200000   /* polling takes a microsecond a round */
#define SPARE_MS 1000      /* idle for so long, memory is given back */
#define EXTRA_MS 100       /* who waits in vain beside another parks after that */
#define WAITING_MOST 16    /* threads in requests that wait themselves */
#define LOOK_NS 50000      /* of those that are faster it need not be known */
#define KEEP_PARKED 20     /* each start costs 300 page faults */
#define KEEP_IDLE 1

enum place { NONE, RUNS, PARKED, TICKS, ENDED };

struct worker {
	struct loop *loop;
	pthread_t thread;
	unsigned number; /* from 1; 1 is the thread that called loop_run */
	pthread_cond_t wake;
	enum place place;    /* loop.lock */
	bool end, give_back; /* loop.lock: what to do when it wakes up */
	struct worker *next; /* loop.lock: of those that are parked */
	/* Its own: */
	bool polls;    /* it and nobody else */
	bool at_once;  /* its request was there when it asked first */
	int place_fd;  /* for sleeping (sleep.h), not while it is parked; negative: none */
	char *request; /* REQUEST_SIZE, mapped when it is needed */
	size_t used;   /* of it, with content of files */
};

struct loop {
	struct front *front;
	struct fuse_session *session;
	int fd, stop_fd;
	unsigned processors;
	bool stop;        /* atomic */
	bool ticking;     /* atomic, set under lock */
	unsigned readers; /* atomic: threads that wait for a request, or are about to */
	unsigned busy;    /* atomic: requests that are not answered */
	uint64_t begun;   /* atomic: requests, since the start */
	bool spared;      /* atomic: memory was given back since the last of them */
	struct pace pace;
	bool polling;              /* atomic: one thread polls */
	struct pace_window window; /* its own */

	struct lock_mutex lock;
	struct worker *parked; /* the last one first: its stack is still in the caches */
	unsigned parked_count;
	struct worker workers[LOOP_THREADS];
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool stopped(const struct loop *l)
{
	return __atomic_load_n(&l->stop, __ATOMIC_ACQUIRE);
}

/* A request waits to be read. */
static bool is_pending(const struct loop *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static void leave_place(struct worker *w)
{
	if (w->place_fd >= 0)
		close(w->place_fd);
	w->place_fd = -1;
}

/* What the thread keeps of requests and answers, which may be content of files. */
static void give_back(struct worker *w)
{
	front_buffer_done(w->loop->front);
	if (!w->request)
		return;
	crypto_wipe(w->request, w->used);
	munmap(w->request, REQUEST_SIZE);
	w->request = NULL;
	w->used = 0;
}

/* Threads */

static void *run(void *context);

/* The lock is held. */
static struct worker *start(struct loop *l)
{
	struct worker *w = NULL;
	pthread_attr_t attributes;
	for (unsigned k = 1; k < LOOP_THREADS && !w; k++)
		if (l->workers[k].place == NONE || l->workers[k].place == ENDED)
			w = &l->workers[k];
	if (!w || stopped(l))
		return NULL;
	if (w->place == ENDED)
		pthread_join(w->thread, NULL);
	w->place = NONE;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int r = pthread_create(&w->thread, &attributes, run, w);
	pthread_attr_destroy(&attributes);
	if (r)
		return NULL;
	w->place = RUNS;
	return w;
}

/* The lock is held. One that is parked, which will be called, or a new one; NULL: there are as many
 * as there may be. */
static struct worker *take_one(struct loop *l)
{
	struct worker *w = l->parked;
	if (!w)
		return start(l);
	l->parked = w->next;
	l->parked_count--;
	w->end = w->give_back = false;
	w->place = RUNS;
	pthread_cond_signal(&w->wake);
	return w;
}

/* The lock is held. Has one look whether somebody reads. */
static bool set_watch(struct loop *l)
{
	struct worker *w = take_one(l);
	if (w)
		w->place = TICKS;
	__atomic_store_n(&l->ticking, w != NULL, __ATOMIC_SEQ_CST);
	return w;
}

/* To read. False: there is none. */
static bool call_one(struct loop *l)
{
	lock_take(&l->lock);
	struct worker *w = take_one(l);
	lock_drop(&l->lock);
	return w;
}

static void watch(struct loop *l)
{
	lock_take(&l->lock);
	if (!__atomic_load_n(&l->ticking, __ATOMIC_SEQ_CST) && !stopped(l))
		set_watch(l);
	lock_drop(&l->lock);
}

/* What the watch has seen. */
struct watched {
	uint64_t begun;
	unsigned idle, stuck; /* ticks */
};

/* The lock is held. True when the watch ends: it reads itself, or nobody asks for anything. */
static bool tick(struct worker *w, struct watched *seen)
{
	struct loop *l = w->loop;
	uint64_t begun = __atomic_load_n(&l->begun, __ATOMIC_SEQ_CST);
	bool same = begun == seen->begun;
	bool none = !__atomic_load_n(&l->readers, __ATOMIC_SEQ_CST);
	seen->begun = begun;
	seen->stuck = same && none ? seen->stuck + 1 : 0;
	seen->idle = same && !none ? seen->idle + 1 : 0;
	if (seen->stuck && (seen->stuck >= TICKS_WHEN_STUCK || is_pending(l))) {
		pace_crowd(&l->pace, seen->stuck < TICKS_WHEN_STUCK);
		set_watch(l);
		w->place = RUNS;
		return true;
	}
	if (seen->idle < TICKS_WHEN_IDLE)
		return false;
	__atomic_store_n(&l->ticking, false, __ATOMIC_SEQ_CST);
	/* A request that came between both sees to it that the watch goes on, or we do. */
	if (__atomic_load_n(&l->begun, __ATOMIC_SEQ_CST) != begun) {
		__atomic_store_n(&l->ticking, true, __ATOMIC_SEQ_CST);
		seen->idle = 0;
		return false;
	}
	w->place = PARKED;
	w->next = l->parked;
	l->parked = w;
	l->parked_count++;
	return true;
}

/* The lock is held. */
static void tick_on(struct worker *w)
{
	struct loop *l = w->loop;
	struct watched seen = {0};
	while (w->place == TICKS && !stopped(l)) {
		uint64_t at = now_ns() + TICK_NS;
		const struct timespec until = {
			.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)};
		if (lock_wait_until(&w->wake, &l->lock, &until) == -ETIMEDOUT)
			(void)tick(w, &seen);
	}
}

/* Until it is called; false: it is to end. */
static bool park(struct worker *w)
{
	struct loop *l = w->loop;
	leave_place(w);
	lock_take(&l->lock);
	if (w->place == RUNS) {
		w->end = l->parked_count >= KEEP_PARKED && w->number != 1;
		w->place = PARKED;
		w->next = l->parked;
		l->parked = w;
		l->parked_count++;
	}
	while (w->place != RUNS && !w->end && !stopped(l)) {
		if (w->place == TICKS) {
			tick_on(w);
			continue;
		}
		if (w->give_back) {
			w->give_back = false;
			give_back(w);
		}
		lock_wait(&w->wake, &l->lock);
	}
	if (w->end && w->place == PARKED) {
		struct worker **at = &l->parked;
		while (*at != w)
			at = &(*at)->next;
		*at = w->next;
		l->parked_count--;
	}
	bool go_on = !w->end && !stopped(l);
	lock_drop(&l->lock);
	return go_on;
}

/* Nobody has asked for anything for a while: of the parked threads few stay, and no buffers. */
static void spare(struct worker *w)
{
	struct loop *l = w->loop;
	unsigned kept = 0;
	give_back(w);
	lock_take(&l->lock);
	for (struct worker *p = l->parked; p; p = p->next) {
		p->end = p->number != 1 && kept++ >= KEEP_IDLE;
		p->give_back = true;
		pthread_cond_signal(&p->wake);
	}
	lock_drop(&l->lock);
	pace_rest(&l->pace);
}

/* Reading */

/* One waits; with requests that meet others, several. False: there are enough. */
static bool come_to_read(struct loop *l)
{
	unsigned readers = __atomic_load_n(&l->readers, __ATOMIC_SEQ_CST);
	do
		if (readers >= (pace_many(&l->pace) ? l->processors : 1))
			return false;
	while (!__atomic_compare_exchange_n(
		&l->readers, &readers, readers + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

/* False: there is nobody else. */
static bool leave_others(struct loop *l)
{
	unsigned readers = __atomic_load_n(&l->readers, __ATOMIC_SEQ_CST);
	do
		if (readers < 2)
			return false;
	while (!__atomic_compare_exchange_n(
		&l->readers, &readers, readers - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

/* Until there may be a request, or the loop is stopped. False: others wait, which is enough. */
static bool sleep_on(struct worker *w)
{
	struct loop *l = w->loop;
	bool alone = __atomic_load_n(&l->readers, __ATOMIC_SEQ_CST) < 2;
	bool spared = __atomic_load_n(&l->spared, __ATOMIC_RELAXED);
	if (w->place_fd < 0)
		w->place_fd = sleep_place(l->fd, l->stop_fd);
	int n = sleep_in(w->place_fd, l->fd, l->stop_fd,
		!alone   ? EXTRA_MS
		: spared ? -1
			 : SPARE_MS);
	if (n)
		return true;
	if (leave_others(l))
		return false;
	if (alone && !__atomic_exchange_n(&l->spared, true, __ATOMIC_RELAXED))
		spare(w);
	return true;
}

static ssize_t read_request(struct worker *w)
{
	struct loop *l = w->loop;
	if (!w->request) {
		void *at = mmap(NULL, REQUEST_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			return -ENOMEM;
		w->request = at;
	}
	ssize_t n = wire_receive(l->front, l->fd, w->request, REQUEST_SIZE);
	if (n > 0 && (size_t)n > w->used)
		w->used = (size_t)n;
	return n;
}

/* One thread at a time, while requests come one by one. */
static bool may_poll(struct worker *w)
{
	struct loop *l = w->loop;
	if (pace_many(&l->pace))
		return false;
	w->polls = w->polls || !__atomic_exchange_n(&l->polling, true, __ATOMIC_ACQUIRE);
	return w->polls;
}

/* The next request. -EAGAIN: there is none, and others wait for it; other errors of read(2). */
static ssize_t wait_request(struct worker *w)
{
	struct loop *l = w->loop;
	uint64_t began = now_ns(), now = began, before = 0;
	while (!stopped(l)) {
		if (may_poll(w) && now - began < pace_window_length(&l->window, now)) {
			sched_yield();
			before = now;
		} else if (sleep_on(w)) {
			before = 0;
		} else {
			return -EAGAIN;
		}
		ssize_t n = read_request(w);
		now = now_ns();
		if (before && now - before > ROBBED_NS)
			pace_window_robbed(&l->window, now);
		if (n != -EAGAIN) {
			if (w->polls)
				pace_window_came(&l->window, now - began);
			__atomic_sub_fetch(&l->readers, 1, __ATOMIC_SEQ_CST);
			return n;
		}
	}
	return -ECANCELED;
}

static ssize_t next_request(struct worker *w)
{
	struct loop *l = w->loop;
	if (!come_to_read(l))
		return -EAGAIN;
	ssize_t n = read_request(w);
	w->at_once = n >= 0;
	if (n != -EAGAIN) {
		__atomic_sub_fetch(&l->readers, 1, __ATOMIC_SEQ_CST);
		return n;
	}
	n = wait_request(w);
	if (w->polls) {
		w->polls = false;
		__atomic_store_n(&l->polling, false, __ATOMIC_RELEASE);
	}
	return n;
}

/* Whether somebody else is to read while a request is handled: before what lasts, and when many
 * ask. Then there are no more of those who compute than processors. */
static bool call_for(struct loop *l, unsigned busy, unsigned kind, uint32_t expected)
{
	if (__atomic_load_n(&l->readers, __ATOMIC_SEQ_CST))
		return false;
	if (!pace_many(&l->pace))
		return pace_hand_over(&l->pace, expected);
	bool waits = expected > LOOK_NS && pace_waits(&l->pace, kind);
	return busy < (waits && l->processors < WAITING_MOST ? WAITING_MOST : l->processors);
}

/* How often this thread has waited for something. */
static long waits_of_thread(void)
{
	struct rusage u;
	return getrusage(RUSAGE_THREAD, &u) ? 0 : u.ru_nvcsw;
}

static void handle(struct worker *w, size_t size)
{
	struct loop *l = w->loop;
	struct fuse_buf request = {.mem = w->request, .size = size};
	unsigned kind = pace_kind(w->request, size);
	uint32_t expected = pace_expect(&l->pace, kind);
	uint64_t count = __atomic_add_fetch(&l->begun, 1, __ATOMIC_SEQ_CST), began = now_ns();
	if (!__atomic_load_n(&l->ticking, __ATOMIC_SEQ_CST))
		watch(l);
	if (__atomic_load_n(&l->spared, __ATOMIC_RELAXED))
		__atomic_store_n(&l->spared, false, __ATOMIC_RELAXED);
	unsigned busy = __atomic_add_fetch(&l->busy, 1, __ATOMIC_RELAXED);
	pace_met(&l->pace, busy > 1 || w->at_once);
	bool called = call_for(l, busy, kind, expected) && call_one(l);
	long waits = expected > LOOK_NS ? waits_of_thread() : -1;
	wire_begin(&l->busy);
	fuse_session_process_buf(l->session, &request);
	wire_end();
	pace_took(&l->pace, kind, now_ns() - began);
	if (waits >= 0)
		pace_waited(&l->pace, kind, waits_of_thread() != waits);
	if (called)
		pace_crowd(&l->pace, __atomic_load_n(&l->begun, __ATOMIC_RELAXED) != count);
	if (fuse_session_exited(l->session))
		loop_stop(l);
}

/* Unmounted, or worse. */
static void fail(struct loop *l, int code)
{
	if (code != -ENODEV && code != -ECANCELED && code != -ECONNABORTED)
		log_say(LOG_LEVEL_ERROR, "Requests cannot be read any more: %s.",
			strerror(code < 0 ? -code : EIO));
	loop_stop(l);
}

static void work(struct worker *w)
{
	struct loop *l = w->loop;
	bool go_on = true;
	while (go_on && !stopped(l)) {
		ssize_t n = next_request(w);
		if (n >= (ssize_t)sizeof(uint64_t))
			handle(w, (size_t)n);
		else if (n == -EAGAIN)
			go_on = park(w);
		else if (n == -ENOMEM)
			sched_yield();
		else if (n != -EINTR && n != -ENOENT) /* the latter: it was interrupted */
			fail(l, (int)n);
	}
	leave_place(w);
	give_back(w);
}

static void *run(void *context)
{
	struct worker *w = context;
	struct loop *l = w->loop;
	lock_take(&l->lock);
	lock_drop(&l->lock); /* whoever started it has said what it is to be */
	if (w->place == RUNS || park(w))
		work(w);
	else
		give_back(w);
	lock_take(&l->lock);
	w->end = w->give_back = false;
	w->place = ENDED;
	lock_drop(&l->lock);
	return NULL;
}

/* From outside */

int loop_new(struct front *f, struct fuse_session *session, unsigned poll_us, struct loop **ret)
{
	int flags = fcntl(fuse_session_fd(session), F_GETFL);
	if (flags < 0 || fcntl(fuse_session_fd(session), F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	l->front = f;
	l->session = session;
	l->fd = fuse_session_fd(session);
	l->processors = processors > 1 ? (unsigned)processors : 1;
	l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->stop_fd < 0) {
		int code = -errno;
		free(l);
		return code;
	}
	pace_init(&l->pace);
	/* Who polls on the only processor keeps others from asking for anything. */
	pace_window_init(&l->window, l->processors > 1 ? poll_us * 1000 : 0);
	lock_init(&l->lock, LOCK_LOOP);
	pthread_condattr_t steady;
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	for (unsigned k = 0; k < LOOP_THREADS; k++) {
		l->workers[k].loop = l;
		l->workers[k].number = k + 1;
		l->workers[k].place_fd = -1;
		pthread_cond_init(&l->workers[k].wake, &steady);
	}
	pthread_condattr_destroy(&steady);
	*ret = l;
	return 0;
}

void loop_run(struct loop *l)
{
	l->workers[0].thread = pthread_self();
	l->workers[0].place = RUNS;
	work(&l->workers[0]);
	for (unsigned k = 1; k < LOOP_THREADS; k++) {
		lock_take(&l->lock);
		bool was = l->workers[k].place != NONE;
		lock_drop(&l->lock);
		if (was)
			pthread_join(l->workers[k].thread, NULL);
		l->workers[k].place = NONE;
	}
	fuse_session_exit(l->session);
}

void loop_stop(struct loop *l)
{
	const uint64_t one = 1;
	__atomic_store_n(&l->stop, true, __ATOMIC_SEQ_CST);
	/* It fails only when it is as high as can be: who sleeps on it wakes up all the same. */
	(void)!write(l->stop_fd, &one, sizeof(one));
	lock_take(&l->lock);
	for (unsigned k = 0; k < LOOP_THREADS; k++)
		pthread_cond_signal(&l->workers[k].wake);
	lock_drop(&l->lock);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	for (unsigned k = 0; k < LOOP_THREADS; k++)
		pthread_cond_destroy(&l->workers[k].wake);
	lock_done(&l->lock);
	close(l->stop_fd);
	free(l);
}
