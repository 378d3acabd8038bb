/* pickle.c - the restricted pickle interpreter (the opcodes are those of Python's Lib/pickletools.py). It builds
 * numbers, texts, tuples, lists, dictionaries and descriptions of tensors; it executes and imports nothing. An
 * opcode or a global that is not on the lists below is refused by its name. No recursion: nesting costs no stack. */
#include "weights/pickle.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "weights/store.h"

/* DCAM_MAX_TENSORS tensors make about 25 values each; a state dict of ResNet-18 makes 2,000. */
#define MAX_VALUES ((size_t)2 * 1024 * 1024)
#define MAX_STACK ((size_t)1024 * 1024)

typedef enum { NOTHING, FLAG, INTEGER, FRACTION, TEXT, TUPLE, LIST, DICTIONARY, GLOBAL, STORAGE, TENSOR } kind;
static const char *const kind_names[] = {"None",    "a truth value", "an integer",   "a float",   "a text",   "a tuple",
                                         "a list",  "a dictionary",  "a global",     "a storage", "a tensor"};

typedef enum { ORDERED_DICT, REBUILD_TENSOR, REBUILD_TENSOR_V2, REBUILD_PARAMETER, STORAGE_CLASS } action;

/* The only names that a file may mention. */
static const struct {
    const char *module, *name;
    action action;
    dcam_dtype type; /* of a storage class */
} globals[] = {
    {"collections", "OrderedDict", ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR_V2, 0},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0},
    {"torch", "FloatStorage", STORAGE_CLASS, DCAM_F32},
    {"torch", "HalfStorage", STORAGE_CLASS, DCAM_F16},
    {"torch", "BFloat16Storage", STORAGE_CLASS, DCAM_BF16},
    {"torch", "DoubleStorage", STORAGE_CLASS, DCAM_F64},
    {"torch", "LongStorage", STORAGE_CLASS, DCAM_I64},
    {"torch", "IntStorage", STORAGE_CLASS, DCAM_I32},
    {"torch", "CharStorage", STORAGE_CLASS, DCAM_I8},
    {"torch", "ByteStorage", STORAGE_CLASS, DCAM_U8},
};

/* Names of every opcode, for messages about those that are refused. */
static const char *const opcode_names[256] = {
    ['('] = "MARK", ['.'] = "STOP", ['0'] = "POP", ['1'] = "POP_MARK", ['2'] = "DUP", ['F'] = "FLOAT", ['I'] = "INT",
    ['J'] = "BININT", ['K'] = "BININT1", ['L'] = "LONG", ['M'] = "BININT2", ['N'] = "NONE", ['P'] = "PERSID",
    ['Q'] = "BINPERSID", ['R'] = "REDUCE", ['S'] = "STRING", ['T'] = "BINSTRING", ['U'] = "SHORT_BINSTRING",
    ['V'] = "UNICODE", ['X'] = "BINUNICODE", ['a'] = "APPEND", ['b'] = "BUILD", ['c'] = "GLOBAL", ['d'] = "DICT",
    ['}'] = "EMPTY_DICT", ['e'] = "APPENDS", ['g'] = "GET", ['h'] = "BINGET", ['i'] = "INST", ['j'] = "LONG_BINGET",
    ['l'] = "LIST", [']'] = "EMPTY_LIST", ['o'] = "OBJ", ['p'] = "PUT", ['q'] = "BINPUT", ['r'] = "LONG_BINPUT",
    ['s'] = "SETITEM", ['t'] = "TUPLE", [')'] = "EMPTY_TUPLE", ['u'] = "SETITEMS", ['G'] = "BINFLOAT",
    [0x80] = "PROTO", [0x81] = "NEWOBJ", [0x82] = "EXT1", [0x83] = "EXT2", [0x84] = "EXT4", [0x85] = "TUPLE1",
    [0x86] = "TUPLE2", [0x87] = "TUPLE3", [0x88] = "NEWTRUE", [0x89] = "NEWFALSE", [0x8a] = "LONG1",
    [0x8b] = "LONG4", ['B'] = "BINBYTES", ['C'] = "SHORT_BINBYTES", [0x8c] = "SHORT_BINUNICODE",
    [0x8d] = "BINUNICODE8", [0x8e] = "BINBYTES8", [0x8f] = "EMPTY_SET", [0x90] = "ADDITEMS", [0x91] = "FROZENSET",
    [0x92] = "NEWOBJ_EX", [0x93] = "STACK_GLOBAL", [0x94] = "MEMOIZE", [0x95] = "FRAME", [0x96] = "BYTEARRAY8",
    [0x97] = "NEXT_BUFFER", [0x98] = "READONLY_BUFFER",
};

