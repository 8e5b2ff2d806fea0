/* An erasure announced by itself, as tests want it: durable when it returns. */
#ifndef UNIT_JOURNAL_FIXTURE_H
#define UNIT_JOURNAL_FIXTURE_H

#include "fs/store/journal.h"

#include <errno.h>

static inline int journal_fixture_announce(
	struct journal *j, const struct journal_erase *e, uint64_t *ret_token)
{
	AUTO_BUF text = {0};
	uint64_t sequence;
	journal_format_put_erase(&text, e);
	struct journal_record r = {
		.text = &text, .sectors = journal_room(text.len), .erasures = 1, .erase = e};
	int rc = journal_reserve(j, r.sectors, 1);
	if (rc == -ENOSPC) {
		rc = journal_checkpoint(j);
		if (!rc)
			rc = journal_reserve(j, r.sectors, 1);
	}
	if (!rc)
		rc = journal_append(j, &r, &sequence, ret_token);
	if (rc == -ENOMEM)
		journal_unreserve(j, r.sectors, 1);
	return rc ? rc : journal_flush(j, sequence);
}

#endif
