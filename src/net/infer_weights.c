/* infer_weights.c - the weights of a network for scoring in the formats that its operations read: each format is made once,
 * from the folded weights or their int8 form, and kept for all operations that agree on it. A borrower of a network reads
 * the lender's. */
#include "net/infer.h"

#include "base/memory.h"

static const void *plain_weights(const dcam_net *net, int convolution)
{
    if (net->quantised && convolution > 0) return net_quantised_weights(net->quantised, convolution);
    return net->weights->convolutions[convolution].weight;
}

static void *find_format(const net_formatted *list, int convolution, const dcam_nn_op *reader)
{
    for (const net_formatted *f = list; f; f = f->next)
        if (f->convolution == convolution && dcam_nn_same_weights(f->reader, reader)) return f->weights;
    return NULL;
}

dcam_status net_format_weights(dcam_net *net, int convolution, const dcam_nn_op *reader, void **out)
{
    *out = find_format(net->formatted, convolution, reader);
    if (!*out) *out = find_format(net->borrowed, convolution, reader);
    if (*out) return DCAM_OK;
    net_formatted *fresh = NULL;
    dcam_nn_op *reorder = NULL;
    void *scratchpad = NULL;
    dcam_status status = dcam_alloc_zero(1, sizeof *fresh, &fresh);
    if (status != DCAM_OK) return status;
    fresh->convolution = convolution;
    fresh->reader = reader;
    fresh->bytes = dcam_nn_op_bytes(reader, DCAM_NN_WEIGHTS);
    status = dcam_alloc(fresh->bytes, 1, &fresh->weights);
    if (status == DCAM_OK) status = dcam_nn_weights_in(net->nn, reader, &reorder);
    if (status == DCAM_OK) status = dcam_alloc(dcam_nn_op_bytes(reorder, DCAM_NN_SCRATCHPAD), 1, &scratchpad);
    if (status == DCAM_OK) status = dcam_nn_op_prepare(reorder);
    if (status == DCAM_OK) status = dcam_nn_op_bind(reorder, DCAM_NN_SCRATCHPAD, scratchpad);
    if (status == DCAM_OK)
        status = dcam_nn_op_bind(reorder, DCAM_NN_SRC, plain_weights(net, convolution));
    if (status == DCAM_OK) status = dcam_nn_op_bind(reorder, DCAM_NN_DST, fresh->weights);
    if (status == DCAM_OK) status = dcam_nn_op_run(reorder);
    dcam_nn_op_destroy(reorder);
    dcam_free(scratchpad);
    if (status != DCAM_OK) {
        dcam_free(fresh->weights);
        dcam_free(fresh);
        return status;
    }
    fresh->next = net->formatted;
    net->formatted = fresh;
    *out = fresh->weights;
    return DCAM_OK;
}

void net_forget_formats(dcam_net *net, const net_formatted *until)
{
    while (net->formatted != until) {
        net_formatted *f = net->formatted;
        net->formatted = f->next;
        dcam_free(f->weights);
        dcam_free(f);
    }
}
