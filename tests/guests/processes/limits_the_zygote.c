/* Asks for a limit of the process 1, and changes nothing. A native program may set its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

int main(void)
{
    struct rlimit limit;
    puts(prlimit(1, RLIMIT_NOFILE, NULL, &limit) ? strerrorname_np(errno) : "success");
    return 0;
}
