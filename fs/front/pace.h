/*
 * What the request loop (loop.h) learns from how requests come and how long they take: arithmetic
 * alone, without clocks, threads or system calls. Times are nanoseconds of one clock that only goes
 * forward. Figures and reasons: docs/decisions/0008-request-loop.md.
 */
#ifndef FRONT_PACE_H
#define FRONT_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long to poll before sleeping, as the kernel does for its guests (halt polling): longer after
 * a request that came soon after we had gone to sleep, not at all after one that let us wait. Not
 * for several threads at once. */
struct pace_window {
	uint32_t most;   /* 0: never poll */
	uint32_t length; /* as it is now */
	uint32_t pause;  /* the last one, see pace_window_robbed */
	uint64_t until;  /* no polling before */
};

void pace_window_init(struct pace_window *w, uint32_t most);

/* For how long to poll now; 0: sleep at once. */
uint32_t pace_window_length(const struct pace_window *w, uint64_t now);

/* A request came `waited` after the one before it was answered. */
void pace_window_came(struct pace_window *w, uint64_t waited);

/* While we polled, the processor was somebody else's: others want it, and polling would take it
 * from them. No polling for a while, for longer if it happens again soon. */
void pace_window_robbed(struct pace_window *w, uint64_t now);

/* Kinds of requests that take about as long: opcodes, with large reads and writes apart. */
enum { PACE_KINDS = 64 };

/* Of a request as the kernel hands it over; any bytes. */
unsigned pace_kind(const void *request, size_t size);

/* What all threads share: how long requests took, and whether they come one by one.
 * Each field is atomic and right enough by itself. */
struct pace {
	uint32_t took[PACE_KINDS];  /* moving averages */
	uint32_t waits[PACE_KINDS]; /* of these that waited themselves, in 1024 */
	uint32_t crowd;             /* what is left of the belief that others wait behind a slow
				       request */
	uint32_t share;             /* of requests that met others, in 1024 */
	bool many;
};

void pace_init(struct pace *p);

/* How long a request of this kind will take; 0: not known. */
uint32_t pace_expect(const struct pace *p, unsigned kind);
void pace_took(struct pace *p, unsigned kind, uint64_t ns);

/* Whether requests of this kind wait for something, for the disk or a lock: the processor is
 * somebody else's meanwhile. */
bool pace_waits(const struct pace *p, unsigned kind);
void pace_waited(struct pace *p, unsigned kind, bool waited);

/* A request of that length is handled with another thread reading meanwhile: one that may last
 * anyway, a slow one when others came during earlier slow ones. */
bool pace_hand_over(const struct pace *p, uint32_t expected);

/* Whether somebody came meanwhile. */
void pace_crowd(struct pace *p, bool came);

/* A request came while another was being handled or waited, or alone. */
void pace_met(struct pace *p, bool others);

/* Several callers ask at a time, or one asks without waiting for answers: then several threads
 * sleep until the kernel wakes one, where the caller runs, and none polls. */
bool pace_many(const struct pace *p);

/* Nobody asks any more. */
void pace_rest(struct pace *p);

#endif
