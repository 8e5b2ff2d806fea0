/*
 * Floods of the same denial become one record with a count (docs/audit.md, "Folding"). The first
 * FOLD_FREE of the same caller, operation and path within FOLD_SECONDS are written in full; those
 * behind them are counted. Thread-safe.
 */
#ifndef GATE_FOLD_H
#define GATE_FOLD_H

#include "fs/gate/audit.h"

#include <stdbool.h>

#define FOLD_SECONDS 10
#define FOLD_FREE 32
#define FOLD_SLOTS                                                                                 \
	256 /* different denials remembered at a time; one that finds no slot is written in full   \
	     */

struct fold;

struct fold *fold_new(void); /* NULL on ENOMEM */
void fold_free(struct fold *f);
/* True: it was counted and needs no record of its own. */
bool fold_denial(struct fold *f, const struct audit_event *event);
/* Writes the counts whose window is over, or all. */
void fold_flush(struct fold *f, struct audit *a, bool all);

#endif
