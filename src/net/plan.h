/* plan.h - internal to src/net: which tensors a pass over the trunk has, at which steps each is alive, and where it
 * lies in the arena. A pass is planned once: steps are numbered as they are added, every use of a value extends its
 * life to that step, then the arena is laid out and the operations are bound to their addresses. */
#ifndef DCAM_NET_PLAN_H
#define DCAM_NET_PLAN_H

#include "base/status.h"
#include "nn/arena.h"
#include "nn/nn.h"

/* Values and bindings of the deepest trunk: 64 convolutions, each with its tensors and scratchpads, forward and
 * backward. */
#define NET_PLAN_VALUES 1024

/* A value that lies outside the arena: the caller binds it. */
#define NET_PLAN_OUTSIDE (-1)

typedef struct {
    dcam_arena_item items[NET_PLAN_VALUES];
    int value_count;
    struct {
        dcam_nn_op *op;
        dcam_nn_argument argument;
        int value;
    } bindings[NET_PLAN_VALUES];
    int binding_count;
    int step;
    bool overflow;
    size_t arena_bytes; /* after net_plan_layout */
} net_plan;

/* A value of so many bytes; it lives from its first use to its last. */
int net_plan_value(net_plan *plan, size_t bytes);
/* The value is used at the present step. */
void net_plan_use(net_plan *plan, int value);
/* The argument of op is this value, at the present step. NET_PLAN_OUTSIDE does nothing. */
void net_plan_bind(net_plan *plan, dcam_nn_op *op, dcam_nn_argument argument, int value);
/* A scratchpad for op at the present step, and on to the next step. */
void net_plan_step(net_plan *plan, dcam_nn_op *op /* or NULL */);
DCAM_MUST_CHECK dcam_status net_plan_layout(net_plan *plan);
/* Prepares and binds every operation that was given a binding. arena: arena_bytes, aligned to 64. */
DCAM_MUST_CHECK dcam_status net_plan_attach(const net_plan *plan, void *arena);
void *net_plan_address(const net_plan *plan, void *arena, int value);

#endif
