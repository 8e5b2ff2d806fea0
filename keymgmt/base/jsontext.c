#include "keymgmt/base/jsontext.h"

#include <errno.h>
#include <stdbool.h>

static _Thread_local bool memory_short;

static void *allocate(size_t size)
{
	void *p = malloc(size);
	if (!p)
		memory_short = true;
	return p;
}

static void give_back(void *p)
{
	free(p);
}

/* Before there are threads: jansson keeps the functions in variables of its own. */
__attribute__((constructor)) static void watch_jansson(void)
{
	json_set_alloc_funcs(allocate, give_back);
}

int jsontext_parse(const void *text, size_t len, json_t **ret)
{
	memory_short = false;
	json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (memory_short) {
		json_decref(value);
		return -ENOMEM;
	}
	if (!value)
		return -EBADMSG;
	*ret = value;
	return 0;
}

char *jsontext_dump(const json_t *value, size_t flags)
{
	memory_short = false;
	char *text = json_dumps(value, flags);
	if (!memory_short)
		return text;
	free(text);
	return NULL;
}
