#include "keymgmt/base/err.h"

#include <errno.h>
#include <stdio.h>

static int set(struct err *e, int code, const char *format, va_list args)
{
	if (e) {
		e->code = code;
		vsnprintf(e->text, sizeof(e->text), format, args);
	}
	return code;
}

int err_set(struct err *e, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	set(e, code, format, args);
	va_end(args);
	return code;
}

int err_default(struct err *e, int code, const char *format, ...)
{
	va_list args;
	if (e && e->code)
		return code;
	va_start(args, format);
	set(e, code, format, args);
	va_end(args);
	return code;
}

int err_exit_status(int code)
{
	switch (code < 0 ? -code : code) {
	case 0:
		return EXIT_OK;
	case EINVAL:
		return EXIT_USAGE;
	case EACCES:
	case EPERM:
		return EXIT_DENIED;
	case ENOENT:
	case ENOTDIR:
		return EXIT_NOT_FOUND;
	case EBUSY:
	case EEXIST:
	case ENOTEMPTY:
		return EXIT_IN_USE;
	case EKEYREJECTED:
	case ENOKEY:
		return EXIT_WRONG_KEY;
	case EBADMSG:
	case EIO:
		return EXIT_DAMAGED;
	case EPROTONOSUPPORT:
		return EXIT_NEWER;
	case EBADRQC:
		return EXIT_POLICY;
	case ENODEV:
		return EXIT_NO_FUSE;
	case ENOSPC:
	case EDQUOT:
		return EXIT_NO_SPACE;
	default:
		return EXIT_FAILED;
	}
}

int err_to_fuse(int code)
{
	switch (code) {
	case -EBADMSG:
	case -EPROTONOSUPPORT:
	case -EKEYREJECTED:
	case -EBADRQC:
		return -EIO;
	default:
		return code;
	}
}
