/* What tenantctl fsck prints. Names are shown so that a terminal does not obey them. */
#include "tools/cmd_fsck.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What it means and what can be done. */
static const struct {
	const char *kind, *left;
} advice[] = {
	{"directory", "it and all that is in it cannot be opened; --repair moves it to lost+found: "
		      "restore it from a backup"},
	{"name", "the entry is not listed; --repair moves it to lost+found: restore it from a "
		 "backup"},
	{"link", "reading the link gives EIO; --repair moves it to lost+found: make the link anew"},
	{"home", "opening it here gives EIO; --repair moves it to lost+found: it may belong where "
		 "it came from"},
	{"attribute",
		"reading it gives EIO, the content is not concerned; --repair moves its value "
		"to lost+found: set it anew"},
	{"journal", "the tenant does not mount; --repair keeps it in lost+found and makes an empty "
		    "one: what was being erased may then stay on the disk, as ciphertext"},
	{"record",
		"the tenant does not mount; mount it once with -o journal=reset to go on with what "
		"stands in the journal before it; until then --repair puts nothing right"},
	{"trash", "the tenant does not mount; --repair makes it"},
	{"disk", "the medium fails: copy what can be read, then restore the rest from a backup"},
	{"policy",
		"the tenant does not mount; restore it or apply the policy again with 'tenantctl "
		"policy apply'"},
	{"log", "the tenant does not mount, since nothing could be logged; restore it from a "
		"backup of the store, and see 'tenantctl audit verify'"},
	{NULL, "opening it, or reading what is named, gives EIO; --repair moves it to lost+found: "
	       "restore it from a backup"},
};

static const char *advice_of(const struct check_finding *f)
{
	size_t i = 0;
	if (f->in_use)
		return "it was not checked: do so when it is quiet";
	if (f->waits)
		return "what it is will be known when it was mounted once or with --repair";
	if (!strcmp(f->kind, "unread"))
		return "nothing is known of it; run this as root";
	if (!f->damage)
		return "nothing is lost; the next mount or --repair puts it right";
	if (!strcmp(f->kind, "directory") && f->path && !strcmp(f->path, "/"))
		return "nothing of the tenant can be opened; restore root/.dir from a backup of "
		       "the "
		       "store";
	while (advice[i].kind && strcmp(advice[i].kind, f->kind) != 0)
		i++;
	return advice[i].left;
}

static void put_id(struct buf *b, const uint8_t *id)
{
	for (size_t i = 0; id && i < 16; i++)
		buf_printf(b, "%02x", id[i]);
}

static void put_json_text(struct buf *b, const char *name, const char *text)
{
	AUTO_BUF shown = {0};
	check_text(&shown, text);
	buf_printf(b, ", \"%s\": ", name);
	buf_json(b, shown.data ? (const char *)shown.data : "");
}

static void put_json(struct buf *b, const struct check_finding *f)
{
	buf_printf(b, "{\"kind\": \"%s\", \"severity\": \"%s\", \"corrected\": %s", f->kind,
		f->damage                        ? "damage"
		: f->in_use                      ? "in use"
		: f->waits                       ? "waiting"
		: strcmp(f->kind, "unread") == 0 ? "unread"
						 : "unfinished",
		f->corrected ? "true" : "false");
	put_json_text(b, "lower", f->lower);
	if (f->path)
		put_json_text(b, "path", f->path);
	if (f->file_id) {
		buf_str(b, ", \"file_id\": \"");
		put_id(b, f->file_id);
		buf_str(b, "\"");
	}
	if (f->block != UINT64_MAX)
		buf_printf(b, ", \"block\": %" PRIu64 ", \"blocks\": %" PRIu64, f->block,
			f->blocks ? f->blocks : 1);
	buf_str(b, ", \"what\": ");
	buf_json(b, f->detail);
	if (f->moved)
		put_json_text(b, "moved", f->moved);
	if (!f->corrected) {
		buf_str(b, ", \"advice\": ");
		buf_json(b, advice_of(f));
	}
	buf_str(b, "}");
}

static void put_sentence(struct buf *b, const struct check_finding *f)
{
	if (f->path) {
		check_text(b, f->path);
		buf_str(b, " (");
		check_text(b, f->lower);
		buf_str(b, ")");
	} else {
		check_text(b, f->lower);
	}
	buf_printf(b, ": %s", f->kind);
	if (f->block != UINT64_MAX)
		buf_printf(b, "%s %" PRIu64, strcmp(f->kind, "block") ? ", block" : "", f->block);
	if (f->block != UINT64_MAX && f->blocks > 1)
		buf_printf(b, " and %" PRIu64 " more", f->blocks - 1);
	buf_printf(b, ": %s; ", f->detail);
	if (f->moved) {
		buf_str(b, "moved to lost+found/");
		check_text(b, f->moved);
	}
	if (!f->corrected)
		buf_printf(b, "%s%s", f->moved ? ", but " : "", advice_of(f));
	else if (!f->moved)
		buf_str(b, "put right");
	buf_str(b, "\n");
}

static void clear_bar(struct fsck *f)
{
	if (f->shown_bar)
		fprintf(stderr, "\r\033[K");
	f->shown_bar = false;
}