typedef struct {
    kind kind;
    uint32_t first;      /* TENSOR: index into tensors; GLOBAL: into globals */
    size_t count;        /* TEXT: bytes; containers: items (a dictionary's keys and values alternate) */
    size_t capacity;     /* containers: of items; STORAGE: elements */
    union {
        int64_t integer;
        const char *text;    /* TEXT, and the key of a STORAGE */
        uint32_t *items;
    } as;
    dcam_dtype type;     /* STORAGE */
} value;

typedef struct {
    const char *path;
    const uint8_t *next, *end;
    value *values;
    size_t value_count, value_capacity;
    dcam_pickle_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    uint32_t *stack;
    size_t stack_count, stack_capacity;
    size_t *marks;       /* heights of the stack */
    size_t mark_count, mark_capacity;
    uint32_t *memo;      /* value + 1; 0: empty */
    size_t memo_capacity, memo_count;
} reader;

static dcam_status fault(const reader *r, const char *what)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: pickle: %s; a state dict saved with torch.save(model.state_dict(), ...) "
                                         "is wanted",
                     r->path, what);
}

/* Before room is made for descriptions, which are a hundred times as large as the bytes that ask for them. */
static dcam_status too_many_tensors(const reader *r)
{
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: holds more than %d tensors, the limit", r->path, DCAM_MAX_TENSORS);
}

/* ---- values and the stack --------------------------------------------- */

static dcam_status push(reader *r, uint32_t index)
{
    if (r->stack_count >= MAX_STACK) return fault(r, "stack deeper than 1,048,576 values, the limit");
    DCAM_TRY(dcam_grow(&r->stack, r->stack_count, &r->stack_capacity, sizeof *r->stack));
    r->stack[r->stack_count++] = index;
    return DCAM_OK;
}

static dcam_status push_value(reader *r, value v)
{
    if (r->value_count >= MAX_VALUES) return fault(r, "more than 2,097,152 values, the limit");
    DCAM_TRY(dcam_grow(&r->values, r->value_count, &r->value_capacity, sizeof *r->values));
    DCAM_TRY(push(r, (uint32_t)r->value_count));
    r->values[r->value_count++] = v;
    return DCAM_OK;
}

/* Below this height the stack belongs to what stands before the last mark. */
static size_t stack_floor(const reader *r) { return r->mark_count ? r->marks[r->mark_count - 1] : 0; }

static dcam_status pop(reader *r, uint32_t *out)
{
    if (r->stack_count <= stack_floor(r)) return fault(r, "takes a value from an empty stack");
    *out = r->stack[--r->stack_count];
    return DCAM_OK;
}

static dcam_status top(const reader *r, kind wanted, value **out)
{
    if (r->stack_count <= stack_floor(r)) return fault(r, "looks at an empty stack");
    *out = &r->values[r->stack[r->stack_count - 1]];
    if ((*out)->kind != wanted)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: pickle: %s stands where %s is wanted", r->path,
                         kind_names[(*out)->kind], kind_names[wanted]);
    return DCAM_OK;
}

static dcam_status add_item(value *container, uint32_t item)
{
    DCAM_TRY(dcam_grow(&container->as.items, container->count, &container->capacity, sizeof *container->as.items));
    container->as.items[container->count++] = item;
    return DCAM_OK;
}

/* A tuple of the stack from `height` on. */
static dcam_status push_tuple(reader *r, size_t height)
{
    value tuple = {.kind = TUPLE, .count = r->stack_count - height};
    if (tuple.count > 0) {
        DCAM_TRY(dcam_alloc(tuple.count, sizeof *tuple.as.items, &tuple.as.items));
        memcpy(tuple.as.items, r->stack + height, tuple.count * sizeof *tuple.as.items);
    }
    r->stack_count = height;
    dcam_status status = push_value(r, tuple);
    if (status != DCAM_OK) dcam_free(tuple.as.items);
    return status;
}

