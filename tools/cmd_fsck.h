/* What the files cmd_fsck*.c share: what is asked for, and how findings are shown. */
#ifndef TOOLS_CMD_FSCK_H
#define TOOLS_CMD_FSCK_H

#include "fs/store/check.h"
#include "tools/cmd.h"

#include <time.h>

struct fsck {
	struct cmd *c;
	bool repair, json, no_progress;
	bool mounted; /* somebody else has it mounted: beside him */

	struct check_counts counts;         /* of check_store */
	uint64_t own, own_left, own_in_use; /* what is not of check_store: policy, log */
	struct audit *log;                  /* open once there was a receipt */
	uint64_t total_files, total_bytes;  /* of the counting pass; 0 unknown */
	bool bar;                           /* a progress bar is wanted */
	bool shown_bar, begun_json;
	uint64_t printed; /* findings */
	struct timespec begun, shown;
};

/* One finding: a sentence, or a member of the list in JSON. Wipes the progress bar before. */
void cmd_fsck_show(struct fsck *f, const struct check_finding *finding);
/* The progress bar, ten times a second; last: its end. */
void cmd_fsck_bar(struct fsck *f, const struct check_counts *counts, bool last);
/* What was done. error: NULL, or the sentence of what stopped it. */
void cmd_fsck_summary(struct fsck *f, int status, const char *error);

#endif
