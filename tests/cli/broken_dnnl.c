/* broken_dnnl.c - preloaded by test_doctor.sh: oneDNN's primitives do nothing and say that they did. */
int dnnl_primitive_execute(const void *primitive, void *stream, int count, const void *arguments);

int dnnl_primitive_execute(const void *primitive, void *stream, int count, const void *arguments)
{
    (void)primitive, (void)stream, (void)count, (void)arguments;
    return 0;
}
