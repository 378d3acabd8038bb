/* CSV: every field of texts as RFC 4180 has them, with the line on which each row began. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "data/csv.h"

enum { ROWS = 4, FIELDS = 4 };

static const struct {
    const char *text;
    struct { size_t line; const char *fields[FIELDS]; } rows[ROWS];
} cases[] = {
    {"a,b\nc,d\n", {{1, {"a", "b"}}, {2, {"c", "d"}}}},
    {"a,b\r\nc,d", {{1, {"a", "b"}}, {2, {"c", "d"}}}},
    {"\xEF\xBB\xBFpath,b\n", {{1, {"path", "b"}}}},
    {"\xEF\xBB\xBF", {{0}}},
    {"\xEF\xBBx\n", {{1, {"\xEF\xBBx"}}}},
    /* empty fields; empty lines are no rows and count as lines */
    {",\n\n\r\n\r\n,b,\n\n", {{1, {"", ""}}, {5, {"", "b", ""}}}},
    {"\n\r\na", {{3, {"a"}}}},
    /* quoted: commas, doubled quotes, lines of both kinds; nothing at the end of the text */
    {"\"a,b\",\"\"\"c\"\"\",\"\"\r\nd", {{1, {"a,b", "\"c\"", ""}}, {2, {"d"}}}},
    {"\"one\ntwo\r\n\nfour\",x\n\"y\"\n\"z\"", {{1, {"one\ntwo\r\n\nfour", "x"}}, {5, {"y"}}, {6, {"z"}}}},
    {"a,\"\"", {{1, {"a", ""}}}},
    {"a,", {{1, {"a", ""}}}},
};

static void fields_and_lines(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[64];
        dcam_csv csv;
        bool more = true;
        memcpy(text, cases[k].text, strlen(cases[k].text) + 1);
        assert_int_equal(dcam_csv_open(&csv, text, strlen(text), "table.csv"), DCAM_OK);
        for (size_t row = 0; cases[k].rows[row].line; row++) {
            const char *const *wanted = cases[k].rows[row].fields;
            int count = 0;
            while (count < FIELDS && wanted[count]) count++;
            assert_int_equal(dcam_csv_next(&csv, &more), DCAM_OK);
            assert_true(more);
            assert_int_equal(csv.line, cases[k].rows[row].line);
            assert_int_equal(csv.field_count, count);
            for (int i = 0; i < count; i++) {
                assert_string_equal(csv.fields[i], wanted[i]);
                assert_true(dcam_csv_column(&csv, wanted[i]) >= 0);
            }
            assert_int_equal(dcam_csv_column(&csv, "none of them"), -1);
        }
        assert_int_equal(dcam_csv_next(&csv, &more), DCAM_OK);
        assert_false(more);
    }
}

/* As many columns as there may be, and one more. */
static void columns_have_a_limit(void **state)
{
    (void)state;
    for (int columns = DCAM_CSV_MAX_FIELDS; columns <= DCAM_CSV_MAX_FIELDS + 1; columns++) {
        char text[DCAM_CSV_MAX_FIELDS + 1];
        dcam_csv csv;
        bool more;
        memset(text, ',', sizeof text);
        text[columns - 1] = '\0';
        assert_int_equal(dcam_csv_open(&csv, text, strlen(text), "table.csv"), DCAM_OK);
        assert_int_equal(dcam_csv_next(&csv, &more), columns > DCAM_CSV_MAX_FIELDS ? DCAM_ERROR_DATA : DCAM_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_lines),
        cmocka_unit_test(columns_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
