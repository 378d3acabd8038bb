/* plan.c - lives of values and their places (see plan.h; the placing itself is nn/arena.c). */
#include "net/plan.h"

int net_plan_value(net_plan *plan, size_t bytes)
{
    if (plan->value_count == NET_PLAN_VALUES) {
        plan->overflow = true;
        return NET_PLAN_OUTSIDE;
    }
    plan->items[plan->value_count] = (dcam_arena_item){bytes, -1, -1, 0};
    return plan->value_count++;
}

void net_plan_use(net_plan *plan, int value)
{
    if (value <= NET_PLAN_OUTSIDE) return;
    if (plan->items[value].first < 0) plan->items[value].first = plan->step;
    plan->items[value].last = plan->step;
}

void net_plan_bind(net_plan *plan, dcam_nn_op *op, dcam_nn_argument argument, int value)
{
    if (value <= NET_PLAN_OUTSIDE) return;
    if (plan->binding_count == NET_PLAN_VALUES) {
        plan->overflow = true;
        return;
    }
    net_plan_use(plan, value);
    plan->bindings[plan->binding_count].op = op;
    plan->bindings[plan->binding_count].argument = argument;
    plan->bindings[plan->binding_count++].value = value;
}

void net_plan_step(net_plan *plan, dcam_nn_op *op)
{
    size_t scratchpad = op ? dcam_nn_op_bytes(op, DCAM_NN_SCRATCHPAD) : 0;
    if (scratchpad > 0) net_plan_bind(plan, op, DCAM_NN_SCRATCHPAD, net_plan_value(plan, scratchpad));
    plan->step++;
}

dcam_status net_plan_layout(net_plan *plan)
{
    if (plan->overflow)
        return dcam_fail(DCAM_ERROR_INTERNAL, "the network has more than %d tensors", NET_PLAN_VALUES);
    return dcam_arena_plan(plan->items, (size_t)plan->value_count, &plan->arena_bytes);
}

void *net_plan_address(const net_plan *plan, void *arena, int value)
{
    return (char *)arena + plan->items[value].offset;
}

dcam_status net_plan_attach(const net_plan *plan, void *arena)
{
    for (int i = 0; i < plan->binding_count; i++) {
        dcam_nn_op *op = plan->bindings[i].op;
        DCAM_TRY(dcam_nn_op_prepare(op));
        DCAM_TRY(dcam_nn_op_bind(op, plan->bindings[i].argument,
                                 net_plan_address(plan, arena, plan->bindings[i].value)));
    }
    return DCAM_OK;
}
