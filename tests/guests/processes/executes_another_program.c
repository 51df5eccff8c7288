/* Becomes a shell that says that it has succeeded, or says which error it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    execl("/bin/sh", "sh", "-c", "echo success", (char *)NULL);
    puts(strerrorname_np(errno));
    return 0;
}
