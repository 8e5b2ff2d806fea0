#include "fs/serve.h"

#include "fs/gate/policy_file.h"
#include "fs/gate/subject.h"
#include "fs/store/journal.h"
#include "fs/store/redo.h"
#include "fs/tenant.h"
#include "keymgmt/base/log.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(struct buf *answer, int code, const char *message)
{
	buf_printf(answer, "{\"code\": %d, \"message\": ", code);
	buf_json(answer, message);
}

static void serve_store(struct tenant *t, struct buf *answer)
{
	int error = 0;
	const char *what = store_trouble_what(&t->store, &error);
	buf_printf(answer, ", \"store\": {\"read_only\": %s",
		front_is_read_only(&t->front) ? "true" : "false");
	if (what) {
		buf_str(answer, ", \"failed\": ");
		buf_json(answer, what);
		buf_str(answer, ", \"why\": ");
		buf_json(answer, strerror(-error));
	}
	buf_str(answer, "}");
}

static void serve_status(struct tenant *t, struct buf *answer)
{
	struct trash_status erase;
	struct front_counts counts;
	struct journal_status journal = {0};
	if (t->store.journal)
		journal_status(t->store.journal, &journal);
	trash_status(t->trash, &erase);
	front_count(&t->front, &counts);
	say(answer, 0, "mounted");
	buf_str(answer, ", \"tenant\": ");
	buf_json(answer, t->layout.owner.tenant);
	buf_printf(answer, ", \"pid\": %d, \"mountpoint\": ", (int)getpid());
	buf_json(answer, t->options->mountpoint);
	buf_printf(answer, ", \"since\": %lld, \"inodes\": %llu, \"handles\": %llu",
		(long long)t->since, (unsigned long long)counts.inodes,
		(unsigned long long)counts.handles);
	serve_store(t, answer);
	buf_printf(answer, ", \"policy\": {\"version\": %llu}",
		(unsigned long long)gate_policy_version(t->front.gate));
	buf_printf(answer, ", \"keys\": {\"epoch\": %u, \"rotation_unfinished\": %s}",
		(unsigned)keyring_kek_epoch(t->keyring),
		keyring_has_old_epochs(t->keyring) ? "true" : "false");
	buf_printf(answer, ", \"audit\": {\"sequence\": %llu, \"broken\": %s}",
		(unsigned long long)audit_sequence(gate_audit(t->front.gate)),
		audit_broken(gate_audit(t->front.gate)) ? "true" : "false");
	buf_printf(answer,
		", \"journal\": {\"off\": %s, \"bytes\": %llu, \"used\": %llu, \"unfinished\": %u}",
		t->store.journal ? "false" : "true", (unsigned long long)journal.bytes,
		(unsigned long long)journal.used, journal.pending);
	buf_printf(answer,
		", \"erase\": {\"files\": %llu, \"bytes\": %llu, \"done_files\": %llu, "
		"\"done_bytes\": %llu, \"failed_files\": %llu, \"assurance\": \"%c\", \"why\": ",
		(unsigned long long)erase.files, (unsigned long long)erase.bytes,
		(unsigned long long)erase.done_files, (unsigned long long)erase.done_bytes,
		(unsigned long long)erase.failed_files, (char)erase.assurance);
	buf_json(answer, erase.why);
	buf_str(answer, "}}");
}

/* Names in a policy may be no UTF-8, which JSON could not carry unchanged: hence base64. */
static void serve_show(struct tenant *t, struct buf *answer)
{
	struct policy *p = gate_policy(t->front.gate);
	size_t len;
	const char *text = policy_text(p, &len);
	AUTO_FREE char *encoded = malloc(crypto_b64_len(len) + 1);
	uint64_t version = gate_policy_version(t->front.gate);
	if (version == 0) {
		say(answer, -ENOENT,
			"This tenant has no policy yet; give it one with: tenantctl policy apply");
		buf_str(answer, "}");
	} else if (!encoded) {
		say(answer, -ENOMEM, "Not enough memory.");
		buf_str(answer, "}");
	} else {
		crypto_b64(text, len, encoded);
		say(answer, 0, "policy in force");
		buf_printf(
			answer, ", \"version\": %llu, \"text_b64\": ", (unsigned long long)version);
		buf_json(answer, encoded);
		buf_str(answer, "}");
	}
	policy_put(p);
}

static void list_mistakes(const struct policy_mistakes *m, struct buf *answer)
{
	buf_str(answer, ", \"mistakes\": [");
	for (size_t k = 0; k < m->count; k++) {
		buf_printf(answer, "%s{\"line\": %u, \"column\": %u, \"warning\": %s, \"text\": ",
			k ? ", " : "", m->list[k].line, m->list[k].column,
			m->list[k].warning ? "true" : "false");
		buf_json(answer, m->list[k].text);
		buf_str(answer, "}");
	}
	buf_str(answer, "]");
}

