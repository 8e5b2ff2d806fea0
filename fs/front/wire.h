/*
 * What libfuse 3.14 does not hand through of the kernel's protocol, taken from requests and answers
 * as they pass: who drops set-id bits (FUSE_HANDLE_KILLPRIV_V2, linux/fuse.h, protocol 7.33; why:
 * docs/decisions/0006-set-id-bits.md), and when a request is answered.
 */
#ifndef FRONT_WIRE_H
#define FRONT_WIRE_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct front;
struct fuse_session;

/* Between fuse_session_mount and the session's loop; its user data is a struct front. Nothing where
 * libfuse is too old (before 3.13). 0 or -ENOMEM. */
MUST_USE int wire_attach(struct fuse_session *session);

/* One request from the kernel's device, which this thread handles next. request: of at least size
 * bytes. Its length, or -errno of read(2). */
MUST_USE ssize_t wire_receive(struct front *f, int fd, void *request, size_t size);

/* This thread handles its request now: what *unanswered (atomic; borrowed) counts is one less when
 * the answer goes out, at wire_end at the latest. Once it is out the next request may come. */
void wire_begin(unsigned *unanswered);
void wire_end(void);

/* The request that this thread is handling is a WRITE, SETATTR or OPEN of somebody who may not keep
 * set-id bits (CAP_FSETID). Only where front->drops_set_id. */
bool wire_caller_drops_set_id(void);

#endif
