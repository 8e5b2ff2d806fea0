#include "fs/gate/policy_parts.h"

#include <stdarg.h>
#include <stdio.h>

#define MISTAKES_MAX 1000u

void policy_mistakes_done(struct policy_mistakes *m)
{
	free(m->list);
	*m = (struct policy_mistakes){0};
}

void policy_mistakes_add(struct policy_mistakes *m, unsigned line, unsigned column, bool warning,
	const char *format, ...)
{
	if (!warning)
		m->errors++;
	if (m->count >= MISTAKES_MAX)
		return;
	struct policy_mistake *list = reallocarray(m->list, m->count + 1, sizeof(*list));
	if (!list)
		return;
	m->list = list;
	struct policy_mistake *new = &list[m->count++];
	*new = (struct policy_mistake){.line = line, .column = column, .warning = warning};
	va_list args;
	va_start(args, format);
	vsnprintf(new->text, sizeof(new->text), format, args);
	va_end(args);
	/* The text quotes the policy, and goes to a terminal. */
	for (char *c = new->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}
