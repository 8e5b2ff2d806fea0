#include "tests/posix/suite.h"
void open_run(void)
{
}
