#include "tests/posix/suite.h"
void names_run(void)
{
}
