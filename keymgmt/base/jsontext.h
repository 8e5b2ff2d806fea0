/*
 * Reading JSON text. jansson's reader leaves single bytes out of strings, and says nothing, when
 * memory is short; this one says so.
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

#endif
