/* How much memory does this process use? */
#include "base/process.h"
#include <stdio.h>

void gr_process_memory(size_t *now, size_t *peak)
{
    char line[256];
    unsigned long long kib;
    FILE *f = fopen("/proc/self/status", "r");
    *now = *peak = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %llu", &kib) == 1)
            *now = (size_t)kib * 1024;
        if (sscanf(line, "VmHWM: %llu", &kib) == 1)
            *peak = (size_t)kib * 1024;
    }
    if (f)
        fclose(f);
}
