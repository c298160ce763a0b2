/* Which architectures are known? */
#include "zoo/builder.h"

/* Order matters only where two families fit the same file: none do. */
const struct gr_arch *const gr_zoo_archs[] = {&gr_arch_resnet,
                                              &gr_arch_resnet_cifar,
                                              &gr_arch_mobilenet_v1,
                                              &gr_arch_mobilenet_v2,
                                              &gr_arch_shufflenet_v2,
                                              &gr_arch_squeezenet,
                                              NULL};