static dcam_status push_short_tuple(reader *r, size_t count)
{
    if (r->stack_count - stack_floor(r) < count) return fault(r, "makes a tuple of more values than there are");
    return push_tuple(r, r->stack_count - count);
}

static dcam_status pop_mark(reader *r, size_t *height)
{
    if (r->mark_count == 0) return fault(r, "a mark is missing");
    *height = r->marks[--r->mark_count];
    return DCAM_OK;
}

/* APPENDS and SETITEMS: what stands after the mark goes into the container before it. */
static dcam_status add_marked(reader *r, kind wanted)
{
    size_t height = 0;
    value *container = NULL;
    DCAM_TRY(pop_mark(r, &height));
    size_t end = r->stack_count;
    if (wanted == DICTIONARY && (end - height) % 2) return fault(r, "a dictionary gets a key without a value");
    r->stack_count = height;
    DCAM_TRY(top(r, wanted, &container));
    for (size_t i = height; i < end; i++) DCAM_TRY(add_item(container, r->stack[i]));
    return DCAM_OK;
}

static dcam_status add_one(reader *r, kind wanted)
{
    uint32_t key = 0, item = 0;
    value *container = NULL;
    DCAM_TRY(pop(r, &item));
    if (wanted == DICTIONARY) DCAM_TRY(pop(r, &key));
    DCAM_TRY(top(r, wanted, &container));
    if (wanted == DICTIONARY) DCAM_TRY(add_item(container, key));
    return add_item(container, item);
}

/* ---- the memo ---------------------------------------------------------- */

static dcam_status memo_put(reader *r, size_t index)
{
    if (r->stack_count <= stack_floor(r)) return fault(r, "keeps a value from an empty stack");
    if (index >= MAX_VALUES) return fault(r, "memo of more than 2,097,152 values, the limit");
    if (index >= r->memo_capacity) {
        size_t wanted = index + index / 2 + 256;
        DCAM_TRY(dcam_realloc(wanted, sizeof *r->memo, &r->memo));
        memset(r->memo + r->memo_capacity, 0, (wanted - r->memo_capacity) * sizeof *r->memo);
        r->memo_capacity = wanted;
    }
    r->memo_count += r->memo[index] == 0;
    r->memo[index] = r->stack[r->stack_count - 1] + 1;
    return DCAM_OK;
}

static dcam_status memo_get(reader *r, size_t index)
{
    if (index >= r->memo_capacity || r->memo[index] == 0) return fault(r, "asks the memo for a value not kept");
    return push(r, r->memo[index] - 1);
}

/* ---- arguments in the stream ------------------------------------------- */

static dcam_status take(reader *r, size_t count, const uint8_t **out)
{
    if (count > (size_t)(r->end - r->next)) return fault(r, "it is cut off");
    *out = r->next;
    r->next += count;
    return DCAM_OK;
}

/* Little endian, 1 to 8 bytes. */
static dcam_status take_number(reader *r, size_t bytes, uint64_t *out)
{
    const uint8_t *p = NULL;
    uint64_t n = 0;
    DCAM_TRY(take(r, bytes, &p));
    for (size_t i = bytes; i-- > 0;) n = n << 8 | p[i];
    *out = n;
    return DCAM_OK;
}

static dcam_status push_integer(reader *r, size_t bytes, bool with_sign)
{
    uint64_t n = 0;
    DCAM_TRY(take_number(r, bytes, &n));
    if (with_sign && bytes > 0 && bytes < 8 && n >> (8 * bytes - 1)) n |= ~UINT64_C(0) << (8 * bytes);
    int64_t integer;
    memcpy(&integer, &n, sizeof integer);
    return push_value(r, (value){.kind = INTEGER, .as.integer = integer});
}

static dcam_status push_long(reader *r)
{
    uint64_t bytes = 0;
    DCAM_TRY(take_number(r, 1, &bytes));
    if (bytes > 8) return fault(r, "an integer of more than 64 bits");
    return push_integer(r, (size_t)bytes, true);
}

static dcam_status push_text(reader *r, size_t length_bytes)
{
    uint64_t length = 0;
    const uint8_t *p = NULL;
    DCAM_TRY(take_number(r, length_bytes, &length));
    DCAM_TRY(take(r, (size_t)length, &p));
    return push_value(r, (value){.kind = TEXT, .count = (size_t)length, .as.text = (const char *)p});
}

