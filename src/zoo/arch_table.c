/* Which architectures are known? */
#include "zoo/builder.h"

/* Of two that miss equally, the first is called the nearest. */
const struct gr_arch *const gr_zoo_archs[] = {&gr_arch_resnet,
                                              &gr_arch_resnet_cifar,
                                              &gr_arch_mobilenet_v1,
                                              &gr_arch_mobilenet_v2,
                                              &gr_arch_mobilenet_v3,
                                              &gr_arch_efficientnet,
                                              &gr_arch_regnet,
                                              &gr_arch_densenet,
                                              &gr_arch_shufflenet_v2,
                                              &gr_arch_squeezenet,
                                              &gr_arch_vgg,
                                              &gr_arch_graft_base,
                                              NULL};
