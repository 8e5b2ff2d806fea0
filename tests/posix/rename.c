#include "tests/posix/suite.h"
void rename_run(void)
{
}