static dcam_status take_line(reader *r, const char **out, size_t *length)
{
    const uint8_t *newline = memchr(r->next, '\n', (size_t)(r->end - r->next));
    if (!newline) return fault(r, "it is cut off");
    *out = (const char *)r->next;
    *length = (size_t)(newline - r->next);
    r->next = newline + 1;
    return DCAM_OK;
}

static bool same(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(text, word, length) == 0;
}

static dcam_status push_global(reader *r, const char *module, size_t module_length, const char *name, size_t name_length)
{
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
        if (same(module, module_length, globals[i].module) && same(name, name_length, globals[i].name))
            return push_value(r, (value){.kind = GLOBAL, .first = (uint32_t)i});
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: pickle asks for %s.%s, which is refused: only dictionaries of tensors "
                                         "are read and nothing is executed; save model.state_dict() and not the "
                                         "model, and get weights from a source that you trust",
                     r->path, dcam_printable_name(module, module_length).text,
                     dcam_printable_name(name, name_length).text);
}

static dcam_status read_global(reader *r)
{
    const char *module = NULL, *name = NULL;
    size_t module_length = 0, name_length = 0;
    DCAM_TRY(take_line(r, &module, &module_length));
    DCAM_TRY(take_line(r, &name, &name_length));
    return push_global(r, module, module_length, name, name_length);
}

static dcam_status read_stack_global(reader *r)
{
    uint32_t module = 0, name = 0;
    DCAM_TRY(pop(r, &name));
    DCAM_TRY(pop(r, &module));
    const value *m = &r->values[module], *n = &r->values[name];
    if (m->kind != TEXT || n->kind != TEXT) return fault(r, "a global without a name");
    return push_global(r, m->as.text, m->count, n->as.text, n->count);
}

/* ---- what the globals stand for ----------------------------------------- */

/* ('storage', torch.FloatStorage, key, device, elements) */
static dcam_status push_storage(reader *r)
{
    value *t = NULL;
    DCAM_TRY(top(r, TUPLE, &t));
    const value *part[5];
    if (t->count != 5) return fault(r, "a storage is not described by five values");
    for (size_t i = 0; i < 5; i++) part[i] = &r->values[t->as.items[i]];
    if (part[0]->kind != TEXT || !same(part[0]->as.text, part[0]->count, "storage") || part[1]->kind != GLOBAL ||
        globals[part[1]->first].action != STORAGE_CLASS || part[2]->kind != TEXT || part[3]->kind != TEXT ||
        part[4]->kind != INTEGER || part[4]->as.integer < 0)
        return fault(r, "a storage is not described as PyTorch does");
    value storage = {.kind = STORAGE, .count = part[2]->count, .capacity = (size_t)part[4]->as.integer,
                     .as.text = part[2]->as.text, .type = globals[part[1]->first].type};
    r->stack_count--;
    return push_value(r, storage);
}

static dcam_status read_sizes(const reader *r, const value *tuple, size_t out[DCAM_MAX_RANK])
{
    if (tuple->kind != TUPLE || tuple->count > DCAM_MAX_RANK)
        return fault(r, "a tensor's sizes or strides are no tuple of up to 8 numbers");
    for (size_t i = 0; i < tuple->count; i++) {
        const value *n = &r->values[tuple->as.items[i]];
        if (n->kind != INTEGER || n->as.integer < 0) return fault(r, "a tensor has a size or stride below 0");
        out[i] = (size_t)n->as.integer;
    }
    return DCAM_OK;
}

