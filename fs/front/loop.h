/*
 * The request loop: which thread reads a request, and when it polls for the next.
 *
 * A FUSE request costs less by its work than by waking a thread on another processor, twice. So
 * while requests come one by one a single thread reads, does the work itself and reads again; while
 * they come quickly it polls instead of sleeping (pace.h). The others are parked where the kernel,
 * which wakes whoever sleeps in read(2), does not see them. One of them is called to read
 *  - when a request begins that will last, or
 *  - when for a millisecond nobody has read although a request waits: while requests come, one
 *    parked thread looks that often; it stops when they stop.
 * When requests meet others, of several callers or of one that reads ahead, nobody polls, and as
 * many threads as there are processors sleep where the kernel sees them and wakes one for each
 * request (sleep.h); in requests that wait for a disk or a lock there are more. Threads are started
 * when none is parked, at most LOOP_THREADS, and end when they are many and idle.
 * docs/decisions/0008-request-loop.md has why.
 *
 * Handlers may wait for anything but their own later requests. A mount that nobody uses has no
 * timer and no thread that runs.
 */
#ifndef FRONT_LOOP_H
#define FRONT_LOOP_H

#include "fs/front/front.h"

#include <stdint.h>

#define LOOP_THREADS 64

struct fuse_session;
struct loop;

/* session: mounted, attached (wire.h), with f as user data; both are borrowed until loop_free.
 * poll_us: the longest time to poll, microseconds, at most a second; 0 never polls. Returns 0, or
 * -errno: -ENOMEM, or of eventfd(2) and fcntl(2). */
MUST_USE int loop_new(
	struct front *f, struct fuse_session *session, unsigned poll_us, struct loop **ret);

/* Answers requests, in this thread and others, until the filesystem is unmounted, libfuse ends the
 * session or loop_stop is called; when it returns no other thread of it is left, and the session
 * is told to exit. Once. */
void loop_run(struct loop *l);

/* Any thread, at any time before loop_free. Requests that are being handled are answered first. */
void loop_stop(struct loop *l);

/* Not while it runs. NULL is allowed. */
void loop_free(struct loop *l);

#endif
