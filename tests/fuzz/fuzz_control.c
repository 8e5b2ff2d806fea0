/*
 * The control socket. Input: which end, then the bytes that the peer sends: a request to the
 * daemon, or a daemon's answer to the tool.
 */
#include "fs/control/control.c"

#include "tests/fuzz/fuzz.h"

static const uint8_t *sent;
static size_t sent_len;
static bool handled;

static void handle(void *context, const struct control_request *q, struct buf *answer)
{
	FUZZ_CHECK(context == &sent && q->uid == geteuid() && q->pid == getpid());
	size_t verb_len = strlen(q->verb);
	FUZZ_CHECK(verb_len + 1 + q->payload_len == sent_len && sent[verb_len] == '\n');
	FUZZ_CHECK(memcmp(q->verb, sent, verb_len) == 0);
	FUZZ_CHECK(memcmp(q->payload, sent + verb_len + 1, q->payload_len) == 0);
	FUZZ_CHECK(q->payload[q->payload_len] == 0);
	handled = true;
	buf_str(answer, "{\"code\": 0}");
}

static void ask_daemon(const uint8_t *bytes, size_t len)
{
	int ends[2];
	char answer[512];
	struct err e = {0};
	AUTO_BUF b = {0};
	struct control c = {.store_owner = geteuid(), .handler = handle, .context = &sent};
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	FUZZ_CHECK(io_write_full(ends[0], bytes, len) == 0 && shutdown(ends[0], SHUT_WR) == 0);
	sent = bytes;
	sent_len = len;
	handled = false;
	serve(&c, ends[1]);
	close(ends[1]);
	ssize_t n = io_read_full(ends[0], answer, sizeof(answer));
	close(ends[0]);
	/* Whatever was asked, there is one well-formed answer. */
	FUZZ_CHECK(n > 0 && n < (ssize_t)sizeof(answer));
	buf_put(&b, answer, (size_t)n);
	int r = judge_answer(&b, &e);
	FUZZ_CHECK(r == (handled ? 0 : -EINVAL) && (r < 0) == (e.text[0] != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	fuzz_begin();
	if (len < 1 || len > 100000)
		return 0;
	if (bytes[0] & 1) {
		ask_daemon(bytes + 1, len - 1);
		return 0;
	}
	AUTO_BUF answer = {0};
	struct err e = {0};
	buf_put(&answer, bytes + 1, len - 1);
	int r = judge_answer(&answer, &e);
	FUZZ_CHECK(r <= 0 && (r < 0) == (e.text[0] != 0));
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const texts[] = {"1status\n", "1policy-apply\ntenant acme\n", "1",
		"1no newline", "1\n", "0{\"code\": 0}", "0{\"code\": -13, \"message\": \"no\"}",
		"0{\"code\": 7}", "0[]", "0{\"code\": \"x\"}", "0{\"code\": -4294967295}",
		"0{\"code\": -2}"};
	char name[16];
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "seed-%02zu", i);
		fuzz_seed(name, texts[i], strlen(texts[i]));
	}
	fuzz_seed("zero", "1sta\0tus\n", 9);
}
