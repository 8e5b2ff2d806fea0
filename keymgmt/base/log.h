/* The daemon's own messages (not the audit trail): to stderr in the foreground, else to syslog. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO };

/* ident is borrowed for the life of the process. Call once, before threads start. */
void log_init(const char *ident, bool to_syslog);

/* One line. No file names, no secrets. Thread-safe. */
void log_say(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
