/*
 * Reading and writing JSON text. jansson's own json_loadb and json_dumps leave out bytes, and say
 * nothing, when memory is short; these fail.
 */
#ifndef BASE_JSONTEXT_H
#define BASE_JSONTEXT_H

#include "keymgmt/base/cleanup.h"

#include <jansson.h>

/*
 * *ret: a reference to the value of the text, which need not end in a zero byte. -EBADMSG: not
 * JSON, or an object names a member twice; -ENOMEM. Thread-safe.
 */
MUST_USE int jsontext_parse(const void *text, size_t len, json_t **ret);
/* The text of a value with jansson's flags, to be freed with free(). NULL: no memory, or nothing
 * that JSON can say. Thread-safe. */
char *jsontext_dump(const json_t *value, size_t flags);

#endif
