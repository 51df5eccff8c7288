/* Becomes its own loader, which is to load a shell that says that it has succeeded. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#define LOADER "/lib64/ld-linux-x86-64.so.2"
#else
#define LOADER "/lib/ld-linux-aarch64.so.1"
#endif

int main(void)
{
    execl(LOADER, LOADER, "/bin/sh", "-c", "echo success", (char *)NULL);
    puts(strerrorname_np(errno));
    return 0;
}
