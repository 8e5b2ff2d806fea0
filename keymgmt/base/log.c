#include "keymgmt/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

/* Set once by log_init before threads start, read-only afterwards. */
static struct {
	const char *ident;
	bool to_syslog;
} target = {"tenantfs", false};

void log_init(const char *ident, bool to_syslog)
{
	target.ident = ident;
	target.to_syslog = to_syslog;
	if (to_syslog)
		openlog(ident, LOG_PID, LOG_DAEMON);
}

void log_say(enum log_level level, const char *format, ...)
{
	static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO};
	char line[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (target.to_syslog)
		syslog(priority[level], "%s", line);
	else
		fprintf(stderr, "%s: %s\n", target.ident, line);
}
