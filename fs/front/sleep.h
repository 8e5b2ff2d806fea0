/*
 * Sleeping until there is a request, so that the kernel wakes one of the threads that sleep so, as
 * it does those in read(2): the one that went first, on the caller's processor if that is free
 * soonest. poll(2) would wake all of them.
 */
#ifndef FRONT_SLEEP_H
#define FRONT_SLEEP_H

/* What a thread sleeps with: fd is waited for with others, end wakes everybody. A descriptor of the
 * caller's, to be closed. Each request passes by all that there are, also those that nobody sleeps
 * with. -errno of epoll_create1(2) and epoll_ctl(2). */
int sleep_place(int fd, int end);

/* At most ms milliseconds; -1: without an end. place: of sleep_place; negative: there is none, then
 * all who sleep so are woken at once. 0: the time is over. Other values: there may be something to
 * read, or something else has woken us. */
int sleep_in(int place, int fd, int end, int ms);

#endif