/* (storage, offset, sizes, strides[, requires_grad, hooks[, metadata]]): the last ones do not matter for values. */
static dcam_status push_tensor(reader *r, const value *arguments, size_t at_least, size_t at_most)
{
    dcam_pickle_tensor t;
    memset(&t, 0, sizeof t);
    if (arguments->count < at_least || arguments->count > at_most) return fault(r, "a tensor is described otherwise");
    const value *storage = &r->values[arguments->as.items[0]], *offset = &r->values[arguments->as.items[1]];
    const value *sizes = &r->values[arguments->as.items[2]], *strides = &r->values[arguments->as.items[3]];
    if (storage->kind != STORAGE || offset->kind != INTEGER || offset->as.integer < 0)
        return fault(r, "a tensor without storage");
    DCAM_TRY(read_sizes(r, sizes, t.shape));
    DCAM_TRY(read_sizes(r, strides, t.stride));
    if (r->tensor_count >= DCAM_MAX_TENSORS) return too_many_tensors(r);
    if (sizes->count != strides->count) return fault(r, "a tensor with more sizes than strides, or fewer");
    t.rank = (int)sizes->count;
    t.offset = (size_t)offset->as.integer;
    t.storage = (dcam_pickle_storage){storage->type, storage->as.text, storage->count, storage->capacity};
    DCAM_TRY(dcam_grow(&r->tensors, r->tensor_count, &r->tensor_capacity, sizeof *r->tensors));
    DCAM_TRY(push_value(r, (value){.kind = TENSOR, .first = (uint32_t)r->tensor_count}));
    r->tensors[r->tensor_count++] = t;
    return DCAM_OK;
}

static dcam_status reduce(reader *r)
{
    uint32_t arguments_index = 0;
    value *called = NULL;
    DCAM_TRY(pop(r, &arguments_index));
    DCAM_TRY(top(r, GLOBAL, &called));
    r->stack_count--;
    const value *arguments = &r->values[arguments_index];
    if (arguments->kind != TUPLE) return fault(r, "REDUCE without a tuple");
    switch (globals[called->first].action) {
    case ORDERED_DICT:
        if (arguments->count != 0) return fault(r, "collections.OrderedDict with arguments");
        return push_value(r, (value){.kind = DICTIONARY});
    case REBUILD_TENSOR: return push_tensor(r, arguments, 4, 4);
    case REBUILD_TENSOR_V2: return push_tensor(r, arguments, 6, 7);
    case REBUILD_PARAMETER:
        if (arguments->count != 3 || r->values[arguments->as.items[0]].kind != TENSOR)
            return fault(r, "a parameter without a tensor");
        return push(r, arguments->as.items[0]);
    case STORAGE_CLASS: break;
    }
    return fault(r, "a storage class is called");
}

/* A state dict carries its "_metadata" attribute (version numbers of modules) this way: checked and dropped. */
static dcam_status build(reader *r)
{
    value *object = NULL;
    uint32_t state = 0;
    DCAM_TRY(pop(r, &state));
    DCAM_TRY(top(r, DICTIONARY, &object));
    if (r->values[state].kind != DICTIONARY) return fault(r, "BUILD without a dictionary");
    return DCAM_OK;
}

/* ---- the loop ----------------------------------------------------------- */

static dcam_status read_header(reader *r, uint8_t opcode)
{
    uint64_t n = 0;
    DCAM_TRY(take_number(r, opcode == 0x80 ? 1 : 8, &n));
    if (opcode == 0x80 && n > 5) return fault(r, "protocol newer than 5");
    return DCAM_OK;
}

static dcam_status put_or_get(reader *r, size_t bytes, bool put)
{
    uint64_t n = 0;
    DCAM_TRY(take_number(r, bytes, &n));
    return put ? memo_put(r, (size_t)n) : memo_get(r, (size_t)n);
}

static dcam_status refuse(const reader *r, uint8_t opcode)
{
    const char *name = opcode_names[opcode];
    return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: pickle opcode %s (0x%02x) is refused: only dictionaries of tensors are "
                                         "read; save model.state_dict() with torch.save",
                     r->path, name ? name : "unknown", opcode);
}

