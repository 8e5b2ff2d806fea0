/* What a mounted tenant answers on its control socket. */
#ifndef FS_SERVE_H
#define FS_SERVE_H

#include "fs/control/control.h"

/* A control_handler; context: struct tenant. Verbs: "status", "policy-show", "policy-apply"
 * (payload: the text), "checkpoint" (what is committed is brought to its place), "checking"
 * (payload: what fsck wants to have on the log, one line). */
void serve_request(void *context, const struct control_request *request, struct buf *answer);

#endif
