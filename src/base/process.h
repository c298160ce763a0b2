/* What the operating system says of this process. */
#ifndef GR_BASE_PROCESS_H
#define GR_BASE_PROCESS_H

#include <stddef.h>

/* Bytes in memory (mapped files count as far as they were read): now, and at most so far. 0 where
   the system does not tell. */
void gr_process_memory(size_t *now, size_t *peak);

#endif