static dcam_status step(reader *r, uint8_t opcode)
{
    size_t height = 0;
    uint32_t dropped = 0;
    const uint8_t *p = NULL;
    switch (opcode) {
    case 0x80: case 0x95: return read_header(r, opcode);                        /* PROTO, FRAME */
    case '(':
        DCAM_TRY(dcam_grow(&r->marks, r->mark_count, &r->mark_capacity, sizeof *r->marks));
        r->marks[r->mark_count++] = r->stack_count;
        return DCAM_OK;
    case '0': return pop(r, &dropped);
    case 'N': return push_value(r, (value){.kind = NOTHING});
    case 0x88: case 0x89: return push_value(r, (value){.kind = FLAG, .as.integer = opcode == 0x88});
    case 'K': return push_integer(r, 1, false);
    case 'M': return push_integer(r, 2, false);
    case 'J': return push_integer(r, 4, true);
    case 0x8a: return push_long(r);
    case 'G':                                                                   /* BINFLOAT: never a weight */
        DCAM_TRY(take(r, 8, &p));
        return push_value(r, (value){.kind = FRACTION});
    case 0x8c: return push_text(r, 1);
    case 'X': return push_text(r, 4);
    case ')': return push_short_tuple(r, 0);
    case 0x85: case 0x86: case 0x87: return push_short_tuple(r, (size_t)opcode - 0x84);
    case 't':
        DCAM_TRY(pop_mark(r, &height));
        return push_tuple(r, height);
    case ']': return push_value(r, (value){.kind = LIST});
    case '}': return push_value(r, (value){.kind = DICTIONARY});
    case 'a': return add_one(r, LIST);
    case 'e': return add_marked(r, LIST);
    case 's': return add_one(r, DICTIONARY);
    case 'u': return add_marked(r, DICTIONARY);
    case 'q': return put_or_get(r, 1, true);
    case 'r': return put_or_get(r, 4, true);
    case 'h': return put_or_get(r, 1, false);
    case 'j': return put_or_get(r, 4, false);
    case 0x94: return memo_put(r, r->memo_count);                               /* MEMOIZE */
    case 'c': return read_global(r);
    case 0x93: return read_stack_global(r);
    case 'Q': return push_storage(r);                                           /* BINPERSID */
    case 'R': return reduce(r);
    case 'b': return build(r);
    default: return refuse(r, opcode);
    }
}

static dcam_status collect(const reader *r, dcam_pickle_tensor **out, size_t *out_count)
{
    if (r->stack_count != 1 || r->mark_count != 0) return fault(r, "it does not end with one value");
    const value *root = &r->values[r->stack[0]];
    if (root->kind != DICTIONARY)
        return dcam_fail(DCAM_ERROR_WEIGHTS, "%s: holds %s, not a state dict", r->path, kind_names[root->kind]);
    if (root->count / 2 > DCAM_MAX_TENSORS) return too_many_tensors(r);
    dcam_pickle_tensor *tensors = NULL;
    DCAM_TRY(dcam_alloc(root->count / 2, sizeof *tensors, &tensors));
    dcam_status status = DCAM_OK;
    for (size_t i = 0; i + 1 < root->count && status == DCAM_OK; i += 2) {
        const value *key = &r->values[root->as.items[i]], *item = &r->values[root->as.items[i + 1]];
        if (key->kind != TEXT) {
            status = fault(r, "a key of the state dict is no text");
        } else if (item->kind != TENSOR) {
            status = dcam_fail(DCAM_ERROR_WEIGHTS,
                               "%s: entry %s is %s, not a tensor; save the state dict alone, with torch.save", r->path,
                               dcam_printable_name(key->as.text, key->count).text, kind_names[item->kind]);
        } else {
            tensors[i / 2] = r->tensors[item->first];
            tensors[i / 2].name = key->as.text;
            tensors[i / 2].name_length = key->count;
        }
    }
    if (status != DCAM_OK) {
        dcam_free(tensors);
        return status;
    }
    *out = tensors;
    *out_count = root->count / 2;
    return DCAM_OK;
}

dcam_status dcam_pickle_read(const char *path, const uint8_t *bytes, size_t count, dcam_pickle_tensor **out,
                             size_t *out_count)
{
    reader r = {.path = path, .next = bytes, .end = bytes + count};
    dcam_status status = DCAM_OK;
    bool stopped = false;
    while (status == DCAM_OK && !stopped) {
        const uint8_t *opcode = NULL;
        if ((status = take(&r, 1, &opcode)) != DCAM_OK) break;
        stopped = *opcode == '.';
        if (!stopped) status = step(&r, *opcode);
    }
    if (status == DCAM_OK && r.next != r.end) status = fault(&r, "bytes follow its end");
    if (status == DCAM_OK) status = collect(&r, out, out_count);
    for (size_t i = 0; i < r.value_count; i++) {
        kind k = r.values[i].kind;
        if (k == TUPLE || k == LIST || k == DICTIONARY) dcam_free(r.values[i].as.items);
    }
    dcam_free(r.values);
    dcam_free(r.tensors);
    dcam_free(r.stack);
    dcam_free(r.marks);
    dcam_free(r.memo);
    return status;
}
