package pgx_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// literals are tried for every type. Most fit only some.
var literals = []string{
	"1", "0", "-1", "true", "f", "a", "", "it's", "1.5", "-0.1e-30", "NaN", "infinity", "-infinity", "123456789012", "99999999999999999999.125",
	"2024-02-29", "2024-02-29 23:59:58.123456", "2024-02-29 23:59:58.123456+05:30", "0044-03-15 BC", "0044-03-15 12:00 BC", "294276-12-31 23:59:59", "5874897-12-31", "23:59:58.5", "24:00:00", "23:59:58.5-11",
	"1 year 2 mons -3 days 04:05:06.7", `{"a": [1, null, "x"]}`, "null", "<a>x</a>", "101", "(1,2)", "((1,2),(3,4))", "{1,2,3}", "[(1,2),(3,4)]", "<(1,2),3>",
	"192.168.0.0/24", "::1", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "$.a[*]", "'a' & 'b'", "a:1 b:2",
	"pg_class", "int4", "abs(integer)", "+", "+(integer,integer)", "english", "simple", "public", "10:20:10,15", "0/16B3748", "(0,1)", "[1,5)", "empty", "[2024-01-01,2024-02-01)", "{[1,5)}", "4294967295", "postgres", "C",
	"postgres=r/postgres", "1 2 3",
}

// typed are types that have modifiers, with a literal.
var typed = map[string]string{
	"varchar(7)": "seven", "char(4)": "ab", "bpchar": "ab  ", "bit(3)": "101", "varbit(5)": "11", "numeric(10,2)": "1.5", "numeric(3)": "7", "numeric(4,-2)": "1200", "timestamp(0)": "2024-02-29 23:59:58.6",
	"timestamptz(3)": "2024-02-29 23:59:58.6789", "time(1)": "1:2:3.456", "interval day to second(2)": "1 02:03:04.567", "varchar(7)[]": "{a,NULL,b}", "numeric(10,2)[]": "{1.5,2}",
}

// typesOf is what each type of the catalogue takes: its literals as expressions.
func (r *rig) typesOf() map[string][]string {
	r.Helper()
	names, err := texts(r.plain, `SELECT format_type(oid, NULL) FROM pg_type WHERE typtype IN ('b', 'r', 'm', 'd') AND typisdefined AND typcategory <> 'A'
		AND typnamespace IN ('pg_catalog'::regnamespace, 'public'::regnamespace, 'information_schema'::regnamespace) ORDER BY oid`)
	require.NoError(r, err)
	require.Greater(r, len(names), 60)
	all := make(map[string][]string)
	for _, name := range names {
		for _, l := range literals {
			e := "'" + strings.ReplaceAll(l, "'", "''") + "'::" + name
			if _, err := r.plain.Exec("SELECT " + e); err == nil {
				all[name] = append(all[name], e)
			}
		}
		array := "ARRAY[" + strings.Join(append(all[name], "NULL"), ", ") + "]::" + name + "[]"
		if _, err := r.plain.Exec("SELECT " + array); err == nil {
			all[name] = append(all[name], array, "'{}'::"+name+"[]", "NULL::"+name+"[]")
		}
		all[name] = append(all[name], "NULL::"+name)
	}
	all["bytea"] = append(all["bytea"], "decode('00ff7f', 'hex')", "decode('', 'hex')", "ARRAY[decode('00ff7f', 'hex'), NULL]") // a text with a backslash joins no group
	for name, l := range typed {
		all[name] = []string{"'" + l + "'::" + name, "NULL::" + name}
	}
	return all
}

// Values, their Go types, what is said of the columns, and errors of the conversion are those of the plain driver for each type that
// the server has.
func TestAQueryInAGroupHasThePlainDriversValuesOfEveryType(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "exec"} {
		t.Run(exec, func(t *testing.T) {
			t.Parallel()
			dsn, param := pgtest.DSN(t), pgtest.Param("default_query_exec_mode", exec)
			r := setUpOn(t, dsn, []pgtest.DSNOption{param}, learnsNothing())
			r.plain = r.open("pgx", pgtest.With(dsn, param))
			r.typesAsPlain(r.typesOf())
		})
	}
}

func (r *rig) typesAsPlain(types map[string][]string) {
	r.Helper()
	values := 0
	steps := []step{neighbour(0)}
	add := func(text string) {
		if len(steps)%2 == 0 {
			steps = append(steps, r.prepared(text, len(steps)))
		} else {
			steps = append(steps, query(text, len(steps)))
		}
	}
	for name, all := range types {
		values += len(all) - 1
		const insert = "INSERT INTO log (k) VALUES ($1) RETURNING "
		if answer := query(insert+strings.Join(all, ", "), 0).run(r.plain); !fails(answer) {
			add(insert + strings.Join(all, ", "))
			continue
		}
		for i, v := range all { // the error of one value hides the others
			add(fmt.Sprintf("%s%s AS column_%d /* %s */", insert, v, i, name))
		}
	}
	require.Greater(r, values, 3*len(types))
	answers, members := r.asPlain([]string{"log"}, steps...)
	for i, s := range steps {
		if !fails(answers[i]) {
			require.True(r, slices.Contains(members, s.text), "no member: %s\n%s", s.text, answers[i])
		}
	}
	r.Logf("%d types, %d values, %d steps", len(types), values, len(steps))
}
