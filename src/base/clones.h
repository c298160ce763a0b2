/* Loops compiled for several processors; the best is chosen when the program starts. */
#ifndef GR_BASE_CLONES_H
#define GR_BASE_CLONES_H

/* Named by level: the name of one processor (arch=haswell) would match that one only, no later one.
   Sanitizers do not get along with the resolvers behind target_clones. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) &&                  \
    !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

#endif
