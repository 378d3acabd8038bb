/* json.c - lets the shell tests look into JSON: checks that a file (or - for
 * standard input) is valid, and prints the value at a path of keys and
 * indices.
 *     json FILE [KEY...]      one document
 *     json -l FILE [KEY...]   one document a line; prints one value a line
 *     json -k FILE [KEY...]   the keys of the object there, in their order */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES (1 << 20)

/* Prints the value at keys in root; false when it is not there. */
static bool print_at(json_t *root, char **keys, bool names)
{
    json_t *at = root;
    for (; at && *keys; keys++)
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(*keys, NULL, 10))
                               : json_object_get(at, *keys);
    if (!at) {
        fprintf(stderr, "json: no such value\n");
        return false;
    }
    if (names) {
        const char *key;
        json_t *value;
        json_object_foreach(at, key, value) puts(key);
        return true;
    }
    char *text = json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text) return false;
    if (json_is_string(at))
        puts(json_string_value(at));
    else
        puts(text);
    free(text);
    return true;
}

static bool print_text(const char *text, char **keys, bool names)
{
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        fprintf(stderr, "json: line %d: %s\n", error.line, error.text);
        return false;
    }
    bool fine = print_at(root, keys, names);
    json_decref(root);
    return fine;
}

int main(int count, char **arguments)
{
    bool lines = count > 1 && strcmp(arguments[1], "-l") == 0,
         names = count > 1 && strcmp(arguments[1], "-k") == 0;
    char **rest = arguments + 1 + (lines || names);
    if (rest >= arguments + count) return 2;
    FILE *stream = strcmp(rest[0], "-") == 0 ? stdin : fopen(rest[0], "rb");
    static char text[LINE_BYTES];
    if (!stream) return 2;
    bool fine = true;
    if (lines) {
        while (fine && fgets(text, sizeof text, stream)) fine = print_text(text, rest + 1, false);
    } else {
        size_t used = fread(text, 1, sizeof text - 1, stream);
        text[used] = '\0';
        fine = print_text(text, rest + 1, names);
    }
    fclose(stream);
    return fine ? 0 : 1;
}