/* On the log, with who asked. */
static int record(struct tenant *t, const struct control_request *q, enum audit_kind kind,
	const char *message, int error)
{
	struct subject_facts who;
	struct audit_event event = {.kind = kind,
		.allowed = error == 0,
		.error = error,
		.caller = {q->uid, q->gid, q->pid},
		.message = message};
	gate_facts(t->front.gate, &event.caller, &who);
	event.login_uid = who.login_uid;
	event.session = who.session;
	event.exe = who.exe;
	return gate_record(t->front.gate, &event, AUDIT_RESERVE);
}

/* On the log first; then durable; then in force; then taken from those who lose by it. */
/* *ret_settled: what open handles lose by it has been taken from them. */
static int apply(struct tenant *t, const struct control_request *q, struct policy *p,
	uint64_t *ret_version, bool *ret_settled, struct err *e)
{
	char message[96];
	snprintf(message, sizeof(message), "policy apply, version %llu in force before",
		(unsigned long long)gate_policy_version(t->front.gate));
	int r = record(t, q, AUDIT_POLICY, message, 0);
	if (r < 0)
		return err_set(e, r,
			"Cannot write to the audit log: %s; the policy was not changed.",
			strerror(-r));
	r = policy_file_apply(lower_posix(), t->layout.tenant_fd, t->keyring, t->keys_fd,
		q->payload, q->payload_len, ret_version, e);
	if (r < 0) {
		/* What was announced did not happen; when this cannot be written either, the log is
		 * broken and says so. */
		if (record(t, q, AUDIT_POLICY, "policy apply failed", r) < 0)
			log_say(LOG_LEVEL_ERROR, "A policy that could not be stored is on the log "
						 "as if it had been.");
		return err_default(e, r, "Cannot store the policy: %s.", strerror(-r));
	}
	gate_set_policy(t->front.gate, policy_get(p), *ret_version);
	*ret_settled = notify_rejudge(t->front.notify, true);
	return 0;
}

static void serve_apply(struct tenant *t, const struct control_request *q, struct buf *answer)
{
	struct policy_mistakes mistakes = {0};
	struct policy *p = NULL;
	struct err e = {0};
	uint64_t version = 0;
	bool settled = true;
	int r = policy_compile(q->payload, q->payload_len, t->layout.owner.tenant,
		policy_names_system(), &mistakes, &p);
	if (r == -EBADRQC)
		err_set(&e, r, "The policy has %zu mistake(s) and was not applied.",
			mistakes.errors);
	if (r == 0)
		r = apply(t, q, p, &version, &settled, &e);
	say(answer, r, r < 0 ? (e.code ? e.text : strerror(-r)) : "applied");
	buf_printf(answer, ", \"version\": %llu, \"settled\": %s", (unsigned long long)version,
		settled ? "true" : "false");
	list_mistakes(&mistakes, answer);
	buf_str(answer, "}");
	policy_mistakes_done(&mistakes);
	policy_put(p);
}

static void serve_checkpoint(struct tenant *t, struct buf *answer)
{
	char message[160];
	int r = 0;
	if (store_trouble_what(&t->store, &r)) {
		/* Nothing is written any more: what is committed may be in the journal alone. */
	} else if (!t->front.read_only) {
		r = t->store.redo ? redo_checkpoint(&t->store) : front_commit(&t->front);
	}
	snprintf(message, sizeof(message),
		"What is committed could not be brought to its place: %s; unmount the tenant and "
		"check it then.",
		strerror(-r));
	say(answer, r, r < 0 ? message : "settled");
	buf_str(answer, "}");
}

static void serve_checking(struct tenant *t, const struct control_request *q, struct buf *answer)
{
	char message[160];
	size_t len = strnlen(q->payload, q->payload_len);
	bool plain = len && len == q->payload_len && len < sizeof(message);
	for (size_t i = 0; i < len && plain; i++)
		plain = q->payload[i] >= ' ' && q->payload[i] <= '~';
	if (!plain) {
		say(answer, -EINVAL, "What is to be logged is one line of printable characters.");
	} else {
		snprintf(message, sizeof(message), "%.*s", (int)len, q->payload);
		int r = record(t, q, AUDIT_RECOVERY, message, 0);
		say(answer, r,
			r < 0 ? "Cannot write to the audit log, so nothing is checked." : "logged");
	}
	buf_str(answer, "}");
}

void serve_request(void *context, const struct control_request *q, struct buf *answer)
{
	struct tenant *t = context;
	if (strcmp(q->verb, "status") == 0) {
		serve_status(t, answer);
	} else if (strcmp(q->verb, "policy-show") == 0) {
		serve_show(t, answer);
	} else if (strcmp(q->verb, "policy-apply") == 0) {
		serve_apply(t, q, answer);
	} else if (strcmp(q->verb, "checkpoint") == 0) {
		serve_checkpoint(t, answer);
	} else if (strcmp(q->verb, "checking") == 0) {
		serve_checking(t, q, answer);
	} else {
		say(answer, -EOPNOTSUPP,
			"This daemon does not know the request; are daemon and tool of one "
			"version?");
		buf_str(answer, "}");
	}
}