static void begin_json(struct fsck *f)
{
	AUTO_BUF b = {0};
	if (f->begun_json)
		return;
	f->begun_json = true;
	buf_printf(&b, "{\"tenant\": \"%s\", \"repair\": %s, \"mounted\": %s, \"findings\": [",
		f->c->layout.owner.tenant, f->repair ? "true" : "false",
		f->mounted ? "true" : "false");
	fwrite(b.data, 1, b.len, stdout);
}

void cmd_fsck_show(struct fsck *f, const struct check_finding *finding)
{
	AUTO_BUF b = {0};
	clear_bar(f);
	if (f->json) {
		begin_json(f);
		buf_str(&b, f->printed ? ",\n  " : "\n  ");
		put_json(&b, finding);
	} else {
		put_sentence(&b, finding);
	}
	f->printed++;
	if (b.data)
		fwrite(b.data, 1, b.len, stdout);
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

void cmd_fsck_bar(struct fsck *f, const struct check_counts *n, bool last)
{
	if (!f->bar || (!last && seconds_since(&f->shown) < 0.1))
		return;
	clock_gettime(CLOCK_MONOTONIC, &f->shown);
	if (last) {
		clear_bar(f);
		return;
	}
	double passed = seconds_since(&f->begun);
	/* A file costs about as much as 64 KiB of content. */
	double total = (double)f->total_bytes + 65536.0 * (double)f->total_files;
	double done = (double)n->bytes + 65536.0 * (double)n->files;
	double part = total > 0 && done < total ? done / total : 1;
	char bar[21] = "", eta[32] = "";
	for (unsigned i = 0; i < 20; i++)
		bar[i] = i < (unsigned)(part * 20) ? '#' : '.';
	if (part > 0.01 && passed > 1)
		snprintf(eta, sizeof(eta), "  %.0f s left", passed / part - passed);
	fprintf(stderr, "\r[%s] %3.0f%%  %" PRIu64 "/%" PRIu64 " files  %.0f/s  %.0f MB/s%s\033[K",
		bar, part * 100, n->files, f->total_files,
		passed > 0 ? (double)n->files / passed : 0.0,
		passed > 0 ? (double)n->bytes / passed / 1e6 : 0.0, eta);
	fflush(stderr);
	f->shown_bar = true;
}

static void json_summary(struct fsck *f, int status, const char *error)
{
	const struct check_counts *n = &f->counts;
	AUTO_BUF b = {0};
	begin_json(f);
	buf_printf(&b,
		"%s], \"counts\": {\"directories\": %" PRIu64 ", \"files\": %" PRIu64
		", \"links\": %" PRIu64 ", \"others\": %" PRIu64 ", \"blocks\": %" PRIu64
		", \"holes\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"attributes\": %" PRIu64,
		f->printed ? "\n" : "", n->directories, n->files, n->links, n->others, n->blocks,
		n->holes, n->bytes, n->attributes);
	buf_printf(&b,
		", \"findings\": %" PRIu64 ", \"damaged\": %" PRIu64 ", \"corrected\": %" PRIu64
		", \"left\": %" PRIu64 ", \"unread\": %" PRIu64 ", \"moved\": %" PRIu64
		", \"settled\": %" PRIu64 ", \"in_use\": %" PRIu64 ", \"waiting\": %" PRIu64
		"}, \"seconds\": %.3f",
		n->findings + f->own, n->damaged + f->own, n->corrected, n->left + f->own_left,
		n->unread, n->moved, n->settled, n->in_use + f->own_in_use, n->waiting,
		seconds_since(&f->begun));
	if (error) {
		buf_str(&b, ", \"error\": ");
		buf_json(&b, error);
	}
	buf_printf(&b, ", \"status\": %d}\n", status);
	fwrite(b.data, 1, b.len, stdout);
}

void cmd_fsck_summary(struct fsck *f, int status, const char *error)
{
	const struct check_counts *n = &f->counts;
	uint64_t findings = n->findings + f->own;
	double passed = seconds_since(&f->begun);
	if (f->json) {
		json_summary(f, status, error);
		return;
	}
	printf("%s%" PRIu64 " directories, %" PRIu64 " files (%" PRIu64 " blocks, %" PRIu64
	       " holes, %" PRIu64 " attributes), %" PRIu64 " links, %" PRIu64
	       " others in %.1f s: %.0f files/s, %.0f MB/s\n",
		error ? "not all: " : "", n->directories, n->files, n->blocks, n->holes,
		n->attributes, n->links, n->others, passed,
		passed > 0 ? (double)n->files / passed : 0.0,
		passed > 0 ? (double)n->bytes / passed / 1e6 : 0.0);
	uint64_t in_use = n->in_use + f->own_in_use;
	if (!findings && !error)
		printf("tenant %s is clean%s", f->c->layout.owner.tenant,
			in_use ? " as far as it was checked" : "");
	else
		printf("tenant %s: %" PRIu64 " finding%s, %" PRIu64 " corrected, %" PRIu64 " left",
			f->c->layout.owner.tenant, findings, findings == 1 ? "" : "s", n->corrected,
			n->left + f->own_left);
	if (in_use)
		printf("; %" PRIu64 " in use, not checked", in_use);
	printf("; the chain of its log is checked by 'tenantctl audit verify'\n");
	if (n->moved)
		printf("%" PRIu64 " moved to lost+found in the tenant's folder: its file `report` "
		       "says what each was\n",
			n->moved);
}
