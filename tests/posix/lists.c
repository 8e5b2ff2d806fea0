#include "tests/posix/suite.h"
void lists_run(void)
{
}
