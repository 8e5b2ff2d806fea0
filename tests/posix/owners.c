#include "tests/posix/suite.h"
void owners_run(void)
{
}
