/*
 * The control socket t/TENANT/control of a mounted tenant: what tenantctl and tenantkey ask of the
 * running daemon. One request a connection: verb, newline, payload up to 1 MiB, end of stream; the
 * answer is one JSON object:
 * {"code": 0 or -errno, "message": "one sentence", ...}. Only root and the owner of the store's
 * folder are heard.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "keymgmt/base/buf.h"
#include "keymgmt/base/cleanup.h"
#include "keymgmt/base/err.h"

#include <sys/types.h>

#define CONTROL_PAYLOAD_MAX (1u << 20)

struct control_request {
	const char *verb; /* "status", "policy-apply" */
	const char *payload;
	size_t payload_len;
	uid_t uid; /* peer credentials */
	gid_t gid;
	pid_t pid;
};

/* Fills answer with the JSON object. Runs on the control thread. */
typedef void control_handler(
	void *context, const struct control_request *request, struct buf *answer);

struct control;
/* Binds in tenant_fd (a stale socket is replaced: the caller holds the tenant's lock) and starts
 * the thread. On a full disk (ENOSPC, EDQUOT) it says so, and binds when there is room. */
MUST_USE int control_start(int tenant_fd, control_handler *handler, void *context,
	struct control **ret, struct err *e);
void control_stop(struct control *c);

/*
 * Asks whoever has the tenant mounted. ret_answer: the JSON object. -ENOTCONN: nobody has it
 * mounted (no sentence set); -EACCES: we are not heard, or the socket's owner is neither root nor
 * the owner of the store's folder; otherwise the answer's own code with its message in e.
 */
MUST_USE int control_call(int tenant_fd, const char *verb, const char *payload, size_t payload_len,
	struct buf *ret_answer, struct err *e);

#endif
