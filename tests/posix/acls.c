#include "tests/posix/suite.h"
void acls_run(void)
{
}
